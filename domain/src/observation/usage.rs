//! Amounts of the three resources: nominal, or in use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NodeCount;
use crate::number::Amount;

/// Amounts of the three resources and how many nodes' share of each is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantities {
    /// Cores. Null when any node's share is unknown.
    pub cpu_cores: Option<Amount>,
    /// MB. Null when any node's share is unknown.
    pub memory_mb: Option<Amount>,
    /// MB. Null when any node's share is unknown.
    pub storage_mb: Option<Amount>,
    /// Nodes whose CPU is unknown.
    #[serde(default)]
    pub unknown_cpu_nodes: NodeCount,
    /// Nodes whose memory is unknown.
    #[serde(default)]
    pub unknown_memory_nodes: NodeCount,
    /// Nodes whose storage is unknown.
    #[serde(default)]
    pub unknown_storage_nodes: NodeCount,
}

/// Measured use in total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Amounts in use.
    #[serde(flatten)]
    pub used: Quantities,
    /// Highest `cpu_usage` of a node as CML states it: a percentage that may exceed 100.
    #[serde(default)]
    pub highest_cpu_percent: Option<Amount>,
}

impl Quantities {
    /// Whether no amount is known by it.
    pub(crate) fn says_nothing(&self) -> bool {
        let Self {
            cpu_cores,
            memory_mb,
            storage_mb,
            unknown_cpu_nodes: _,
            unknown_memory_nodes: _,
            unknown_storage_nodes: _,
        } = self;
        [cpu_cores, memory_mb, storage_mb].into_iter().all(Option::is_none)
    }
}

impl Usage {
    /// Whether no amount is known by it.
    pub(crate) fn says_nothing(&self) -> bool {
        let Self { used, highest_cpu_percent } = self;
        used.says_nothing() && highest_cpu_percent.is_none()
    }
}
