//! Which nodes a recommendation is about, counted by kind.

use advice::topology::NodeKind;
use domain::resource::Resource;

use super::amounts::amount;

/// Most kinds that are listed.
const MOST_LISTED: usize = 40;

/// Nodes that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlikeRow {
    pub(crate) node_definition: String,
    /// Its image, in words.
    pub(crate) image: String,
    /// What each of them is given.
    pub(crate) size: String,
    pub(crate) count: u32,
}

/// The nodes of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopologyView {
    pub(crate) nodes: u64,
    pub(crate) kinds: Vec<AlikeRow>,
    /// Kinds that are not listed.
    pub(crate) more: usize,
}

impl TopologyView {
    /// Of kinds with their counts.
    pub(crate) fn new<'a>(kinds: impl Iterator<Item = (&'a NodeKind, u32)>) -> Self {
        let mut kinds: Vec<AlikeRow> = kinds.map(|(kind, count)| kind_row(kind, count)).collect();
        let nodes = kinds.iter().map(|kind| u64::from(kind.count)).sum();
        let more = kinds.len().saturating_sub(MOST_LISTED);
        kinds.truncate(MOST_LISTED);
        Self { nodes, kinds, more }
    }
}

/// What each node of a kind is given, in words.
pub(crate) fn size(cores: Option<f64>, memory: Option<f64>) -> String {
    match (cores, memory) {
        (None, None) => "its node definition's own size".to_owned(),
        (cores, memory) => {
            format!("{}, {}", amount(Resource::CpuCores, cores), amount(Resource::MemoryMb, memory))
        }
    }
}

/// A kind of nodes, as a row.
pub(crate) fn kind_row(kind: &NodeKind, count: u32) -> AlikeRow {
    AlikeRow {
        node_definition: kind.node_definition.clone(),
        image: kind.image_definition.clone().unwrap_or_else(|| "its own".to_owned()),
        size: size(kind.nominal(Resource::CpuCores), kind.nominal(Resource::MemoryMb)),
        count,
    }
}

#[cfg(test)]
mod tests {
    use advice::topology::Topology;

    use super::*;

    #[test]
    fn nodes_are_counted_by_kind_with_what_each_is_given() {
        let topology = Topology::new([
            (NodeKind::new("iosv", None, Some(1.0), Some(512.0)), 3),
            (NodeKind::new("csr1000v", Some("csr-17".to_owned()), None, None), 1),
        ]);
        let view = TopologyView::new(topology.kinds());
        assert_eq!((view.nodes, view.kinds.len(), view.more), (4, 2, 0));
        assert_eq!(
            (view.kinds[0].image.as_str(), view.kinds[0].size.as_str()),
            ("csr-17", "its node definition's own size")
        );
        assert_eq!((view.kinds[1].size.as_str(), view.kinds[1].count), ("1 core, 0.5 GB", 3));
    }
}
