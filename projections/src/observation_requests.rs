//! Requests to observe a session, and how each of them ended.

use app::log::RecordedEvent;
use chrono::{DateTime, Utc};
use domain::lablet_session::{FailureOutcome, LabletSessionEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::page::rows_of;
use crate::{Applied, ApplyError, Cursor, DomainEvent, MOST_ROWS, Page, Projections, Projector, QueryError};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RequestOutcome {
    /// Not yet.
    Open,
    /// An observation was recorded.
    Recorded,
    /// It was tried and failed.
    Failed,
    /// It was not tried, as the session had moved on.
    Skipped,
}

impl RequestOutcome {
    /// The outcome in its wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recorded => "recorded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A request to observe a session.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, FromRow)]
pub struct ObservationRequest {
    /// Its id.
    pub request_id: String,
    /// The session to observe.
    pub session_id: String,
    /// The session's definition.
    pub definition_id: String,
    /// The worker on which the session's lab ran when it was asked for.
    pub worker_id: String,
    /// The session's lab when it was asked for.
    pub cml_lab_id: String,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: DateTime<Utc>,
    /// The event of the request.
    pub event_id: Uuid,
    /// How it ended.
    #[sqlx(json)]
    pub outcome: RequestOutcome,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The event of its end.
    pub outcome_event_id: Option<Uuid>,
    /// Position of its newest event.
    pub position: String,
}

/// Which requests a list shows. What is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// How they ended.
    pub outcome: Option<RequestOutcome>,
    /// Of this session.
    pub session_id: Option<String>,
}

const SELECT: &str = "SELECT request_id, session_id, definition_id, worker_id, cml_lab_id, requested_by, requested_at,
           event_id, to_jsonb(outcome) AS outcome, reason, finished_at, outcome_event_id, position
      FROM read_models.observation_requests WHERE true";

impl Projections {
    /// Requests, the newest first.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn observation_requests(
        &self,
        filter: &RequestFilter,
        cursor: Option<&str>,
        limit: i64,
    ) -> Result<Page<ObservationRequest>, QueryError> {
        let mut query = QueryBuilder::<Postgres>::new(SELECT);
        match filter.outcome {
            // A literal, so that the partial index serves it.
            Some(RequestOutcome::Open) => query.push(" AND outcome = 'open'"),
            Some(outcome) => query.push(" AND outcome = ").push_bind(outcome.as_str()),
            None => &mut query,
        };
        if let Some(session_id) = &filter.session_id {
            query.push(" AND session_id = ").push_bind(session_id.clone());
        }
        if let Some(Cursor { time, id }) = Cursor::parse(cursor)? {
            let (session_id, request_id) = id.split_once('~').ok_or_else(|| QueryError::Cursor(id.clone()))?;
            query.push(" AND (requested_at, session_id, request_id) < (").push_bind(time).push(", ");
            query.push_bind(session_id.to_owned()).push(", ").push_bind(request_id.to_owned()).push(")");
        }
        query.push(" ORDER BY requested_at DESC, session_id DESC, request_id DESC LIMIT ").push_bind(rows_of(limit));
        let rows = query.build_query_as().fetch_all(&self.pool).await?;
        Ok(Page::of(rows, limit, |request: &ObservationRequest| {
            Cursor::new(request.requested_at, format!("{}~{}", request.session_id, request.request_id))
        }))
    }

    /// One request of a session.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn observation_request(
        &self,
        session_id: &str,
        request_id: &str,
    ) -> Result<Option<ObservationRequest>, QueryError> {
        let mut query = QueryBuilder::<Postgres>::new(SELECT);
        query.push(" AND session_id = ").push_bind(session_id).push(" AND request_id = ").push_bind(request_id);
        Ok(query.build_query_as().fetch_optional(&self.pool).await?)
    }

    /// Requests of a session that have not ended, the oldest first.
    pub(crate) async fn open_requests(&self, session_id: &str) -> Result<Vec<ObservationRequest>, QueryError> {
        let mut query = QueryBuilder::<Postgres>::new(SELECT);
        query.push(" AND outcome = 'open' AND session_id = ").push_bind(session_id);
        query.push(" ORDER BY requested_at, request_id LIMIT ").push_bind(MOST_ROWS);
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }
}

/// Fills `observation_requests`.
#[derive(Debug, Clone, Copy)]
pub struct ObservationRequests;

impl Projector for ObservationRequests {
    const NAME: &'static str = "observation_requests";
    const REVISION: i32 = 1;
    const TABLES: &'static [&'static str] = &["observation_requests"];

    async fn apply(
        &self,
        connection: &mut PgConnection,
        recorded: &RecordedEvent,
        event: &DomainEvent,
    ) -> Result<Applied, ApplyError> {
        let event = match event {
            DomainEvent::Session(event) => event.as_ref(),
            DomainEvent::Definition(_) | DomainEvent::Worker(_) | DomainEvent::Foreign => return Ok(Applied::Ignored),
        };
        match event {
            LabletSessionEvent::ObserveResourcesRequested { .. } => open(connection, recorded, event).await,
            LabletSessionEvent::ResourcesObserved { request_id: Some(request_id), recorded_at, .. } => {
                let outcome = RequestOutcome::Recorded;
                close(connection, recorded, request_id.as_str(), outcome, None, *recorded_at).await
            }
            LabletSessionEvent::ObservationFailed {
                request_id: Some(request_id), outcome, reason, failed_at, ..
            } => {
                let outcome = match outcome {
                    FailureOutcome::Failed => RequestOutcome::Failed,
                    FailureOutcome::Skipped => RequestOutcome::Skipped,
                };
                close(connection, recorded, request_id.as_str(), outcome, Some(reason), *failed_at).await
            }
            // Nobody had asked.
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
}

async fn open(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    event: &LabletSessionEvent,
) -> Result<Applied, ApplyError> {
    let LabletSessionEvent::ObserveResourcesRequested {
        ids,
        request_id,
        worker_id,
        cml_lab_id,
        requested_by,
        requested_at,
    } = event
    else {
        return Ok(Applied::Ignored);
    };
    sqlx::query(
        "INSERT INTO observation_requests (session_id, request_id, definition_id, worker_id, cml_lab_id, requested_by,
                                           requested_at, event_id, position)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&recorded.aggregate_id)
    .bind(request_id.as_str())
    .bind(ids.definition_id.as_str())
    .bind(worker_id.as_str())
    .bind(cml_lab_id.as_str())
    .bind(requested_by)
    .bind(requested_at)
    .bind(recorded.event_id)
    .bind(recorded.position.to_string())
    .execute(connection)
    .await?;
    Ok(Applied::Changed)
}

async fn close(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    request_id: &str,
    outcome: RequestOutcome,
    reason: Option<&String>,
    at: DateTime<Utc>,
) -> Result<Applied, ApplyError> {
    let done = sqlx::query(
        "UPDATE observation_requests
            SET outcome = $3, reason = $4, finished_at = $5, outcome_event_id = $6, position = $7
          WHERE session_id = $1 AND request_id = $2 AND outcome = 'open'",
    )
    .bind(&recorded.aggregate_id)
    .bind(request_id)
    .bind(outcome.as_str())
    .bind(reason)
    .bind(at)
    .bind(recorded.event_id)
    .bind(recorded.position.to_string())
    .execute(connection)
    .await?;
    ApplyError::unless_one(done.rows_affected(), "open request", request_id)
}
