//! What CML's answers say, read defensively.
//!
//! Anything may be null, absent or of another type. Unknown members are ignored. An entry that cannot be read is not
//! dropped in silence: the [`Reading`] names it, and says how many entries are missing altogether.

mod fields;
#[cfg(test)]
mod nulls;
mod system;

use std::collections::BTreeMap;

use domain::nominal::StatedResources;
use domain::observation::{Count, FailedRead, MOST_SMALL};
use serde_json::{Map, Value};

use self::fields::{
    LONGEST_TEXT, LONGEST_TOKEN, Notes, amount, clean, id, kind, list, map, not_a, optional_token, slot, text, token,
    tokens, whole, without_nul,
};
pub use self::system::{LaunchQueue, WorkerStatistics, launch_queue, system_statistics};
use super::error::CmlError;

/// A response, and which parts of it could not be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading<T> {
    /// What could be read.
    pub value: T,
    /// Places that could not, e.g. `nodes[3].label`, with the reason; at most a hundred and a line that counts the rest.
    pub unreadable: Vec<FailedRead>,
    /// Entries (of a topology: nodes) left out altogether, because not even their id could be read.
    pub left_out: u32,
}

/// A node as `GET /labs/{id}/nodes` and, with less, `GET /labs/{id}/topology` tell it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// UUID.
    pub id: String,
    /// May be blank.
    pub label: String,
    /// E.g. `iosv`; empty where unknown.
    pub node_definition: String,
    /// The image in use, else the one asked for.
    pub image_definition: Option<String>,
    /// DEFINED_ON_CORE, QUEUED, STARTING (from 2.10), STARTED, BOOTED, STOPPED, DISCONNECTED.
    pub state: Option<String>,
    /// The tags as they are; `None` when they could not be read completely.
    pub tags: Option<Vec<String>>,
    /// `operational`: what the node got.
    pub operational: StatedResources,
    /// The root values: what was asked for, nearly always null.
    pub overrides: StatedResources,
    /// The interfaces; only a topology has them.
    pub interfaces: Vec<Interface>,
}

/// An interface in the topology.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Interface {
    /// UUID.
    pub id: String,
    /// E.g. `GigabitEthernet0/0`.
    pub label: String,
    /// `None` for loopbacks.
    pub slot: Option<i32>,
    /// The deployed MAC, where the answer has an `operational` part. The root value is only what was configured.
    pub deployed_mac: Option<String>,
}

/// Nodes with their interfaces, and links.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Topology {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Pairs of interface ids.
    pub links: Vec<(String, String)>,
    /// What the lab is called. `None`: not told, or no text.
    pub title: Option<String>,
}

/// States of the lab's elements by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ElementStates {
    /// By node id.
    pub nodes: BTreeMap<String, String>,
    /// By interface id.
    pub interfaces: BTreeMap<String, String>,
}

/// What CML learnt of one interface.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Address {
    /// The interface's id; empty where the answer has none.
    pub interface_id: String,
    /// The interface's label.
    pub label: String,
    /// The deployed MAC.
    pub mac: String,
    /// IPv4 addresses.
    pub ip4: Vec<String>,
    /// IPv6 addresses.
    pub ip6: Vec<String>,
}

/// Addresses by node id.
pub type Addresses = BTreeMap<String, Vec<Address>>;

/// Usage of one node. Connectors, switches and queued nodes have next to nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NodeStats {
    /// Percent, may exceed 100.
    pub cpu_usage: Option<f64>,
    /// Percent of the node's RAM; from CML 2.10.
    pub ram_usage: Option<f64>,
    /// MB; from CML 2.10.
    pub disk_usage: Option<f64>,
    /// The node's RAM in MB; from CML 2.10.
    pub ram: Option<u64>,
    /// Bytes.
    pub disk_read_bytes: Option<u64>,
    /// Bytes.
    pub disk_written_bytes: Option<u64>,
    /// Virtual CPUs; from CML 2.10.
    pub cpus: Option<u64>,
    /// Whether it runs; `None`: not told.
    pub is_running: Option<bool>,
    /// Seconds since the node started. `None`: `times` is missing. `Some(0)`: not started.
    pub started_for: Option<u64>,
    /// Seconds since the node booted. `None`: `times` is missing. `Some(0)`: not booted.
    pub booted_for: Option<u64>,
}

/// `simulation_stats`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// By node id.
    pub nodes: BTreeMap<String, NodeStats>,
    /// The answer as it was, but for NUL characters, which cannot be stored.
    pub raw: Value,
}

/// Defaults by node definition.
pub type NodeDefaults = BTreeMap<String, StatedResources>;

/// `GET /labs/{id}/nodes?data=true&operational=true`.
///
/// # Errors
/// [`CmlError::InvalidResponse`] when the answer is no list.
pub fn nodes(answer: &Value) -> Result<Reading<Vec<Node>>, CmlError> {
    let mut notes = Notes::default();
    let entries = entries_of(answer).ok_or_else(|| not_a("list of nodes", answer))?;
    let nodes = each_node(&mut notes, "nodes", entries, false);
    Ok(notes.with(nodes))
}

/// `GET /labs/{id}/topology`.
///
/// # Errors
/// [`CmlError::InvalidResponse`] when the answer is no object with a list of nodes.
pub fn topology(answer: &Value) -> Result<Reading<Topology>, CmlError> {
    let mut notes = Notes::default();
    let entries =
        answer.get("nodes").and_then(entries_of).ok_or_else(|| not_a("topology with a list of nodes", answer))?;
    let nodes = each_node(&mut notes, "topology.nodes", entries, true);
    let mut links = Vec::new();
    for (index, link) in list(&mut notes, "topology", answer, "links").iter().enumerate() {
        let place = format!("topology.links[{index}]");
        let a = optional_token(&mut notes, &place, link, "interface_a");
        let b = optional_token(&mut notes, &place, link, "interface_b");
        match (a, b) {
            (Some(a), Some(b)) => links.push((a, b)),
            // Not counted as left out: that number is about nodes.
            _ => notes.add(place, "does not name both interfaces".to_owned()),
        }
    }
    let title = lab_title(answer);
    Ok(notes.with(Topology { nodes, links, title }))
}

/// In `lab`, or as `lab_title` in topologies of old schemas. One that is no text is not told: nothing else depends on it.
fn lab_title(topology: &Value) -> Option<String> {
    let told = topology.pointer("/lab/title").or_else(|| topology.get("lab_title"))?;
    told.as_str().map(|title| clean(title, LONGEST_TEXT))
}

/// `GET /labs/{id}/lab_element_state`.
///
/// # Errors
/// [`CmlError::InvalidResponse`] when the answer is no object.
pub fn element_states(answer: &Value) -> Result<Reading<ElementStates>, CmlError> {
    let mut notes = Notes::default();
    let parts = answer.as_object().ok_or_else(|| not_a("map of states", answer))?;
    let mut states = |part: &str| -> BTreeMap<String, String> {
        let empty = Map::new();
        let entries = match parts.get(part) {
            None | Some(Value::Null) => &empty,
            Some(Value::Object(entries)) => entries,
            Some(other) => {
                notes.add(format!("lab_element_state.{part}"), format!("is {}", kind(other)));
                &empty
            }
        };
        entries
            .iter()
            .filter_map(|(id, state)| {
                let place = format!("lab_element_state.{part}.{id}");
                token(&mut notes, &place, state).map(|state| (id.clone(), state))
            })
            .collect()
    };
    let states = ElementStates { nodes: states("nodes"), interfaces: states("interfaces") };
    Ok(notes.with(states))
}

/// `GET /labs/{id}/layer3_addresses`.
///
/// # Errors
/// [`CmlError::InvalidResponse`] when the answer is no object.
pub fn addresses(answer: &Value) -> Result<Reading<Addresses>, CmlError> {
    let mut notes = Notes::default();
    let mut addresses = Addresses::new();
    for (node, part) in answer.as_object().ok_or_else(|| not_a("map of addresses", answer))? {
        let place = format!("layer3_addresses.{node}");
        for (mac, interface) in map(&mut notes, &place, part, "interfaces") {
            let place = format!("{place}.interfaces.{mac}");
            if interface.is_null() {
                continue;
            }
            if !interface.is_object() {
                notes.leave_out(place, format!("is {}", kind(interface)));
                continue;
            }
            let Some(mac) = token(&mut notes, &place, &Value::String(mac.clone())) else { continue };
            addresses.entry(node.clone()).or_default().push(Address {
                interface_id: optional_token(&mut notes, &place, interface, "id").unwrap_or_default(),
                label: text(&mut notes, &place, interface, "label").unwrap_or_default(),
                mac,
                ip4: tokens(&mut notes, &place, interface, "ip4"),
                ip6: tokens(&mut notes, &place, interface, "ip6"),
            });
        }
    }
    Ok(notes.with(addresses))
}

/// `GET /labs/{id}/simulation_stats`. A stopped lab has no nodes in it.
///
/// # Errors
/// [`CmlError::InvalidResponse`] when the answer is no object.
pub fn stats(answer: Value) -> Result<Reading<Stats>, CmlError> {
    if !answer.is_object() {
        return Err(not_a("map of statistics", &answer));
    }
    let mut notes = Notes::default();
    let mut nodes = BTreeMap::new();
    for (id, node) in map(&mut notes, "simulation_stats", &answer, "nodes") {
        let place = format!("simulation_stats.nodes.{id}");
        if node.is_null() {
            // Its state is not known yet.
            continue;
        }
        if !node.is_object() {
            notes.leave_out(place, format!("is {}", kind(node)));
            continue;
        }
        let mut time = |state: &str| match node.get("times") {
            None | Some(Value::Null) => None,
            Some(times) => whole(&mut notes, &format!("{place}.times"), times, state, Count::MOST),
        };
        let (started_for, booted_for) = (time("STARTED"), time("BOOTED"));
        let stats = NodeStats {
            cpu_usage: amount(&mut notes, &place, node, "cpu_usage"),
            ram_usage: amount(&mut notes, &place, node, "ram_usage"),
            disk_usage: amount(&mut notes, &place, node, "disk_usage"),
            ram: whole(&mut notes, &place, node, "ram", MOST_RAM_MB),
            disk_read_bytes: whole(&mut notes, &place, node, "block0_rd_bytes", Count::MOST),
            disk_written_bytes: whole(&mut notes, &place, node, "block0_wr_bytes", Count::MOST),
            cpus: whole(&mut notes, &place, node, "cpus", u64::from(u32::MAX)),
            is_running: node.get("is_running").and_then(Value::as_bool),
            started_for,
            booted_for,
        };
        nodes.insert(id.clone(), stats);
    }
    Ok(notes.with(Stats { nodes, raw: without_nul(answer) }))
}

/// `GET /simplified_node_definitions`: a list of definitions, each with its `sim` part.
///
/// # Errors
/// [`CmlError::InvalidResponse`] when the answer is neither a list nor a map of definitions.
pub fn node_defaults(answer: &Value) -> Result<Reading<NodeDefaults>, CmlError> {
    let mut notes = Notes::default();
    let entries: Vec<(Option<&String>, &Value)> = match answer {
        Value::Array(entries) => entries.iter().map(|entry| (None, entry)).collect(),
        Value::Object(entries) => entries.iter().map(|(id, entry)| (Some(id), entry)).collect(),
        other => return Err(not_a("list of node definitions", other)),
    };
    let mut defaults = NodeDefaults::new();
    for (index, (key, entry)) in entries.into_iter().enumerate() {
        let place = format!("simplified_node_definitions[{index}]");
        let Some(id) = entry.get("id").and_then(Value::as_str).or(key.map(String::as_str)) else {
            notes.leave_out(place, "has no id".to_owned());
            continue;
        };
        // Connectors and switches have no `sim` at all.
        let sim = entry.get("sim").filter(|sim| !sim.is_null()).unwrap_or(&Value::Null);
        defaults.insert(id.to_owned(), resources(&mut notes, &format!("{place}.sim"), sim));
    }
    Ok(notes.with(defaults))
}

/// `GET /system_information`: the version, e.g. `2.9.1+build.7`.
///
/// # Errors
/// [`CmlError::InvalidResponse`] when there is no version in it.
pub fn version(answer: &Value) -> Result<String, CmlError> {
    answer
        .get("version")
        .and_then(Value::as_str)
        .map(|version| clean(version, LONGEST_TOKEN))
        .filter(|version| !version.is_empty())
        .ok_or_else(|| CmlError::InvalidResponse { reason: "system_information names no version".to_owned() })
}

/// A list; null is an empty one, as everywhere in CML.
fn entries_of(value: &Value) -> Option<&[Value]> {
    if value.is_null() { Some(&[]) } else { value.as_array().map(Vec::as_slice) }
}

/// Most MB of RAM that a node may plausibly have.
const MOST_RAM_MB: u64 = 100_000_000;

fn each_node(notes: &mut Notes, place: &str, entries: &[Value], with_interfaces: bool) -> Vec<Node> {
    let mut nodes = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let place = format!("{place}[{index}]");
        let Some(id) = id(notes, &place, entry, "id") else { continue };
        let operational = entry.get("operational").filter(|part| !part.is_null());
        let mut interfaces = Vec::new();
        if with_interfaces {
            for (index, interface) in list(notes, &place, entry, "interfaces").iter().enumerate() {
                let place = format!("{place}.interfaces[{index}]");
                // Without their list the node is still whole: interfaces do not count as entries left out.
                let Some(id) = optional_token(notes, &place, interface, "id") else {
                    notes.add(place, "has no id".to_owned());
                    continue;
                };
                interfaces.push(Interface {
                    id,
                    label: text(notes, &place, interface, "label").unwrap_or_default(),
                    slot: slot(notes, &place, interface),
                    deployed_mac: interface
                        .get("operational")
                        .and_then(|operational| optional_token(notes, &place, operational, "mac_address")),
                });
            }
        }
        nodes.push(Node {
            id,
            label: text(notes, &place, entry, "label").unwrap_or_default(),
            node_definition: text(notes, &place, entry, "node_definition").unwrap_or_default(),
            image_definition: operational
                .and_then(|part| text(notes, &place, part, "image_definition"))
                .or_else(|| text(notes, &place, entry, "image_definition"))
                .filter(|image| !image.is_empty()),
            state: optional_token(notes, &place, entry, "state"),
            tags: tags(notes, &place, entry),
            operational: resources(notes, &format!("{place}.operational"), operational.unwrap_or(&Value::Null)),
            overrides: resources(notes, &place, entry),
            interfaces,
        });
    }
    nodes
}

/// `None` unless every tag could be read: ports seen in part would look like ports that are gone.
fn tags(notes: &mut Notes, place: &str, entry: &Value) -> Option<Vec<String>> {
    let entries = match entry.get("tags") {
        None => return None,
        Some(Value::Null) => return Some(Vec::new()),
        Some(Value::Array(entries)) => entries,
        Some(other) => {
            notes.add(format!("{place}.tags"), format!("is {}", kind(other)));
            return None;
        }
    };
    if entries.len() > MOST_SMALL {
        notes.add(format!("{place}.tags"), format!("has {} entries; at most {MOST_SMALL} are kept", entries.len()));
        return None;
    }
    let mut tags = Vec::with_capacity(entries.len());
    for (index, tag) in entries.iter().enumerate() {
        match tag.as_str() {
            Some(tag) => tags.push(clean(tag, LONGEST_TEXT)),
            None => {
                notes.add(format!("{place}.tags[{index}]"), format!("is {}", kind(tag)));
                return None;
            }
        }
    }
    Some(tags)
}

fn resources(notes: &mut Notes, place: &str, entry: &Value) -> StatedResources {
    StatedResources {
        cpus: whole(notes, place, entry, "cpus", 1_024).and_then(|cpus| u32::try_from(cpus).ok()),
        cpu_limit: whole(notes, place, entry, "cpu_limit", 100).and_then(|limit| u32::try_from(limit).ok()),
        ram: whole(notes, place, entry, "ram", MOST_RAM_MB),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::fields::MOST_NAMED;
    use super::*;

    fn named<T>(reading: &Reading<T>) -> Vec<String> {
        reading.unreadable.iter().map(|entry| format!("{} {}", entry.read, entry.reason)).collect()
    }

    #[test]
    fn a_node_as_cml_tells_it() {
        let reading = nodes(&json!([{
            "id": "6d583887", "label": "iosv-0", "node_definition": "iosv", "image_definition": null,
            "ram": null, "cpus": null, "cpu_limit": null, "tags": ["serial:5041"], "state": "BOOTED",
            "boot_progress": "Booted", "x": -400, "parameters": {},
            "operational": {"cpus": 1, "cpu_limit": 100.0, "ram": 768, "image_definition": "iosv-159-3-m9"}
        }]))
        .unwrap();
        assert_eq!(named(&reading), Vec::<String>::new());
        let node = &reading.value[0];
        assert_eq!(node.operational, StatedResources { cpus: Some(1), cpu_limit: Some(100), ram: Some(768) });
        assert_eq!(node.overrides, StatedResources::default());
        assert_eq!(node.image_definition.as_deref(), Some("iosv-159-3-m9"));
        assert_eq!(node.tags, Some(vec!["serial:5041".to_owned()]));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_is_kept() {
        let reading = nodes(&json!([
            {"id": "a", "label": 7, "node_definition": null, "cpu_limit": 400, "ram": -1, "tags": ["x", 3], "operational": null},
            "not a node", {"label": "no id"}, null,
            {"id": "b", "label": "b\u{0}c", "tags": null, "state": {"is": "BOOTED"}, "operational": "yes"},
        ]))
        .unwrap();
        assert_eq!(reading.value.len(), 2);
        assert_eq!(reading.left_out, 3);
        assert_eq!(reading.value[0].tags, None, "tags read in part are unknown");
        assert_eq!(reading.value[1].tags, Some(vec![]));
        assert_eq!(reading.value[1].label, "b\u{fffd}c");
        assert_eq!(
            named(&reading),
            [
                "nodes[0].label is a number",
                "nodes[0].tags[1] is a number",
                "nodes[0].cpu_limit is 400",
                "nodes[0].ram is -1",
                "nodes[1] has no usable id",
                "nodes[2] has no usable id",
                "nodes[3] has no usable id",
                "nodes[4].state is an object",
            ]
        );
    }

    #[test]
    fn a_flood_of_nonsense_is_counted() {
        let reading = nodes(&Value::Array(vec![Value::Null; 5_000])).unwrap();
        assert_eq!(reading.left_out, 5_000);
        assert_eq!(reading.unreadable.len(), MOST_NAMED + 1);
        assert_eq!(reading.unreadable[MOST_NAMED].reason, "4900 more entries could not be read");
    }

    #[test]
    fn answers_of_another_shape_are_invalid() {
        assert!(matches!(nodes(&json!({})), Err(CmlError::InvalidResponse { .. })));
        assert!(matches!(topology(&json!([])), Err(CmlError::InvalidResponse { .. })));
        assert!(matches!(element_states(&json!("x")), Err(CmlError::InvalidResponse { .. })));
        assert!(matches!(addresses(&json!([])), Err(CmlError::InvalidResponse { .. })));
        assert!(matches!(stats(json!(null)), Err(CmlError::InvalidResponse { .. })));
        assert!(matches!(node_defaults(&json!(1)), Err(CmlError::InvalidResponse { .. })));
        assert!(matches!(version(&json!({"ready": true})), Err(CmlError::InvalidResponse { .. })));
    }

    #[test]
    fn loopbacks_have_no_slot_and_links_join_interfaces() {
        let reading = topology(&json!({
            "lab": {"title": "t", "version": "0.1.0"},
            "nodes": [{"id": "a", "label": "A", "node_definition": "iosv", "tags": [], "interfaces": [
                {"id": "i0", "label": "Loopback0", "type": "loopback"},
                {"id": "i1", "label": "Gi0/0", "slot": 0, "type": "physical", "mac_address": "52:00:00:00:00:01",
                 "operational": {"mac_address": "52:54:00:00:00:01"}},
                {"label": "no id"}]}],
            "links": [{"id": "l", "interface_a": "i1", "interface_b": "i9"}, {"id": "m", "interface_a": "i1"}],
        }))
        .unwrap();
        let interfaces = &reading.value.nodes[0].interfaces;
        assert_eq!((interfaces[0].slot, interfaces[1].slot), (None, Some(0)));
        assert_eq!(interfaces[1].deployed_mac.as_deref(), Some("52:54:00:00:00:01"));
        assert_eq!(reading.value.links, [("i1".to_owned(), "i9".to_owned())]);
        assert_eq!(
            named(&reading),
            ["topology.nodes[0].interfaces[2] has no id", "topology.links[1] does not name both interfaces"]
        );
    }

    #[test]
    fn statistics_are_maps_and_partial() {
        let reading = stats(json!({"nodes": {
            "a": {"cpu_usage": 100.04, "block0_rd_bytes": 781876736, "block0_wr_bytes": 178096128,
                  "times": {"QUEUED": 22, "STARTED": 1966181, "BOOTED": 1966031}},
            "b": {"times": {"QUEUED": 1, "STARTED": 0, "BOOTED": 0}, "is_running": false},
            "c": {"cpu_usage": "high", "ram_usage": 41.5, "disk_usage": 812, "ram": 768},
            "d": []}, "links": {}}))
        .unwrap();
        assert_eq!(reading.value.nodes["a"].cpu_usage, Some(100.04));
        assert_eq!(reading.value.nodes["a"].booted_for, Some(1_966_031));
        assert_eq!(
            reading.value.nodes["b"],
            NodeStats { is_running: Some(false), started_for: Some(0), booted_for: Some(0), ..NodeStats::default() }
        );
        assert_eq!(reading.value.nodes["c"].disk_usage, Some(812.0));
        assert_eq!(
            named(&reading),
            ["simulation_stats.nodes.c.cpu_usage is a text", "simulation_stats.nodes.d is a list"]
        );
        assert!(stats(json!({"nodes": {}, "links": {}})).unwrap().value.nodes.is_empty());
    }

    #[test]
    fn defaults_and_addresses_and_states() {
        let defaults = node_defaults(&json!([
            {"id": "iosv", "sim": {"ram": 768, "cpus": 1, "cpu_limit": null}}, {"id": "external_connector"}, {"sim": {}}
        ]))
        .unwrap();
        assert_eq!(defaults.value["iosv"], StatedResources { cpus: Some(1), cpu_limit: None, ram: Some(768) });
        assert_eq!(defaults.value["external_connector"], StatedResources::default());
        assert_eq!(defaults.left_out, 1);

        let read = addresses(&json!({"n": {"name": "x", "interfaces": {
            "52:54:00:19:22:35": {"id": "i", "label": "Gi1", "ip4": ["10.0.0.1"], "ip6": null}, "bad": 1}}, "m": null}))
        .unwrap();
        assert_eq!(read.value["n"][0].ip4, ["10.0.0.1"]);
        assert_eq!(read.left_out, 1);

        let states = element_states(&json!({"nodes": {"n": "BOOTED", "m": 1}, "interfaces": null})).unwrap();
        assert_eq!(states.value.nodes["n"], "BOOTED");
        assert_eq!(named(&states), ["lab_element_state.nodes.m is a number"]);
    }
}
