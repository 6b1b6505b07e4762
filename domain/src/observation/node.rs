//! The nodes of a lab, with what was measured of each and with its interfaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MOST_INTERFACES, MOST_SMALL, NodeProfile};
use crate::list::List;
use crate::number::{Amount, Whole};
use crate::text::{Label, Token};

/// A number of virtual CPUs.
pub type Cpus = Whole<u32, 0, 1_024>;
/// A share of a virtual CPU, in percent.
pub type CpuLimit = Whole<u32, 0, 100>;
/// Memory of a node, in MB.
pub type RamMb = Whole<u64, 0, 100_000_000>;
/// A number of bytes or seconds: every reader of JSON has it exactly, and a column of Postgres holds it.
pub type Count = Whole<u64, 0, 9_007_199_254_740_991>;

/// One node of a lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeObservation {
    /// CML's id, a UUID.
    pub node_id: Token,
    /// The node's label, which may be blank.
    #[serde(default)]
    pub label: Label,
    /// E.g. `iosv`.
    #[serde(default)]
    pub node_definition: Label,
    /// DEFINED_ON_CORE, QUEUED, STARTED, BOOTED, STOPPED or DISCONNECTED.
    #[serde(default)]
    pub state: Option<Token>,
    /// Percentage of each virtual CPU, 20 to 100. Not cores.
    #[serde(default)]
    pub cpu_limit: Option<CpuLimit>,
    /// Nominal memory in MB.
    #[serde(default)]
    pub ram_mb: Option<RamMb>,
    /// The tags as they are.
    #[serde(default)]
    pub tags: List<Label, MOST_SMALL>,
    /// The interfaces.
    #[serde(default)]
    pub interfaces: List<InterfaceObservation, MOST_INTERFACES>,

    /// Number of virtual CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Nominal cores: `cpus × cpu_limit / 100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal_cpu_cores: Option<Amount>,
    /// Image in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_definition: Option<Label>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<NodeUsage>,
    /// What it used while it was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Box<NodeProfile>>,
}

/// Measured use of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeUsage {
    /// `cpu_usage` as CML states it: a percentage that may exceed 100; its meaning over several CPUs is undocumented.
    #[serde(default)]
    pub cpu_percent: Option<Amount>,
    /// Cores in use, by the one rule that turns the percentage into cores.
    #[serde(default)]
    pub cpu_cores: Option<Amount>,
    /// MB in use. Controllers before 2.10 do not tell.
    #[serde(default)]
    pub memory_mb: Option<Amount>,
    /// MB on disk. Controllers before 2.10 do not tell.
    #[serde(default)]
    pub disk_mb: Option<Amount>,
    /// Bytes read from the first disk since the node started.
    #[serde(default)]
    pub disk_read_bytes: Option<Count>,
    /// Bytes written to the first disk since the node started.
    #[serde(default)]
    pub disk_written_bytes: Option<Count>,
    /// Seconds since the node had booted. Null: not booted, or unknown.
    #[serde(default)]
    pub booted_seconds: Option<Count>,
}

/// One interface of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceObservation {
    /// CML's id, a UUID.
    pub interface_id: Token,
    /// E.g. `GigabitEthernet0/0`.
    #[serde(default)]
    pub label: Label,
    /// Null for loopbacks.
    #[serde(default)]
    pub slot: Option<i32>,
    /// DEFINED_ON_CORE, STARTED or STOPPED.
    #[serde(default)]
    pub state: Option<Token>,
    /// The deployed MAC address.
    #[serde(default)]
    pub mac_address: Option<Token>,
    /// IPv4 addresses that CML learnt.
    #[serde(default)]
    pub ip4: List<Token, MOST_SMALL>,
    /// IPv6 addresses that CML learnt.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub ip6: List<Token, MOST_SMALL>,
}
