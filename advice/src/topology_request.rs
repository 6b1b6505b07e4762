//! A topology that is asked about, as it is sent.

use domain::text::Line;
use domain::{Invalid, List, Whole};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::topology::{NodeKind, Topology};

/// Most nodes that a topology may have.
pub const MOST_NODES: u64 = 10_000;

/// Nodes that are alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestedNodes {
    /// E.g. `iosv`.
    pub node_definition: Line<1, 128>,
    /// Its image; absent: the node definition's own.
    #[serde(default)]
    pub image_definition: Option<Line<1, 256>>,
    /// Number of virtual CPUs; absent: unknown.
    #[serde(default)]
    pub cpus: Option<Whole<u32, 0, 10_000>>,
    /// MB of memory; absent: unknown.
    #[serde(default)]
    pub ram_mb: Option<Whole<u32, 0, 100_000_000>>,
    /// How many; absent: one.
    #[serde(default)]
    pub count: Option<Whole<u32, 1, MOST_NODES>>,
}

/// A topology that is asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestedTopology {
    /// Its nodes.
    pub nodes: List<RequestedNodes, { MOST_NODES as usize }>,
}

impl RequestedTopology {
    /// The topology.
    ///
    /// # Errors
    /// [`Invalid`] that names the field: it has no node, or too many.
    pub fn topology(&self) -> Result<Topology, Invalid> {
        let count = |nodes: &RequestedNodes| nodes.count.map_or(1, Whole::get);
        let total: u64 = self.nodes.iter().map(|nodes| u64::from(count(nodes))).sum();
        if !(1..=MOST_NODES).contains(&total) {
            return Err(Invalid::new("nodes", format!("has {total} nodes"), format!("1 to {MOST_NODES} nodes")));
        }
        let kind = |nodes: &RequestedNodes| {
            NodeKind::new(
                nodes.node_definition.as_str(),
                nodes.image_definition.as_ref().map(|image| image.as_str().to_owned()),
                nodes.cpus.map(|cpus| f64::from(cpus.get())),
                nodes.ram_mb.map(|memory| f64::from(memory.get())),
            )
        };
        Ok(Topology::new(self.nodes.iter().map(|nodes| (kind(nodes), count(nodes)))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::Resource;

    fn topology(nodes: Value) -> Result<Topology, String> {
        let request: RequestedTopology =
            serde_json::from_value(json!({ "nodes": nodes })).map_err(|error| error.to_string())?;
        request.topology().map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn a_topology_is_read_with_its_counts() {
        let found = topology(json!([
            {"node_definition": "iosv", "cpus": 1, "ram_mb": 512, "count": 3},
            {"node_definition": "csr1000v", "image_definition": "csr-17", "cpus": 2, "ram_mb": 4096},
            {"node_definition": "external_connector"}
        ]));
        let found = found.unwrap();
        assert_eq!((found.node_count(), found.nominal(Resource::MemoryMb)), (4, Some(5632.0)));
        assert_eq!(found.nominal(Resource::CpuCores), Some(5.0));
    }

    #[test]
    fn a_topology_without_nodes_or_with_too_many_is_refused() {
        assert!(topology(json!([])).unwrap_err().contains("nodes has 0 nodes; expected 1 to 10000 nodes"));
        let many = json!([{"node_definition": "iosv", "count": 9_999}, {"node_definition": "csr", "count": 2}]);
        assert!(topology(many).unwrap_err().contains("has 10001 nodes"));
        let most = topology(json!(vec![json!({"node_definition": "iosv", "ram_mb": 512}); 10_000])).unwrap();
        assert_eq!(most.nominal(Resource::MemoryMb), Some(5_120_000.0));
        assert!(topology(json!(vec![json!({"node_definition": "iosv"}); 10_001])).is_err());
        assert!(topology(json!([{"node_definition": ""}])).is_err());
    }
}
