//! A topology's fingerprint: equal for equal topologies, also when they were imported twice and so have other ids.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::cml::answers::Topology;

/// `sha256:` and 64 hexadecimal digits over the sorted node definitions with their labels, and the sorted links between
/// labelled interfaces. Neither ids, nor positions, nor sizes, nor tags count.
pub(super) fn from_topology(topology: &Topology) -> String {
    let mut nodes: Vec<(&str, &str)> =
        topology.nodes.iter().map(|node| (node.label.as_str(), node.node_definition.as_str())).collect();
    nodes.sort_unstable();
    let ends: BTreeMap<&str, (&str, &str)> = topology
        .nodes
        .iter()
        .flat_map(|node| {
            node.interfaces
                .iter()
                .map(|interface| (interface.id.as_str(), (node.label.as_str(), interface.label.as_str())))
        })
        .collect();
    let end = |id: &str| ends.get(id).copied().unwrap_or_default();
    let mut links: Vec<[(&str, &str); 2]> = topology
        .links
        .iter()
        .map(|(a, b)| {
            let mut link = [end(a), end(b)];
            link.sort_unstable();
            link
        })
        .collect();
    links.sort_unstable();

    let mut hash = Sha256::new();
    // Lengths in front keep neighbouring texts apart: ("ab", "c") is not ("a", "bc").
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    add("nodes");
    for (label, definition) in nodes {
        add(label);
        add(definition);
    }
    add("links");
    for [(node_a, interface_a), (node_b, interface_b)] in links {
        for text in [node_a, interface_a, node_b, interface_b] {
            add(text);
        }
    }
    format!("sha256:{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cml::answers::{Interface, Node};

    fn lab(prefix: &str, labels: [&str; 2]) -> Topology {
        let node = |id: &str, label: &str| Node {
            id: format!("{prefix}{id}"),
            label: label.to_owned(),
            node_definition: "iosv".to_owned(),
            interfaces: vec![Interface {
                id: format!("{prefix}{id}i"),
                label: "Gi0/0".to_owned(),
                ..Interface::default()
            }],
            ..Node::default()
        };
        Topology {
            nodes: vec![node("a", labels[0]), node("b", labels[1])],
            links: vec![(format!("{prefix}ai"), format!("{prefix}bi"))],
            title: Some(format!("The lab of {prefix}")),
        }
    }

    #[test]
    fn ids_title_and_order_do_not_count_and_labels_and_links_do() {
        let first = from_topology(&lab("x", ["R1", "R2"]));
        let mut turned = lab("y", ["R1", "R2"]);
        turned.nodes.reverse();
        turned.links = turned.links.into_iter().map(|(a, b)| (b, a)).collect();
        assert_eq!(first, from_topology(&turned));
        assert!(first.starts_with("sha256:") && first.len() == 71);
        assert_ne!(first, from_topology(&lab("x", ["R1", "R3"])));
        let mut unlinked = lab("x", ["R1", "R2"]);
        unlinked.links.clear();
        assert_ne!(first, from_topology(&unlinked));
    }
}
