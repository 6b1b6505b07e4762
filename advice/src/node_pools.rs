//! What nodes of one node definition needed, by kind, in all labs or in those of one definition.

use std::collections::BTreeMap;

use domain::demand::ByResource;
use domain::resource::Resource;
use serde::{Deserialize, Serialize};

use crate::base::PoolSum;
use crate::topology::NodeKind;

/// Most kinds of a node definition that are pooled apart. Nodes of further kinds count for their node definition alone.
const MOST_KINDS: usize = 64;

/// Pools of the kinds of one node definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredPools", into = "StoredPools")]
pub struct NodePools {
    kinds: BTreeMap<NodeKind, ByResource<PoolSum>>,
    /// Nodes of kinds for which there was no room.
    rest: ByResource<PoolSum>,
}

/// JSON has no maps whose keys are kinds.
#[derive(Serialize, Deserialize)]
struct StoredPools {
    kinds: Vec<(NodeKind, ByResource<PoolSum>)>,
    rest: ByResource<PoolSum>,
}

impl From<StoredPools> for NodePools {
    fn from(stored: StoredPools) -> Self {
        Self { kinds: stored.kinds.into_iter().collect(), rest: stored.rest }
    }
}

impl From<NodePools> for StoredPools {
    fn from(pools: NodePools) -> Self {
        Self { kinds: pools.kinds.into_iter().collect(), rest: pools.rest }
    }
}

/// Into which of the pools of a node definition a kind goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolPlace {
    Kind,
    Rest,
}

impl NodePools {
    /// Where nodes of this kind go that are new.
    pub(crate) fn place(&self, kind: &NodeKind) -> PoolPlace {
        if self.kinds.len() < MOST_KINDS || self.kinds.contains_key(kind) { PoolPlace::Kind } else { PoolPlace::Rest }
    }

    /// Adds runs.
    pub(crate) fn add(&mut self, kind: &NodeKind, place: PoolPlace, runs: ByResource<PoolSum>) {
        let held = match place {
            PoolPlace::Kind => self.kinds.entry(kind.clone()).or_default(),
            PoolPlace::Rest => &mut self.rest,
        };
        *held = held.zip(runs).map(|(held, runs)| held.with(runs));
    }

    /// Takes runs out that were added before.
    pub(crate) fn remove(&mut self, kind: &NodeKind, place: PoolPlace, runs: ByResource<PoolSum>) {
        let held = match place {
            PoolPlace::Kind => self.kinds.get_mut(kind),
            PoolPlace::Rest => Some(&mut self.rest),
        };
        let Some(held) = held else { return };
        *held = held.zip(runs).map(|(held, runs)| held.without(runs));
        if place == PoolPlace::Kind && *held == ByResource::default() {
            self.kinds.remove(kind);
        }
    }

    /// Runs of this very kind.
    pub fn kind(&self, kind: &NodeKind, resource: Resource) -> PoolSum {
        self.kinds.get(kind).map(|sums| *resource.part(sums)).unwrap_or_default()
    }

    /// Runs of the same size, of any image.
    pub fn any_image(&self, kind: &NodeKind, resource: Resource) -> PoolSum {
        let is_alike = |known: &NodeKind| {
            known.nominal_cpu_parts == kind.nominal_cpu_parts && known.nominal_memory_mb == kind.nominal_memory_mb
        };
        let alike = self.kinds.iter().filter(|(known, _)| is_alike(known));
        alike.fold(PoolSum::default(), |sum, (_, sums)| sum.with(*resource.part(sums)))
    }

    /// Runs of any image and size.
    pub fn all(&self, resource: Resource) -> PoolSum {
        let rest = *resource.part(&self.rest);
        self.kinds.values().fold(rest, |sum, sums| sum.with(*resource.part(sums)))
    }

    /// The kind, image and sizes known, that most measured nodes had of those that this one may be: what it states is
    /// theirs, the image where it can be. `None`: there is none. With how many runs were measured.
    pub fn most_measured(&self, stated: &NodeKind) -> Option<(&NodeKind, u64)> {
        fn agrees<T: PartialEq>(stated: Option<T>, known: Option<T>) -> bool {
            stated.is_none() || stated == known
        }
        let may_be = |known: &NodeKind| {
            known.nominal_cpu_parts.is_some()
                && known.nominal_memory_mb.is_some()
                && agrees(stated.nominal_cpu_parts, known.nominal_cpu_parts)
                && agrees(stated.nominal_memory_mb, known.nominal_memory_mb)
        };
        let runs = |sums: &ByResource<PoolSum>| Resource::ALL.iter().map(|resource| resource.part(sums).runs).max();
        let known = self.kinds.iter().filter(|(known, _)| may_be(known));
        let known = known.map(|(known, sums)| {
            let of_image = agrees(stated.image_definition.as_ref(), known.image_definition.as_ref());
            (of_image, runs(sums).unwrap_or_default(), known)
        });
        // Of equals the first in their order.
        let best = known.reduce(|best, next| if (next.0, next.1) > (best.0, best.1) { next } else { best });
        best.filter(|(_, runs, _)| *runs > 0).map(|(_, runs, kind)| (kind, runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(image: Option<&str>, cores: Option<f64>, memory: Option<f64>) -> NodeKind {
        NodeKind::new("iosv", image.map(str::to_owned), cores, memory)
    }

    fn runs(runs: u64, units: i64) -> ByResource<PoolSum> {
        ByResource { memory_mb: PoolSum { runs, units }, ..ByResource::default() }
    }

    #[test]
    fn kinds_are_pooled_apart_and_those_without_room_count_for_their_node_definition() {
        let mut pools = NodePools::default();
        let small = kind(Some("159"), Some(1.0), Some(512.0));
        pools.add(&small, pools.place(&small), runs(2, 700));
        for memory in 1..64 {
            let other = kind(None, None, Some(f64::from(memory)));
            pools.add(&other, pools.place(&other), runs(1, 1));
        }
        let further = kind(None, None, Some(9999.0));
        assert_eq!((pools.place(&further), pools.place(&small)), (PoolPlace::Rest, PoolPlace::Kind));
        let before = pools.clone();
        pools.add(&further, PoolPlace::Rest, runs(3, 30));
        let memory = Resource::MemoryMb;
        assert_eq!(pools.kind(&further, memory), PoolSum::default());
        assert_eq!(pools.all(memory), PoolSum { runs: 68, units: 793 });
        assert_eq!(pools.any_image(&small.of_any_image(), memory), PoolSum { runs: 2, units: 700 });
        pools.remove(&further, PoolPlace::Rest, runs(3, 30));
        assert_eq!(pools, before);
        let stored = serde_json::to_string(&pools).unwrap();
        assert_eq!(serde_json::from_str::<NodePools>(&stored).unwrap(), pools);
    }

    #[test]
    fn nodes_without_a_stated_size_are_as_most_measured_ones_of_their_image_else_of_any() {
        let mut pools = NodePools::default();
        let (old, new) = (kind(Some("158"), Some(1.0), Some(512.0)), kind(Some("159"), Some(1.0), Some(768.0)));
        let large = kind(Some("159"), Some(2.0), Some(2048.0));
        for (kind, count) in [(&old, 9), (&new, 5), (&large, 2), (&kind(None, None, Some(4096.0)), 50)] {
            pools.add(kind, PoolPlace::Kind, runs(count, 1));
        }
        fn found<'a>(pools: &'a NodePools, stated: &NodeKind) -> Option<(&'a NodeKind, u64)> {
            pools.most_measured(stated)
        }
        assert_eq!(found(&pools, &kind(None, None, None)), Some((&old, 9)));
        assert_eq!(found(&pools, &kind(Some("159"), None, None)), Some((&new, 5)));
        assert_eq!(found(&pools, &kind(Some("160"), None, None)), Some((&old, 9)));
        assert_eq!(found(&pools, &kind(None, Some(2.0), None)), Some((&large, 2)));
        assert_eq!(found(&pools, &kind(None, None, Some(4096.0))), None, "of those the cores are unknown");
        pools.remove(&old, PoolPlace::Kind, runs(9, 1));
        assert_eq!(found(&pools, &kind(None, None, None)), Some((&new, 5)));
    }
}
