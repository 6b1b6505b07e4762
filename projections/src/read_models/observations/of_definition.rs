//! What the observed sessions of a definition say, one by one and together.

use advice::scope::SessionScope;
use app::log::Position;
use chrono::{DateTime, Utc};
use domain::demand::{ByResource, Demand};
use domain::evidence::{Contradiction, NoEvidence};
use domain::lablet_definition::{DefinitionVersion, ResourceRequirements};
use domain::{DefinitionId, SessionId, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::in_scope::{self, Aggregate, ScopeTotals, SessionsInScope, WeekOfUse, WiderScope};
use crate::page::{self, Listed};
use crate::parked;
use crate::read_models::demands;
use crate::{Parked, Projections, ReadError, ReadModel, UnreadableRow};

/// Most sessions that are listed one by one; all that count are added up.
pub const MOST_SESSIONS: u32 = 10_000;

/// The observed sessions of a definition that count, and what they say together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionObservations {
    /// The definition.
    pub definition_id: DefinitionId,
    /// Observations of the sessions that count.
    pub observation_count: u64,
    /// Which sessions count.
    pub scope: SessionsInScope,
    /// The newest of them, the most recently observed first.
    pub sessions: Vec<ObservedSession>,
    /// What all that count say together.
    pub aggregate: Aggregate,
    /// Of which quantities all sessions of the definition say more than these. Empty: of none.
    pub wider: Vec<WiderScope>,
    /// What they used week by week, the newest first.
    pub weeks: Vec<WeekOfUse>,
    /// Sessions that are to be listed and whose rows cannot be read. What is no number counts as unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableRow>,
    /// Sessions of the definition of which later observations could not be taken in: they are not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked>,
}

/// A session that was observed, with the newest number that was known of each quantity. Null: never known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedSession {
    /// The session.
    pub session_id: SessionId,
    /// The version that the definition's author gave it.
    pub definition_version: DefinitionVersion,
    /// The definition's revision when the session was created.
    pub definition_revision: u32,
    /// The worker on which the lab ran.
    pub worker_id: Option<WorkerId>,
    /// Its observations.
    pub observation_count: u64,
    /// When the newest one was made.
    pub observed_at: DateTime<Utc>,
    /// The event of the newest one.
    pub observed_event_id: Uuid,
    /// Whether the newest one saw everything; null: its sender did not say.
    pub complete: Option<bool>,
    /// Nominal cores.
    pub cpu_cores: Option<f64>,
    /// The event that said so.
    pub cpu_cores_event_id: Option<Uuid>,
    /// Nominal MB of memory.
    pub memory_mb: Option<f64>,
    /// The event that said so.
    pub memory_mb_event_id: Option<Uuid>,
    /// Measured MB on disk.
    pub storage_mb: Option<f64>,
    /// The event that said so.
    pub storage_mb_event_id: Option<Uuid>,
    /// What it needed of each resource: its peaks, by samples or, marked as such, by snapshots.
    pub resources: ByResource<Demand<Uuid>>,
    /// Number of nodes.
    pub node_count: Option<u64>,
    /// The event that said so.
    pub node_count_event_id: Option<Uuid>,
    /// Whether the ports drifted, by the newest observation that could tell.
    pub port_drift_detected: Option<bool>,
    /// The event that said so.
    pub port_drift_event_id: Option<Uuid>,
    /// Position of its newest observation.
    pub position: Position,
    /// Totals of the newest one that are not the sums of their own nodes; they count nowhere here.
    #[serde(default)]
    pub contradictions: Vec<Contradiction>,
    /// Why the newest one as a whole counts nowhere here; null: it does.
    #[serde(default)]
    pub no_evidence: Option<NoEvidence>,
    /// What the definition stated when the session was created; null: not known.
    #[serde(default)]
    pub configured: Option<ResourceRequirements>,
}

/// The definition that is asked about, once for the whole statement, and its revision.
const ASKED_ID: &str = "(SELECT id FROM asked)";
const ASKED_REVISION: &str = "(SELECT d.revision FROM read_definitions.definitions d JOIN asked ON asked.id = d.id)";

/// What the rows are called in an alarm.
const LIST: &str = "observed_sessions";
const TOGETHER: &str = "definition_observations";
const WEEKS: &str = "weeks of use";

impl Projections {
    /// What the observed sessions of a definition that count say together, and the newest of them, at most `limit` (1 to
    /// [`MOST_SESSIONS`]). Of a definition that does not exist: none.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn definition_observations(
        &self,
        id: &DefinitionId,
        scope: SessionScope,
        limit: u32,
    ) -> Result<DefinitionObservations, ReadError> {
        let marked = in_scope::marked(scope, ASKED_ID, ASKED_REVISION);
        let counted = in_scope::counted(scope, ASKED_ID, ASKED_REVISION);
        let asked = |select: String, statement: &str| {
            let mut query = QueryBuilder::new(select);
            query.push("WITH asked AS (SELECT ").push_bind(id.as_str().to_owned()).push("::text AS id) ");
            query.push(statement).push(") r");
            query
        };
        let sessions = format!(
            "SELECT o.session_id, o.definition_version, o.definition_revision, o.worker_id, o.observation_count,
                    o.observed_at, o.observed_event_id, o.complete, o.cpu_cores, o.cpu_cores_event_id, o.memory_mb,
                    o.memory_mb_event_id, o.storage_mb, o.storage_mb_event_id, o.node_count, o.node_count_event_id,
                    o.port_drift_detected, o.port_drift_event_id, o.position, o.contradictions, o.no_evidence, {},
                    v.after -> 'resource_requirements' AS configured
               FROM (SELECT session_id, place FROM ({counted}) m ORDER BY place LIMIT {}) m
               JOIN read_observations.observed_sessions o ON o.session_id = m.session_id
               LEFT JOIN read_demands.sessions d ON d.session_id = o.session_id
               LEFT JOIN read_definitions.revisions v
                 ON v.definition_id = o.definition_id AND v.revision = o.definition_revision
              ORDER BY m.place",
            demands::resources("d"),
            limit.clamp(1, MOST_SESSIONS)
        );
        let select =
            page::select_with_parked("session_id", "position", &parked::anything_column(ReadModel::Observations));
        let rows = self.rows(LIST, asked(select, &sessions)).await?;
        // Where rows say that nothing is parked, nothing has to be asked.
        let parked = match rows.first() {
            Some(row) if !row.is_something_parked => Vec::new(),
            Some(_) | None => self.parked_sessions_of(id).await?,
        };
        let Listed { items: sessions, unreadable }: Listed<ObservedSession> = Listed::from_rows(rows);
        let one_row = asked(page::select("sessions", "sessions"), &in_scope::together(&marked));
        let together: ScopeTotals = self.row_of(TOGETHER, one_row).await?.unwrap_or_default();
        let weeks = self.list_of(WEEKS, asked(page::select("week", "week"), &in_scope::weeks(&counted))).await?;
        Ok(DefinitionObservations {
            definition_id: id.clone(),
            observation_count: together.observation_count,
            scope: together.in_scope(scope),
            wider: together.wider(),
            aggregate: together.aggregate,
            weeks: weeks.items,
            sessions,
            unreadable: unreadable.into_iter().chain(weeks.unreadable).collect(),
            parked,
        })
    }
}
