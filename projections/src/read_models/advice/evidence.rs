//! The sessions that are evidence of what a definition needs, excluded ones too.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::demand::{ByResource, Demand};
use domain::evidence::{Contradiction, NoEvidence};
use domain::{DefinitionId, SessionId, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::SessionAdvice;
use crate::page::{self, Page, PageRequest};
use crate::{Projections, ReadError};

/// What a session says of its definition's need, and what was advised before it. Amounts are cores or MB; null is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceRow {
    /// The session.
    pub session_id: SessionId,
    /// Its definition.
    pub definition_id: DefinitionId,
    /// The definition's revision.
    pub definition_revision: u32,
    /// The worker.
    pub worker_id: Option<WorkerId>,
    /// Version of the CML controller.
    pub cml_version: Option<String>,
    /// Whether the worker was short of anything while it ran.
    pub worker_short: Option<bool>,
    /// Equal for topologies of equal kinds and numbers of nodes; null: its nodes are unknown.
    pub topology_key: Option<String>,
    /// Nodes that are machines.
    pub node_count: u64,
    /// What CML gave its nodes.
    pub nominal: ByResource<Option<f64>>,
    /// What it needed, with the readings that say so.
    pub demands: ByResource<Demand<Uuid>>,
    /// What was advised before it, and whether that held; null: it runs, or the demand is unknown.
    pub advice: ByResource<Option<SessionAdvice>>,
    /// Observations.
    pub observation_count: u64,
    /// Why its newest observation as a whole is no evidence; null: it is some, or there is none.
    pub no_evidence: Option<NoEvidence>,
    /// Amounts of its newest observation that contradict those of its own nodes: they are no evidence.
    pub contradictions: Vec<Contradiction>,
    /// Why it does not count; null: it does.
    pub exclusion: Option<ExclusionReason>,
    /// Since when it ran.
    pub running_at: Option<DateTime<Utc>>,
    /// Since when nothing of it can be observed any more; null: it runs, and is no evidence yet.
    pub ended_at: Option<DateTime<Utc>>,
    /// The event by which that was so.
    pub ended_event_id: Option<Uuid>,
    /// The position of that event: from there on it is evidence.
    pub ended_position: Option<Position>,
    /// Position of the last event that it rests on.
    pub position: Position,
}

/// Why a session does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExclusionReason {
    /// Why.
    pub reason: String,
    /// Who excluded it.
    pub excluded_by: String,
    /// When.
    pub excluded_at: DateTime<Utc>,
    /// The event.
    pub event_id: Uuid,
}

/// What the rows are called in an alarm.
const LIST: &str = "session evidence";

const SELECT: &str = "
    SELECT s.session_id, s.definition_id, s.definition_revision, s.worker_id, s.cml_version, s.worker_short,
           s.topology_key, (SELECT coalesce(sum((kind ->> 1)::bigint), 0) FROM jsonb_array_elements(s.topology) kind)
               AS node_count,
           s.nominal, s.demands,
           coalesce(s.advice, '{\"cpu_cores\": null, \"memory_mb\": null, \"storage_mb\": null}') AS advice,
           s.observation_count, s.no_evidence, s.contradictions,
           CASE WHEN s.excluded THEN (
               SELECT json_build_object('reason', x.reason, 'excluded_by', x.changed_by, 'excluded_at', x.changed_at,
                                        'event_id', x.event_id)
                 FROM read_advice.exclusions x WHERE x.session_id = s.session_id
                ORDER BY x.position DESC LIMIT 1) END AS exclusion,
           s.running_at, s.ended_at, s.ended_event_id, s.ended_position, s.position
      FROM read_advice.sessions s WHERE true";

fn select() -> QueryBuilder<Postgres> {
    QueryBuilder::new(page::select("session_id", "ended_position") + SELECT)
}

impl Projections {
    /// The sessions that are evidence of a definition's need, excluded ones too; the one that ended last comes first.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn evidence(&self, id: &DefinitionId, request: &PageRequest) -> Result<Page<EvidenceRow>, ReadError> {
        let mut query = select();
        query.push(" AND s.ended_position IS NOT NULL AND s.definition_id = ").push_bind(id.to_string());
        if let Some(after) = request.position().map_err(ReadError::Invalid)? {
            query.push(" AND s.ended_position < ").push_bind(after);
        }
        query.push(" ORDER BY s.ended_position DESC LIMIT ").push_bind(request.fetch()).push(") r");
        self.page_of(LIST, query, request).await
    }

    /// What one session says. `None`: it never ran.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn session_evidence(&self, id: &SessionId) -> Result<Option<EvidenceRow>, ReadError> {
        let mut query = select();
        query.push(" AND s.session_id = ").push_bind(id.to_string()).push(") r");
        self.row_of(LIST, query).await
    }
}
