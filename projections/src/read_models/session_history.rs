//! Everything that happened to a session, straight from the log.
//!
//! A table would be a second copy of the payloads, in the order in which the log's primary key has them already, and a
//! little late. Asking the log is one range of that key.

use app::log::{Metadata, Position, RecordedEvent};
use chrono::{DateTime, Utc};
use domain::SessionId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::page::{self, Page, PageRequest};
use crate::projector::Kind;
use crate::{Projections, ReadError};

/// One event as readers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventRow {
    /// The event.
    pub event_id: Uuid,
    /// Its place in the order of all events.
    pub position: Position,
    /// E.g. `lablet_session`.
    pub aggregate_type: String,
    /// Whose event.
    pub aggregate_id: String,
    /// Its place among the aggregate's events, from 1.
    pub sequence: i64,
    /// E.g. `lablet_session.created.v1`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When the log took it.
    pub recorded_at: DateTime<Utc>,
    /// Who caused it, and in what connection.
    pub metadata: Metadata,
    /// What happened.
    pub data: Value,
}

impl From<RecordedEvent> for EventRow {
    fn from(event: RecordedEvent) -> Self {
        Self {
            event_id: event.event_id,
            position: event.position,
            event_type: event.versioned_type(),
            aggregate_type: event.aggregate_type,
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            recorded_at: event.recorded_at,
            metadata: event.metadata,
            data: event.payload,
        }
    }
}

impl Projections {
    /// The events of a session, oldest first. The cursor is a sequence.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the log does not answer.
    pub async fn session_events(&self, id: &SessionId, request: &PageRequest) -> Result<Page<EventRow>, ReadError> {
        let after = match &request.cursor {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| ReadError::Invalid(page::bad_cursor()))?,
        };
        let events = self.log.history(Kind::Session.as_str(), id.as_str(), after, request.fetch()).await?;
        let rows = events.into_iter().map(EventRow::from).collect();
        Ok(Page::of(rows, request, |row: &EventRow| row.sequence.to_string()))
    }

    /// One event with all that is known of it.
    ///
    /// # Errors
    /// The log does not answer.
    pub async fn event(&self, event_id: Uuid) -> Result<Option<EventRow>, ReadError> {
        Ok(self.log.event(event_id).await?.map(EventRow::from))
    }
}
