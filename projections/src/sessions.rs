//! Sessions: where each is in its life, its ports beside the allocated ones, and its newest observation.

use app::log::RecordedEvent;
use chrono::{DateTime, Utc};
use domain::lablet_session::{LabletSessionEvent, LifeStep, SessionStatus};
use domain::observation::ResourceObservation;
use domain::ports::{PortDrift, PortMap};
use domain::timeslot::Timeslot;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};

use crate::observation_requests::ObservationRequest;
use crate::page::{anywhere, rows_of};
use crate::workers::whole;
use crate::{Applied, ApplyError, Cursor, DomainEvent, Page, Projections, Projector, QueryError};

/// A session as lists show it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, FromRow)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Its definition.
    pub definition_id: String,
    /// The version that the definition's author gave it.
    pub definition_version: String,
    /// Where it is in its life.
    #[sqlx(json)]
    pub status: SessionStatus,
    /// The worker, from `scheduled` on.
    pub worker_id: Option<String>,
    /// The CML lab, from `running` on at the latest.
    pub cml_lab_id: Option<String>,
    /// Allocated ports by name; null until ports were allocated.
    #[sqlx(json(nullable))]
    pub allocated_ports: Option<PortMap>,
    /// Ports by name as they were last read; null until an observation could read the tags.
    #[sqlx(json(nullable))]
    pub observed_ports: Option<PortMap>,
    /// Whether the ports drifted. Null: unknown, as no observation could read the tags so far.
    pub port_drift_detected: Option<bool>,
    /// What drifted; null where that is unknown.
    #[sqlx(json(nullable))]
    pub port_drift: Option<PortDrift>,
    /// Ports that were observed where nothing was allocated.
    #[sqlx(json(nullable))]
    pub unallocated: Option<PortMap>,
    /// How many observations were recorded.
    pub observation_count: i64,
    /// When the newest observation was made.
    pub observed_at: Option<DateTime<Utc>>,
    /// When the observation was made that told about drift: older than `observed_at` where the newest could not tell.
    pub drift_observed_at: Option<DateTime<Utc>>,
    /// When it is booked.
    #[sqlx(json(nullable))]
    pub timeslot: Option<Timeslot>,
    /// For whom.
    pub owner_id: Option<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When something last happened to it.
    pub updated_at: DateTime<Utc>,
    /// Position of its newest event.
    pub position: String,
    /// For `If-Match`.
    pub etag: String,
}

/// A session with its newest observation.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SessionDetail {
    /// The session.
    #[serde(flatten)]
    pub session: Session,
    /// The newest observation; null before the first.
    pub observed_resources: Option<ResourceObservation>,
    /// The event that holds the newest observation.
    pub observed_resources_event_id: Option<String>,
    /// Requests for an observation that have no outcome yet, the oldest first.
    pub observation_requests: Vec<ObservationRequest>,
}

/// Which sessions a list shows. What is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Where they are in their life.
    pub status: Option<SessionStatus>,
    /// Of this definition.
    pub definition_id: Option<String>,
    /// On this worker.
    pub worker_id: Option<String>,
    /// Whose ports drifted, or did not. Those of which it is unknown are in neither list.
    pub drift: Option<bool>,
    /// Part of the id, the owner, the definition or the lab, in any case.
    pub text: Option<String>,
}

const COLUMNS: &str = "id, definition_id, definition_version, to_jsonb(status) AS status, worker_id, cml_lab_id,
    allocated_ports, observed_ports, port_drift_detected, port_drift, unallocated, observation_count, observed_at,
    drift_observed_at,
    CASE WHEN timeslot_end IS NOT NULL THEN json_build_object('start', timeslot_start, 'end', timeslot_end) END
        AS timeslot,
    owner_id, created_at, updated_at, position, '\"' || sequence || '\"' AS etag";

impl Projections {
    /// Sessions, the newest first.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn sessions(
        &self,
        filter: &SessionFilter,
        cursor: Option<&str>,
        limit: i64,
    ) -> Result<Page<Session>, QueryError> {
        let mut query = select(filter, Cursor::parse(cursor)?, limit);
        let rows = query.build_query_as().fetch_all(&self.pool).await?;
        Ok(Page::of(rows, limit, |session: &Session| Cursor::new(session.created_at, &*session.id)))
    }

    /// One session with its newest observation and its open requests.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn session(&self, id: &str) -> Result<Option<SessionDetail>, QueryError> {
        let mut query =
            QueryBuilder::<Postgres>::new(format!("SELECT {COLUMNS} FROM read_models.sessions WHERE id = "));
        let Some(session) = query.push_bind(id).build_query_as::<Session>().fetch_optional(&self.pool).await? else {
            return Ok(None);
        };
        let newest: Option<(Json<ResourceObservation>, uuid::Uuid)> = sqlx::query_as(
            "SELECT observed_resources, event_id FROM read_models.session_observed_resources WHERE session_id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        let (observed_resources, event_id) = newest.map(|(json, event_id)| (json.0, event_id.to_string())).unzip();
        let observation_requests = self.open_requests(id).await?;
        Ok(Some(SessionDetail {
            session,
            observed_resources,
            observed_resources_event_id: event_id,
            observation_requests,
        }))
    }
}

/// The statement of a list; apart, so that a test can ask Postgres how it would run it.
pub(crate) fn select(filter: &SessionFilter, cursor: Option<Cursor>, limit: i64) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM read_models.sessions WHERE true"));
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(definition_id) = &filter.definition_id {
        query.push(" AND definition_id = ").push_bind(definition_id.clone());
    }
    if let Some(worker_id) = &filter.worker_id {
        query.push(" AND worker_id = ").push_bind(worker_id.clone());
    }
    match filter.drift {
        // A literal, so that the partial index serves it.
        Some(true) => query.push(" AND port_drift_detected"),
        Some(false) => query.push(" AND NOT port_drift_detected"),
        None => &mut query,
    };
    if let Some(text) = filter.text.as_deref().filter(|text| !text.is_empty()) {
        query.push(" AND concat_ws(' ', id, owner_id, definition_id, cml_lab_id) ILIKE ").push_bind(anywhere(text));
    }
    if let Some(cursor) = cursor {
        query.push(" AND (created_at, id) < (").push_bind(cursor.time).push(", ").push_bind(cursor.id).push(")");
    }
    query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(rows_of(limit));
    query
}

/// Fills `sessions`.
#[derive(Debug, Clone, Copy)]
pub struct Sessions;

impl Projector for Sessions {
    const NAME: &'static str = "sessions";
    const REVISION: i32 = 1;
    const TABLES: &'static [&'static str] = &["sessions", "session_observed_resources"];

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
        if let Some((status, step)) = event.life_step() {
            return go_on(connection, recorded, status, step).await;
        }
        match event {
            LabletSessionEvent::Created { .. } => create(connection, recorded, event).await,
            LabletSessionEvent::ResourcesObserved { .. } => observe(connection, recorded, event).await,
            LabletSessionEvent::PortDriftDetected { drift_details, .. } => {
                drift(connection, recorded, event, drift_details).await
            }
            // They change nothing but the time and the sequence.
            LabletSessionEvent::ObserveResourcesRequested { .. } | LabletSessionEvent::ObservationFailed { .. } => {
                touch(connection, recorded, event.at()).await
            }
            LabletSessionEvent::Scheduled(_)
            | LabletSessionEvent::Instantiating(_)
            | LabletSessionEvent::Ready(_)
            | LabletSessionEvent::Running(_)
            | LabletSessionEvent::Collecting(_)
            | LabletSessionEvent::Grading(_)
            | LabletSessionEvent::Stopping(_)
            | LabletSessionEvent::Stopped(_)
            | LabletSessionEvent::Archived(_)
            | LabletSessionEvent::Terminated(_)
            | LabletSessionEvent::Expired(_) => unreachable!("a life step is handled above"),
        }
    }
}

async fn create(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    event: &LabletSessionEvent,
) -> Result<Applied, ApplyError> {
    let LabletSessionEvent::Created { ids, owner_id, timeslot, created_at } = event else {
        return Ok(Applied::Ignored);
    };
    sqlx::query(
        "INSERT INTO sessions (id, definition_id, definition_version, definition_revision, status, owner_id,
                               timeslot_start, timeslot_end, created_at, updated_at, sequence, events_applied, position)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, 1, $11)",
    )
    .bind(&recorded.aggregate_id)
    .bind(ids.definition_id.as_str())
    .bind(ids.definition_version.as_str())
    .bind(whole(ids.definition_revision))
    .bind(SessionStatus::Pending.as_str())
    .bind(owner_id)
    .bind(timeslot.map(|timeslot| timeslot.start()))
    .bind(timeslot.map(|timeslot| timeslot.end()))
    .bind(created_at)
    .bind(recorded.sequence)
    .bind(recorded.position.to_string())
    .execute(connection)
    .await?;
    Ok(Applied::Changed)
}

/// The session's place is what the step says; ports and timeslot stay where the step does not name them.
async fn go_on(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    status: SessionStatus,
    step: &LifeStep,
) -> Result<Applied, ApplyError> {
    let done = sqlx::query(
        "UPDATE sessions SET status = $4, worker_id = $5, cml_lab_id = $6,
                allocated_ports = coalesce($7, allocated_ports), timeslot_start = coalesce($8, timeslot_start),
                timeslot_end = coalesce($9, timeslot_end), updated_at = $10,
                sequence = $2, events_applied = events_applied + 1, position = $3
          WHERE id = $1 AND sequence < $2",
    )
    .bind(&recorded.aggregate_id)
    .bind(recorded.sequence)
    .bind(recorded.position.to_string())
    .bind(status.as_str())
    .bind(step.worker_id.as_ref().map(AsRef::<str>::as_ref))
    .bind(step.cml_lab_id.as_ref().map(AsRef::<str>::as_ref))
    .bind(step.allocated_ports.as_ref().map(Json))
    .bind(step.timeslot.map(|timeslot| timeslot.start()))
    .bind(step.timeslot.map(|timeslot| timeslot.end()))
    .bind(step.at)
    .execute(connection)
    .await?;
    ApplyError::unless_one(done.rows_affected(), "session", &recorded.aggregate_id)
}

/// An observation that was made before the newest one, and arrives later, counts and changes nothing else. One that
/// could not read the tags leaves the verdict about drift as it was, with its age.
async fn observe(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    event: &LabletSessionEvent,
) -> Result<Applied, ApplyError> {
    let LabletSessionEvent::ResourcesObserved {
        observed_resources,
        observed_ports,
        port_drift_detected,
        unallocated,
        observed_at,
        recorded_at,
        ..
    } = event
    else {
        return Ok(Applied::Ignored);
    };
    let done = sqlx::query(
        "UPDATE sessions SET
                observation_count = observation_count + 1,
                observed_at = greatest(observed_at, $4),
                observed_ports = CASE WHEN told.newer THEN coalesce($5, observed_ports) ELSE observed_ports END,
                port_drift_detected = CASE WHEN told.newer THEN $6 ELSE port_drift_detected END,
                port_drift = CASE WHEN told.newer THEN $7 ELSE port_drift END,
                unallocated = CASE WHEN told.newer THEN $8 ELSE unallocated END,
                drift_observed_at = CASE WHEN told.newer THEN $4 ELSE drift_observed_at END,
                drift_sequence = CASE WHEN told.newer THEN $2 ELSE drift_sequence END,
                updated_at = $9, sequence = $2, events_applied = events_applied + 1, position = $3
           FROM (SELECT id, $6::boolean IS NOT NULL AND (drift_observed_at IS NULL OR drift_observed_at <= $4) AS newer
                   FROM sessions WHERE id = $1) AS told
          WHERE sessions.id = told.id AND sequence < $2",
    )
    .bind(&recorded.aggregate_id)
    .bind(recorded.sequence)
    .bind(recorded.position.to_string())
    .bind(observed_at)
    .bind(observed_ports.as_ref().map(Json))
    .bind(port_drift_detected)
    .bind(port_drift_detected.map(|_| Json(PortDrift::default())))
    .bind(unallocated.as_ref().map(Json))
    .bind(recorded_at)
    .execute(&mut *connection)
    .await?;
    ApplyError::unless_one(done.rows_affected(), "session", &recorded.aggregate_id)?;
    sqlx::query(
        "INSERT INTO session_observed_resources AS newest
                (session_id, observed_resources, observed_at, event_id, position)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (session_id) DO UPDATE
            SET observed_resources = excluded.observed_resources, observed_at = excluded.observed_at,
                event_id = excluded.event_id, position = excluded.position
          WHERE newest.observed_at <= excluded.observed_at",
    )
    .bind(&recorded.aggregate_id)
    .bind(Json(observed_resources))
    .bind(observed_at)
    .bind(recorded.event_id)
    .bind(recorded.position.to_string())
    .execute(connection)
    .await?;
    Ok(Applied::Changed)
}

/// Details the verdict of the observation just before it.
async fn drift(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    event: &LabletSessionEvent,
    drift: &PortDrift,
) -> Result<Applied, ApplyError> {
    let done = sqlx::query(
        "UPDATE sessions SET port_drift = CASE WHEN drift_sequence = $2 - 1 THEN $4 ELSE port_drift END,
                updated_at = $5, sequence = $2, events_applied = events_applied + 1, position = $3
          WHERE id = $1 AND sequence < $2",
    )
    .bind(&recorded.aggregate_id)
    .bind(recorded.sequence)
    .bind(recorded.position.to_string())
    .bind(Json(drift))
    .bind(event.at())
    .execute(connection)
    .await?;
    ApplyError::unless_one(done.rows_affected(), "session", &recorded.aggregate_id)
}

async fn touch(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    at: DateTime<Utc>,
) -> Result<Applied, ApplyError> {
    let done = sqlx::query(
        "UPDATE sessions SET updated_at = $4, sequence = $2, events_applied = events_applied + 1, position = $3
          WHERE id = $1 AND sequence < $2",
    )
    .bind(&recorded.aggregate_id)
    .bind(recorded.sequence)
    .bind(recorded.position.to_string())
    .bind(at)
    .execute(connection)
    .await?;
    ApplyError::unless_one(done.rows_affected(), "session", &recorded.aggregate_id)
}
