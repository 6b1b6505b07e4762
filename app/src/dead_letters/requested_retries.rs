//! Retries that somebody asked for and another process makes: a dead letter of a webhook is sent again by the process that
//! delivers to its target.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::{DeadLetterKind, DeadLetters, LONGEST_TEXT};
use crate::database::StoredTime;
use crate::printable::storable;

/// A dead letter of which another attempt is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedRetry {
    /// The letter.
    pub id: Uuid,
    /// The event that is to be sent again.
    pub event_id: Uuid,
    /// Who asked for it.
    pub requested_by: String,
}

impl DeadLetters {
    /// Asks for another attempt of a webhook's letter; returns whether such a letter waits.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn request_retry(&self, id: Uuid, by: &str) -> sqlx::Result<bool> {
        let requested = sqlx::query!(
            "UPDATE dead_letters SET retry_requested_at = $2, retry_requested_by = $3
              WHERE id = $1 AND kind = 'webhook' AND status = 'waiting' AND event_id IS NOT NULL",
            id,
            self.clock.now(),
            storable(by, LONGEST_TEXT)
        );
        Ok(requested.execute(&self.pool).await?.rows_affected() > 0)
    }
}

/// The sources of letters of which another attempt is to be made, each with when that was asked for last.
///
/// # Errors
/// sqlx's error.
pub async fn sources_with_requested_retries(
    pool: &PgPool,
    kind: DeadLetterKind,
) -> sqlx::Result<BTreeMap<String, DateTime<Utc>>> {
    let rows = sqlx::query!(
        r#"SELECT source, max(retry_requested_at) AS "requested_at!: StoredTime" FROM dead_letters
            WHERE kind = $1 AND status = 'waiting' AND retry_requested_at IS NOT NULL AND event_id IS NOT NULL
            GROUP BY source"#,
        kind as _
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.source, row.requested_at.into())).collect())
}

/// The letter of a source whose retry was asked for first.
///
/// # Errors
/// sqlx's error.
pub async fn next_requested_retry(
    pool: &PgPool,
    kind: DeadLetterKind,
    source: &str,
) -> sqlx::Result<Option<RequestedRetry>> {
    let row = sqlx::query!(
        r#"SELECT id, event_id AS "event_id!", retry_requested_by FROM dead_letters
            WHERE kind = $1 AND source = $2 AND status = 'waiting' AND retry_requested_at IS NOT NULL
              AND event_id IS NOT NULL
            ORDER BY retry_requested_at, id LIMIT 1"#,
        kind as _,
        source
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| RequestedRetry {
        id: row.id,
        event_id: row.event_id,
        requested_by: row.retry_requested_by.unwrap_or_default(),
    }))
}
