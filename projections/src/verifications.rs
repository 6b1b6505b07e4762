//! What verifying found, kept so that it can be looked up later.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::QueryBuilder;
use sqlx::types::Json;

use crate::page;
use crate::verify::VerifyReport;
use crate::{Projections, ReadError};

/// How many results are kept.
const MOST_KEPT: i64 = 50;

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// When.
    pub verified_at: DateTime<Utc>,
    /// Who.
    pub verified_by: String,
    /// Whether log, bus and read models held the same events, and the rows were what a rebuild makes of them.
    pub held: bool,
    /// Whether every row was compared with a rebuild.
    pub rows_compared: bool,
    /// What was compared, and what differed.
    pub report: Value,
}

impl Projections {
    /// Keeps what verifying found, in place of the oldest that is kept.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn keep_verification(&self, report: &VerifyReport, verified_by: &str) -> Result<(), ReadError> {
        let mut transaction = app::log::begin(&self.pool).await?;
        sqlx::query!(
            "INSERT INTO verifications (verified_at, verified_by, held, rows_compared, report)
             VALUES ($1, $2, $3, $4, $5)",
            self.log.clock().now(),
            verified_by,
            report.holds(),
            report.rebuilt.is_some(),
            Json(report) as _
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query!(
            "DELETE FROM verifications WHERE id NOT IN (SELECT id FROM verifications ORDER BY id DESC LIMIT $1)",
            MOST_KEPT
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// What verifying found the last time; none: nobody verified yet.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn last_verification(&self) -> Result<Option<Verification>, ReadError> {
        let mut query = QueryBuilder::new(page::select("id", "id"));
        query.push(
            "SELECT id, verified_at, verified_by, held, rows_compared, report
               FROM verifications ORDER BY id DESC LIMIT 1) r",
        );
        self.row_of("verifications", query).await
    }
}
