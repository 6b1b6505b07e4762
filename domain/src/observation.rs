//! What was seen of a lab: the wire form that the services know, and new fields beside it.
//!
//! Three quantities, never mixed. *Configured* is what the definition says and is not here. *Nominal* is what CML gave
//! each node when it started. *Used* is what was measured. Absent means unknown, and unknown is not zero.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::invalid::{check_count, check_text, check_text_or_empty};
use crate::port_tags::{ObservedPort, UnreadableTag};
use crate::ports::{PortMap, check_ports};
use crate::raw_json::RawJson;

/// Most nodes of one observation.
pub const MOST_NODES: usize = 2_000;
/// Most interfaces of one node.
pub const MOST_INTERFACES: usize = 512;
/// Most tags of one node, addresses of one interface, failed reads, …
pub const MOST_SMALL: usize = 256;
/// Most bytes of `simulation_stats` as JSON. The largest lab, 2,000 busy nodes with as many links, has some 900 KB.
pub const MOST_STATS_BYTES: usize = 1 << 20;
/// Longest label or name.
const LONGEST_LABEL: usize = 256;
/// Greatest plausible total; anything above is a mistake of the sender.
const GREATEST_TOTAL: f64 = 1e9;

/// One observation of a running lab.
///
/// The totals are the compatible ones: nominal cores, nominal MB, and measured disk MB where the controller tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceObservation {
    /// When the lab was read. Absent in a report means the time at which the report is recorded.
    #[serde(default)]
    pub observed_at: Option<DateTime<Utc>>,
    /// Who observed, e.g. `controller` or `grading`.
    #[serde(default)]
    pub observer: Option<String>,
    /// Nominal cores: `Σ cpus × cpu_limit / 100`. Null is unknown.
    #[serde(default)]
    pub total_cpu_cores: Option<f64>,
    /// Nominal memory in MB. Null is unknown.
    #[serde(default)]
    pub total_memory_mb: Option<f64>,
    /// Measured disk in MB. Null is unknown.
    #[serde(default)]
    pub total_storage_mb: Option<f64>,
    /// The nodes.
    #[serde(default)]
    pub nodes: Vec<NodeObservation>,
    /// Number of nodes. Null is unknown.
    #[serde(default)]
    pub actual_node_count: Option<u32>,
    /// Node definitions in use, each once, sorted.
    #[serde(default)]
    pub node_definitions_used: Vec<String>,
    /// Ports by compatible name. Null: the tags could not be read.
    #[serde(default)]
    pub observed_ports: Option<PortMap>,
    /// CML's `simulation_stats` as it answered: at most 1,048,576 bytes of JSON.
    #[serde(default)]
    #[schemars(extend("x-max-bytes" = 1_048_576))]
    pub simulation_stats: Option<RawJson>,

    /// Nominal resources in total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal: Option<Quantities>,
    /// Used resources in total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// How complete the observation is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Every port with what it leads to; names are those of `observed_ports`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ObservedPort>,
    /// Tags that begin like a port tag and could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable_tags: Vec<UnreadableTag>,
    /// Version of the controller, e.g. `2.9.1+build.7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cml_version: Option<String>,
    /// Hash over node definitions, labels and links: equal for equal topologies, across imports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology_fingerprint: Option<String>,
}

/// Amounts of the three resources and how many nodes' share of each is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantities {
    /// Cores. Null when any node's share is unknown.
    pub cpu_cores: Option<f64>,
    /// MB. Null when any node's share is unknown.
    pub memory_mb: Option<f64>,
    /// MB. Null when any node's share is unknown.
    pub storage_mb: Option<f64>,
    /// Nodes whose CPU is unknown.
    #[serde(default)]
    pub unknown_cpu_nodes: u32,
    /// Nodes whose memory is unknown.
    #[serde(default)]
    pub unknown_memory_nodes: u32,
    /// Nodes whose storage is unknown.
    #[serde(default)]
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
    pub highest_cpu_percent: Option<f64>,
}

/// How much of the lab an observation saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Nodes of the lab. Null is unknown.
    pub nodes_total: Option<u32>,
    /// Nodes in state BOOTED (nodes without a machine count once started). Null is unknown.
    pub nodes_booted: Option<u32>,
    /// What the lab was doing.
    #[serde(default)]
    pub phase: Phase,
    /// Reads that failed, with the reason.
    #[serde(default)]
    pub failed_reads: Vec<FailedRead>,
    /// Entries of CML's answers that could not be read, by place and reason.
    #[serde(default)]
    pub unreadable_entries: Vec<FailedRead>,
}

impl Coverage {
    /// Every read answered, every entry was readable and every node had booted.
    pub fn is_complete(&self) -> bool {
        self.failed_reads.is_empty()
            && self.unreadable_entries.is_empty()
            && self.nodes_total.is_some()
            && self.nodes_total == self.nodes_booted
    }
}

/// What a lab was doing when it was observed. Devices burn CPU while they boot, then calm down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// At least one node had not booted, or only just had.
    Boot,
    /// All nodes had booted a while ago.
    Steady,
    /// The lab was not running.
    Stopped,
    /// Cannot be told.
    #[default]
    Unknown,
}

/// A read of the controller that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedRead {
    /// Which read or entry, e.g. `simulation_stats`.
    pub read: String,
    /// Why, e.g. `timed out after 30 s`.
    pub reason: String,
}

/// One node of a lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeObservation {
    /// CML's id, a UUID.
    pub node_id: String,
    /// The node's label, which may be blank.
    #[serde(default)]
    pub label: String,
    /// E.g. `iosv`.
    #[serde(default)]
    pub node_definition: String,
    /// DEFINED_ON_CORE, QUEUED, STARTED, BOOTED, STOPPED or DISCONNECTED.
    #[serde(default)]
    pub state: Option<String>,
    /// Percentage of each virtual CPU, 20 to 100. Not cores.
    #[serde(default)]
    pub cpu_limit: Option<u32>,
    /// Nominal memory in MB.
    #[serde(default)]
    pub ram_mb: Option<u64>,
    /// The tags as they are.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The interfaces.
    #[serde(default)]
    pub interfaces: Vec<InterfaceObservation>,

    /// Number of virtual CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Nominal cores: `cpus × cpu_limit / 100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal_cpu_cores: Option<f64>,
    /// Image in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    pub cpu_percent: Option<f64>,
    /// Cores in use, by the one rule that turns the percentage into cores.
    #[serde(default)]
    pub cpu_cores: Option<f64>,
    /// MB in use. Controllers before 2.10 do not tell.
    #[serde(default)]
    pub memory_mb: Option<f64>,
    /// MB on disk. Controllers before 2.10 do not tell.
    #[serde(default)]
    pub disk_mb: Option<f64>,
    /// Bytes read from the first disk since the node started.
    #[serde(default)]
    pub disk_read_bytes: Option<u64>,
    /// Bytes written to the first disk since the node started.
    #[serde(default)]
    pub disk_written_bytes: Option<u64>,
    /// Seconds since the node had booted. Null: not booted, or unknown.
    #[serde(default)]
    pub booted_seconds: Option<u64>,
}

/// One interface of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceObservation {
    /// CML's id, a UUID.
    pub interface_id: String,
    /// E.g. `GigabitEthernet0/0`.
    #[serde(default)]
    pub label: String,
    /// Null for loopbacks.
    #[serde(default)]
    pub slot: Option<i32>,
    /// DEFINED_ON_CORE, STARTED or STOPPED.
    #[serde(default)]
    pub state: Option<String>,
    /// The deployed MAC address.
    #[serde(default)]
    pub mac_address: Option<String>,
    /// IPv4 addresses that CML learnt.
    #[serde(default)]
    pub ip4: Vec<String>,
    /// IPv6 addresses that CML learnt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip6: Vec<String>,
}

impl ResourceObservation {
    /// An observation about which nothing is known yet.
    pub fn unknown() -> Self {
        Self {
            observed_at: None,
            observer: None,
            total_cpu_cores: None,
            total_memory_mb: None,
            total_storage_mb: None,
            nodes: Vec::new(),
            actual_node_count: None,
            node_definitions_used: Vec::new(),
            observed_ports: None,
            simulation_stats: None,
            nominal: None,
            usage: None,
            coverage: None,
            ports: Vec::new(),
            unreadable_tags: Vec::new(),
            cml_version: None,
            topology_fingerprint: None,
        }
    }

    /// Whether nothing is known by it. Who observed and when, with which version of the controller, and what could not be
    /// read, say nothing of the lab; that it has no ports, or no nodes, does.
    pub fn says_nothing(&self) -> bool {
        let Self {
            observed_at: _,
            observer: _,
            total_cpu_cores,
            total_memory_mb,
            total_storage_mb,
            nodes,
            actual_node_count,
            node_definitions_used,
            observed_ports,
            simulation_stats,
            nominal,
            usage,
            coverage,
            ports,
            unreadable_tags,
            cml_version: _,
            topology_fingerprint,
        } = self;
        let amounts = |amounts: &Quantities| [amounts.cpu_cores, amounts.memory_mb, amounts.storage_mb];
        let used = usage.as_ref().map(|usage| (amounts(&usage.used), usage.highest_cpu_percent));
        let numbers = [*total_cpu_cores, *total_memory_mb, *total_storage_mb]
            .into_iter()
            .chain(nominal.iter().flat_map(amounts))
            .chain(used.into_iter().flat_map(|(used, highest)| used.into_iter().chain([highest])));
        let of_nodes = coverage.as_ref().is_some_and(|coverage| {
            coverage.nodes_total.is_some() || coverage.nodes_booted.is_some() || coverage.phase != Phase::Unknown
        });
        numbers.flatten().next().is_none()
            && !of_nodes
            && nodes.is_empty()
            && actual_node_count.is_none()
            && node_definitions_used.is_empty()
            && observed_ports.is_none()
            && simulation_stats.is_none()
            && ports.is_empty()
            && unreadable_tags.is_empty()
            && topology_fingerprint.is_none()
    }

    /// The number of nodes: the stated one, else that of the listed nodes, else unknown.
    pub fn node_count(&self) -> Option<u32> {
        self.actual_node_count
            .or_else(|| (!self.nodes.is_empty()).then(|| u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)))
    }

    /// Whether the observation saw everything. `None`: its sender did not say.
    pub fn is_complete(&self) -> Option<bool> {
        self.coverage.as_ref().map(Coverage::is_complete)
    }

    /// Checks bounds and plausibility.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field that is negative, absurd, too long or too many.
    pub fn check(&self) -> Result<(), Invalid> {
        check_count("nodes", self.nodes.len(), MOST_NODES)?;
        check_count("node_definitions_used", self.node_definitions_used.len(), MOST_NODES)?;
        if let Some(observer) = &self.observer {
            check_text("observer", observer, 128)?;
        }
        check_total("total_cpu_cores", self.total_cpu_cores)?;
        check_total("total_memory_mb", self.total_memory_mb)?;
        check_total("total_storage_mb", self.total_storage_mb)?;
        if let Some(count) = self.actual_node_count
            && count as usize > MOST_NODES
        {
            return Err(Invalid::new("actual_node_count", format!("is {count}"), format!("at most {MOST_NODES}")));
        }
        for (index, name) in self.node_definitions_used.iter().enumerate() {
            check_text_or_empty(&format!("node_definitions_used[{index}]"), name, LONGEST_LABEL)?;
        }
        if let Some(ports) = &self.observed_ports {
            check_ports("observed_ports", ports)?;
        }
        for (index, node) in self.nodes.iter().enumerate() {
            node.check().map_err(|invalid| invalid.within(&format!("nodes[{index}]")))?;
        }
        if let Some(stats) = &self.simulation_stats {
            check_raw("simulation_stats", stats, MOST_STATS_BYTES)?;
        }
        if let Some(nominal) = &self.nominal {
            nominal.check("nominal")?;
        }
        if let Some(usage) = &self.usage {
            usage.used.check("usage")?;
            check_total("usage.highest_cpu_percent", usage.highest_cpu_percent)?;
        }
        check_count("ports", self.ports.len(), crate::ports::MOST_PORTS)?;
        for (index, port) in self.ports.iter().enumerate() {
            check_text_or_empty(&format!("ports[{index}].node_id"), &port.node_id, 64)?;
            check_text_or_empty(&format!("ports[{index}].node_label"), &port.node_label, LONGEST_LABEL)?;
        }
        check_count("unreadable_tags", self.unreadable_tags.len(), MOST_NODES)?;
        for (index, tag) in self.unreadable_tags.iter().enumerate() {
            check_text_or_empty(&format!("unreadable_tags[{index}].tag"), &tag.tag, LONGEST_LABEL)?;
            check_text_or_empty(&format!("unreadable_tags[{index}].reason"), &tag.reason, 512)?;
        }
        if let Some(coverage) = &self.coverage {
            for (name, list) in
                [("failed_reads", &coverage.failed_reads), ("unreadable_entries", &coverage.unreadable_entries)]
            {
                check_count(&format!("coverage.{name}"), list.len(), MOST_SMALL)?;
                for (index, failed) in list.iter().enumerate() {
                    check_text_or_empty(&format!("coverage.{name}[{index}].read"), &failed.read, 512)?;
                    check_text_or_empty(&format!("coverage.{name}[{index}].reason"), &failed.reason, 512)?;
                }
            }
        }
        for (field, text) in [("cml_version", &self.cml_version), ("topology_fingerprint", &self.topology_fingerprint)]
        {
            if let Some(text) = text {
                check_text(field, text, 128)?;
            }
        }
        Ok(())
    }
}

impl NodeObservation {
    fn check(&self) -> Result<(), Invalid> {
        check_text("node_id", &self.node_id, 64)?;
        check_text_or_empty("label", &self.label, LONGEST_LABEL)?;
        check_text_or_empty("node_definition", &self.node_definition, LONGEST_LABEL)?;
        if let Some(state) = &self.state {
            check_text("state", state, 64)?;
        }
        if let Some(image) = &self.image_definition {
            check_text_or_empty("image_definition", image, LONGEST_LABEL)?;
        }
        check_whole("cpu_limit", self.cpu_limit.map(u64::from), 100)?;
        check_whole("cpus", self.cpus.map(u64::from), 1_024)?;
        check_whole("ram_mb", self.ram_mb, 100_000_000)?;
        check_total("nominal_cpu_cores", self.nominal_cpu_cores)?;
        check_count("tags", self.tags.len(), MOST_SMALL)?;
        for (index, tag) in self.tags.iter().enumerate() {
            check_text_or_empty(&format!("tags[{index}]"), tag, LONGEST_LABEL)?;
        }
        if let Some(usage) = &self.usage {
            check_total("usage.cpu_percent", usage.cpu_percent)?;
            check_total("usage.cpu_cores", usage.cpu_cores)?;
            check_total("usage.memory_mb", usage.memory_mb)?;
            check_total("usage.disk_mb", usage.disk_mb)?;
        }
        check_count("interfaces", self.interfaces.len(), MOST_INTERFACES)?;
        for (index, interface) in self.interfaces.iter().enumerate() {
            interface.check().map_err(|invalid| invalid.within(&format!("interfaces[{index}]")))?;
        }
        Ok(())
    }
}

impl InterfaceObservation {
    fn check(&self) -> Result<(), Invalid> {
        check_text("interface_id", &self.interface_id, 64)?;
        check_text_or_empty("label", &self.label, LONGEST_LABEL)?;
        if let Some(state) = &self.state {
            check_text("state", state, 64)?;
        }
        if let Some(mac) = &self.mac_address {
            check_text("mac_address", mac, 64)?;
        }
        for (field, addresses) in [("ip4", &self.ip4), ("ip6", &self.ip6)] {
            check_count(field, addresses.len(), MOST_SMALL)?;
            for (index, address) in addresses.iter().enumerate() {
                check_text(&format!("{field}[{index}]"), address, 64)?;
            }
        }
        Ok(())
    }
}

impl Quantities {
    fn check(&self, field: &str) -> Result<(), Invalid> {
        check_total(&format!("{field}.cpu_cores"), self.cpu_cores)?;
        check_total(&format!("{field}.memory_mb"), self.memory_mb)?;
        check_total(&format!("{field}.storage_mb"), self.storage_mb)
    }
}

fn check_total(field: &str, value: Option<f64>) -> Result<(), Invalid> {
    match value {
        Some(value) if !value.is_finite() || !(0.0..=GREATEST_TOTAL).contains(&value) => Err(Invalid::new(
            field,
            format!("is {value}"),
            format!("a number from 0 to {GREATEST_TOTAL}, or null where unknown"),
        )),
        _ => Ok(()),
    }
}

fn check_whole(field: &str, value: Option<u64>, most: u64) -> Result<(), Invalid> {
    match value {
        Some(value) if value > most => Err(Invalid::new(
            field,
            format!("is {value}"),
            format!("a whole number from 0 to {most}, or null where unknown"),
        )),
        _ => Ok(()),
    }
}

/// Checks JSON that is passed on as it is: it is bounded in bytes, and Postgres' json cannot hold NUL characters.
fn check_raw(field: &str, value: &RawJson, most: usize) -> Result<(), Invalid> {
    if value.bytes() > most {
        return Err(Invalid::new(
            field,
            format!("has {} bytes as JSON", value.bytes()),
            format!("at most {most} bytes of JSON"),
        ));
    }
    if value.holds_nul() {
        return Err(Invalid::new(field, "contains a NUL character", "text without NUL characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::port_tags::LabPorts;

    fn amount() -> impl Strategy<Value = Option<f64>> {
        option::of((0_u32..4_000_000).prop_map(|quarters| f64::from(quarters) / 4.0))
    }

    prop_compose! {
        fn interface()(id in "[a-f0-9-]{1,36}", label in ".{0,12}", slot in option::of(0..64_i32),
                       mac in option::of("52:54:00(:[0-9a-f]{2}){3}"), ip4 in vec("10(\\.[0-9]){3}", 0..3)) -> InterfaceObservation {
            InterfaceObservation { interface_id: id, label, slot, state: None, mac_address: mac, ip4, ip6: Vec::new() }
        }
    }

    prop_compose! {
        fn node()(id in "[a-f0-9-]{1,36}", label in ".{0,12}", definition in "[a-z0-9]{1,12}", cpus in option::of(0..64_u32),
                  limit in option::of(20..=100_u32), ram in option::of(0..1_000_000_u64), cores in amount(), used in option::of(amount()),
                  tags in vec("(pat:|serial:|vnc:|ssh:|VLAN)[0-9]{1,4}(:[0-9]{1,2})?", 0..4), interfaces in vec(interface(), 0..4)) -> NodeObservation {
            NodeObservation {
                node_id: id, label, node_definition: definition, state: Some("BOOTED".into()), cpu_limit: limit, ram_mb: ram, tags,
                interfaces, cpus, nominal_cpu_cores: cores, image_definition: None,
                usage: used.map(|memory_mb| NodeUsage { memory_mb, ..NodeUsage::default() }),
            }
        }
    }

    proptest! {
        #[test]
        fn an_observation_is_read_back_as_it_was_written(nodes in vec(node(), 0..6), cores in amount(), memory in amount(), storage in amount()) {
            let ports = LabPorts::read(nodes.iter().map(|node| (node.node_id.as_str(), node.label.as_str(), node.tags.as_slice())));
            let observation = ResourceObservation {
                total_cpu_cores: cores,
                total_memory_mb: memory,
                total_storage_mb: storage,
                observed_ports: Some(ports.by_name()),
                ports: ports.ports,
                unreadable_tags: ports.unreadable,
                usage: Some(Usage { used: Quantities { cpu_cores: cores, ..Quantities::default() }, highest_cpu_percent: memory }),
                coverage: Some(Coverage { nodes_total: Some(6), ..Coverage::default() }),
                nodes,
                ..ResourceObservation::unknown()
            };
            let written = serde_json::to_string(&observation).unwrap();
            prop_assert_eq!(serde_json::from_str::<ResourceObservation>(&written).unwrap(), observation);
        }
    }

    #[test]
    fn the_form_that_services_know_is_read_and_absence_stays_absence() {
        let observation: ResourceObservation = serde_json::from_value(json!({
            "observed_at": "2026-03-01T10:00:00Z", "observer": "grading",
            "total_cpu_cores": 2, "total_memory_mb": 1536,
            "nodes": [{"node_id": "n-1", "label": " ", "node_definition": "iosv", "state": "BOOTED", "cpu_limit": 100,
                       "ram_mb": 768, "tags": ["serial:5041"],
                       "interfaces": [{"interface_id": "i-1", "label": "Loopback0", "slot": null, "state": "STARTED",
                                       "mac_address": null, "ip4": []}]}],
            "node_definitions_used": ["iosv"], "observed_ports": {"PC_serial": 5041}, "simulation_stats": {"nodes": {}},
            "something_newer": true
        }))
        .unwrap();
        observation.check().unwrap();
        assert_eq!(observation.total_cpu_cores, Some(2.0));
        assert_eq!(observation.total_storage_mb, None);
        assert_eq!(observation.node_count(), Some(1));
        let written = serde_json::to_value(&observation).unwrap();
        assert_eq!(written["total_storage_mb"], Value::Null);
        assert_eq!(written["nodes"][0]["interfaces"][0]["slot"], Value::Null);
        assert_eq!(serde_json::from_value::<ResourceObservation>(written).unwrap(), observation);
    }

    #[test]
    fn nothing_is_required_and_nothing_becomes_zero() {
        let empty: ResourceObservation = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, ResourceObservation::unknown());
        assert_eq!(empty.node_count(), None);
        assert_eq!(empty.is_complete(), None);
    }

    #[test]
    fn an_observation_says_nothing_unless_something_of_the_lab_is_known() {
        let says_nothing = |value: Value| serde_json::from_value::<ResourceObservation>(value).unwrap().says_nothing();
        for nothing in [
            json!({}),
            json!({"observed_at": "2026-03-01T10:00:00Z", "observer": "grading", "cml_version": "2.9"}),
            json!({"total_cpu_cores": null, "nodes": [], "ports": [], "observed_ports": null}),
            json!({"usage": {}, "nominal": {"unknown_cpu_nodes": 3}, "coverage": {"failed_reads": [{"read": "nodes", "reason": "?"}]}}),
        ] {
            assert!(says_nothing(nothing.clone()), "{nothing}");
        }
        for something in [
            json!({"total_storage_mb": 0}),
            json!({"nodes": [{"node_id": "n"}]}),
            json!({"actual_node_count": 0}),
            json!({"observed_ports": {}}),
            json!({"usage": {"memory_mb": 1}}),
            json!({"usage": {"highest_cpu_percent": 1}}),
            json!({"nominal": {"cpu_cores": 1}}),
            json!({"coverage": {"phase": "boot"}}),
            json!({"simulation_stats": {}}),
            json!({"unreadable_tags": [{"node_id": "n", "tag": "pat:", "reason": "?"}]}),
        ] {
            assert!(!says_nothing(something.clone()), "{something}");
        }
    }

    #[test]
    fn absurd_values_are_refused_by_name() {
        let check = |value: Value| {
            serde_json::from_value::<ResourceObservation>(value).unwrap().check().map_err(|invalid| invalid.field)
        };
        assert_eq!(check(json!({"total_cpu_cores": -1})), Err("total_cpu_cores".into()));
        assert_eq!(check(json!({"total_memory_mb": 1e300})), Err("total_memory_mb".into()));
        assert_eq!(check(json!({"nodes": [{"node_id": ""}]})), Err("nodes[0].node_id".into()));
        assert_eq!(check(json!({"nodes": [{"node_id": "n", "cpu_limit": 101}]})), Err("nodes[0].cpu_limit".into()));
        assert_eq!(
            check(json!({"nodes": [{"node_id": "n", "interfaces": [{"interface_id": "i", "label": "\u{0}"}]}]})),
            Err("nodes[0].interfaces[0].label".into())
        );
        assert_eq!(check(json!({"simulation_stats": {"a": ["\u{0}"]}})), Err("simulation_stats".into()));
        assert_eq!(check(json!({"simulation_stats": "x".repeat(MOST_STATS_BYTES - 2)})), Ok(()));
        assert_eq!(
            check(json!({"simulation_stats": {"a": "x".repeat(MOST_STATS_BYTES)}})),
            Err("simulation_stats".into())
        );
        let nodes: Vec<Value> = (0..10_000).map(|index| json!({"node_id": format!("n{index}")})).collect();
        assert_eq!(check(json!({"nodes": nodes})), Err("nodes".into()));
    }

    #[test]
    fn complete_means_every_read_and_every_node() {
        let mut coverage = Coverage { nodes_total: Some(2), nodes_booted: Some(2), ..Coverage::default() };
        assert!(coverage.is_complete());
        coverage.nodes_booted = Some(1);
        assert!(!coverage.is_complete());
        coverage.nodes_booted = Some(2);
        coverage.failed_reads.push(FailedRead { read: "topology".into(), reason: "timed out".into() });
        assert!(!coverage.is_complete());
        assert!(!Coverage::default().is_complete(), "an unknown number of nodes is not complete");
    }
}
