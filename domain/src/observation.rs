//! What was seen of a lab: the wire form that the services know, and new fields beside it.
//!
//! Three quantities, never mixed. *Configured* is what the definition says and is not here. *Nominal* is what CML gave
//! each node when it started. *Used* is what was measured. Absent means unknown, and unknown is not zero.

mod coverage;
mod node;
mod profile;
mod usage;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

pub use self::coverage::{Coverage, FailedRead, Phase};
pub use self::node::{Count, CpuLimit, Cpus, InterfaceObservation, NodeObservation, NodeUsage, RamMb};
pub use self::profile::{
    Gap, GapReason, IntervalSeconds, MOST_GAPS, NodeProfile, PhaseProfile, Profile, Spread, UncheckedProfile,
};
pub use self::usage::{Quantities, Usage};
use crate::Invalid;
use crate::actor::Actor;
use crate::list::List;
use crate::number::{Amount, Whole};
use crate::port_tags::{ObservedPort, UnreadableTag};
use crate::ports::{MOST_PORTS, PortMap};
use crate::raw_json::RawJson;
use crate::text::{LabTitle, Label, Name};
use crate::time::BoundedTime;

/// Most nodes of one observation.
pub const MOST_NODES: usize = 2_000;
/// Most interfaces of one node.
pub const MOST_INTERFACES: usize = 512;
/// Most tags of one node, addresses of one interface, failed reads, …
pub const MOST_SMALL: usize = 256;

/// A number of nodes.
pub type NodeCount = Whole<u32, 0, { MOST_NODES as u64 }>;

/// One observation of a running lab.
///
/// The totals are the compatible ones: nominal cores, nominal MB, and measured disk MB where the controller tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceObservation {
    /// When the lab was read: from 2000 to 2199, and at most 5 minutes ahead of the log's clock. Absent in a report means
    /// the time at which the report is recorded.
    #[serde(default)]
    pub observed_at: Option<BoundedTime>,
    /// Who observed, e.g. `controller` or `grading`.
    #[serde(default)]
    pub observer: Option<Actor>,
    /// Nominal cores: `Σ cpus × cpu_limit / 100`. Null is unknown.
    #[serde(default)]
    pub total_cpu_cores: Option<Amount>,
    /// Nominal memory in MB. Null is unknown.
    #[serde(default)]
    pub total_memory_mb: Option<Amount>,
    /// Measured disk in MB. Null is unknown.
    #[serde(default)]
    pub total_storage_mb: Option<Amount>,
    /// The nodes.
    #[serde(default)]
    pub nodes: List<NodeObservation, MOST_NODES>,
    /// Number of nodes. Null is unknown.
    #[serde(default)]
    pub actual_node_count: Option<NodeCount>,
    /// Node definitions in use, each once, sorted.
    #[serde(default)]
    pub node_definitions_used: List<Label, MOST_NODES>,
    /// Ports by compatible name. Null: the tags could not be read.
    #[serde(default)]
    pub observed_ports: Option<PortMap>,
    /// CML's `simulation_stats` as it answered: at most 1,048,576 bytes of JSON.
    #[serde(default)]
    #[schemars(extend("x-max-bytes" = SimulationStats::MOST_BYTES))]
    pub simulation_stats: Option<SimulationStats>,

    /// Nominal resources in total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal: Option<Quantities>,
    /// Used resources in total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What the lab used while it was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Box<Profile>>,
    /// How complete the observation is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Every port with what it leads to; names are those of `observed_ports`.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub ports: List<ObservedPort, MOST_PORTS>,
    /// Tags that begin like a port tag and could not be read.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub unreadable_tags: List<UnreadableTag, MOST_NODES>,
    /// Version of the controller, e.g. `2.9.1+build.7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cml_version: Option<Name>,
    /// Hash over node definitions, labels and links: equal for equal topologies, across imports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology_fingerprint: Option<Name>,
    /// What the lab is called in CML. Null or absent is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab_title: Option<LabTitle>,
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
            nodes: List::default(),
            actual_node_count: None,
            node_definitions_used: List::default(),
            observed_ports: None,
            simulation_stats: None,
            nominal: None,
            usage: None,
            profile: None,
            coverage: None,
            ports: List::default(),
            unreadable_tags: List::default(),
            cml_version: None,
            topology_fingerprint: None,
            lab_title: None,
        }
    }

    /// Whether nothing is known by it. Who observed and when, with which version of the controller, what the lab is called
    /// and what could not be read, say nothing of it; that it has no ports, or no nodes, does.
    pub(crate) fn says_nothing(&self) -> bool {
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
            profile,
            coverage,
            ports,
            unreadable_tags,
            cml_version: _,
            topology_fingerprint,
            lab_title: _,
        } = self;
        [total_cpu_cores, total_memory_mb, total_storage_mb].into_iter().all(Option::is_none)
            && nominal.is_none_or(|nominal| nominal.says_nothing())
            && usage.is_none_or(|usage| usage.says_nothing())
            && profile.as_ref().is_none_or(|profile| profile.says_nothing())
            && coverage.as_ref().is_none_or(Coverage::says_nothing)
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
        let listed = || u32::try_from(self.nodes.len()).ok().filter(|count| *count > 0);
        self.actual_node_count.map(NodeCount::get).or_else(listed)
    }

    /// Whether the observation saw everything. `None`: its sender did not say.
    pub fn is_complete(&self) -> Option<bool> {
        self.coverage.as_ref().map(Coverage::is_complete)
    }
}

/// CML's `simulation_stats` as it answered.
///
/// Invariant: at most [`SimulationStats::MOST_BYTES`] bytes of JSON, in which no text holds the character U+0000, which
/// Postgres' json cannot give back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SimulationStats(RawJson);

impl SimulationStats {
    /// Most bytes of JSON. The largest lab, 2,000 busy nodes with as many links, has some 900 KB.
    pub const MOST_BYTES: usize = 1 << 20;

    /// The JSON.
    pub fn json(&self) -> &RawJson {
        &self.0
    }
}

impl TryFrom<RawJson> for SimulationStats {
    type Error = Invalid;
    fn try_from(json: RawJson) -> Result<Self, Invalid> {
        if json.bytes() > Self::MOST_BYTES {
            let problem = format!("has {} bytes as JSON", json.bytes());
            return Err(Invalid::new("", problem, format!("at most {} bytes of JSON", Self::MOST_BYTES)));
        }
        if json.holds_nul() {
            return Err(Invalid::new("", "contains the character U+0000", "text without NUL characters"));
        }
        Ok(Self(json))
    }
}

impl<'de> Deserialize<'de> for SimulationStats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(RawJson::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for SimulationStats {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SimulationStats".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        RawJson::json_schema(generator)
    }
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
        fn interface()(id in "[a-f0-9-]{1,36}", label in "[^\\p{C}\u{2028}\u{2029}]{0,12}", slot in option::of(0..64_i32),
                       mac in option::of("52:54:00(:[0-9a-f]{2}){3}"), ip4 in vec("10(\\.[0-9]){3}", 0..3)) -> Value {
            json!({"interface_id": id, "label": label, "slot": slot, "state": null, "mac_address": mac, "ip4": ip4})
        }
    }

    prop_compose! {
        fn node()(id in "[a-f0-9-]{1,36}", label in "[^\\p{C}\u{2028}\u{2029}]{0,12}", definition in "[a-z0-9]{1,12}",
                  cpus in option::of(0..64_u32), limit in option::of(20..=100_u32), ram in option::of(0..1_000_000_u64),
                  cores in amount(), used in option::of(amount()),
                  tags in vec("(pat:|serial:|vnc:|ssh:|VLAN)[0-9]{1,4}(:[0-9]{1,2})?", 0..4), interfaces in vec(interface(), 0..4)) -> NodeObservation {
            let usage = used.map(|memory_mb| json!({"memory_mb": memory_mb}));
            serde_json::from_value(json!({
                "node_id": id, "label": label, "node_definition": definition, "state": "BOOTED", "cpu_limit": limit, "ram_mb": ram,
                "tags": tags, "interfaces": interfaces, "cpus": cpus, "nominal_cpu_cores": cores, "usage": usage,
            })).unwrap()
        }
    }

    proptest! {
        #[test]
        fn an_observation_is_read_back_as_it_was_written(nodes in vec(node(), 0..6), cores in amount(), memory in amount(), storage in amount()) {
            let ports = LabPorts::read(nodes.iter().map(|node| (node.node_id.as_str(), node.label.as_str(), &node.tags[..])));
            let known = |amount: Option<f64>| amount.map(|amount| Amount::new(amount).unwrap());
            let observation = ResourceObservation {
                total_cpu_cores: known(cores),
                total_memory_mb: known(memory),
                total_storage_mb: known(storage),
                observed_ports: Some(ports.by_name().unwrap()),
                ports: ports.ports.try_into().unwrap(),
                unreadable_tags: ports.unreadable.try_into().unwrap(),
                usage: Some(Usage { used: Quantities { cpu_cores: known(cores), ..Quantities::default() }, highest_cpu_percent: known(memory) }),
                coverage: Some(Coverage { nodes_total: Some(NodeCount::new(6).unwrap()), ..Coverage::default() }),
                nodes: nodes.try_into().unwrap(),
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
        assert_eq!(observation.total_cpu_cores.map(Amount::get), Some(2.0));
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
            json!({"observed_at": "2026-03-01T10:00:00Z", "observer": "grading", "cml_version": "2.9", "lab_title": "OSPF"}),
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
            let read = serde_path_to_error::deserialize::<_, ResourceObservation>(value);
            read.map(drop).map_err(|error| error.path().to_string())
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
        assert_eq!(check(json!({"simulation_stats": "x".repeat(SimulationStats::MOST_BYTES - 2)})), Ok(()));
        assert_eq!(
            check(json!({"simulation_stats": {"a": "x".repeat(SimulationStats::MOST_BYTES)}})),
            Err("simulation_stats".into())
        );
        let nodes: Vec<Value> = (0..10_000).map(|index| json!({"node_id": format!("n{index}")})).collect();
        assert_eq!(check(json!({"nodes": nodes})), Err("nodes".into()));
    }

    #[test]
    fn complete_means_every_read_and_every_node() {
        let count = |count: u32| Some(NodeCount::new(count).unwrap());
        let mut coverage = Coverage { nodes_total: count(2), nodes_booted: count(2), ..Coverage::default() };
        assert!(coverage.is_complete());
        coverage.nodes_booted = count(1);
        assert!(!coverage.is_complete());
        coverage.nodes_booted = count(2);
        coverage.failed_reads = List::first([FailedRead::new("topology", "timed out")]);
        assert!(!coverage.is_complete());
        assert!(!Coverage::default().is_complete(), "an unknown number of nodes is not complete");
    }
}
