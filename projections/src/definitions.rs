//! Definitions: what a lab is thought to need, how that was revised, and how much has been observed of it.

use app::log::RecordedEvent;
use chrono::{DateTime, Utc};
use domain::lablet_definition::{DefinitionContent, LabletDefinitionEvent, PortTemplate, ResourceRequirements};
use domain::lablet_session::LabletSessionEvent;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::page::{anywhere, rows_of};
use crate::workers::whole;
use crate::{Applied, ApplyError, Cursor, DomainEvent, Page, Projections, Projector, QueryError};

/// A definition as lists show it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, FromRow)]
pub struct Definition {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The author's version.
    pub version: String,
    /// Counted from 1, raised by each revision.
    pub revision: i32,
    /// What it is thought to need.
    #[sqlx(json)]
    pub resource_requirements: ResourceRequirements,
    /// Which ports it exposes.
    #[sqlx(json)]
    pub port_template: PortTemplate,
    /// Number of nodes, where the author states it.
    pub node_count: Option<i32>,
    /// What it is about.
    pub description: Option<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last revised.
    pub updated_at: DateTime<Utc>,
    /// How many observations of its sessions were recorded.
    pub observation_count: i64,
    /// How many of its sessions were observed at least once.
    pub observed_sessions: i64,
    /// Of how many of its sessions the ports drifted, by the newest verdict.
    pub drift_sessions: i64,
    /// When the newest observation was made; null before the first.
    pub last_observed_at: Option<DateTime<Utc>>,
    /// Position of its newest event.
    pub position: String,
    /// For `If-Match`.
    pub etag: String,
}

/// A definition with its history.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DefinitionDetail {
    /// The definition.
    #[serde(flatten)]
    pub definition: Definition,
    /// Its revisions, the newest first. The first content has none.
    pub revisions: Vec<Revision>,
}

/// How a definition was revised.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, FromRow)]
pub struct Revision {
    /// The revision that came of it.
    pub revision: i32,
    /// The content before.
    #[sqlx(json)]
    pub before: DefinitionContent,
    /// The content from then on.
    #[sqlx(json)]
    pub after: DefinitionContent,
    /// Why.
    pub reason: String,
    /// The events that it rests on.
    pub evidence: Vec<String>,
    /// Who.
    pub revised_by: String,
    /// When.
    pub revised_at: DateTime<Utc>,
    /// The event.
    pub event_id: Uuid,
}

const SELECT: &str = "SELECT id, name, version, revision,
           json_build_object('cpu_cores', cpu_cores, 'memory_gb', memory_gb, 'storage_gb', storage_gb)
               AS resource_requirements,
           port_template, node_count, description, created_at, updated_at,
           coalesce(observation_count, 0) AS observation_count, coalesce(observed_sessions, 0) AS observed_sessions,
           coalesce(drift_sessions, 0) AS drift_sessions, last_observed_at,
           definitions.position, '\"' || sequence || '\"' AS etag
      FROM read_models.definitions
      LEFT JOIN read_models.definition_indicators ON definition_id = id";

impl Projections {
    /// Definitions, the newest first; those with `text` in id, name or description, where it is given.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn definitions(
        &self,
        text: Option<&str>,
        cursor: Option<&str>,
        limit: i64,
    ) -> Result<Page<Definition>, QueryError> {
        let mut query = QueryBuilder::<Postgres>::new(format!("{SELECT} WHERE true"));
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            query.push(" AND concat_ws(' ', id, name, description) ILIKE ").push_bind(anywhere(text));
        }
        if let Some(cursor) = Cursor::parse(cursor)? {
            query.push(" AND (created_at, id) < (").push_bind(cursor.time).push(", ").push_bind(cursor.id).push(")");
        }
        query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(rows_of(limit));
        let rows = query.build_query_as().fetch_all(&self.pool).await?;
        Ok(Page::of(rows, limit, |definition: &Definition| Cursor::new(definition.created_at, &*definition.id)))
    }

    /// One definition with its history.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn definition(&self, id: &str) -> Result<Option<DefinitionDetail>, QueryError> {
        let mut query = QueryBuilder::<Postgres>::new(format!("{SELECT} WHERE id = "));
        let Some(definition) = query.push_bind(id).build_query_as().fetch_optional(&self.pool).await? else {
            return Ok(None);
        };
        let revisions = sqlx::query_as(
            "SELECT revision, before, after, reason, evidence, revised_by, revised_at, event_id
               FROM read_models.definition_revisions WHERE definition_id = $1 ORDER BY revision DESC LIMIT 500",
        )
        .bind(id)
        .fetch_all(&self.pool)
        .await?;
        Ok(Some(DefinitionDetail { definition, revisions }))
    }
}

/// Fills `definitions`.
#[derive(Debug, Clone, Copy)]
pub struct Definitions;

impl Projector for Definitions {
    const NAME: &'static str = "definitions";
    const REVISION: i32 = 1;
    const TABLES: &'static [&'static str] =
        &["definitions", "definition_revisions", "definition_indicators", "definition_observed_sessions"];

    async fn apply(
        &self,
        connection: &mut PgConnection,
        recorded: &RecordedEvent,
        event: &DomainEvent,
    ) -> Result<Applied, ApplyError> {
        match event {
            DomainEvent::Definition(event) => match event.as_ref() {
                LabletDefinitionEvent::Created { .. } => create(connection, recorded, event).await,
                LabletDefinitionEvent::Revised { .. } => revise(connection, recorded, event).await,
            },
            DomainEvent::Session(event) => match event.as_ref() {
                LabletSessionEvent::ResourcesObserved { ids, port_drift_detected, observed_at, .. } => {
                    let definition_id = ids.definition_id.as_str();
                    count(connection, recorded, definition_id, *port_drift_detected, *observed_at).await
                }
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
                | LabletSessionEvent::ObserveResourcesRequested { .. }
                | LabletSessionEvent::PortDriftDetected { .. }
                | LabletSessionEvent::ObservationFailed { .. } => Ok(Applied::Ignored),
            },
            DomainEvent::Worker(_) | DomainEvent::Foreign => Ok(Applied::Ignored),
        }
    }
}

async fn create(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    event: &LabletDefinitionEvent,
) -> Result<Applied, ApplyError> {
    let LabletDefinitionEvent::Created { name, version, content, node_count, created_at, .. } = event else {
        return Ok(Applied::Ignored);
    };
    let needs = content.resource_requirements;
    sqlx::query(
        "INSERT INTO definitions (id, name, version, revision, cpu_cores, memory_gb, storage_gb, port_template,
                                  node_count, description, created_at, updated_at, sequence, events_applied, position)
         VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9, $10, $10, $11, 1, $12)",
    )
    .bind(&recorded.aggregate_id)
    .bind(name)
    .bind(version.as_str())
    .bind(whole(needs.cpu_cores))
    .bind(whole(needs.memory_gb))
    .bind(whole(needs.storage_gb))
    .bind(Json(&content.port_template))
    .bind(node_count.map(whole))
    .bind(&content.description)
    .bind(created_at)
    .bind(recorded.sequence)
    .bind(recorded.position.to_string())
    .execute(connection)
    .await?;
    Ok(Applied::Changed)
}

async fn revise(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    event: &LabletDefinitionEvent,
) -> Result<Applied, ApplyError> {
    let LabletDefinitionEvent::Revised { revision, before, after, reason, evidence, revised_by, revised_at, .. } =
        event
    else {
        return Ok(Applied::Ignored);
    };
    let needs = after.resource_requirements;
    let done = sqlx::query(
        "UPDATE definitions SET revision = $4, cpu_cores = $5, memory_gb = $6, storage_gb = $7, port_template = $8,
                description = $9, updated_at = $10, sequence = $2, events_applied = events_applied + 1, position = $3
          WHERE id = $1 AND sequence < $2",
    )
    .bind(&recorded.aggregate_id)
    .bind(recorded.sequence)
    .bind(recorded.position.to_string())
    .bind(whole(*revision))
    .bind(whole(needs.cpu_cores))
    .bind(whole(needs.memory_gb))
    .bind(whole(needs.storage_gb))
    .bind(Json(&after.port_template))
    .bind(&after.description)
    .bind(revised_at)
    .execute(&mut *connection)
    .await?;
    ApplyError::unless_one(done.rows_affected(), "definition", &recorded.aggregate_id)?;
    let evidence: Vec<&str> = evidence.iter().map(AsRef::as_ref).collect();
    sqlx::query(
        "INSERT INTO definition_revisions
                (definition_id, revision, before, after, reason, evidence, revised_by, revised_at, event_id, position)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&recorded.aggregate_id)
    .bind(whole(*revision))
    .bind(Json(before))
    .bind(Json(after))
    .bind(reason)
    .bind(evidence)
    .bind(revised_by)
    .bind(revised_at)
    .bind(recorded.event_id)
    .bind(recorded.position.to_string())
    .execute(connection)
    .await?;
    Ok(Applied::Changed)
}

/// Counts an observation. The verdict about drift of a session is that of its newest observation that could tell.
async fn count(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    definition_id: &str,
    drift_detected: Option<bool>,
    observed_at: DateTime<Utc>,
) -> Result<Applied, ApplyError> {
    sqlx::query(
        "WITH before AS (
             SELECT port_drift_detected FROM definition_observed_sessions WHERE session_id = $2
         ), after AS (
             INSERT INTO definition_observed_sessions AS known
                    (session_id, definition_id, port_drift_detected, drift_observed_at)
             VALUES ($2, $1, $3, CASE WHEN $3 IS NOT NULL THEN $4 END)
             ON CONFLICT (session_id) DO UPDATE
                SET port_drift_detected = CASE WHEN $3 IS NOT NULL AND (known.drift_observed_at IS NULL
                        OR known.drift_observed_at <= $4) THEN $3 ELSE known.port_drift_detected END,
                    drift_observed_at = greatest(known.drift_observed_at, CASE WHEN $3 IS NOT NULL THEN $4 END)
             RETURNING port_drift_detected
         ), change AS (
             SELECT CASE WHEN EXISTS (SELECT FROM before) THEN 0 ELSE 1 END AS sessions,
                    (SELECT coalesce(port_drift_detected, false)::integer FROM after)
                    - coalesce((SELECT port_drift_detected::integer FROM before), 0) AS drifted
         )
         INSERT INTO definition_indicators AS indicator
                (definition_id, observation_count, observed_sessions, drift_sessions, last_observed_at, position)
         SELECT $1, 1, sessions, drifted, $4, $5 FROM change
         ON CONFLICT (definition_id) DO UPDATE
            SET observation_count = indicator.observation_count + 1,
                observed_sessions = indicator.observed_sessions + excluded.observed_sessions,
                drift_sessions = indicator.drift_sessions + excluded.drift_sessions,
                last_observed_at = greatest(indicator.last_observed_at, excluded.last_observed_at),
                position = excluded.position",
    )
    .bind(definition_id)
    .bind(&recorded.aggregate_id)
    .bind(drift_detected)
    .bind(observed_at)
    .bind(recorded.position.to_string())
    .execute(connection)
    .await?;
    Ok(Applied::Changed)
}
