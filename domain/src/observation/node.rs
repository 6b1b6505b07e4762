//! The nodes of a lab, with what was measured of each and with its interfaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GREATEST_COUNT, GREATEST_TOTAL, MOST_INTERFACES, MOST_SMALL, state_label, state_token, texts};
use crate::invalid::{Checked, Checking};
use crate::text::{LABEL, TOKEN};

/// Greatest memory of a node, in MB.
const GREATEST_RAM_MB: u64 = 100_000_000;
/// Most virtual CPUs of a node.
const MOST_CPUS: u64 = 1_024;

/// One node of a lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeObservation {
    /// CML's id, a UUID.
    #[schemars(transform = state_token)]
    pub node_id: String,
    /// The node's label, which may be blank.
    #[serde(default)]
    #[schemars(transform = state_label)]
    pub label: String,
    /// E.g. `iosv`.
    #[serde(default)]
    #[schemars(transform = state_label)]
    pub node_definition: String,
    /// DEFINED_ON_CORE, QUEUED, STARTED, BOOTED, STOPPED or DISCONNECTED.
    #[serde(default)]
    #[schemars(transform = state_token)]
    pub state: Option<String>,
    /// Percentage of each virtual CPU, 20 to 100. Not cores.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub cpu_limit: Option<u32>,
    /// Nominal memory in MB.
    #[serde(default)]
    #[schemars(range(min = 0, max = GREATEST_RAM_MB))]
    pub ram_mb: Option<u64>,
    /// The tags as they are.
    #[serde(default)]
    #[schemars(length(max = MOST_SMALL), transform = state_label)]
    pub tags: Vec<String>,
    /// The interfaces.
    #[serde(default)]
    #[schemars(length(max = MOST_INTERFACES))]
    pub interfaces: Vec<InterfaceObservation>,

    /// Number of virtual CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MOST_CPUS))]
    pub cpus: Option<u32>,
    /// Nominal cores: `cpus × cpu_limit / 100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub nominal_cpu_cores: Option<f64>,
    /// Image in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = state_label)]
    pub image_definition: Option<String>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<NodeUsage>,
}

/// Measured use of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeUsage {
    /// `cpu_usage` as CML states it: a percentage that may exceed 100; its meaning over several CPUs is undocumented.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub cpu_percent: Option<f64>,
    /// Cores in use, by the one rule that turns the percentage into cores.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub cpu_cores: Option<f64>,
    /// MB in use. Controllers before 2.10 do not tell.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub memory_mb: Option<f64>,
    /// MB on disk. Controllers before 2.10 do not tell.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub disk_mb: Option<f64>,
    /// Bytes read from the first disk since the node started.
    #[serde(default)]
    #[schemars(range(min = 0, max = GREATEST_COUNT))]
    pub disk_read_bytes: Option<u64>,
    /// Bytes written to the first disk since the node started.
    #[serde(default)]
    #[schemars(range(min = 0, max = GREATEST_COUNT))]
    pub disk_written_bytes: Option<u64>,
    /// Seconds since the node had booted. Null: not booted, or unknown.
    #[serde(default)]
    #[schemars(range(min = 0, max = GREATEST_COUNT))]
    pub booted_seconds: Option<u64>,
}

/// One interface of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceObservation {
    /// CML's id, a UUID.
    #[schemars(transform = state_token)]
    pub interface_id: String,
    /// E.g. `GigabitEthernet0/0`.
    #[serde(default)]
    #[schemars(transform = state_label)]
    pub label: String,
    /// Null for loopbacks.
    #[serde(default)]
    pub slot: Option<i32>,
    /// DEFINED_ON_CORE, STARTED or STOPPED.
    #[serde(default)]
    #[schemars(transform = state_token)]
    pub state: Option<String>,
    /// The deployed MAC address.
    #[serde(default)]
    #[schemars(transform = state_token)]
    pub mac_address: Option<String>,
    /// IPv4 addresses that CML learnt.
    #[serde(default)]
    #[schemars(length(max = MOST_SMALL), transform = state_token)]
    pub ip4: Vec<String>,
    /// IPv6 addresses that CML learnt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_SMALL), transform = state_token)]
    pub ip6: Vec<String>,
}

impl Checked for NodeObservation {
    fn check(&self, checking: &mut Checking) {
        let Self {
            node_id,
            label,
            node_definition,
            state,
            cpu_limit,
            ram_mb,
            tags,
            interfaces,
            cpus,
            nominal_cpu_cores,
            image_definition,
            usage,
        } = self;
        checking.text("node_id", node_id, TOKEN);
        checking.text("label", label, LABEL);
        checking.text("node_definition", node_definition, LABEL);
        checking.optional_text("state", state.as_ref(), TOKEN);
        checking.whole("cpu_limit", *cpu_limit, 100);
        checking.whole("ram_mb", *ram_mb, GREATEST_RAM_MB);
        texts(checking, "tags", tags, MOST_SMALL, LABEL);
        checking.each("interfaces", interfaces, MOST_INTERFACES, Checked::check);
        checking.whole("cpus", *cpus, MOST_CPUS);
        checking.amount("nominal_cpu_cores", *nominal_cpu_cores, GREATEST_TOTAL);
        checking.optional_text("image_definition", image_definition.as_ref(), LABEL);
        if let Some(usage) = usage {
            checking.field("usage", |checking| usage.check(checking));
        }
    }
}

impl Checked for NodeUsage {
    fn check(&self, checking: &mut Checking) {
        let Self { cpu_percent, cpu_cores, memory_mb, disk_mb, disk_read_bytes, disk_written_bytes, booted_seconds } =
            self;
        checking.amount("cpu_percent", *cpu_percent, GREATEST_TOTAL);
        checking.amount("cpu_cores", *cpu_cores, GREATEST_TOTAL);
        checking.amount("memory_mb", *memory_mb, GREATEST_TOTAL);
        checking.amount("disk_mb", *disk_mb, GREATEST_TOTAL);
        checking.whole("disk_read_bytes", *disk_read_bytes, GREATEST_COUNT);
        checking.whole("disk_written_bytes", *disk_written_bytes, GREATEST_COUNT);
        checking.whole("booted_seconds", *booted_seconds, GREATEST_COUNT);
    }
}

impl Checked for InterfaceObservation {
    fn check(&self, checking: &mut Checking) {
        // Every slot fits: an observation is kept as JSON, and no column holds it.
        let Self { interface_id, label, slot: _, state, mac_address, ip4, ip6 } = self;
        checking.text("interface_id", interface_id, TOKEN);
        checking.text("label", label, LABEL);
        checking.optional_text("state", state.as_ref(), TOKEN);
        checking.optional_text("mac_address", mac_address.as_ref(), TOKEN);
        texts(checking, "ip4", ip4, MOST_SMALL, TOKEN);
        texts(checking, "ip6", ip6, MOST_SMALL, TOKEN);
    }
}
