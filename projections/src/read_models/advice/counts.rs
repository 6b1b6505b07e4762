//! How many definitions and sessions there are, by the verdict on their sizes.

use std::collections::BTreeMap;

use advice::sizing::SizeVerdict;
use chrono::{DateTime, Utc};
use domain::DefinitionId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Projections, ReadError};

/// Sessions of a definition that are looked at: the newest that ended.
const NEWEST: i64 = 5_000;

/// Definitions of which the same is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictCount {
    /// The worst verdict on their resources.
    pub verdict: SizeVerdict,
    /// How many definitions.
    pub definitions: u64,
}

impl Projections {
    /// How many definitions there are by the worst verdict on their resources, worst first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn definitions_by_verdict(&self) -> Result<Vec<VerdictCount>, ReadError> {
        let rows: Vec<(Vec<String>, i64)> = sqlx::query_as(
            "SELECT ARRAY(SELECT DISTINCT coalesce(v.value ->> 'verdict', '')
                            FROM jsonb_each(CASE jsonb_typeof(s.sizing) WHEN 'object' THEN s.sizing ELSE '{}' END) v
                           ORDER BY 1) AS verdicts, count(*)
               FROM read_advice.definition_sums s GROUP BY 1",
        )
        .fetch_all(&self.reads)
        .await?;
        let mut counts: BTreeMap<SizeVerdict, u64> = BTreeMap::new();
        for (verdicts, definitions) in rows {
            let known = verdicts.into_iter().filter_map(|verdict| serde_json::from_value(Value::String(verdict)).ok());
            *counts.entry(known.min().unwrap_or_default()).or_default() += definitions.unsigned_abs();
        }
        Ok(counts.into_iter().map(|(verdict, definitions)| VerdictCount { verdict, definitions }).collect())
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
