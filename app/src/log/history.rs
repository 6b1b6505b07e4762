//! Questions about one aggregate's events, each a range of the log's primary key.
//!
//! An observation of a large lab weighs half a megabyte, and a session may have thousands of events: who does not need
//! the payloads does not read them.

use serde_json::Value;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::page::{self, EventPage};
use super::record::{COLUMNS, RecordedEvent};
use super::{Log, LogError, in_time};

/// The columns of an event whose payload is not asked for.
pub(super) const WITHOUT_PAYLOAD: &str = "epoch, written_by::text AS written_by, position, event_id, aggregate_type, \
     aggregate_id, sequence, event_type, event_version, 'null'::json AS payload, metadata, recorded_at";

/// A part of one aggregate's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryPage {
    /// From the newest event to the oldest, in place of the other way round.
    pub newest_first: bool,
    /// The sequence beyond which the part begins; none: at the end where reading begins.
    pub beyond: Option<i64>,
    /// Whether the payloads are wanted; where not, they are null.
    pub payloads: bool,
    /// Most events.
    pub limit: i64,
}

impl Log {
    /// Up to `limit` events of one aggregate after a sequence, in order; as [`Log::read`], fewer where they are large.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn history(
        &self,
        aggregate_type: &str,
        aggregate_id: &str,
        after_sequence: i64,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let page = HistoryPage { newest_first: false, beyond: Some(after_sequence), payloads: true, limit };
        Ok(self.history_page(aggregate_type, aggregate_id, page).await?.events)
    }

    /// A part of one aggregate's history.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn history_page(
        &self,
        aggregate_type: &str,
        aggregate_id: &str,
        part: HistoryPage,
    ) -> Result<EventPage, LogError> {
        let (comparison, order, end) = if part.newest_first { ("<", "DESC", i64::MAX) } else { (">", "ASC", 0) };
        let condition = format!("aggregate_type = $1 AND aggregate_id = $2 AND sequence {comparison} $3");
        let statement = if part.payloads {
            page::statement(&condition, &[("sequence", order)], "$4")
        } else {
            format!(
                "SELECT {WITHOUT_PAYLOAD}, 0::bigint AS estimate FROM events WHERE {condition}
                  ORDER BY sequence {order} LIMIT $4"
            )
        };
        let query = sqlx::query(AssertSqlSafe(statement))
            .bind(aggregate_type)
            .bind(aggregate_id)
            .bind(part.beyond.unwrap_or(end))
            .bind(part.limit);
        Ok(in_time(page::fetch(query, &self.pool, part.limit)).await?)
    }

    /// The last events of one aggregate that are of these types (without their version), at most `limit`, oldest first.
    /// Meant for types whose events are small: each is read whole.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn last_of_types(
        &self,
        aggregate_type: &str,
        aggregate_id: &str,
        event_types: &[String],
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let statement = format!(
            "SELECT {COLUMNS} FROM events
              WHERE aggregate_type = $1 AND aggregate_id = $2 AND event_type = ANY($3)
              ORDER BY sequence DESC LIMIT $4"
        );
        let rows = sqlx::query(AssertSqlSafe(statement))
            .bind(aggregate_type)
            .bind(aggregate_id)
            .bind(event_types)
            .bind(limit)
            .fetch_all(&self.pool);
        let rows = in_time(rows).await?;
        Ok(rows.iter().rev().map(RecordedEvent::from_row).collect::<sqlx::Result<_>>()?)
    }

    /// Up to `limit` events of one aggregate after a sequence that name a message or an event as what led to them,
    /// without their payloads.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn caused_by(
        &self,
        aggregate_type: &str,
        aggregate_id: &str,
        after_sequence: i64,
        causation_id: &str,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let statement = format!(
            "SELECT {WITHOUT_PAYLOAD} FROM events
              WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 AND metadata ->> 'causation_id' = $4
              ORDER BY sequence LIMIT $5"
        );
        let rows = sqlx::query(AssertSqlSafe(statement))
            .bind(aggregate_type)
            .bind(aggregate_id)
            .bind(after_sequence)
            .bind(causation_id)
            .bind(limit)
            .fetch_all(&self.pool);
        let rows = in_time(rows).await?;
        Ok(rows.iter().map(RecordedEvent::from_row).collect::<sqlx::Result<_>>()?)
    }

    /// Events by their ids, without their payloads, in their global order. Ids that the log does not know are left out.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn events_without_payload(&self, event_ids: &[Uuid]) -> Result<Vec<RecordedEvent>, LogError> {
        let statement = format!(
            "SELECT {WITHOUT_PAYLOAD} FROM events WHERE event_id = ANY($1)
              ORDER BY events.epoch, events.written_by, events.position"
        );
        let rows = in_time(sqlx::query(AssertSqlSafe(statement)).bind(event_ids).fetch_all(&self.pool)).await?;
        Ok(rows.iter().map(RecordedEvent::from_row).collect::<sqlx::Result<_>>()?)
    }

    /// What an event's payload holds at a path of names and places, so that only this part travels. `None`: there is no
    /// such event, or nothing is there.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn payload_part(&self, event_id: Uuid, path: &[String]) -> Result<Option<Value>, LogError> {
        let question = sqlx::query_scalar("SELECT payload #> $2 FROM events WHERE event_id = $1")
            .bind(event_id)
            .bind(path)
            .fetch_optional(&self.pool);
        Ok(in_time(question).await?.flatten())
    }
}
