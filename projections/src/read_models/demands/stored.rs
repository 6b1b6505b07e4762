//! The rows of demands, as they are stored.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::Amount;
use domain::demand::{ByResource, Demand, DemandPool, DemandSource, Peak};
use domain::observation::NodeObservation;
use uuid::Uuid;

use crate::table::cell::Jsonb;
use crate::table::rows;

rows! {
    /// What a session needed, as it is stored.
    pub(crate) struct StoredSession in "sessions" by (session_id: String) {
        session_id: String,
        definition_id: String,
        definition_version: String,
        definition_revision: i32,
        worker_id: Option<String>,
        topology_fingerprint: Option<String>,
        observation_count: i64,
        /// Of the newest observation, with what follows.
        observed_at: DateTime<Utc>,
        contradictions: Jsonb,
        no_evidence: Option<String>,
        /// The observation with the newest profile.
        profile_event_id: Option<Uuid>,
        profile_at: Option<DateTime<Utc>>,
        sampled_share: Option<f64>,
        samples: Option<i64>,
        missed_samples: Option<i64>,
        boot_seconds: Option<i64>,
        steady_seconds: Option<i64>,
        position: Position,
        /// By any observation, else by the newest.
        worker_short: Option<bool>,
        cpu_cores: Option<f64>,
        cpu_cores_by_profile: Option<bool>,
        cpu_cores_event_id: Option<Uuid>,
        cpu_cores_at: Option<DateTime<Utc>>,
        memory_mb: Option<f64>,
        memory_mb_by_profile: Option<bool>,
        memory_mb_event_id: Option<Uuid>,
        memory_mb_at: Option<DateTime<Utc>>,
        storage_mb: Option<f64>,
        storage_mb_by_profile: Option<bool>,
        storage_mb_event_id: Option<Uuid>,
        storage_mb_at: Option<DateTime<Utc>>,
        boot_cpu_cores: Option<f64>,
        boot_cpu_cores_by_profile: Option<bool>,
        boot_cpu_cores_event_id: Option<Uuid>,
        boot_cpu_cores_at: Option<DateTime<Utc>>,
        boot_memory_mb: Option<f64>,
        boot_memory_mb_by_profile: Option<bool>,
        boot_memory_mb_event_id: Option<Uuid>,
        boot_memory_mb_at: Option<DateTime<Utc>>,
        boot_storage_mb: Option<f64>,
        boot_storage_mb_by_profile: Option<bool>,
        boot_storage_mb_event_id: Option<Uuid>,
        boot_storage_mb_at: Option<DateTime<Utc>>,
    }

    /// What a node needed, as it is stored.
    pub(crate) struct StoredNode in "nodes" by (session_id: String, node_id: String) {
        session_id: String,
        node_id: String,
        /// Of the newest observation that lists it, with what follows.
        observed_at: DateTime<Utc>,
        label: String,
        node_definition: String,
        image_definition: Option<String>,
        nominal_cpu_cores: Option<f64>,
        nominal_memory_mb: Option<f64>,
        pool: String,
        position: Position,
        cpu_cores: Option<f64>,
        cpu_cores_by_profile: Option<bool>,
        cpu_cores_event_id: Option<Uuid>,
        cpu_cores_at: Option<DateTime<Utc>>,
        memory_mb: Option<f64>,
        memory_mb_by_profile: Option<bool>,
        memory_mb_event_id: Option<Uuid>,
        memory_mb_at: Option<DateTime<Utc>>,
        storage_mb: Option<f64>,
        storage_mb_by_profile: Option<bool>,
        storage_mb_event_id: Option<Uuid>,
        storage_mb_at: Option<DateTime<Utc>>,
        boot_cpu_cores: Option<f64>,
        boot_cpu_cores_by_profile: Option<bool>,
        boot_cpu_cores_event_id: Option<Uuid>,
        boot_cpu_cores_at: Option<DateTime<Utc>>,
        boot_memory_mb: Option<f64>,
        boot_memory_mb_by_profile: Option<bool>,
        boot_memory_mb_event_id: Option<Uuid>,
        boot_memory_mb_at: Option<DateTime<Utc>>,
        boot_storage_mb: Option<f64>,
        boot_storage_mb_by_profile: Option<bool>,
        boot_storage_mb_event_id: Option<Uuid>,
        boot_storage_mb_at: Option<DateTime<Utc>>,
    }

    /// Demands of all nodes of one kind, as they are stored.
    pub(crate) struct StoredPool in "pools" by (pool: String) {
        /// Node definition, image, nominal cores and nominal MB as a JSON array.
        pool: String,
        node_definition: String,
        image_definition: Option<String>,
        nominal_cpu_cores: Option<f64>,
        nominal_memory_mb: Option<f64>,
        cpu_cores_runs: i64,
        cpu_cores_sum: f64,
        cpu_cores_sum_of_squares: f64,
        cpu_cores_maximum: Option<f64>,
        memory_mb_runs: i64,
        memory_mb_sum: f64,
        memory_mb_sum_of_squares: f64,
        memory_mb_maximum: Option<f64>,
        storage_mb_runs: i64,
        storage_mb_sum: f64,
        storage_mb_sum_of_squares: f64,
        storage_mb_maximum: Option<f64>,
        position: Position,
    }
}

/// Columns of a peak.
type PeakColumns = (Option<f64>, Option<bool>, Option<Uuid>, Option<DateTime<Utc>>);

fn peak((value, by_profile, event_id, observed_at): PeakColumns) -> Option<Peak<Uuid>> {
    let source = if by_profile? { DemandSource::Profile } else { DemandSource::Snapshot };
    Some(Peak { value: value?, source, event_id: event_id?, observed_at: observed_at? })
}

fn columns(peak: Option<Peak<Uuid>>) -> PeakColumns {
    match peak {
        None => (None, None, None, None),
        Some(Peak { value, source, event_id, observed_at }) => {
            (Some(value), Some(source == DemandSource::Profile), Some(event_id), Some(observed_at))
        }
    }
}

/// A row's demands, which a session and a node have in columns of the same names.
macro_rules! demand_columns {
    ($($row:ident)+) => {$(
        impl $row {
            pub(super) fn demands(&self) -> ByResource<Demand<Uuid>> {
                macro_rules! peak_of {
                    ($value:ident, $by:ident, $event:ident, $at:ident) => {
                        peak((self.$value, self.$by, self.$event, self.$at))
                    };
                }
                ByResource {
                    cpu_cores: Demand {
                        steady: peak_of!(cpu_cores, cpu_cores_by_profile, cpu_cores_event_id, cpu_cores_at),
                        boot: peak_of!(
                            boot_cpu_cores, boot_cpu_cores_by_profile, boot_cpu_cores_event_id, boot_cpu_cores_at
                        ),
                    },
                    memory_mb: Demand {
                        steady: peak_of!(memory_mb, memory_mb_by_profile, memory_mb_event_id, memory_mb_at),
                        boot: peak_of!(
                            boot_memory_mb, boot_memory_mb_by_profile, boot_memory_mb_event_id, boot_memory_mb_at
                        ),
                    },
                    storage_mb: Demand {
                        steady: peak_of!(storage_mb, storage_mb_by_profile, storage_mb_event_id, storage_mb_at),
                        boot: peak_of!(
                            boot_storage_mb, boot_storage_mb_by_profile, boot_storage_mb_event_id, boot_storage_mb_at
                        ),
                    },
                }
            }

            pub(super) fn set_demands(&mut self, demands: ByResource<Demand<Uuid>>) {
                let ByResource { cpu_cores, memory_mb, storage_mb } = demands;
                (self.cpu_cores, self.cpu_cores_by_profile, self.cpu_cores_event_id, self.cpu_cores_at) =
                    columns(cpu_cores.steady);
                (self.memory_mb, self.memory_mb_by_profile, self.memory_mb_event_id, self.memory_mb_at) =
                    columns(memory_mb.steady);
                (self.storage_mb, self.storage_mb_by_profile, self.storage_mb_event_id, self.storage_mb_at) =
                    columns(storage_mb.steady);
                (
                    self.boot_cpu_cores,
                    self.boot_cpu_cores_by_profile,
                    self.boot_cpu_cores_event_id,
                    self.boot_cpu_cores_at,
                ) = columns(cpu_cores.boot);
                (
                    self.boot_memory_mb,
                    self.boot_memory_mb_by_profile,
                    self.boot_memory_mb_event_id,
                    self.boot_memory_mb_at,
                ) = columns(memory_mb.boot);
                (
                    self.boot_storage_mb,
                    self.boot_storage_mb_by_profile,
                    self.boot_storage_mb_event_id,
                    self.boot_storage_mb_at,
                ) = columns(storage_mb.boot);
            }
        }
    )+};
}
demand_columns!(StoredSession StoredNode);

/// A row with these columns, of which no demand is known yet.
macro_rules! without_demands {
    ($row:ident { $($field:ident: $value:expr,)* }) => {
        $row {
            $($field: $value,)*
            cpu_cores: None,
            cpu_cores_by_profile: None,
            cpu_cores_event_id: None,
            cpu_cores_at: None,
            memory_mb: None,
            memory_mb_by_profile: None,
            memory_mb_event_id: None,
            memory_mb_at: None,
            storage_mb: None,
            storage_mb_by_profile: None,
            storage_mb_event_id: None,
            storage_mb_at: None,
            boot_cpu_cores: None,
            boot_cpu_cores_by_profile: None,
            boot_cpu_cores_event_id: None,
            boot_cpu_cores_at: None,
            boot_memory_mb: None,
            boot_memory_mb_by_profile: None,
            boot_memory_mb_event_id: None,
            boot_memory_mb_at: None,
            boot_storage_mb: None,
            boot_storage_mb_by_profile: None,
            boot_storage_mb_event_id: None,
            boot_storage_mb_at: None,
        }
    };
}

impl StoredPool {
    pub(super) fn demands(&self) -> ByResource<DemandPool> {
        let pool = |runs: i64, sum, sum_of_squares, maximum| DemandPool {
            runs: runs.unsigned_abs(),
            sum,
            sum_of_squares,
            maximum,
        };
        ByResource {
            cpu_cores: pool(
                self.cpu_cores_runs,
                self.cpu_cores_sum,
                self.cpu_cores_sum_of_squares,
                self.cpu_cores_maximum,
            ),
            memory_mb: pool(
                self.memory_mb_runs,
                self.memory_mb_sum,
                self.memory_mb_sum_of_squares,
                self.memory_mb_maximum,
            ),
            storage_mb: pool(
                self.storage_mb_runs,
                self.storage_mb_sum,
                self.storage_mb_sum_of_squares,
                self.storage_mb_maximum,
            ),
        }
    }

    pub(super) fn set_demands(&mut self, demands: ByResource<DemandPool>) {
        let columns = |pool: DemandPool| (pool.runs.cast_signed(), pool.sum, pool.sum_of_squares, pool.maximum);
        let ByResource { cpu_cores, memory_mb, storage_mb } = demands.map(columns);
        (self.cpu_cores_runs, self.cpu_cores_sum, self.cpu_cores_sum_of_squares, self.cpu_cores_maximum) = cpu_cores;
        (self.memory_mb_runs, self.memory_mb_sum, self.memory_mb_sum_of_squares, self.memory_mb_maximum) = memory_mb;
        (self.storage_mb_runs, self.storage_mb_sum, self.storage_mb_sum_of_squares, self.storage_mb_maximum) =
            storage_mb;
    }
}
pub(super) use without_demands;

/// What kind of node it is: of equal ones, demands are pooled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NodeKind {
    pub(super) node_definition: String,
    pub(super) image_definition: Option<String>,
    pub(super) nominal_cpu_cores: Option<f64>,
    pub(super) nominal_memory_mb: Option<f64>,
}

impl NodeKind {
    #[expect(clippy::cast_precision_loss, reason = "a node has at most 100,000,000 MB")]
    pub(super) fn from_node(node: &NodeObservation) -> Self {
        Self {
            node_definition: node.node_definition.to_string(),
            image_definition: node.image_definition.as_ref().map(ToString::to_string),
            nominal_cpu_cores: node.nominal_cpu_cores.map(Amount::get),
            nominal_memory_mb: node.ram_mb.map(|ram| ram.get() as f64),
        }
    }

    /// The key of its pool.
    pub(super) fn pool(&self) -> String {
        let Self { node_definition, image_definition, nominal_cpu_cores, nominal_memory_mb } = self;
        serde_json::json!([node_definition, image_definition, nominal_cpu_cores, nominal_memory_mb]).to_string()
    }
}
