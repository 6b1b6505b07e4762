//! Which nodes a lab consists of, as far as its need depends on it.

use std::collections::BTreeMap;

use domain::lab_topology::LabTopology;
use domain::nominal::has_machine;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use domain::resource::Resource;

/// Nodes that are alike: of one definition, image and nominal size.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct NodeKind {
    /// E.g. `iosv`.
    pub node_definition: String,
    /// Its image; null: unknown, or the definition's own.
    pub image_definition: Option<String>,
    /// Nominal cores in parts of 256; null: unknown.
    pub nominal_cpu_parts: Option<u32>,
    /// Nominal MB of memory; null: unknown.
    pub nominal_memory_mb: Option<u64>,
}

impl NodeKind {
    /// A kind by its nominal cores and MB; what is no number is unknown.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "amounts are at most 1e9, not negative, and the casts saturate"
    )]
    pub fn new(
        node_definition: impl Into<String>,
        image_definition: Option<String>,
        nominal_cpu_cores: Option<f64>,
        nominal_memory_mb: Option<f64>,
    ) -> Self {
        let known = |amount: &f64| amount.is_finite() && *amount >= 0.0;
        Self {
            node_definition: node_definition.into(),
            image_definition,
            nominal_cpu_parts: nominal_cpu_cores.filter(known).map(|cores| (cores * 256.0).round() as u32),
            nominal_memory_mb: nominal_memory_mb.filter(known).map(|memory| memory.round() as u64),
        }
    }

    /// The kind of the same definition and size, whatever its image.
    #[must_use]
    pub fn of_any_image(&self) -> Self {
        Self { image_definition: None, ..self.clone() }
    }

    /// Whether its image and its sizes are known.
    pub fn is_complete(&self) -> bool {
        self.image_definition.is_some() && self.nominal_cpu_parts.is_some() && self.nominal_memory_mb.is_some()
    }

    /// The kind with what is unknown of it as in another one.
    #[must_use]
    pub fn completed_by(&self, other: &Self) -> Self {
        Self {
            node_definition: self.node_definition.clone(),
            image_definition: self.image_definition.clone().or_else(|| other.image_definition.clone()),
            nominal_cpu_parts: self.nominal_cpu_parts.or(other.nominal_cpu_parts),
            nominal_memory_mb: self.nominal_memory_mb.or(other.nominal_memory_mb),
        }
    }

    /// What CML gives such a node: cores or MB. Nothing is known of its disk.
    #[expect(clippy::cast_precision_loss, reason = "a node has at most 1e9 MB")]
    pub fn nominal(&self, resource: Resource) -> Option<f64> {
        match resource {
            Resource::CpuCores => self.nominal_cpu_parts.map(|parts| f64::from(parts) / 256.0),
            Resource::MemoryMb => self.nominal_memory_mb.map(|memory| memory as f64),
            Resource::StorageMb => None,
        }
    }
}

/// How many nodes of which kind a lab has. Connectors and switches that are no machines are left out: they need nothing.
/// A lab with more than 200 kinds is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<(NodeKind, u32)>", into = "Vec<(NodeKind, u32)>")]
pub struct Topology(BTreeMap<NodeKind, u32>);

/// Most kinds of nodes of a topology: what is kept by kind is bounded by it.
const MOST_KINDS: usize = 200;

/// A topology with the sizes that it does not state itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedTopology {
    /// The topology.
    pub topology: Topology,
    /// Which of its nodes are taken to be as others.
    pub assumed: Vec<AssumedKind>,
}

/// Nodes that state no image or size, and are taken to be as the most measured ones like them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssumedKind {
    /// As it is stated.
    pub stated: NodeKind,
    /// What it is taken for.
    pub taken: NodeKind,
    /// How many such nodes there are.
    pub count: u32,
    /// Measured runs of nodes like that.
    pub runs: u64,
}

impl From<Vec<(NodeKind, u32)>> for Topology {
    fn from(kinds: Vec<(NodeKind, u32)>) -> Self {
        Self::new(kinds)
    }
}

impl From<Topology> for Vec<(NodeKind, u32)> {
    fn from(topology: Topology) -> Self {
        topology.0.into_iter().collect()
    }
}

impl Topology {
    /// What it is called: equal for equal ones.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        // Lengths in front keep neighbouring texts apart.
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        for (kind, count) in self.kinds() {
            add(&kind.node_definition);
            add(kind.image_definition.as_deref().unwrap_or_default());
            let (cpu, memory) = (kind.nominal_cpu_parts, kind.nominal_memory_mb);
            add(&format!("{} {cpu:?} {memory:?} {count}", kind.image_definition.is_some()));
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The beginning of its key: enough to tell the topologies of one definition apart.
    pub(crate) fn short_key(&self) -> String {
        self.key().chars().take(8).collect()
    }

    /// The topology of these nodes, each kind with a count. A kind that is named twice is added up.
    pub fn new(nodes: impl IntoIterator<Item = (NodeKind, u32)>) -> Self {
        let mut kinds = BTreeMap::new();
        for (kind, count) in nodes.into_iter().filter(|(kind, count)| *count > 0 && has_machine(&kind.node_definition))
        {
            let sum: &mut u32 = kinds.entry(kind).or_default();
            *sum = sum.saturating_add(count);
        }
        if kinds.len() > MOST_KINDS { Self::default() } else { Self(kinds) }
    }

    /// Its kinds with their counts, in a fixed order.
    pub fn kinds(&self) -> impl Iterator<Item = (&NodeKind, u32)> {
        self.0.iter().map(|(kind, count)| (kind, *count))
    }

    /// Number of nodes that are machines.
    pub fn node_count(&self) -> u64 {
        self.0.values().map(|count| u64::from(*count)).sum()
    }

    /// What CML gives all of its nodes: cores or MB. Unknown where it is of one of them, and where there is none.
    pub fn nominal(&self, resource: Resource) -> Option<f64> {
        if self.0.is_empty() {
            return None;
        }
        self.kinds().try_fold(0.0, |sum, (kind, count)| Some(sum + kind.nominal(resource)? * f64::from(count)))
    }
}

impl From<&LabTopology> for Topology {
    fn from(stated: &LabTopology) -> Self {
        Self::new(stated.nodes().iter().map(|nodes| {
            let memory = nodes.ram_mb.map(|memory| f64::from(memory.get()));
            let image = nodes.image_definition.as_ref().map(|image| image.as_str().to_owned());
            let kind = NodeKind::new(nodes.node_definition.as_str(), image, nodes.nominal_cpu_cores(), memory);
            (kind, nodes.count.get())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, memory: Option<f64>) -> NodeKind {
        NodeKind::new(name, None, Some(0.5), memory)
    }

    #[test]
    fn a_topology_adds_up_what_its_nodes_were_given_and_knows_nothing_where_one_is_unknown() {
        let known = Topology::new([(kind("iosv", Some(512.0)), 2), (kind("iosv", Some(512.0)), 1)]);
        assert_eq!(known.node_count(), 3);
        assert_eq!(known.nominal(Resource::CpuCores), Some(1.5));
        assert_eq!(known.nominal(Resource::MemoryMb), Some(1536.0));
        assert_eq!(known.nominal(Resource::StorageMb), None);
        let partly = Topology::new([(kind("iosv", Some(512.0)), 2), (kind("csr", None), 1)]);
        assert_eq!(partly.nominal(Resource::MemoryMb), None);
        assert_eq!(Topology::default().nominal(Resource::MemoryMb), None);
    }

    #[test]
    fn what_a_definition_states_is_a_topology() {
        let stated: LabTopology = serde_json::from_str(
            r#"{"nodes": [{"node_definition": "iosv", "cpus": 2, "cpu_limit": 25, "ram_mb": 512, "count": 3},
                {"node_definition": "external_connector"}]}"#,
        )
        .unwrap();
        assert_eq!(Topology::from(&stated), Topology::new([(kind("iosv", Some(512.0)), 3)]));
    }

    #[test]
    fn a_topology_of_too_many_kinds_is_unknown_and_one_that_was_stored_is_read_again() {
        let of = |kinds: u32| Topology::new((0..kinds).map(|number| (kind("iosv", Some(f64::from(number))), 1)));
        assert_eq!((of(200).node_count(), of(201)), (200, Topology::default()));
        let stored = serde_json::to_string(&of(3)).unwrap();
        assert_eq!(serde_json::from_str::<Topology>(&stored).unwrap(), of(3));
    }

    #[test]
    fn what_is_no_machine_needs_nothing() {
        let connectors = Topology::new([(kind("external_connector", Some(0.0)), 3), (kind("iosv", None), 0)]);
        assert_eq!(connectors, Topology::default());
        assert_eq!(kind("iosv", Some(f64::NAN)).nominal_memory_mb, None);
    }
}
