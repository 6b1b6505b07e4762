//! Topologies as the controller exports them: YAML of schema 0.0.3 to 0.3.1.
//!
//! Everything that a later version added is optional; what no version has is ignored, as the controller does. Null stands
//! for the default wherever a member is optional: controllers of all versions write it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// More than any controller runs; keeps one import from filling the memory.
const MOST_NODES: usize = 2_000;
const MOST_INTERFACES: usize = 200;
const MOST_LINKS: usize = 20_000;
const MOST_TAGS: usize = 100;
const LONGEST_TAG: usize = 128;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TopologyError {
    #[error("it is no topology: {reason}")]
    Unreadable { reason: String },
    #[error("it has {found} {what}, more than the {most} that are allowed")]
    TooMany { what: &'static str, found: usize, most: usize },
    #[error("the id {id} is used twice for a {what}")]
    Repeated { what: &'static str, id: String },
    #[error("link {link} ends at {end}, which the topology does not have")]
    LooseEnd { link: String, end: String },
    #[error("{reason}")]
    Tags { reason: String },
}

/// A file in a folder of topologies that holds none. The others are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreadableTopology {
    pub path: PathBuf,
    pub reason: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Topology {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) lab: LabSection,
    // Not optional: a text without nodes is no topology. Null is a topology without any.
    #[serde(deserialize_with = "or_default")]
    pub(crate) nodes: Vec<NodeSection>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) links: Vec<LinkSection>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) annotations: Vec<Value>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) smart_annotations: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct LabSection {
    #[serde(default)]
    pub(crate) title: Option<String>,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) notes: Option<String>,
    /// How nodes start one after another, and with the controller; from 2.10. Stored, and exported again.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) node_staging: Map<String, Value>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) autostart: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct NodeSection {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) node_definition: String,
    #[serde(default)]
    pub(crate) image_definition: Option<String>,
    #[serde(default)]
    pub(crate) ram: Option<u64>,
    #[serde(default)]
    pub(crate) cpus: Option<u64>,
    #[serde(default)]
    pub(crate) cpu_limit: Option<u64>,
    #[serde(default)]
    pub(crate) data_volume: Option<u64>,
    #[serde(default)]
    pub(crate) boot_disk_size: Option<u64>,
    /// In which order nodes start, 0 to 10000; from 2.10.
    #[serde(default)]
    pub(crate) priority: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) hide_links: bool,
    /// A string, a list of `{name, content}`, an object or null, by version.
    #[serde(default)]
    pub(crate) configuration: Value,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) parameters: Map<String, Value>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) tags: Vec<String>,
    #[serde(default = "zero", deserialize_with = "or_zero")]
    pub(crate) x: Number,
    #[serde(default = "zero", deserialize_with = "or_zero")]
    pub(crate) y: Number,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) interfaces: Vec<InterfaceSection>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct InterfaceSection {
    pub(crate) id: String,
    pub(crate) label: String,
    #[serde(rename = "type", default = "physical", deserialize_with = "or_physical")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) slot: Option<u64>,
    #[serde(default)]
    pub(crate) mac_address: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct LinkSection {
    pub(crate) id: String,
    pub(crate) n1: String,
    pub(crate) i1: String,
    pub(crate) n2: String,
    pub(crate) i2: String,
    #[serde(default)]
    pub(crate) label: Option<String>,
}

fn physical() -> String {
    "physical".to_owned()
}

fn zero() -> Number {
    Number::from(0)
}

fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
    Option::deserialize(deserializer).map(|number| number.unwrap_or_else(zero))
}

fn or_physical<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(|kind| kind.unwrap_or_else(physical))
}

impl Topology {
    pub(crate) fn parse(yaml: &str) -> Result<Self, TopologyError> {
        let topology: Self =
            serde_norway::from_str(yaml).map_err(|error| TopologyError::Unreadable { reason: error.to_string() })?;
        topology.check()?;
        Ok(topology)
    }

    fn check(&self) -> Result<(), TopologyError> {
        at_most("nodes", self.nodes.len(), MOST_NODES)?;
        at_most("links", self.links.len(), MOST_LINKS)?;
        let mut interfaces: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for node in &self.nodes {
            at_most("interfaces on a node", node.interfaces.len(), MOST_INTERFACES)?;
            check_tags(&node.tags).map_err(|reason| TopologyError::Tags { reason })?;
            let mut labels = BTreeSet::new();
            for interface in &node.interfaces {
                if !labels.insert(interface.id.as_str()) {
                    return Err(TopologyError::Repeated { what: "interface", id: interface.id.clone() });
                }
            }
            if interfaces.insert(&node.id, labels).is_some() {
                return Err(TopologyError::Repeated { what: "node", id: node.id.clone() });
            }
        }
        let mut links = BTreeSet::new();
        for link in &self.links {
            if !links.insert(&link.id) {
                return Err(TopologyError::Repeated { what: "link", id: link.id.clone() });
            }
            for (node, interface) in [(&link.n1, &link.i1), (&link.n2, &link.i2)] {
                if !interfaces.get(node.as_str()).is_some_and(|known| known.contains(interface.as_str())) {
                    let end = format!("{node}/{interface}");
                    return Err(TopologyError::LooseEnd { link: link.id.clone(), end });
                }
            }
        }
        Ok(())
    }
}

/// The whole list of a node's tags, as it replaces the one before.
pub(crate) fn check_tags(tags: &[String]) -> Result<(), String> {
    if tags.len() > MOST_TAGS {
        return Err(format!("a node has {} tags, more than the {MOST_TAGS} that are allowed", tags.len()));
    }
    match tags.iter().find(|tag| tag.is_empty() || tag.chars().count() > LONGEST_TAG) {
        Some(tag) => Err(format!("a tag of {} characters is not between 1 and {LONGEST_TAG}", tag.chars().count())),
        None => Ok(()),
    }
}

fn at_most(what: &'static str, found: usize, most: usize) -> Result<(), TopologyError> {
    if found > most { Err(TopologyError::TooMany { what, found, most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_ENDS: &str = r#"
lab: { title: two ends, version: 0.2.2 }
nodes:
  - { id: n0, label: " ", node_definition: iosv, configuration: "hostname a", tags: null, interfaces: [{ id: i0, label: Gi0/0, slot: 0, type: physical }] }
  - { id: n1, label: "....", node_definition: alpine, configuration: [{ name: node.cfg, content: "b" }], ram: null, interfaces: [{ id: i0, label: eth0, slot: 0 }] }
links: [{ id: l0, n1: n0, i1: i0, n2: n1, i2: i0 }]
"#;

    #[test]
    fn old_and_new_forms_of_a_configuration_are_read() {
        let topology = Topology::parse(TWO_ENDS).unwrap();
        assert!(topology.nodes[0].configuration.is_string());
        assert!(topology.nodes[1].configuration.is_array());
        assert_eq!(topology.nodes[1].label, "....");
        assert!(topology.nodes[0].tags.is_empty());
    }

    #[test]
    fn two_interfaces_of_one_label_and_slot_are_two() {
        let twice = "{ id: i0, label: eth0, slot: 0 }, { id: i1, label: eth0, slot: 0 }";
        let topology = Topology::parse(&TWO_ENDS.replace("{ id: i0, label: eth0, slot: 0 }", twice)).unwrap();
        assert_eq!(topology.nodes[1].interfaces.len(), 2);
    }

    #[test]
    fn a_link_without_an_end_is_named() {
        let error = Topology::parse(&TWO_ENDS.replace("n2: n1", "n2: n7")).unwrap_err();
        assert_eq!(error, TopologyError::LooseEnd { link: "l0".into(), end: "n7/i0".into() });
    }

    #[test]
    fn text_that_is_no_topology_is_refused_with_its_reason() {
        for text in ["", "nodes: 7", "hello", "nodes: [{id: n0}]", "\u{0}"] {
            assert!(matches!(Topology::parse(text), Err(TopologyError::Unreadable { .. })), "{text}");
        }
    }

    #[test]
    fn a_node_id_that_occurs_twice_is_refused() {
        let error = Topology::parse(&TWO_ENDS.replace("id: n1,", "id: n0,")).unwrap_err();
        assert_eq!(error, TopologyError::Repeated { what: "node", id: "n0".into() });
    }
}
