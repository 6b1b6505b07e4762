//! What the sessions of a worker take of it now.

use domain::WorkerId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;

use crate::page::{self, Listed};
use crate::{Projections, ReadError};

/// What the sessions of a worker take of it now, by the newest observation of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerLoad {
    /// The worker.
    pub worker_id: WorkerId,
    /// Sessions that are up: instantiating, ready, running, collecting, grading or stopping.
    pub up_sessions: u64,
    /// Sessions that are scheduled, and take nothing yet.
    pub booked_sessions: u64,
    /// Of those that are up, those whose ports drifted.
    pub drifted_sessions: u64,
    /// Nominal cores.
    pub cpu_cores: Load,
    /// Nominal MB of memory.
    pub memory_mb: Load,
    /// Cores in use, by the newest observation of each.
    pub used_cpu_cores: Load,
    /// MB of memory in use, by the newest observation of each.
    pub used_memory_mb: Load,
    /// Cores that they used at their peaks, which need not have been at the same time.
    pub peak_cpu_cores: Load,
    /// MB of memory that they used at their peaks.
    pub peak_memory_mb: Load,
    /// Measured MB on disk.
    pub storage_mb: Load,
    /// Nodes.
    pub nodes: Load,
}

/// One resource over the sessions that are up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// The sum over the sessions that know it: the truth is no less where some do not. Null: some are up, and none
    /// knows it.
    pub known: Option<f64>,
    /// Sessions that are up and do not know it.
    pub unknown_sessions: u64,
}

/// The resources: name, column, and the most that is taken for an amount. What lies beyond, below zero or is no number is
/// unknown: a sum of it would be none, or could not be had at all.
const RESOURCES: [(&str, &str, f64); 8] = [
    ("cpu_cores", "s.nominal_cpu_cores", 1e9),
    ("memory_mb", "s.nominal_memory_mb", 1e12),
    ("used_cpu_cores", "o.used_cpu_cores", 1e9),
    ("used_memory_mb", "o.used_memory_mb", 1e12),
    ("peak_cpu_cores", "t.cpu_cores", 1e9),
    ("peak_memory_mb", "t.memory_mb", 1e12),
    ("storage_mb", "o.used_storage_mb", 1e12),
    ("nodes", "o.node_count", 1e9),
];

impl Projections {
    /// What the sessions of workers take of them now, in the order of the ids.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn worker_load(&self, ids: &[WorkerId]) -> Result<Listed<WorkerLoad>, ReadError> {
        const UP: &str = "s.status IS NOT NULL AND s.status <> 'scheduled'";
        let loads = RESOURCES.map(|(name, column, most)| {
            let amount = format!("(CASE WHEN {column} BETWEEN 0 AND {most:?} THEN {column} END)");
            format!(
                "json_build_object(
                     'known', CASE WHEN count(*) FILTER (WHERE {UP}) = 0 THEN 0 ELSE sum({amount}) FILTER (WHERE {UP}) END,
                     'unknown_sessions', count(*) FILTER (WHERE {UP} AND {amount} IS NULL)) AS {name}"
            )
        });
        let mut query = QueryBuilder::new(format!(
            "{}
                 SELECT w.id AS worker_id, count(*) FILTER (WHERE {UP}) AS up_sessions,
                        count(*) FILTER (WHERE s.status = 'scheduled') AS booked_sessions,
                        count(*) FILTER (WHERE {UP} AND s.port_drift_detected) AS drifted_sessions, {}
                   FROM unnest(",
            page::select("worker_id", "worker_id"),
            loads.join(", ")
        ));
        query.push_bind(ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>());
        query.push(
            ") WITH ORDINALITY AS w (id, place)
              LEFT JOIN read_sessions.sessions s ON s.worker_id = w.id AND s.status IN
                   ('scheduled', 'instantiating', 'ready', 'running', 'collecting', 'grading', 'stopping')
              LEFT JOIN read_observations.observations o ON o.event_id = s.observed_event_id
              LEFT JOIN read_demands.sessions t ON t.session_id = s.id
             GROUP BY w.id, w.place ORDER BY w.place) r",
        );
        self.list_of("worker_load", query).await
    }
}
