//! Requests for observations and how each ended.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::lablet_session::{FailureOutcome, LabletSessionEvent};
use domain::{DefinitionId, LabId, RequestId, SessionId, WorkerId};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::page::{self, Page, PageRequest};
use crate::projector::{AggregateKind, Applied, ApplyError, Event, Projector, Recorded, expect_one};
use crate::{Projections, ReadError};

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
    /// The worker on which its lab runs.
    pub worker_id: WorkerId,
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
}

/// What the rows are called in an alarm.
const LIST: &str = "observation_requests";

const SELECT: &str = "
    SELECT created_position, request_id, session_id, definition_id, worker_id, cml_lab_id, requested_by, requested_at,
           requested_event_id, outcome, reason, finished_at, outcome_event_id, position
      FROM read_observation_requests.observation_requests WHERE true";

fn select() -> QueryBuilder<Postgres> {
    QueryBuilder::new(page::select("request_id", "created_position") + SELECT)
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

/// Keeps the requests.
#[derive(Debug)]
pub struct ObservationRequests;

impl Projector for ObservationRequests {
    fn revision(&self) -> i32 {
        1
    }

    fn follows(&self) -> &'static [AggregateKind] {
        &[AggregateKind::Session]
    }

    fn keyed_by(&self) -> Option<(AggregateKind, &'static str)> {
        None
    }

    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        recorded: &'a Recorded<'a>,
    ) -> BoxFuture<'a, Result<Applied, ApplyError>> {
        apply(tables, recorded).boxed()
    }
}

async fn apply(tables: &mut PgConnection, recorded: &Recorded<'_>) -> Result<Applied, ApplyError> {
    let event = match recorded.event {
        Event::Session(event) => event,
        Event::Definition(_) | Event::Worker(_) => return Ok(Applied::Ignored),
    };
    match event.as_ref() {
        LabletSessionEvent::ObserveResourcesRequested {
            ids,
            request_id,
            worker_id,
            cml_lab_id,
            requested_by,
            requested_at,
        } => {
            let statement = "INSERT INTO observation_requests (session_id, request_id, definition_id, worker_id,
                    cml_lab_id, requested_by, requested_at, requested_event_id, outcome, created_position, position)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'open', $9, $9)";
            let result = sqlx::query(statement)
                .bind(ids.session_id.as_str())
                .bind(request_id.as_str())
                .bind(ids.definition_id.as_str())
                .bind(worker_id.as_str())
                .bind(cml_lab_id.as_str())
                .bind(requested_by)
                .bind(requested_at)
                .bind(recorded.event_id())
                .bind(&recorded.position)
                .execute(tables)
                .await?;
            expect_one(&result, "an observation is asked for")
        }
        LabletSessionEvent::ResourcesObserved { request_id: Some(request_id), recorded_at, .. } => {
            finish(tables, recorded, request_id, RequestOutcome::Recorded, None, *recorded_at).await
        }
        LabletSessionEvent::ObservationFailed { request_id: Some(request_id), outcome, reason, failed_at, .. } => {
            let outcome = match outcome {
                FailureOutcome::Failed => RequestOutcome::Failed,
                FailureOutcome::Skipped => RequestOutcome::Skipped,
            };
            finish(tables, recorded, request_id, outcome, Some(reason), *failed_at).await
        }
        // Observations that nobody asked for answer no request.
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
        | LabletSessionEvent::PortDriftDetected { .. } => Ok(Applied::Ignored),
    }
}

async fn finish(
    tables: &mut PgConnection,
    recorded: &Recorded<'_>,
    request_id: &RequestId,
    outcome: RequestOutcome,
    reason: Option<&String>,
    at: DateTime<Utc>,
) -> Result<Applied, ApplyError> {
    let statement =
        "UPDATE observation_requests SET outcome = $3, reason = $4, finished_at = $5, outcome_event_id = $6,
            position = $7
        WHERE session_id = $1 AND request_id = $2 AND outcome = 'open'";
    let result = sqlx::query(statement)
        .bind(&recorded.log.aggregate_id)
        .bind(request_id.as_str())
        .bind(outcome.as_str())
        .bind(reason)
        .bind(at)
        .bind(recorded.event_id())
        .bind(&recorded.position)
        .execute(tables)
        .await?;
    expect_one(&result, "a request ends")
}
