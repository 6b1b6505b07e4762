//! What one session says.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::demand::ByResource;
use domain::nominal::has_machine;
use domain::{DefinitionId, SessionId};
use serde::{Deserialize, Serialize};

use crate::base::PoolSum;
use crate::topology::{NodeKind, Topology};
use domain::resource::Resource;

/// What a node of a session needed. `None` is unknown.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeDemand {
    /// Its kind.
    pub kind: NodeKind,
    /// Cores or MB.
    pub demand: ByResource<Option<f64>>,
}

/// What nodes of one kind of a session needed, added up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindRuns {
    /// Their kind.
    pub kind: NodeKind,
    /// Those whose demand is known, and the sum.
    pub runs: ByResource<PoolSum>,
}

impl KindRuns {
    /// Nodes added up by kind. Those that are no machines are left out, and of which nothing is known.
    pub fn from_nodes(nodes: impl IntoIterator<Item = NodeDemand>) -> Vec<Self> {
        let mut kinds: BTreeMap<NodeKind, ByResource<PoolSum>> = BTreeMap::new();
        for node in nodes.into_iter().filter(|node| has_machine(&node.kind.node_definition)) {
            let runs = kinds.entry(node.kind).or_default();
            for resource in Resource::ALL {
                if let Some(demand) = amount(*resource.part(&node.demand)) {
                    resource.part_mut(runs).add(demand, resource);
                }
            }
        }
        let known = kinds.into_iter().filter(|(_, runs)| *runs != ByResource::default());
        known.map(|(kind, runs)| Self { kind, runs }).collect()
    }
}

/// What a session needed, by the rule of `domain::demand`: what contradicts itself and labs of which nothing ran are unknown
/// there.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionEvidence {
    /// The session.
    pub session_id: SessionId,
    /// Its definition.
    pub definition_id: DefinitionId,
    /// When it ended. The order of sessions is that in which they are given to a fleet.
    pub ended_at: DateTime<Utc>,
    /// What it consisted of; without any node it is unknown.
    pub topology: Topology,
    /// What the lab needed: cores or MB. `None` is unknown.
    pub demand: ByResource<Option<f64>>,
    /// What its nodes needed, as far as that is known.
    pub nodes: Vec<KindRuns>,
}

impl SessionEvidence {
    /// The day on which it ended, since 1970.
    #[expect(clippy::cast_possible_truncation, reason = "times have four-digit years")]
    pub(crate) fn day(&self) -> i32 {
        self.ended_at.timestamp().div_euclid(86_400) as i32
    }
}

/// An amount that is one: neither negative nor without end.
pub(crate) fn amount(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value >= 0.0)
}
