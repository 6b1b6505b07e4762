//! How many definitions and sessions there are, by what advice finds of them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::DefinitionId;
use domain::lablet_definition::Finding;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Projections, ReadError};

/// Sessions of a definition that are looked at: the newest that ended.
const NEWEST: i64 = 5_000;

/// Definitions of which the same is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingCount {
    /// What is found; null: only sessions of them are known.
    pub finding: Option<Finding>,
    /// How many definitions.
    pub definitions: u64,
}

impl Projections {
    /// How many definitions there are by what is found of them.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn definitions_by_finding(&self) -> Result<Vec<FindingCount>, ReadError> {
        let rows: Vec<(Option<String>, i64)> = sqlx::query_as(
            "SELECT finding #>> '{}' AS finding, count(*) FROM read_advice.definition_sums GROUP BY 1 ORDER BY 1",
        )
        .fetch_all(&self.reads)
        .await?;
        let count = |(finding, definitions): (Option<String>, i64)| FindingCount {
            finding: finding.and_then(|finding| serde_json::from_value(Value::String(finding)).ok()),
            definitions: definitions.unsigned_abs(),
        };
        Ok(rows.into_iter().map(count).collect())
    }

    /// How many sessions of each of these definitions have ended since a time, at most 5,000.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn sessions_ended_since(
        &self,
        definitions: &[DefinitionId],
        since: DateTime<Utc>,
    ) -> Result<BTreeMap<DefinitionId, u64>, ReadError> {
        let ids: Vec<&str> = definitions.iter().map(DefinitionId::as_str).collect();
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT d.id, (SELECT count(*) FILTER (WHERE r.ended_at >= $2) FROM (
                        SELECT s.ended_at FROM read_advice.sessions s
                         WHERE s.definition_id = d.id AND s.ended_position IS NOT NULL
                         ORDER BY s.ended_position DESC LIMIT $3) r)
               FROM unnest($1::text[]) d (id)",
        )
        .bind(&ids)
        .bind(since)
        .bind(NEWEST)
        .fetch_all(&self.reads)
        .await?;
        let counted = |(id, sessions): (String, i64)| Some((DefinitionId::parse(id).ok()?, sessions.unsigned_abs()));
        Ok(rows.into_iter().filter_map(counted).collect())
    }
}
