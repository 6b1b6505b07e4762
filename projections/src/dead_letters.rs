//! Events that a read model could not apply, and the later ones of the same aggregate, which wait for them.

use std::collections::HashSet;

use app::log::RecordedEvent;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::ApplyError;

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, FromRow)]
pub struct DeadLetter {
    /// The read model that could not apply it.
    pub projection: String,
    /// The event.
    pub event_id: Uuid,
    /// Its place in the order of all events.
    pub position: String,
    /// Whose event, e.g. `lablet_session`.
    pub aggregate_type: String,
    /// Whose event.
    pub aggregate_id: String,
    /// Its place among the aggregate's events.
    pub sequence: i64,
    /// E.g. `lablet_session.created.v1`.
    pub event_type: String,
    /// Why it waits.
    pub reason: String,
    /// How often it was tried.
    pub attempts: i32,
    /// `parked` or `discarded`.
    pub status: String,
    /// When it was parked.
    pub parked_at: DateTime<Utc>,
    /// When it was discarded.
    pub settled_at: Option<DateTime<Utc>>,
}

/// The chain of an error as one text.
pub(crate) fn reason(error: &ApplyError) -> String {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        reason.push_str(": ");
        reason.push_str(&error.to_string());
        source = error.source();
    }
    reason.chars().filter(|character| *character != '\0').take(2_000).collect()
}

/// Which aggregates of these events have events parked.
pub(crate) async fn parked_of(
    connection: &mut PgConnection,
    projection: &str,
    events: &[RecordedEvent],
) -> sqlx::Result<HashSet<(String, String)>> {
    let types: Vec<&str> = events.iter().map(|event| event.aggregate_type.as_str()).collect();
    let ids: Vec<&str> = events.iter().map(|event| event.aggregate_id.as_str()).collect();
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT DISTINCT aggregate_type, aggregate_id FROM read_models.projection_dead_letters
          WHERE projection = $1 AND status = 'parked'
            AND (aggregate_type, aggregate_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))",
    )
    .bind(projection)
    .bind(types)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().collect())
}

pub(crate) async fn park(
    connection: &mut PgConnection,
    projection: &str,
    event: &RecordedEvent,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO read_models.projection_dead_letters
                (projection, event_id, position, aggregate_type, aggregate_id, sequence, event_type, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(projection)
    .bind(event.event_id)
    .bind(event.position.to_string())
    .bind(&event.aggregate_type)
    .bind(&event.aggregate_id)
    .bind(event.sequence)
    .bind(event.versioned_type())
    .bind(reason)
    .execute(connection)
    .await?;
    Ok(())
}
