//! What a fleet answers of a definition: shared by the fold, which keeps it for lists, and by the queries.

use advice::fleet::Fleet;
use advice::recommendation::{Explanation, TopologySource};
use advice::topology::{ResolvedTopology, Topology};
use domain::DefinitionId;
use domain::advice_policy::Policy;
use domain::demand::ByResource;
use domain::lab_topology::LabTopology;
use domain::lablet_definition::ResourceRequirements;
use domain::resource::Resource;

/// The topology that is asked about.
pub(super) struct TopologyInQuestion {
    pub(super) source: TopologySource,
    pub(super) resolved: ResolvedTopology,
}

/// The stated topology, else the learnt one, with the sizes that it does not state.
pub(super) fn asked_topology(
    fleet: &Fleet,
    id: Option<&DefinitionId>,
    stated: Option<&LabTopology>,
    learnt: Option<&Topology>,
) -> TopologyInQuestion {
    let (source, topology) = match (stated, learnt) {
        (Some(stated), _) => (TopologySource::Stated, Topology::from(stated)),
        (None, Some(learnt)) => (TopologySource::Learnt, learnt.clone()),
        (None, None) => (TopologySource::Unknown, Topology::default()),
    };
    TopologyInQuestion { source, resolved: fleet.resolve(id, &topology) }
}

/// What is advised of each resource, with every step. Where there is no definition, nothing is known of its sessions.
pub(super) fn explanations(
    fleet: &Fleet,
    id: Option<&DefinitionId>,
    topology: &Topology,
    requirements: Option<&ResourceRequirements>,
    policy: &Policy,
) -> ByResource<Explanation> {
    Resource::each(|resource| {
        let estimate = match id {
            Some(id) => fleet.estimate(id, topology, resource, policy),
            None => fleet.estimate_for_topology(topology, resource, policy.promise),
        };
        let configured = requirements.map(|requirements| resource.configured(requirements));
        Explanation::new(resource, estimate, configured, policy)
    })
}
