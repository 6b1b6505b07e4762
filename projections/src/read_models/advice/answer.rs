//! What a fleet answers of a definition: shared by the fold, which keeps it for lists, and by the queries.

use advice::fleet::Fleet;
use advice::recommendation::{Explanation, ResourceFacts, ResourceRecommendation, TopologySource};
use advice::sizing::Sizing;
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

/// What a fleet is asked: how large a definition must be, or a lab of a topology.
pub(super) struct Question<'a> {
    /// `None`: of its definition nothing is known, nor of its sessions.
    pub(super) id: Option<&'a DefinitionId>,
    pub(super) topology: TopologyInQuestion,
    /// What the definition states.
    pub(super) requirements: Option<&'a ResourceRequirements>,
}

impl Question<'_> {
    /// What is advised of each resource, with every step.
    pub(super) fn explanations(&self, fleet: &Fleet, policy: &Policy) -> ByResource<Explanation> {
        let topology = &self.topology.resolved.topology;
        Resource::each(|resource| {
            let estimate = match self.id {
                Some(id) => fleet.estimate(id, topology, resource, policy),
                None => fleet.estimate_for_topology(topology, resource, policy.promise),
            };
            Explanation::new(resource, estimate, self.configured(resource), policy)
        })
    }

    /// What is recommended by explanations, beside what is known of sessions.
    pub(super) fn recommendations(
        &self,
        explanations: &ByResource<Explanation>,
        policy: &Policy,
        known: impl Fn(Resource) -> ResourceFacts,
    ) -> ByResource<ResourceRecommendation> {
        Resource::each(|resource| {
            let nominal = self.topology.resolved.topology.nominal(resource);
            let facts = ResourceFacts { configured: self.configured(resource), nominal, ..known(resource) };
            ResourceRecommendation::new(resource, resource.part(explanations), facts, policy)
        })
    }

    /// Whether what is configured is too small, fits or is too large. `None`: there is no definition.
    pub(super) fn sizing(
        &self,
        fleet: &Fleet,
        policy: &Policy,
        recommended: &ByResource<ResourceRecommendation>,
    ) -> Option<ByResource<Sizing>> {
        let id = self.id?;
        let topology = &self.topology.resolved.topology;
        Some(Resource::each(|resource| {
            let facts = fleet.sizing_facts(id, topology, resource);
            resource.part(recommended).sizing(resource, facts, policy)
        }))
    }

    fn configured(&self, resource: Resource) -> Option<u32> {
        self.requirements.map(|requirements| resource.configured(requirements))
    }
}
