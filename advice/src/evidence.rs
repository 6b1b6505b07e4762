//! What one session says.

use chrono::{DateTime, Utc};
use domain::demand::ByResource;
use domain::nominal::has_machine;
use domain::{DefinitionId, SessionId};

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

/// What a session needed, by the rule of `domain::demand`: what contradicts itself and labs of which nothing ran are unknown
/// there.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionEvidence {
    /// The session.
    pub session_id: SessionId,
    /// Its definition.
    pub definition_id: DefinitionId,
    /// When it ended. The order of sessions is that of their ends, and of their ids where they ended together.
    pub ended_at: DateTime<Utc>,
    /// What it consisted of; without any node it is unknown.
    pub topology: Topology,
    /// What the lab needed: cores or MB. `None` is unknown.
    pub demand: ByResource<Option<f64>>,
    /// What the nodes of its topology needed, as far as that is known.
    pub nodes: Vec<NodeDemand>,
}

impl SessionEvidence {
    /// What sessions are ordered by.
    pub fn order(&self) -> (DateTime<Utc>, &SessionId) {
        (self.ended_at, &self.session_id)
    }

    /// What its nodes needed of a resource, where that is known and they are machines at all.
    pub(crate) fn node_demands(&self, resource: Resource) -> impl Iterator<Item = (&NodeKind, f64)> {
        let known = move |node: &'_ NodeDemand| amount(*resource.part(&node.demand));
        let machines = self.nodes.iter().filter(|node| has_machine(&node.kind.node_definition));
        machines.filter_map(move |node| Some((&node.kind, known(node)?)))
    }
}

/// An amount that is one: neither negative nor without end.
pub(crate) fn amount(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value >= 0.0)
}
