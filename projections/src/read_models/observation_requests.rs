//! Requests for observations and how each ended.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::lablet_session::{FailureOutcome, LabletSessionEvent};
use domain::{DefinitionId, LabId, RequestId, SessionId, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::page::{self, Page, PageRequest};
use crate::projector::{AggregateKind, Applied, Event, Fold, Projector, Recorded};
use crate::refused::Refused;
use crate::table::{AnyTable, Table, rows};
use crate::{Projections, ReadError, names};

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestOutcome {
    /// No outcome yet.
    Open,
    /// An observation was recorded.
    Recorded,
    /// It was tried and failed.
    Failed,
    /// It was not tried, as the session had moved on.
    Skipped,
}

impl RequestOutcome {
    /// In its wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recorded => "recorded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A request for an observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservationRequestRow {
    /// The request.
    pub request_id: RequestId,
    /// The session to observe.
    pub session_id: SessionId,
    /// Its definition.
    pub definition_id: DefinitionId,
    /// The definition's name; null: its read model does not show it yet.
    #[serde(default)]
    pub definition_name: Option<String>,
    /// The worker on which its lab runs.
    pub worker_id: WorkerId,
    /// The worker's name; null: its read model does not show it yet.
    #[serde(default)]
    pub worker_name: Option<String>,
    /// The lab.
    pub cml_lab_id: LabId,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: DateTime<Utc>,
    /// The event of the request.
    pub requested_event_id: Uuid,
    /// How it stands.
    pub outcome: RequestOutcome,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// When it ended; null while it is open.
    pub finished_at: Option<DateTime<Utc>>,
    /// The event that ended it.
    pub outcome_event_id: Option<Uuid>,
    /// Position of its last event.
    pub position: Position,
}

/// Which requests are asked for; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestFilter {
    /// Of this session.
    #[serde(default)]
    pub session_id: Option<SessionId>,
    /// Standing like this.
    #[serde(default)]
    pub outcome: Option<RequestOutcome>,
    /// Of sessions of this definition.
    #[serde(default)]
    pub definition_id: Option<DefinitionId>,
    /// Of sessions on this worker.
    #[serde(default)]
    pub worker_id: Option<WorkerId>,
    /// Made then or later.
    #[serde(default)]
    pub requested_from: Option<DateTime<Utc>>,
    /// Made before.
    #[serde(default)]
    pub requested_before: Option<DateTime<Utc>>,
}

/// What the rows are called in an alarm.
const LIST: &str = "observation_requests";

const COLUMNS: &str = "created_position, request_id, session_id, definition_id, worker_id, cml_lab_id, requested_by,
    requested_at, requested_event_id, outcome, reason, finished_at, outcome_event_id, position";

fn select() -> QueryBuilder<Postgres> {
    QueryBuilder::new(format!(
        "{}SELECT {COLUMNS}, {} AS definition_name, {} AS worker_name
           FROM read_observation_requests.observation_requests WHERE true",
        page::select("request_id", "created_position"),
        names::definition("definition_id"),
        names::worker("worker_id"),
    ))
}

impl Projections {
    /// Requests for observations, newest first.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn observation_requests(
        &self,
        filter: &RequestFilter,
        request: &PageRequest,
    ) -> Result<Page<ObservationRequestRow>, ReadError> {
        let after = request.position().map_err(ReadError::Invalid)?;
        let mut query = select();
        if let Some(session) = &filter.session_id {
            query.push(" AND session_id = ").push_bind(session.as_str().to_owned());
        }
        if let Some(outcome) = filter.outcome {
            query.push(" AND outcome = ").push_bind(outcome.as_str());
        }
        if let Some(definition) = &filter.definition_id {
            query.push(" AND definition_id = ").push_bind(definition.as_str().to_owned());
        }
        if let Some(worker) = &filter.worker_id {
            query.push(" AND worker_id = ").push_bind(worker.as_str().to_owned());
        }
        if let Some(from) = filter.requested_from {
            query.push(" AND requested_at >= ").push_bind(from);
        }
        if let Some(before) = filter.requested_before {
            query.push(" AND requested_at < ").push_bind(before);
        }
        if let Some(after) = after {
            query.push(" AND created_position < ").push_bind(after);
        }
        query.push(" ORDER BY created_position DESC LIMIT ").push_bind(request.fetch()).push(") r");
        self.page_of(LIST, query, request).await
    }

    /// One request of a session.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn observation_request(
        &self,
        session_id: &SessionId,
        request_id: &RequestId,
    ) -> Result<Option<ObservationRequestRow>, ReadError> {
        let mut query = select();
        query.push(" AND session_id = ").push_bind(session_id.as_str().to_owned());
        query.push(" AND request_id = ").push_bind(request_id.as_str().to_owned()).push(") r");
        self.row_of(LIST, query).await
    }
}

/// Follows the requests.
pub(crate) static PROJECTOR: Projector = Projector {
    name: "observation_requests",
    schema: "read_observation_requests",
    revision: 1,
    follows: &[AggregateKind::Session],
    keyed_by: None,
    weight: 6,
    rows: || Box::new(Rows::default()),
};

rows! {
    /// A request, as it is stored.
    pub(crate) struct StoredRequest in "observation_requests" by (session_id: String, request_id: String) {
        session_id: String,
        request_id: String,
        definition_id: String,
        worker_id: String,
        cml_lab_id: String,
        requested_by: String,
        requested_at: DateTime<Utc>,
        requested_event_id: Uuid,
        outcome: String,
        reason: Option<String>,
        finished_at: Option<DateTime<Utc>>,
        outcome_event_id: Option<Uuid>,
        created_position: Position,
        position: Position,
    }
}

#[derive(Debug, Default)]
struct Rows {
    requests: Table<StoredRequest>,
}

/// How a request ended.
struct End<'a> {
    outcome: RequestOutcome,
    reason: Option<&'a str>,
    at: DateTime<Utc>,
}

impl Fold for Rows {
    fn tables(&mut self) -> Vec<&mut dyn AnyTable> {
        vec![&mut self.requests]
    }

    fn want(&mut self, event: &Event, recorded: &Recorded) {
        let Event::Session(event) = event else { return };
        if let Some(request_id) = request_of(event) {
            self.requests.want((recorded.log.aggregate_id.clone(), request_id.to_string()));
        }
    }

    fn fold(&mut self, event: &Event, recorded: &Recorded) -> Result<Applied, Refused> {
        let event = match event {
            Event::Session(event) => event.as_ref(),
            Event::Definition(_) | Event::Worker(_) | Event::AdvicePolicy(_) | Event::Foreign => {
                return Ok(Applied::Ignored);
            }
        };
        match event {
            LabletSessionEvent::ObserveResourcesRequested {
                ids,
                request_id,
                worker_id,
                cml_lab_id,
                requested_by,
                requested_at,
            } => {
                let row = StoredRequest {
                    session_id: recorded.log.aggregate_id.clone(),
                    request_id: request_id.to_string(),
                    definition_id: ids.definition_id.to_string(),
                    worker_id: worker_id.to_string(),
                    cml_lab_id: cml_lab_id.to_string(),
                    requested_by: requested_by.clone(),
                    requested_at: *requested_at,
                    requested_event_id: recorded.event_id(),
                    outcome: RequestOutcome::Open.as_str().to_owned(),
                    reason: None,
                    finished_at: None,
                    outcome_event_id: None,
                    created_position: recorded.position(),
                    position: recorded.position(),
                };
                self.requests.insert(row, "an observation is requested")?;
                Ok(Applied::Changed)
            }
            LabletSessionEvent::ResourcesObserved { request_id: Some(request_id), recorded_at, .. } => {
                let end = End { outcome: RequestOutcome::Recorded, reason: None, at: *recorded_at };
                self.finish(recorded, request_id, &end)
            }
            LabletSessionEvent::ObservationFailed {
                request_id: Some(request_id), outcome, reason, failed_at, ..
            } => {
                let outcome = match outcome {
                    FailureOutcome::Failed => RequestOutcome::Failed,
                    FailureOutcome::Skipped => RequestOutcome::Skipped,
                };
                self.finish(recorded, request_id, &End { outcome, reason: Some(reason), at: *failed_at })
            }
            // Observations that nobody requested answer no request.
            LabletSessionEvent::ResourcesObserved { request_id: None, .. }
            | LabletSessionEvent::ObservationFailed { request_id: None, .. }
            | LabletSessionEvent::Created { .. }
            | LabletSessionEvent::Scheduled(_)
            | LabletSessionEvent::Instantiating(_)
            | LabletSessionEvent::Ready(_)
            | LabletSessionEvent::Running(_)
            | LabletSessionEvent::Collecting(_)
            | LabletSessionEvent::Grading(_)
            | LabletSessionEvent::Stopping(_)
            | LabletSessionEvent::Stopped(_)
            | LabletSessionEvent::Archived(_)
            | LabletSessionEvent::Terminated(_)
            | LabletSessionEvent::Expired(_)
            | LabletSessionEvent::PortDriftDetected { .. }
            | LabletSessionEvent::EvidenceExcluded { .. }
            | LabletSessionEvent::EvidenceIncluded { .. }
            | LabletSessionEvent::PortDriftAcknowledged { .. }
            | LabletSessionEvent::PortDriftAcknowledgementWithdrawn { .. }
            | LabletSessionEvent::AllocationCorrected { .. } => Ok(Applied::Ignored),
        }
    }
}

impl Rows {
    fn finish(&mut self, recorded: &Recorded, request_id: &RequestId, end: &End<'_>) -> Result<Applied, Refused> {
        let key = (recorded.log.aggregate_id.clone(), request_id.to_string());
        let open = self.requests.get(&key)?.is_some_and(|row| row.outcome == RequestOutcome::Open.as_str());
        if !open {
            return Err(Refused::new("a request ends: there is no open one of this id"));
        }
        let row = self.requests.change(&key, "a request ends")?;
        row.outcome = end.outcome.as_str().to_owned();
        row.reason = end.reason.map(str::to_owned);
        row.finished_at = Some(end.at);
        row.outcome_event_id = Some(recorded.event_id());
        row.position = recorded.position();
        Ok(Applied::Changed)
    }
}

/// The request that an event makes or answers.
fn request_of(event: &LabletSessionEvent) -> Option<&RequestId> {
    match event {
        LabletSessionEvent::ObserveResourcesRequested { request_id, .. } => Some(request_id),
        LabletSessionEvent::ResourcesObserved { request_id, .. }
        | LabletSessionEvent::ObservationFailed { request_id, .. } => request_id.as_ref(),
        LabletSessionEvent::Created { .. }
        | LabletSessionEvent::Scheduled(_)
        | LabletSessionEvent::Instantiating(_)
        | LabletSessionEvent::Ready(_)
        | LabletSessionEvent::Running(_)
        | LabletSessionEvent::Collecting(_)
        | LabletSessionEvent::Grading(_)
        | LabletSessionEvent::Stopping(_)
        | LabletSessionEvent::Stopped(_)
        | LabletSessionEvent::Archived(_)
        | LabletSessionEvent::Terminated(_)
        | LabletSessionEvent::Expired(_)
        | LabletSessionEvent::PortDriftDetected { .. }
        | LabletSessionEvent::EvidenceExcluded { .. }
        | LabletSessionEvent::EvidenceIncluded { .. }
        | LabletSessionEvent::PortDriftAcknowledged { .. }
        | LabletSessionEvent::PortDriftAcknowledgementWithdrawn { .. }
        | LabletSessionEvent::AllocationCorrected { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_models::given::{event_id, given, recorded, sample};

    #[test]
    fn a_request_ends_once_and_only_where_it_was_made() {
        let mut rows = Rows::default();
        let requested = sample("lablet_session.observe_resources_requested.v1");
        let mut failed = sample("lablet_session.observation_failed.v1");
        failed["request_id"] = requested["request_id"].clone();
        failed["outcome"] = "skipped".into();
        let failed = recorded("s-1", 3, &failed);
        assert!(given(&mut rows, &failed).unwrap_err().to_string().contains("no open one"));
        given(&mut rows, &recorded("s-1", 2, &requested)).unwrap();
        assert_eq!(rows.requests.rows()[0].outcome, "open");
        given(&mut rows, &failed).unwrap();
        let row = rows.requests.rows()[0];
        assert_eq!((row.outcome.as_str(), row.outcome_event_id), ("skipped", Some(event_id(3))));
        assert!(row.reason.is_some() && row.finished_at.is_some());
        assert!(given(&mut rows, &failed).is_err(), "it has ended");
    }
}
