//! A lab as YAML, in the form in which it can be imported again.

use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::{lab::Lab, node::Node};

#[derive(Serialize)]
struct Exported<'lab> {
    annotations: &'lab [Value],
    nodes: Vec<ExportedNode<'lab>>,
    links: Vec<ExportedLink<'lab>>,
    lab: ExportedLab<'lab>,
    smart_annotations: &'lab [Value],
}

#[derive(Serialize)]
struct ExportedLab<'lab> {
    description: &'lab str,
    notes: &'lab str,
    title: &'lab str,
    version: &'static str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    autostart: &'lab Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    node_staging: &'lab Map<String, Value>,
}

/// Ids inside a topology are short and its own: `n0`, `i0`, `l0`.
#[derive(Serialize)]
struct ExportedNode<'lab> {
    boot_disk_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<&'lab Value>,
    cpu_limit: Option<u64>,
    cpus: Option<u64>,
    data_volume: Option<u64>,
    hide_links: bool,
    id: String,
    image_definition: Option<&'lab str>,
    label: &'lab str,
    node_definition: &'lab str,
    parameters: &'lab Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u64>,
    ram: Option<u64>,
    tags: &'lab [String],
    x: &'lab Number,
    y: &'lab Number,
    interfaces: Vec<ExportedInterface<'lab>>,
}

#[derive(Serialize)]
struct ExportedInterface<'lab> {
    id: String,
    label: &'lab str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_address: Option<&'lab str>,
    /// A loopback has none: the key is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<u64>,
    #[serde(rename = "type")]
    kind: &'lab str,
}

#[derive(Serialize)]
struct ExportedLink<'lab> {
    id: String,
    n1: String,
    n2: String,
    i1: String,
    i2: String,
    label: &'lab str,
}

/// The lab in the schema of `version`.
pub(crate) fn as_yaml(lab: &Lab, version: &'static str, configurations: bool) -> Result<String, serde_norway::Error> {
    let node_id = |position: usize| format!("n{position}");
    let interface_id = |position: usize| format!("i{position}");
    let nodes = lab.nodes.iter().enumerate().map(|(position, node)| ExportedNode {
        id: node_id(position),
        interfaces: node
            .interfaces
            .iter()
            .enumerate()
            .map(|(position, interface)| ExportedInterface {
                id: interface_id(position),
                label: &interface.label,
                mac_address: interface.configured_mac.as_deref(),
                slot: interface.slot,
                kind: &interface.kind,
            })
            .collect(),
        ..without_ids(node, configurations)
    });
    let links = lab.links.iter().enumerate().map(|(position, link)| {
        let [one, other] = link.ends;
        ExportedLink {
            id: format!("l{position}"),
            n1: node_id(one.node),
            n2: node_id(other.node),
            i1: interface_id(one.interface),
            i2: interface_id(other.interface),
            label: &link.label,
        }
    });
    serde_norway::to_string(&Exported {
        annotations: &lab.passed_through.annotations,
        nodes: nodes.collect(),
        links: links.collect(),
        lab: ExportedLab {
            description: &lab.description,
            notes: &lab.notes,
            title: &lab.title,
            version,
            autostart: &lab.passed_through.autostart,
            node_staging: &lab.passed_through.node_staging,
        },
        smart_annotations: &lab.passed_through.smart_annotations,
    })
}

fn without_ids(node: &Node, configurations: bool) -> ExportedNode<'_> {
    ExportedNode {
        boot_disk_size: node.boot_disk_size,
        configuration: configurations.then_some(&node.configuration),
        cpu_limit: node.cpu_limit,
        cpus: node.cpus,
        data_volume: node.data_volume,
        hide_links: node.hide_links,
        id: String::new(),
        image_definition: node.image_definition.as_deref(),
        label: &node.label,
        node_definition: &node.node_definition,
        parameters: &node.parameters,
        priority: node.priority,
        ram: node.ram,
        tags: &node.tags,
        x: &node.x,
        y: &node.y,
        interfaces: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{dice::Dice, topology::Topology};

    fn imported(yaml: &str) -> Lab {
        let topology = Topology::parse(yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"));
        Lab::new(topology, None, Dice::new(1), Dice::new(2), DateTime::<Utc>::UNIX_EPOCH).0
    }

    fn exported(lab: &Lab) -> String {
        as_yaml(lab, "0.3.1", true).unwrap()
    }

    /// A topology of two nodes with every optional member at a value of its own.
    fn full() -> Value {
        let interface = |id: &str| json!({"id": id, "label": "eth0", "slot": 0, "type": "loopback", "mac_address": "52:54:00:00:00:01"});
        let node = |id: &str| {
            json!({
                "id": id, "label": "R", "node_definition": "iosv", "image_definition": "iosv-1", "ram": 1024, "cpus": 2,
                "cpu_limit": 80, "data_volume": 3, "boot_disk_size": 16, "priority": 7, "hide_links": true,
                "configuration": [{"name": "a", "content": "b"}], "parameters": {"a": "b"}, "tags": ["serial:5041"],
                "x": -4, "y": 2.5, "interfaces": [interface("i0"), interface("i1")]
            })
        };
        json!({
            "lab": {"title": "T", "description": "D", "notes": "N", "version": "0.3.1",
                    "node_staging": {"enabled": true}, "autostart": {"enabled": true, "priority": 5}},
            "nodes": [node("n0"), node("n1")],
            "links": [{"id": "l0", "n1": "n0", "i1": "i0", "n2": "n1", "i2": "i0", "label": "L"}],
            "annotations": [{"type": "text"}], "smart_annotations": [{"tag": "x"}]
        })
    }

    /// Places of every optional member.
    fn optional() -> Vec<String> {
        let mut places: Vec<String> =
            ["/lab", "/links", "/annotations", "/smart_annotations"].map(str::to_owned).into();
        let of_lab = ["title", "description", "notes", "version", "node_staging", "autostart"];
        places.extend(of_lab.map(|member| format!("/lab/{member}")));
        let of_node = [
            "image_definition",
            "ram",
            "cpus",
            "cpu_limit",
            "data_volume",
            "boot_disk_size",
            "priority",
            "hide_links",
            "configuration",
            "parameters",
            "tags",
            "x",
            "y",
        ];
        places.extend(of_node.map(|member| format!("/nodes/0/{member}")));
        places.extend(["slot", "type", "mac_address"].map(|member| format!("/nodes/0/interfaces/0/{member}")));
        places.push("/links/0/label".to_owned());
        places
    }

    fn without(topology: &mut Value, place: &str, null: bool) {
        let (parent, member) = place.rsplit_once('/').unwrap();
        if let Some(Value::Object(members)) = topology.pointer_mut(parent) {
            if null {
                members.insert(member.to_owned(), Value::Null);
            } else {
                members.remove(member);
            }
        }
    }

    #[test]
    fn what_was_exported_is_imported_again_and_exports_the_same() {
        let lab = imported(&full().to_string());
        let yaml = exported(&lab);
        assert_eq!(exported(&imported(&yaml)), yaml);
        let read: Value = serde_norway::from_str(&yaml).unwrap();
        assert_eq!(read["nodes"][1]["interfaces"][1]["id"], "i1");
        for place in optional() {
            assert_eq!(read.pointer(&place), full().pointer(&place), "{place}");
        }
        assert!(!as_yaml(&lab, "0.3.1", false).unwrap().contains("configuration"));
    }

    proptest! {
        #[test]
        fn an_optional_member_may_be_null_or_absent(chosen in proptest::collection::vec(any::<bool>(), 27)) {
            let (mut null, mut absent) = (full(), full());
            for (place, chosen) in optional().iter().zip(chosen) {
                if chosen {
                    without(&mut null, place, true);
                    without(&mut absent, place, false);
                }
            }
            let (null, absent) = (imported(&null.to_string()), imported(&absent.to_string()));
            prop_assert_eq!(exported(&null), exported(&absent));
        }

        #[test]
        fn texts_of_any_kind_survive(text in any::<String>()) {
            let mut topology = full();
            topology["nodes"][0]["label"] = text.clone().into();
            topology["nodes"][0]["configuration"] = text.clone().into();
            topology["lab"]["title"] = text.into();
            let lab = imported(&topology.to_string());
            let again = imported(&exported(&lab));
            prop_assert_eq!((&lab.title, &lab.nodes[0].label), (&again.title, &again.nodes[0].label));
            prop_assert_eq!(&lab.nodes[0].configuration, &again.nodes[0].configuration);
        }
    }
}
