//! What is kept of all sessions, as the rows that a read model stores: each is small, and does not grow with the number of
//! sessions.

use std::collections::{BTreeMap, BTreeSet};

use domain::DefinitionId;
use domain::demand::ByResource;
use domain::resource::Resource;
use serde::{Deserialize, Serialize};

use crate::base::PoolSum;
use crate::days::Days;
use crate::fleet_moments::{DefinitionMoments, FleetMoments};
use crate::greatest::Greatest;
use crate::largest::Trials;
use crate::newest::Newest;
use crate::node_pools::NodePools;
use crate::own_past::OwnPast;
use crate::persistence::Persistence;
use crate::ratios::LogDemands;
use crate::scores::{Score, Scores};
use crate::topology::{NodeKind, Topology};

/// Most topologies of a definition whose sessions are kept apart. The ratio of a session of a further one is put down as it
/// is when the session ends.
pub const MOST_TOPOLOGIES: usize = 16;

/// Everything that is kept, or the part of it that one definition needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetRows {
    /// What there is once for each resource.
    pub whole: ByResource<WholeFleet>,
    /// Scores of past advice, in the order of [`crate::scores::Bucket::ALL`].
    pub scores: ByResource<[Scores; 7]>,
    /// Pools of all labs, by node definition.
    pub pools: BTreeMap<String, NodePools>,
    /// What is kept of each definition.
    pub definitions: BTreeMap<DefinitionId, DefinitionRows>,
}

/// What is kept of one resource over the whole fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct WholeFleet {
    /// Runs of all nodes.
    pub any: PoolSum,
    /// How definitions differ, and their sessions.
    pub moments: FleetMoments,
    /// What stays of what sessions had in common.
    pub persistence: Persistence,
    /// How often the largest of some sessions covered one of another day.
    pub largest: Trials,
}

/// What is kept of one definition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DefinitionRows {
    /// Sessions that ended, excluded ones too: the newest one has this number.
    pub ended: u64,
    /// What there is once for each resource.
    pub sums: ByResource<DefinitionSums>,
    /// Pools of its own labs, by node definition.
    pub pools: BTreeMap<String, NodePools>,
    /// Its sessions by topology.
    pub topologies: BTreeMap<Topology, ByResource<OwnDemands>>,
}

/// What is kept of one resource of one definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DefinitionSums {
    /// What it contributes to the moments of the fleet.
    pub moments: Option<DefinitionMoments>,
    /// The scores that its newest sessions had by their topology alone. The newest is among those of the fleet.
    pub by_topology: Newest<Score, 4>,
    /// Its own past.
    pub own_past: OwnPast,
    /// Ratios of sessions with topologies that are not kept apart.
    pub ratios: LogDemands,
    /// Ratios of its sessions by day.
    pub days: Days,
}

/// The demands of a definition's sessions of one topology.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnDemands {
    /// Their sums.
    pub sums: LogDemands,
    /// The greatest of them.
    pub greatest: Greatest,
}

impl DefinitionRows {
    /// Whether nothing is known of it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sessions whose demand of a resource is known.
    pub fn sessions(&self, resource: Resource) -> u64 {
        let by_topology = self.topologies.values().map(|own| resource.part(own).sums.sessions);
        resource.part(&self.sums).ratios.sessions + by_topology.sum::<u64>()
    }
}

impl FleetRows {
    /// The rows that an estimate for a definition with this topology reads, and that a session of it changes.
    #[must_use]
    pub fn part_for(&self, definition: &DefinitionId, topology: &Topology) -> Self {
        let own = self.definitions.get(definition);
        let known = own.into_iter().flat_map(|own| own.topologies.keys());
        let kinds = known.chain([topology]).flat_map(Topology::kinds);
        let names: BTreeSet<&String> = kinds.map(|(kind, _): (&NodeKind, u32)| &kind.node_definition).collect();
        let only = |pools: &BTreeMap<String, NodePools>| {
            let wanted = pools.iter().filter(|(name, _)| names.contains(name));
            wanted.map(|(name, pools)| (name.clone(), pools.clone())).collect::<BTreeMap<_, _>>()
        };
        let own = own.map(|own| (definition.clone(), DefinitionRows { pools: only(&own.pools), ..own.clone() }));
        Self {
            whole: self.whole,
            scores: self.scores.clone(),
            pools: only(&self.pools),
            definitions: own.into_iter().collect(),
        }
    }

    /// How many rows there are, scores left out.
    pub fn count(&self) -> usize {
        let own = self.definitions.values().map(|own| 1 + own.pools.len() + own.topologies.len());
        1 + self.pools.len() + own.sum::<usize>()
    }
}
