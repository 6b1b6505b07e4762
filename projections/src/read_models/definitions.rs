//! Definitions, their revisions, and a sign of what was observed of them.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::DefinitionId;
use domain::evidence::{made_at, replaces};
use domain::lablet_definition::{
    DefinitionContent, DefinitionVersion, LabletDefinitionEvent, PortTemplate, ResourceRequirements,
};
use domain::lablet_session::LabletSessionEvent;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::page::{self, Page, PageRequest};
use crate::projector::{AggregateKind, Applied, ApplyError, Event, Projector, Recorded, expect_one};
use crate::{Parked, Projections, ReadError};

/// A definition as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionRow {
    /// The definition.
    pub id: DefinitionId,
    /// Its name.
    pub name: String,
    /// The author's version.
    pub version: DefinitionVersion,
    /// Counted from 1, raised by each revision.
    pub revision: u32,
    /// What it is thought to need.
    pub resource_requirements: ResourceRequirements,
    /// Which ports it exposes.
    pub port_template: PortTemplate,
    /// What it is about.
    pub description: Option<String>,
    /// Number of nodes, where the author states it.
    pub node_count: Option<u32>,
    /// What was observed of it.
    pub observations: ObservationIndicator,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last revised or created.
    pub updated_at: DateTime<Utc>,
    /// Position of its last event.
    pub position: Position,
    /// Its version for `If-Match`: the sequence of its last event. Empty while the definition itself is parked: what is
    /// shown is not what is there, and no change can rest on it.
    pub etag: String,
    /// Read models that do not show it as it is; left out where all do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked>,
}

/// Whether anything was observed of a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservationIndicator {
    /// Observations of all its sessions.
    pub observation_count: u64,
    /// Sessions that were observed at least once.
    pub observed_sessions: u64,
    /// Of them, those whose newest verdict is that their ports drifted.
    pub drift_sessions: u64,
    /// When the newest observation was made; null: none yet.
    pub last_observed_at: Option<DateTime<Utc>>,
    /// The event of the newest observation.
    pub last_event_id: Option<Uuid>,
}

/// One revision of a definition. The first is its creation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RevisionRow {
    /// Counted from 1.
    pub revision: u32,
    /// The content before; null for the first.
    pub before: Option<DefinitionContent>,
    /// The content from then on.
    pub after: DefinitionContent,
    /// Why; null for the first.
    pub reason: Option<String>,
    /// The events that it rests on.
    pub evidence: Vec<String>,
    /// Who; null where the log does not say.
    pub revised_by: Option<String>,
    /// When.
    pub revised_at: DateTime<Utc>,
    /// The event.
    pub event_id: Uuid,
    /// The event's position.
    pub position: Position,
}

/// Which definitions are asked for; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionFilter {
    /// Whose id, name, version or description contains this, in whatever case.
    #[serde(default)]
    pub text: Option<String>,
    /// True: with observations. False: without.
    #[serde(default)]
    pub observed: Option<bool>,
    /// True: with a session whose ports drifted. False: without.
    #[serde(default)]
    pub drift: Option<bool>,
    /// In this order.
    #[serde(default)]
    pub sort: DefinitionSort,
}

/// The order of a list of definitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DefinitionSort {
    /// The one created last comes first.
    #[default]
    Newest,
    /// By name, in whatever case.
    Name,
}

/// What the rows are called in an alarm.
const LIST: &str = "definitions";

/// Place in the list by age, and by name.
const BY_AGE: &str = "created_position";
const BY_NAME: &str = "by_name";

const SELECT: &str = "
    SELECT d.created_position, 'name:' || d.id || ':' || d.name AS by_name, d.id, d.name, d.version, d.revision,
           json_build_object('cpu_cores', d.cpu_cores, 'memory_gb', d.memory_gb, 'storage_gb', d.storage_gb)
               AS resource_requirements,
           d.port_template, d.description, d.node_count,
           json_build_object('observation_count', coalesce(i.observation_count, 0),
                             'observed_sessions', coalesce(i.observed_sessions, 0),
                             'drift_sessions', coalesce(i.drift_sessions, 0),
                             'last_observed_at', i.last_observed_at,
                             'last_event_id', i.last_event_id) AS observations,
           d.created_at, d.updated_at, d.position, '\"' || d.sequence || '\"' AS etag
      FROM read_definitions.definitions d
      LEFT JOIN read_definitions.indicators i ON i.definition_id = d.id
     WHERE true";

fn select(cursor: &str) -> QueryBuilder<Postgres> {
    QueryBuilder::new(page::select("id", cursor) + SELECT)
}

impl Projections {
    /// Definitions in the order that the filter names, newest first unless it says otherwise.
    ///
    /// # Errors
    /// The cursor is none of this list's in this order, or the database does not answer.
    pub async fn definitions(
        &self,
        filter: &DefinitionFilter,
        request: &PageRequest,
    ) -> Result<Page<DefinitionRow>, ReadError> {
        let mut query = select(match filter.sort {
            DefinitionSort::Newest => BY_AGE,
            DefinitionSort::Name => BY_NAME,
        });
        if let Some(text) = filter.text.as_deref().filter(|text| !text.is_empty()) {
            query.push(" AND d.search LIKE ").push_bind(page::like(text));
        }
        if let Some(observed) = filter.observed {
            query.push(" AND (i.definition_id IS NOT NULL) = ").push_bind(observed);
        }
        if let Some(drift) = filter.drift {
            query.push(" AND (coalesce(i.drift_sessions, 0) > 0) = ").push_bind(drift);
        }
        let order = match filter.sort {
            DefinitionSort::Newest => {
                if let Some(after) = request.position().map_err(ReadError::Invalid)? {
                    query.push(" AND d.created_position < ").push_bind(after);
                }
                "d.created_position DESC"
            }
            DefinitionSort::Name => {
                if let Some(cursor) = &request.cursor {
                    let after = match cursor.splitn(3, ':').collect::<Vec<_>>().as_slice() {
                        ["name", id, name] => page::id_in_cursor(id).and_then(|id| Ok((id, page::id_in_cursor(name)?))),
                        _ => Err(page::bad_cursor()),
                    };
                    let (id, name) = after.map_err(ReadError::Invalid)?;
                    query.push(" AND (lower(d.name), d.id) > (lower(").push_bind(name);
                    query.push("), ").push_bind(id).push(")");
                }
                "lower(d.name), d.id"
            }
        };
        query.push(" ORDER BY ").push(order).push(" LIMIT ").push_bind(request.fetch()).push(") r");
        let mut page: Page<DefinitionRow> = self.page_of(LIST, query, request).await?;
        self.mark_definitions(page.items.iter_mut()).await?;
        Ok(page)
    }

    /// One definition.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn definition(&self, id: &DefinitionId) -> Result<Option<DefinitionRow>, ReadError> {
        let mut query = select(BY_AGE);
        query.push(" AND d.id = ").push_bind(id.as_str().to_owned()).push(") r");
        let mut row: Option<DefinitionRow> = self.row_of(LIST, query).await?;
        self.mark_definitions(row.iter_mut()).await?;
        Ok(row)
    }

    /// Marks those that are parked, and takes their version from them.
    async fn mark_definitions<'a>(&self, rows: impl Iterator<Item = &'a mut DefinitionRow>) -> Result<(), ReadError> {
        let rows: Vec<&mut DefinitionRow> = rows.collect();
        let ids = rows.iter().map(|row| row.id.to_string()).collect();
        let mut parked = self.parked(AggregateKind::Definition, ids).await?;
        for row in rows {
            row.parked = parked.remove(row.id.as_str()).unwrap_or_default();
            if !row.parked.is_empty() {
                row.etag.clear();
            }
        }
        Ok(())
    }

    /// The revisions of a definition, newest first. The cursor is a revision.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn definition_revisions(
        &self,
        id: &DefinitionId,
        request: &PageRequest,
    ) -> Result<Page<RevisionRow>, ReadError> {
        let before = match &request.cursor {
            None => i32::MAX,
            Some(cursor) => cursor.parse().map_err(|_| ReadError::Invalid(page::bad_cursor()))?,
        };
        let mut query = QueryBuilder::new(page::select("event_id", "revision"));
        query.push(
            "
                 SELECT revision, before, after, reason, evidence, revised_by, revised_at, event_id, position
                   FROM read_definitions.revisions WHERE definition_id = ",
        );
        query.push_bind(id.as_str().to_owned()).push(" AND revision < ").push_bind(before);
        query.push(" ORDER BY revision DESC LIMIT ").push_bind(request.fetch()).push(") r");
        self.page_of("revisions", query, request).await
    }
}

/// Keeps the definitions.
#[derive(Debug)]
pub struct Definitions;

impl Projector for Definitions {
    fn revision(&self) -> i32 {
        2
    }

    fn follows(&self) -> &'static [AggregateKind] {
        &[AggregateKind::Definition, AggregateKind::Session]
    }

    fn keyed_by(&self) -> Option<(AggregateKind, &'static str)> {
        Some((AggregateKind::Definition, "definitions"))
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
    match recorded.event {
        Event::Definition(event) => apply_definition(tables, recorded, event).await,
        Event::Session(event) => match event.as_ref() {
            LabletSessionEvent::ResourcesObserved { ids, observed_at, recorded_at, port_drift_detected, .. } => {
                let definition = ids.definition_id.as_str();
                let made_at = made_at(*observed_at, *recorded_at);
                indicate(tables, recorded, definition, made_at, *port_drift_detected).await
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
        Event::Worker(_) => Ok(Applied::Ignored),
    }
}

async fn apply_definition(
    tables: &mut PgConnection,
    recorded: &Recorded<'_>,
    event: &LabletDefinitionEvent,
) -> Result<Applied, ApplyError> {
    match event {
        LabletDefinitionEvent::Created { definition_id, name, version, content, node_count, created_at } => {
            let needs = &content.resource_requirements;
            let statement = "INSERT INTO definitions (id, name, version, revision, cpu_cores, memory_gb, storage_gb,
                    port_template, description, node_count, created_at, updated_at, created_position, position, sequence)
                VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9, $10, $10, $11, $11, $12)";
            sqlx::query(statement)
                .bind(definition_id.as_str())
                .bind(name)
                .bind(version.as_str())
                .bind(i64::from(needs.cpu_cores))
                .bind(i64::from(needs.memory_gb))
                .bind(i64::from(needs.storage_gb))
                .bind(Json(&content.port_template))
                .bind(&content.description)
                .bind(node_count.map(i64::from))
                .bind(created_at)
                .bind(&recorded.position)
                .bind(recorded.sequence())
                .execute(&mut *tables)
                .await?;
            let statement = "INSERT INTO revisions (definition_id, revision, after, evidence, revised_by, revised_at,
                    event_id, position)
                VALUES ($1, 1, $2, '[]', $3, $4, $5, $6)";
            let result = sqlx::query(statement)
                .bind(definition_id.as_str())
                .bind(Json(content))
                .bind(&recorded.log.metadata.actor)
                .bind(created_at)
                .bind(recorded.event_id())
                .bind(&recorded.position)
                .execute(tables)
                .await?;
            expect_one(&result, "a definition is created")
        }
        LabletDefinitionEvent::Revised {
            definition_id,
            revision,
            before,
            after,
            reason,
            evidence,
            revised_by,
            revised_at,
        } => {
            let needs = &after.resource_requirements;
            let statement = "UPDATE definitions SET revision = $2, cpu_cores = $3, memory_gb = $4, storage_gb = $5,
                    port_template = $6, description = $7, updated_at = $8, position = $9, sequence = $10
                WHERE id = $1";
            let result = sqlx::query(statement)
                .bind(definition_id.as_str())
                .bind(i64::from(*revision))
                .bind(i64::from(needs.cpu_cores))
                .bind(i64::from(needs.memory_gb))
                .bind(i64::from(needs.storage_gb))
                .bind(Json(&after.port_template))
                .bind(&after.description)
                .bind(revised_at)
                .bind(&recorded.position)
                .bind(recorded.sequence())
                .execute(&mut *tables)
                .await?;
            expect_one(&result, "a definition is revised")?;
            let statement =
                "INSERT INTO revisions (definition_id, revision, before, after, reason, evidence, revised_by,
                    revised_at, event_id, position)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
            let result = sqlx::query(statement)
                .bind(definition_id.as_str())
                .bind(i64::from(*revision))
                .bind(Json(before))
                .bind(Json(after))
                .bind(reason)
                .bind(Json(evidence))
                .bind(revised_by)
                .bind(revised_at)
                .bind(recorded.event_id())
                .bind(&recorded.position)
                .execute(tables)
                .await?;
            expect_one(&result, "a definition is revised")
        }
    }
}

/// Counts an observation. It does not need the definition's own row, whose events may wait among the dead letters.
async fn indicate(
    tables: &mut PgConnection,
    recorded: &Recorded<'_>,
    definition_id: &str,
    made_at: DateTime<Utc>,
    drift: Option<bool>,
) -> Result<Applied, ApplyError> {
    let statement = "SELECT port_drift_detected, verdict_observed_at FROM indicated_sessions WHERE session_id = $1";
    let known: Option<(Option<bool>, Option<DateTime<Utc>>)> =
        sqlx::query_as(statement).bind(&recorded.log.aggregate_id).fetch_optional(&mut *tables).await?;
    let first = known.is_none();
    let (verdict, verdict_at) = known.unwrap_or_default();
    let counts = drift.is_some() && replaces(made_at, verdict_at);
    let (newest, newest_at) = if counts { (drift, Some(made_at)) } else { (verdict, verdict_at) };
    let drifted = i64::from(newest == Some(true)) - i64::from(verdict == Some(true));
    let statement = "INSERT INTO indicated_sessions (session_id, port_drift_detected, verdict_observed_at)
        VALUES ($1, $2, $3)
        ON CONFLICT (session_id) DO UPDATE SET port_drift_detected = excluded.port_drift_detected,
            verdict_observed_at = excluded.verdict_observed_at";
    sqlx::query(statement).bind(&recorded.log.aggregate_id).bind(newest).bind(newest_at).execute(&mut *tables).await?;
    let statement = "INSERT INTO indicators AS i (definition_id, observation_count, observed_sessions, drift_sessions,
            last_observed_at, last_event_id, position)
        VALUES ($1, 1, $2, $3, $4, $5, $6)
        ON CONFLICT (definition_id) DO UPDATE SET
            observation_count = i.observation_count + 1,
            observed_sessions = i.observed_sessions + excluded.observed_sessions,
            drift_sessions = i.drift_sessions + excluded.drift_sessions,
            last_event_id = CASE WHEN i.last_observed_at > excluded.last_observed_at THEN i.last_event_id
                                 ELSE excluded.last_event_id END,
            last_observed_at = greatest(i.last_observed_at, excluded.last_observed_at),
            position = excluded.position";
    let result = sqlx::query(statement)
        .bind(definition_id)
        .bind(i64::from(first))
        .bind(drifted)
        .bind(made_at)
        .bind(recorded.event_id())
        .bind(&recorded.position)
        .execute(tables)
        .await?;
    expect_one(&result, "an observation is counted")
}
