//! What was seen of a lab: the wire form that the services know, and new fields beside it.
//!
//! Three quantities, never mixed. *Configured* is what the definition says and is not here. *Nominal* is what CML gave
//! each node when it started. *Used* is what was measured. Absent means unknown, and unknown is not zero.

mod coverage;
mod node;
mod usage;

use chrono::{DateTime, Utc};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

pub use self::coverage::{Coverage, FailedRead, Phase};
pub use self::node::{InterfaceObservation, NodeObservation, NodeUsage};
pub use self::usage::{Quantities, Usage};
use crate::Invalid;
use crate::actor::Actor;
use crate::invalid::{Checked, Checking};
use crate::port_tags::{ObservedPort, PortIntent, PortTag, UnreadableTag};
use crate::ports::{MOST_PORTS, PortMap};
use crate::raw_json::RawJson;
use crate::text::{self, EXPLANATION, LABEL, NAME, TOKEN};
use crate::time;

/// Most nodes of one observation.
pub const MOST_NODES: usize = 2_000;
/// Most interfaces of one node.
pub const MOST_INTERFACES: usize = 512;
/// Most tags of one node, addresses of one interface, failed reads, …
pub const MOST_SMALL: usize = 256;
/// Most bytes of `simulation_stats` as JSON. The largest lab, 2,000 busy nodes with as many links, has some 900 KB.
pub const MOST_STATS_BYTES: usize = 1 << 20;
/// Greatest plausible total; anything above is a mistake of the sender.
pub const GREATEST_TOTAL: f64 = 1e9;
/// Greatest count of bytes or seconds: every reader of JSON has it exactly, and a column of Postgres holds it.
pub const GREATEST_COUNT: u64 = 9_007_199_254_740_991;
fn state_label(schema: &mut Schema) {
    LABEL.state(schema);
}

fn state_token(schema: &mut Schema) {
    TOKEN.state(schema);
}

fn state_name(schema: &mut Schema) {
    NAME.state(schema);
}

fn state_actor(schema: &mut Schema) {
    Actor::RULE.state(schema);
}

fn state_explanation(schema: &mut Schema) {
    EXPLANATION.state(schema);
}

/// One observation of a running lab.
///
/// The totals are the compatible ones: nominal cores, nominal MB, and measured disk MB where the controller tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceObservation {
    /// When the lab was read: from 2000 to 2199, and at most 5 minutes ahead of the log's clock. Absent in a report means
    /// the time at which the report is recorded.
    #[serde(default, deserialize_with = "time::deserialize_option")]
    pub observed_at: Option<DateTime<Utc>>,
    /// Who observed, e.g. `controller` or `grading`.
    #[serde(default)]
    #[schemars(transform = state_actor)]
    pub observer: Option<String>,
    /// Nominal cores: `Σ cpus × cpu_limit / 100`. Null is unknown.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub total_cpu_cores: Option<f64>,
    /// Nominal memory in MB. Null is unknown.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub total_memory_mb: Option<f64>,
    /// Measured disk in MB. Null is unknown.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = GREATEST_TOTAL))]
    pub total_storage_mb: Option<f64>,
    /// The nodes.
    #[serde(default)]
    #[schemars(length(max = MOST_NODES))]
    pub nodes: Vec<NodeObservation>,
    /// Number of nodes. Null is unknown.
    #[serde(default)]
    #[schemars(range(min = 0, max = MOST_NODES))]
    pub actual_node_count: Option<u32>,
    /// Node definitions in use, each once, sorted.
    #[serde(default)]
    #[schemars(length(max = MOST_NODES), transform = state_label)]
    pub node_definitions_used: Vec<String>,
    /// Ports by compatible name. Null: the tags could not be read.
    #[serde(default)]
    #[schemars(transform = crate::ports::state_ports)]
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
    #[schemars(length(max = MOST_PORTS))]
    pub ports: Vec<ObservedPort>,
    /// Tags that begin like a port tag and could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_NODES))]
    pub unreadable_tags: Vec<UnreadableTag>,
    /// Version of the controller, e.g. `2.9.1+build.7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = state_name)]
    pub cml_version: Option<String>,
    /// Hash over node definitions, labels and links: equal for equal topologies, across imports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = state_name)]
    pub topology_fingerprint: Option<String>,
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
}

impl Checked for ResourceObservation {
    fn check(&self, checking: &mut Checking) {
        let Self {
            observed_at,
            observer,
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
            cml_version,
            topology_fingerprint,
        } = self;
        if let Some(observed_at) = observed_at {
            checking.field("observed_at", |checking| checking.note(time::check(*observed_at)));
        }
        checking.optional_text("observer", observer.as_ref(), Actor::RULE);
        checking.amount("total_cpu_cores", *total_cpu_cores, GREATEST_TOTAL);
        checking.amount("total_memory_mb", *total_memory_mb, GREATEST_TOTAL);
        checking.amount("total_storage_mb", *total_storage_mb, GREATEST_TOTAL);
        checking.each("nodes", nodes, MOST_NODES, Checked::check);
        checking.whole("actual_node_count", *actual_node_count, MOST_NODES as u64);
        texts(checking, "node_definitions_used", node_definitions_used, MOST_NODES, LABEL);
        if let Some(ports) = observed_ports {
            checking.field("observed_ports", |checking| {
                checking.count(ports.len(), MOST_PORTS);
            });
        }
        if let Some(stats) = simulation_stats {
            checking.field("simulation_stats", |checking| checking.note(check_raw(stats, MOST_STATS_BYTES)));
        }
        if let Some(nominal) = nominal {
            checking.field("nominal", |checking| nominal.check(checking));
        }
        if let Some(Usage { used, highest_cpu_percent }) = usage {
            checking.field("usage", |checking| {
                used.check(checking);
                checking.amount("highest_cpu_percent", *highest_cpu_percent, GREATEST_TOTAL);
            });
        }
        if let Some(coverage) = coverage {
            checking.field("coverage", |checking| coverage.check(checking));
        }
        checking.each("ports", ports, MOST_PORTS, Checked::check);
        checking.each("unreadable_tags", unreadable_tags, MOST_NODES, Checked::check);
        checking.optional_text("cml_version", cml_version.as_ref(), NAME);
        checking.optional_text("topology_fingerprint", topology_fingerprint.as_ref(), NAME);
    }
}

impl Checked for ObservedPort {
    fn check(&self, checking: &mut Checking) {
        let Self { name: _, node_id, node_label, tag, l4_protocol: _, honoured: _ } = self;
        checking.text("node_id", node_id, text::Rule::line(0, 64));
        checking.text("node_label", node_label, LABEL);
        let PortTag { outside: _, intent } = tag;
        match intent {
            PortIntent::Named { intent } => checking.text("intent", intent, TOKEN),
            PortIntent::Forward { .. } | PortIntent::Serial { .. } | PortIntent::Vnc => {}
        }
    }
}

impl Checked for UnreadableTag {
    fn check(&self, checking: &mut Checking) {
        let Self { node_id, tag, reason } = self;
        checking.text("node_id", node_id, text::Rule::line(0, 64));
        checking.text("tag", tag, LABEL);
        checking.text("reason", reason, EXPLANATION);
    }
}

fn texts(checking: &mut Checking, name: &str, texts: &[String], most: usize, rule: text::Rule) {
    checking.each(name, texts, most, |text, checking| checking.note(rule.check(text)));
}

/// Checks JSON that is passed on as it is: it is bounded in bytes, and Postgres' json cannot hold NUL characters.
fn check_raw(value: &RawJson, most: usize) -> Result<(), Invalid> {
    if value.bytes() > most {
        let problem = format!("has {} bytes as JSON", value.bytes());
        return Err(Invalid::new("", problem, format!("at most {most} bytes of JSON")));
    }
    if value.holds_nul() {
        return Err(Invalid::new("", "contains the character U+0000", "text without NUL characters"));
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
        observation.checked().unwrap();
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
            serde_json::from_value::<ResourceObservation>(value).unwrap().checked().map_err(|invalid| invalid.field)
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
