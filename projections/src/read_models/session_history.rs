//! Everything that happened to a session, straight from the log.
//!
//! A table would be a second copy of the payloads, in the order in which the log's primary key has them already, and a
//! little late. Asking the log is one range of that key.

use app::log::{HistoryPage, Metadata, Position, RecordedEvent};
use app::notice::{CLOUD_EVENT_TYPES, cloud_event_type};
use chrono::{DateTime, Utc};
use domain::lablet_session::{LabletSessionEvent, SessionStatus};
use domain::{LabId, RawJson, SessionId, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::page::{self, Page, PageRequest};
use crate::projector::AggregateKind;
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
    /// The type of its CloudEvent, e.g. `io.lablet.lablet_session.created.v1`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When the log took it.
    pub recorded_at: DateTime<Utc>,
    /// Who caused it, and in what connection.
    pub metadata: Metadata,
    /// What happened; null where a list was asked for without.
    pub data: RawJson,
}

impl EventRow {
    /// Its type as people read it, without what all types begin with: `lablet_session.created.v1`.
    #[must_use]
    pub fn short_type(&self) -> &str {
        self.event_type.strip_prefix(CLOUD_EVENT_TYPES).unwrap_or(&self.event_type)
    }
}

impl From<RecordedEvent> for EventRow {
    fn from(event: RecordedEvent) -> Self {
        Self {
            event_id: event.event_id,
            position: event.position,
            event_type: cloud_event_type(&event.event_type, &event.event_version),
            aggregate_type: event.aggregate_type,
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            recorded_at: event.recorded_at,
            metadata: event.metadata,
            data: event.payload,
        }
    }
}

/// Most steps of a life that are shown. A session's life has some ten; each step that says something new without leading
/// on, such as another timeslot, is one more.
const MOST_STEPS: usize = 100;

/// From which end a history is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventOrder {
    /// The first event first.
    #[default]
    Oldest,
    /// The last event first.
    Newest,
}

/// How a history is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryView {
    /// From which end.
    pub order: EventOrder,
    /// Whether with what happened. An observation of a large lab weighs half a megabyte: a list does without.
    pub data: bool,
}

impl Default for HistoryView {
    fn default() -> Self {
        Self { order: EventOrder::Oldest, data: true }
    }
}

/// A session's life so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionLife {
    /// Its last steps, oldest first: at most 100.
    pub steps: Vec<LifeRow>,
    /// Whether there are earlier steps, which are among the session's events.
    pub has_earlier: bool,
}

/// One step in a session's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LifeRow {
    /// Where it led.
    pub status: SessionStatus,
    /// When, by the deciding clock. By the log's where the event is not understood.
    pub at: DateTime<Utc>,
    /// False: this version cannot read the event, so nothing is known of the step but that it was taken.
    pub understood: bool,
    /// Who; null where the log does not say.
    pub actor: Option<String>,
    /// Why, where someone said so.
    pub reason: Option<String>,
    /// The worker, where the step names it.
    pub worker_id: Option<WorkerId>,
    /// The lab, where the step names it.
    pub cml_lab_id: Option<LabId>,
    /// Its place among the session's events, from 1.
    pub sequence: i64,
    /// The event.
    pub event_id: Uuid,
    /// The event's position.
    pub position: Position,
}

impl LifeRow {
    /// The step of a recorded event; none where the type is no step.
    fn from_recorded(recorded: RecordedEvent) -> Option<Self> {
        let status = status_of(&recorded.event_type)?;
        let event = recorded.decode::<LabletSessionEvent>().ok();
        let step = event.as_ref().and_then(|event| event.life_step()).map(|(_, step)| step);
        Some(Self {
            status,
            at: event.as_ref().map_or(recorded.recorded_at, LabletSessionEvent::at),
            understood: event.is_some(),
            reason: step.and_then(|step| step.reason.clone()),
            worker_id: step.and_then(|step| step.worker_id.clone()),
            cml_lab_id: step.and_then(|step| step.cml_lab_id.clone()),
            actor: recorded.metadata.actor,
            sequence: recorded.sequence,
            event_id: recorded.event_id,
            position: recorded.position,
        })
    }
}

/// The state to which events of a type lead, whatever their version.
fn status_of(event_type: &str) -> Option<SessionStatus> {
    SessionStatus::ALL.into_iter().find(|status| life_event(*status) == event_type)
}

/// The type of the event that leads to a state.
fn life_event(status: SessionStatus) -> String {
    match status {
        SessionStatus::Pending => "lablet_session.created".to_owned(),
        other => format!("lablet_session.{other}"),
    }
}

impl Projections {
    /// A session's life so far; no step of a session that does not exist. Other events, of which there may be thousands,
    /// are not read.
    ///
    /// # Errors
    /// The log does not answer.
    pub async fn session_life(&self, id: &SessionId) -> Result<SessionLife, ReadError> {
        let types = SessionStatus::ALL.map(life_event);
        let one_more = MOST_STEPS as i64 + 1;
        let steps = self.log.last_of_types(AggregateKind::Session.as_str(), id.as_str(), &types, one_more).await?;
        let earlier = steps.len().saturating_sub(MOST_STEPS);
        let steps = steps.into_iter().skip(earlier).filter_map(LifeRow::from_recorded).collect();
        Ok(SessionLife { steps, has_earlier: earlier > 0 })
    }

    /// The events of a session. The cursor is a sequence, of one order. With what happened, a page ends early where its
    /// events are large, and says where the next one begins.
    ///
    /// # Errors
    /// The cursor is none of this list's in this order, or the log does not answer.
    pub async fn session_events(
        &self,
        id: &SessionId,
        view: HistoryView,
        request: &PageRequest,
    ) -> Result<Page<EventRow>, ReadError> {
        let prefix = match view.order {
            EventOrder::Oldest => "",
            EventOrder::Newest => "before:",
        };
        let sequence = |cursor: &String| cursor.strip_prefix(prefix).and_then(|sequence| sequence.parse().ok());
        let beyond = match &request.cursor {
            None => None,
            Some(cursor) => Some(sequence(cursor).ok_or_else(|| ReadError::Invalid(page::bad_cursor()))?),
        };
        let part = HistoryPage {
            newest_first: view.order == EventOrder::Newest,
            beyond,
            payloads: view.data,
            limit: request.fetch(),
        };
        let events = self.log.history_page(AggregateKind::Session.as_str(), id.as_str(), part).await?;
        let rows = events.events.into_iter().map(EventRow::from).collect();
        Ok(Page::of_part(rows, events.more, request, |row: &EventRow| format!("{prefix}{}", row.sequence)))
    }

    /// One event with all that is known of it.
    ///
    /// # Errors
    /// The log does not answer.
    pub async fn event(&self, event_id: Uuid) -> Result<Option<EventRow>, ReadError> {
        Ok(self.log.event(event_id).await?.map(EventRow::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_come_to_by_an_event_of_its_name() {
        assert_eq!(status_of("lablet_session.created"), Some(SessionStatus::Pending));
        assert_eq!(status_of("lablet_session.running"), Some(SessionStatus::Running));
        assert_eq!(status_of("lablet_session.resources_observed"), None);
    }
}
