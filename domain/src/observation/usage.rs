//! Amounts of the three resources: nominal, or in use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GREATEST_TOTAL, MOST_NODES};
use crate::invalid::{Checked, Checking};

/// Amounts of the three resources and how many nodes' share of each is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantities {
    /// Cores. Null when any node's share is unknown.
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub cpu_cores: Option<f64>,
    /// MB. Null when any node's share is unknown.
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub memory_mb: Option<f64>,
    /// MB. Null when any node's share is unknown.
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub storage_mb: Option<f64>,
    /// Nodes whose CPU is unknown.
    #[serde(default)]
    #[schemars(range(min = 0, max = MOST_NODES))]
    pub unknown_cpu_nodes: u32,
    /// Nodes whose memory is unknown.
    #[serde(default)]
    #[schemars(range(min = 0, max = MOST_NODES))]
    pub unknown_memory_nodes: u32,
    /// Nodes whose storage is unknown.
    #[serde(default)]
    #[schemars(range(min = 0, max = MOST_NODES))]
    pub unknown_storage_nodes: u32,
}

/// Measured use in total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Amounts in use.
    #[serde(flatten)]
    pub used: Quantities,
    /// Highest `cpu_usage` of a node as CML states it: a percentage that may exceed 100.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub highest_cpu_percent: Option<f64>,
}

impl Checked for Quantities {
    fn check(&self, checking: &mut Checking) {
        let Self { cpu_cores, memory_mb, storage_mb, unknown_cpu_nodes, unknown_memory_nodes, unknown_storage_nodes } =
            self;
        checking.amount("cpu_cores", *cpu_cores, GREATEST_TOTAL);
        checking.amount("memory_mb", *memory_mb, GREATEST_TOTAL);
        checking.amount("storage_mb", *storage_mb, GREATEST_TOTAL);
        checking.whole("unknown_cpu_nodes", Some(*unknown_cpu_nodes), MOST_NODES as u64);
        checking.whole("unknown_memory_nodes", Some(*unknown_memory_nodes), MOST_NODES as u64);
        checking.whole("unknown_storage_nodes", Some(*unknown_storage_nodes), MOST_NODES as u64);
    }
}
