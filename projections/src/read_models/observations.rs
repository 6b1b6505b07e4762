//! Every observation, and what the observations of a definition's sessions say together.

pub mod deviations;
mod fold;
pub mod in_scope;
pub mod nodes;
pub mod of_definition;
mod part;
pub mod profiles;

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::evidence::{Contradiction, NoEvidence};
use domain::lablet_definition::DefinitionVersion;
use domain::observation::{FailedRead, Phase};
use domain::port_drift::PortDrift;
use domain::ports::PortMap;
use domain::worker::Shortage;
use domain::{DefinitionId, LabId, RequestId, SessionId, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use uuid::Uuid;

pub use deviations::{DefinitionDeviation, Deviation, Resource, ResourceDeviation};
pub use in_scope::{Aggregate, Quantity, SessionsInScope, Spread, WeekOfUse, WeeklyUse, WiderScope};
pub use nodes::{NodeDetail, NodeFilter, NodeRow, NodesSource, SessionNodes};
pub use of_definition::{DefinitionObservations, ObservedSession};
pub use profiles::{ObservedNodeProfile, ObservedProfile};

use crate::page::{self, Page, PageRequest};
use crate::projector::{AggregateKind, Projector};
use crate::{Projections, ReadError};

/// One observation with its totals. Null is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservationRow {
    /// The event that recorded it.
    pub event_id: Uuid,
    /// The event's position.
    pub position: Position,
    /// The event's place among those of its session.
    pub sequence: i64,
    /// The session.
    pub session_id: SessionId,
    /// Its definition.
    pub definition_id: DefinitionId,
    /// The version that the definition's author gave it.
    pub definition_version: DefinitionVersion,
    /// The definition's revision when the session was created.
    pub definition_revision: u32,
    /// The worker on which the lab ran.
    pub worker_id: Option<WorkerId>,
    /// The lab.
    pub cml_lab_id: Option<LabId>,
    /// When the lab was read.
    pub observed_at: DateTime<Utc>,
    /// When the observation was recorded.
    pub recorded_at: DateTime<Utc>,
    /// Who observed, e.g. `controller`.
    pub observer: Option<String>,
    /// Who reported it, e.g. `team:grading`.
    pub reported_by: Option<String>,
    /// The request that it answers.
    pub request_id: Option<RequestId>,
    /// What CML gave the nodes.
    pub nominal: Amounts,
    /// What was measured.
    pub used: Amounts,
    /// Highest CPU percentage of a node as CML states it; may exceed 100.
    pub highest_cpu_percent: Option<f64>,
    /// Number of nodes.
    pub node_count: Option<u64>,
    /// Number of nodes that had booted.
    pub nodes_booted: Option<u64>,
    /// Node definitions in use.
    pub node_definitions_used: Vec<String>,
    /// Whether it saw everything; null: its sender did not say.
    pub complete: Option<bool>,
    /// What the lab was doing.
    pub phase: Option<Phase>,
    /// Reads that failed, with the reason.
    pub failed_reads: Vec<FailedRead>,
    /// Entries of CML's answers that could not be read.
    pub unreadable_entries: Vec<FailedRead>,
    /// Ports by name; null: the tags could not be read.
    pub observed_ports: Option<PortMap>,
    /// Whether they drifted; null: unknown.
    pub port_drift_detected: Option<bool>,
    /// How they drifted; null: unknown, or they did not.
    pub port_drift: Option<PortDrift>,
    /// The event that says how; where a newer observation had been recorded before, that of the observation itself.
    pub port_drift_event_id: Option<Uuid>,
    /// Ports that were observed where nothing was allocated.
    pub unallocated: Option<PortMap>,
    /// Version of the controller.
    pub cml_version: Option<String>,
    /// Equal for equal topologies.
    pub topology_fingerprint: Option<String>,
    /// Totals that are not the sums of their own nodes; they are no evidence.
    pub contradictions: Vec<Contradiction>,
    /// Why the observation as a whole is no evidence; null: it is some.
    pub no_evidence: Option<NoEvidence>,
    /// Whether the worker was short since the session ran, so that what was measured may be too low; null: unknown.
    pub worker_short: Option<bool>,
    /// What it was short of.
    pub worker_short_of: Vec<Shortage>,
}

/// Amounts of the three resources in total. Null is unknown, also when it is unknown for one node only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Amounts {
    /// Cores.
    pub cpu_cores: Option<f64>,
    /// MB.
    pub memory_mb: Option<f64>,
    /// MB.
    pub storage_mb: Option<f64>,
    /// Nodes whose CPU is unknown; null: the sender did not say.
    pub unknown_cpu_nodes: Option<u32>,
    /// Nodes whose memory is unknown.
    pub unknown_memory_nodes: Option<u32>,
    /// Nodes whose storage is unknown.
    pub unknown_storage_nodes: Option<u32>,
}

/// Which observations are asked for; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservationFilter {
    /// Of this session.
    #[serde(default)]
    pub session_id: Option<SessionId>,
    /// Of sessions of this definition.
    #[serde(default)]
    pub definition_id: Option<DefinitionId>,
}

/// What the rows are called in an alarm.
const LIST: &str = "observations";

const SELECT: &str = "
    SELECT event_id, position, sequence, session_id, definition_id, definition_version, definition_revision, worker_id,
           cml_lab_id, observed_at, recorded_at, observer, reported_by, request_id,
           json_build_object('cpu_cores', nominal_cpu_cores, 'memory_mb', nominal_memory_mb,
                             'storage_mb', nominal_storage_mb, 'unknown_cpu_nodes', nominal_unknown_cpu_nodes,
                             'unknown_memory_nodes', nominal_unknown_memory_nodes,
                             'unknown_storage_nodes', nominal_unknown_storage_nodes) AS nominal,
           json_build_object('cpu_cores', used_cpu_cores, 'memory_mb', used_memory_mb, 'storage_mb', used_storage_mb,
                             'unknown_cpu_nodes', used_unknown_cpu_nodes,
                             'unknown_memory_nodes', used_unknown_memory_nodes,
                             'unknown_storage_nodes', used_unknown_storage_nodes) AS used,
           highest_cpu_percent, node_count, nodes_booted, node_definitions_used, complete, phase, failed_reads,
           unreadable_entries, observed_ports, port_drift_detected, port_drift, port_drift_event_id, unallocated,
           cml_version, topology_fingerprint, contradictions, no_evidence, worker_short, worker_short_of
      FROM read_observations.observations WHERE true";

impl Projections {
    /// Observations in the reverse order of their recording.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn observations(
        &self,
        filter: &ObservationFilter,
        request: &PageRequest,
    ) -> Result<Page<ObservationRow>, ReadError> {
        let after = request.position().map_err(ReadError::Invalid)?;
        let mut query = QueryBuilder::new(page::select("event_id", "position") + SELECT);
        if let Some(session) = &filter.session_id {
            query.push(" AND session_id = ").push_bind(session.as_str().to_owned());
        }
        if let Some(definition) = &filter.definition_id {
            query.push(" AND definition_id = ").push_bind(definition.as_str().to_owned());
        }
        if let Some(after) = after {
            query.push(" AND position < ").push_bind(after);
        }
        query.push(" ORDER BY position DESC LIMIT ").push_bind(request.fetch()).push(") r");
        self.page_of(LIST, query, request).await
    }
}

/// Follows the observations.
pub(crate) static PROJECTOR: Projector = Projector {
    name: "observations",
    schema: "read_observations",
    revision: 4,
    follows: &[AggregateKind::Session],
    keyed_by: None,
    weight: 45,
    rows: || Box::new(fold::Rows::default()),
};
