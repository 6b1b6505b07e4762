//! The sessions that are evidence of what a definition needs, excluded ones too.

use advice::left_out::LeftOutCode;
use advice::mixture::Condition;
use app::log::Position;
use chrono::{DateTime, Utc};
use domain::demand::{ByResource, Demand, DemandSource};
use domain::evidence::{Contradiction, NoEvidence};
use domain::{DefinitionId, Invalid, SessionId, WorkerId};
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
    /// What it needed over its steady phase, and the peak of its boot, with the readings that say so.
    pub demands: ByResource<Demand<Uuid>>,
    /// What it needed with the boot: the larger of both; null: what it needed over its steady phase is unknown. Where its boot
    /// is unknown, at least this.
    pub demand_with_boot: ByResource<Option<f64>>,
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

/// Where the topology is not what was written, its nodes cannot be counted, and the row cannot be read; that it is no list must
/// not fail the statement, with all the other rows.
const SELECT: &str = "
    SELECT s.session_id, s.definition_id, s.definition_revision, s.worker_id, s.cml_version, s.worker_short,
           s.topology_key,
           CASE WHEN s.topology IS NULL THEN 0 ELSE (
               SELECT CASE WHEN jsonb_typeof(s.topology) = 'array'
                            AND coalesce(bool_and(coalesce(kind ->> 1 ~ '^[0-9]{1,9}$', false)), true)
                           THEN coalesce(sum(CASE WHEN kind ->> 1 ~ '^[0-9]{1,9}$' THEN (kind ->> 1)::bigint END), 0) END
                 FROM jsonb_array_elements(CASE jsonb_typeof(s.topology) WHEN 'array' THEN s.topology ELSE '[]' END) kind)
               END AS node_count,
           s.nominal, s.demands,
           json_build_object('cpu_cores', s.cpu_cores_with_boot, 'memory_mb', s.memory_mb_with_boot,
                             'storage_mb', s.storage_mb_with_boot) AS demand_with_boot,
           coalesce(s.advice, '{\"cpu_cores\": null, \"memory_mb\": null, \"storage_mb\": null}') AS advice,
           s.observation_count, s.no_evidence, s.contradictions,
           CASE WHEN s.excluded THEN (
               SELECT json_build_object('reason', x.reason, 'excluded_by', x.changed_by, 'excluded_at', x.changed_at,
                                        'event_id', x.event_id)
                 FROM read_advice.exclusions x WHERE x.session_id = s.session_id
                ORDER BY x.position DESC LIMIT 1) END AS exclusion,
           s.running_at, s.running_position, s.ended_at, s.ended_event_id, s.ended_position, s.position
      FROM read_advice.sessions s WHERE true";

/// Which sessions of a definition are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EvidenceFilter {
    /// All that ended.
    #[default]
    All,
    /// Those that an answer leaves out, or of which it leaves something out.
    LeftOut(LeftOutCode),
    /// Those that count, of one value of what they differ in, as the answer names it; `None`: of which it is unknown.
    Mixed(Condition, Option<String>),
}

/// That a session counts: nobody excluded it, and it knows some demand.
const COUNTS: &str = " AND NOT s.excluded AND coalesce(s.cpu_cores, s.memory_mb, s.storage_mb) IS NOT NULL";

/// By what the demands of a session were measured: by snapshots where any was.
const SOURCE: &str = "(SELECT CASE WHEN bool_or(d #>> '{demand,source}' = 'snapshot') THEN 'snapshot'
                                   WHEN bool_or(d #>> '{demand,source}' = 'profile') THEN 'profile' END
                         FROM jsonb_path_query(s.demands, '$.*') d)";

/// Whether the boot of a session is known of each resource of which the demand is.
const BOOT_SEEN: &str = "(SELECT NOT coalesce(bool_or(jsonb_typeof(d -> 'demand') = 'object'
                                  AND jsonb_typeof(d -> 'boot') IS DISTINCT FROM 'object'), false)
                            FROM jsonb_path_query(s.demands, '$.*') d)";

impl EvidenceFilter {
    /// The column by which the sessions are in order: when they ended, or began to run.
    fn order(&self) -> &'static str {
        match self {
            Self::LeftOut(LeftOutCode::StillRunning) => "running_position",
            Self::All | Self::LeftOut(_) | Self::Mixed(..) => "ended_position",
        }
    }

    /// Adds what has to be true of a session.
    fn restrict(&self, query: &mut QueryBuilder<Postgres>) -> Result<(), Invalid> {
        match self {
            Self::All => {}
            Self::LeftOut(code) => {
                query.push(left_out(*code));
            }
            Self::Mixed(condition, value) => {
                query.push(COUNTS);
                mixed(*condition, value.as_deref(), query)?;
            }
        }
        query.push(match self {
            Self::LeftOut(LeftOutCode::StillRunning) => {
                " AND s.ended_position IS NULL AND s.running_position IS NOT NULL"
            }
            Self::All | Self::LeftOut(_) | Self::Mixed(..) => " AND s.ended_position IS NOT NULL",
        });
        Ok(())
    }
}

/// What is true of the sessions that are left out for this reason, by the rule of [`super::recommendation`].
fn left_out(code: LeftOutCode) -> &'static str {
    match code {
        LeftOutCode::StillRunning => "",
        LeftOutCode::NeverObserved => " AND NOT s.excluded AND s.observation_count = 0",
        LeftOutCode::NoEvidence => " AND NOT s.excluded AND s.no_evidence IS NOT NULL",
        LeftOutCode::Contradiction => " AND NOT s.excluded AND s.contradictions <> '[]'",
        LeftOutCode::UnknownDemand => {
            " AND NOT s.excluded AND s.observation_count > 0
              AND (s.cpu_cores IS NULL OR s.memory_mb IS NULL OR s.storage_mb IS NULL)"
        }
        LeftOutCode::Excluded => " AND s.excluded",
        // Numbers of JSON are compared as such, whatever else a row that cannot be read holds.
        LeftOutCode::Boot => {
            " AND NOT s.excluded AND EXISTS (SELECT 1 FROM jsonb_path_query(s.demands, '$.*') d
                  WHERE d #> '{boot,value}' > d #> '{demand,value}')"
        }
    }
}

/// Adds that a condition has this value; `None`: that it is unknown.
fn mixed(condition: Condition, value: Option<&str>, query: &mut QueryBuilder<Postgres>) -> Result<(), Invalid> {
    let invalid = |expected: &str| Invalid::new("value", "is none of this condition", expected);
    let column = match condition {
        Condition::Topologies => "s.topology_key",
        Condition::Revisions => "s.definition_revision",
        Condition::CmlVersions => "s.cml_version",
        Condition::Workers => "s.worker_id",
        Condition::WorkerShort => "s.worker_short",
        Condition::Sources => SOURCE,
        Condition::BootSeen => BOOT_SEEN,
    };
    query.push(" AND ").push(column);
    let Some(value) = value else {
        query.push(" IS NULL");
        return Ok(());
    };
    query.push(" = ");
    match condition {
        Condition::Revisions => {
            let revision = value.parse::<i32>().map_err(|_| invalid("a revision of the definition"))?;
            query.push_bind(revision);
        }
        Condition::WorkerShort | Condition::BootSeen => {
            let is_so = value.parse::<bool>().map_err(|_| invalid("true or false"))?;
            query.push_bind(is_so);
        }
        Condition::Sources => {
            let source = [DemandSource::Snapshot, DemandSource::Profile].into_iter().find(|one| one.name() == value);
            query.push_bind(source.ok_or_else(|| invalid("profile or snapshot"))?.name());
        }
        Condition::Topologies | Condition::CmlVersions | Condition::Workers => {
            query.push_bind(value.to_owned());
        }
    }
    Ok(())
}

fn select(order: &str) -> QueryBuilder<Postgres> {
    QueryBuilder::new(page::select("session_id", order) + SELECT)
}

impl Projections {
    /// The sessions that are evidence of a definition's need, excluded ones too; the one that ended last comes first.
    ///
    /// # Errors
    /// The filter or the cursor is none of this list's, or the database does not answer.
    pub async fn evidence(
        &self,
        id: &DefinitionId,
        filter: &EvidenceFilter,
        request: &PageRequest,
    ) -> Result<Page<EvidenceRow>, ReadError> {
        let order = filter.order();
        let mut query = select(order);
        filter.restrict(&mut query).map_err(ReadError::Invalid)?;
        query.push(" AND s.definition_id = ").push_bind(id.to_string());
        if let Some(after) = request.position().map_err(ReadError::Invalid)? {
            query.push(format!(" AND s.{order} < ")).push_bind(after);
        }
        query.push(format!(" ORDER BY s.{order} DESC LIMIT ")).push_bind(request.fetch()).push(") r");
        self.page_of(LIST, query, request).await
    }

    /// What one session says. `None`: it never ran.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn session_evidence(&self, id: &SessionId) -> Result<Option<EvidenceRow>, ReadError> {
        let mut query = select("ended_position");
        query.push(" AND s.session_id = ").push_bind(id.to_string()).push(") r");
        self.row_of(LIST, query).await
    }
}
