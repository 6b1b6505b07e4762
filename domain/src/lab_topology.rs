//! Which nodes a lab has, as far as its need depends on it: as a definition states it, and as it is asked about.
//!
//! It is sent as a list of nodes, or as a topology of CML in YAML. What is kept is the list, with equal nodes counted.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::invalid::Invalid;
use crate::list::List;
use crate::number::Whole;
use crate::text::Line;

/// Most nodes of a topology.
pub const MOST_NODES: u64 = 10_000;
/// Most bytes of a topology in YAML. A lab of 300 nodes with its configurations has one million.
pub const LONGEST_YAML: usize = 4 * 1024 * 1024;

/// Nodes that are alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AlikeNodes {
    /// E.g. `iosv`.
    pub node_definition: Line<1, 128>,
    /// Its image; absent: the node definition's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_definition: Option<Line<1, 256>>,
    /// Number of virtual CPUs; absent: the node definition's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Whole<u32, 0, 10_000>>,
    /// Percentage of each virtual CPU that may be used; absent: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<Whole<u32, 0, 100>>,
    /// MB of memory; absent: the node definition's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_mb: Option<Whole<u32, 0, 100_000_000>>,
    /// How many; absent: one.
    #[serde(default = "one")]
    pub count: Whole<u32, 1, MOST_NODES>,
}

fn one() -> Whole<u32, 1, MOST_NODES> {
    Whole::<u32, 1, MOST_NODES>::ONE
}

impl AlikeNodes {
    /// What CML gives each of them of CPU, in cores, where that is stated.
    pub fn nominal_cpu_cores(&self) -> Option<f64> {
        let limit = self.cpu_limit.map_or(100, Whole::get);
        self.cpus.map(|cpus| f64::from(cpus.get()) * f64::from(limit) / 100.0)
    }
}

/// The nodes of a lab: 1 to 10,000, equal ones counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedTopology")]
pub struct LabTopology {
    nodes: List<AlikeNodes, { MOST_NODES as usize }>,
}

/// A topology as it is sent: its nodes, or the YAML of CML; one of the two.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "LabTopology")]
struct UncheckedTopology {
    /// Its nodes, 1 to 10,000, equal ones counted.
    #[serde(default)]
    nodes: Option<List<AlikeNodes, { MOST_NODES as usize }>>,
    /// The YAML of a CML topology, as CML exports it: up to 4 MB.
    #[serde(default)]
    cml_yaml: Option<String>,
}

impl JsonSchema for LabTopology {
    fn schema_name() -> Cow<'static, str> {
        "LabTopology".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        if generator.contract().is_deserialize() {
            return UncheckedTopology::json_schema(generator);
        }
        let nodes = generator.subschema_for::<List<AlikeNodes, { MOST_NODES as usize }>>();
        json_schema!({
            "type": "object", "description": "The nodes of a lab: 1 to 10,000, equal ones counted.",
            "properties": { "nodes": nodes }, "required": ["nodes"]
        })
    }
}

impl TryFrom<UncheckedTopology> for LabTopology {
    type Error = Invalid;
    fn try_from(unchecked: UncheckedTopology) -> Result<Self, Invalid> {
        match unchecked {
            UncheckedTopology { nodes: Some(nodes), cml_yaml: None } => Self::new(nodes),
            UncheckedTopology { nodes: None, cml_yaml: Some(yaml) } => {
                Self::from_yaml(&yaml).map_err(|invalid| invalid.within("cml_yaml"))
            }
            UncheckedTopology { nodes: None, cml_yaml: None } => {
                Err(Invalid::new("nodes", "is absent, and so is cml_yaml", "one of the two"))
            }
            UncheckedTopology { nodes: Some(_), cml_yaml: Some(_) } => {
                Err(Invalid::new("cml_yaml", "is given beside nodes", "one of the two"))
            }
        }
    }
}

impl LabTopology {
    /// The topology of these nodes. Equal ones are counted together, so that the order in which they come does not matter.
    ///
    /// # Errors
    /// [`Invalid`] of the field `nodes`: there is none, or there are too many.
    pub fn new(nodes: impl IntoIterator<Item = AlikeNodes>) -> Result<Self, Invalid> {
        let (mut counts, mut total) = (BTreeMap::new(), 0_u64);
        for mut nodes in nodes {
            let count = u64::from(nodes.count.get());
            total += count;
            nodes.count = one();
            *counts.entry(nodes).or_insert(0_u64) += count;
        }
        if !(1..=MOST_NODES).contains(&total) {
            return Err(Invalid::new("nodes", format!("has {total} nodes"), format!("1 to {MOST_NODES} nodes")));
        }
        let counted = counts.into_iter().filter_map(|(nodes, count)| {
            let count = Whole::new(u32::try_from(count).ok()?).ok()?;
            Some(AlikeNodes { count, ..nodes })
        });
        Ok(Self { nodes: List::first(counted) })
    }

    /// Reads a topology of CML. What it says beside its nodes is not looked at.
    ///
    /// # Errors
    /// [`Invalid`], with a field within the document, or an empty one.
    pub fn from_yaml(yaml: &str) -> Result<Self, Invalid> {
        let expected = "the YAML of a CML topology, with its nodes";
        if yaml.len() > LONGEST_YAML {
            let problem = format!("has {} bytes", yaml.len());
            return Err(Invalid::new("", problem, format!("at most {LONGEST_YAML} bytes")));
        }
        let document: CmlTopology = serde_norway::from_str(yaml).map_err(|error| {
            let reason: String = error.to_string().chars().take(200).collect();
            Invalid::new("", format!("cannot be read: {reason}"), expected)
        })?;
        let Some(nodes) = document.nodes else { return Err(Invalid::new("nodes", "is absent", expected)) };
        let nodes = nodes
            .into_iter()
            .enumerate()
            .map(|(index, node)| node.nodes().map_err(|invalid| invalid.within(&format!("nodes[{index}]"))));
        Self::new(nodes.collect::<Result<Vec<_>, Invalid>>()?)
    }

    /// Its nodes, equal ones together, in a fixed order.
    pub fn nodes(&self) -> &[AlikeNodes] {
        &self.nodes
    }

    /// How many nodes it has.
    pub fn node_count(&self) -> u64 {
        self.nodes.iter().map(|nodes| u64::from(nodes.count.get())).sum()
    }
}

/// A topology of CML, of any version of its schema.
#[derive(Deserialize)]
struct CmlTopology {
    #[serde(default)]
    nodes: Option<Vec<CmlNode>>,
}

#[derive(Deserialize)]
struct CmlNode {
    node_definition: String,
    #[serde(default)]
    image_definition: Option<String>,
    /// Null and 0 are the node definition's own, as in CML.
    #[serde(default, deserialize_with = "stated")]
    cpus: Option<u64>,
    #[serde(default, deserialize_with = "stated")]
    cpu_limit: Option<u64>,
    #[serde(default, deserialize_with = "stated")]
    ram: Option<u64>,
}

fn stated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<u64>::deserialize(deserializer)?.filter(|number| *number > 0))
}

impl CmlNode {
    fn nodes(self) -> Result<AlikeNodes, Invalid> {
        fn whole<const LEAST: u64, const MOST: u64>(
            field: &str,
            number: Option<u64>,
        ) -> Result<Option<Whole<u32, LEAST, MOST>>, Invalid> {
            let Some(number) = number else { return Ok(None) };
            Whole::new(u32::try_from(number).unwrap_or(u32::MAX)).map(Some).map_err(|invalid| invalid.within(field))
        }
        let image = self.image_definition.filter(|image| !image.is_empty()).map(Line::parse).transpose();
        Ok(AlikeNodes {
            node_definition: Line::parse(self.node_definition).map_err(|invalid| invalid.within("node_definition"))?,
            image_definition: image.map_err(|invalid| invalid.within("image_definition"))?,
            cpus: whole("cpus", self.cpus)?,
            cpu_limit: whole("cpu_limit", self.cpu_limit)?,
            ram_mb: whole("ram", self.ram)?,
            count: one(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn topology(value: Value) -> Result<LabTopology, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_topology_is_read_with_its_counts_whatever_the_order() {
        let found = topology(json!({"nodes": [
            {"node_definition": "iosv", "cpus": 1, "ram_mb": 512, "count": 2},
            {"node_definition": "csr1000v", "image_definition": "csr-17", "cpus": 2, "cpu_limit": 50, "ram_mb": 4096},
            {"node_definition": "iosv", "cpus": 1, "ram_mb": 512}
        ]}))
        .unwrap();
        assert_eq!((found.node_count(), found.nodes().len()), (4, 2));
        assert_eq!(found.nodes()[0].nominal_cpu_cores(), Some(1.0));
        let written = serde_json::to_value(&found).unwrap();
        assert_eq!(written["nodes"][1], json!({"node_definition": "iosv", "cpus": 1, "ram_mb": 512, "count": 3}));
        assert_eq!(topology(written).unwrap(), found);
    }

    #[test]
    fn the_yaml_of_cml_gives_the_same_as_its_nodes() {
        let yaml = "lab: {title: x}\nnodes:\n\
            - {id: n0, label: R1, node_definition: iosv, ram: null, cpus: 0, image_definition: null, configuration: []}\n\
            - {id: n1, label: ' ', node_definition: csr1000v, ram: 4096, cpus: 2, cpu_limit: 50}\nlinks: []\n";
        let by_yaml = topology(json!({ "cml_yaml": yaml })).unwrap();
        let by_nodes = topology(json!({"nodes": [
            {"node_definition": "csr1000v", "cpus": 2, "cpu_limit": 50, "ram_mb": 4096}, {"node_definition": "iosv"}
        ]}));
        assert_eq!(by_yaml, by_nodes.unwrap());
    }

    #[test]
    fn what_is_no_topology_is_refused_by_its_field() {
        for (value, part) in [
            (json!({}), "nodes is absent, and so is cml_yaml; expected one of the two"),
            (json!({"nodes": [], "cml_yaml": ""}), "cml_yaml is given beside nodes"),
            (json!({"nodes": []}), "nodes has 0 nodes; expected 1 to 10000 nodes"),
            (
                json!({"nodes": [{"node_definition": "a", "count": 9_999}, {"node_definition": "b", "count": 2}]}),
                "has 10001 nodes",
            ),
            (json!({"nodes": vec![json!({"node_definition": "iosv"}); 10_001]}), "10000"),
            (json!({"nodes": [{"node_definition": ""}]}), "is empty"),
            (json!({"cml_yaml": "{"}), "cml_yaml cannot be read"),
            (json!({"cml_yaml": "lab: {}"}), "cml_yaml.nodes is absent"),
            (json!({"cml_yaml": "nodes: []"}), "has 0 nodes"),
            (json!({"cml_yaml": "nodes: [{node_definition: a, ram: 4000000000}]"}), "cml_yaml.nodes[0].ram is"),
            (json!({"cml_yaml": " ".repeat(LONGEST_YAML + 1)}), "at most 4194304 bytes"),
        ] {
            let refused = topology(value).unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
    }

    #[test]
    fn a_document_that_repeats_itself_without_end_is_refused() {
        let mut yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            yaml += &format!("a{level}: &a{level} [{before}]\n");
        }
        yaml += "nodes: [*a11]\n";
        assert!(topology(json!({ "cml_yaml": yaml })).unwrap_err().contains("cml_yaml cannot be read"));
    }

    #[test]
    fn the_largest_topology_is_read() {
        let most = topology(json!({"nodes": vec![json!({"node_definition": "iosv", "ram_mb": 512}); 10_000]})).unwrap();
        assert_eq!((most.node_count(), most.nodes().len()), (10_000, 1));
    }
}
