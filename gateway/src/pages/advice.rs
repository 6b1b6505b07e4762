//! What pages show of advice: how large definitions must be, why, what is proposed, how it is given, and whether it held.

pub(crate) mod amounts;
pub(crate) mod back_test;
pub(crate) mod back_test_page;
pub(crate) mod evidence;
pub(crate) mod explanation;
pub(crate) mod policy;
pub(crate) mod policy_draft;
pub(crate) mod promise_curve;
pub(crate) mod proposal;
pub(crate) mod proposals;
pub(crate) mod score_chart;
pub(crate) mod score_page;
pub(crate) mod section;
pub(crate) mod size_bars;
pub(crate) mod steps;
pub(crate) mod topology_view;

#[cfg(test)]
pub(crate) mod tests {
    use advice::evidence::{KindRuns, NodeDemand, SessionEvidence};
    use advice::fleet::Fleet;
    use advice::left_out::{LeftOut, LeftOutCode};
    use advice::recommendation::{
        AskedTopology, Explanation, Recommendation, RecommendationKind, ResourceFacts, ResourceRecommendation,
        TopologySource,
    };
    use advice::topology::{NodeKind, Topology};
    use chrono::{DateTime, Utc};
    use domain::advice_policy::Policy;
    use domain::demand::ByResource;
    use domain::lablet_definition::Finding;
    use domain::resource::Resource;
    use domain::{DefinitionId, SessionId};

    pub(crate) const MEMORY: Resource = Resource::MemoryMb;

    fn topology() -> Topology {
        Topology::new([(NodeKind::new("iosv", None, Some(1.0), Some(2048.0)), 2)])
    }

    /// Sessions of a definition that needed this much memory.
    fn run(fleet: &mut Fleet, name: &str, demands: &[f64]) {
        for (number, demand) in demands.iter().enumerate() {
            let only_memory = |demand| ByResource { memory_mb: Some(demand), ..ByResource::default() };
            let node =
                |(kind, _): (&NodeKind, u32)| NodeDemand { kind: kind.clone(), demand: only_memory(demand / 2.0) };
            fleet.advance(&SessionEvidence {
                session_id: SessionId::parse(format!("{name}-{number}")).unwrap(),
                definition_id: DefinitionId::parse(name).unwrap(),
                ended_at: DateTime::<Utc>::from_timestamp(1_772_000_000 + 3600 * i64::try_from(number).unwrap(), 0)
                    .unwrap(),
                topology: topology(),
                demand: only_memory(*demand),
                nodes: KindRuns::from_nodes(topology().kinds().map(node)),
            });
        }
    }

    /// How a definition with five sessions is sized, in a small fleet.
    pub(crate) fn explanation() -> Explanation {
        let mut fleet = Fleet::default();
        for number in 0..6 {
            run(&mut fleet, &format!("other-{number}"), &[1900.0, 2000.0, 2100.0, 2050.0]);
        }
        run(&mut fleet, "asked", &[2000.0, 2100.0, 1950.0, 2050.0, 2000.0]);
        let policy = Policy::default();
        let asked = DefinitionId::parse("asked").unwrap();
        let estimate = fleet.estimate(&asked, &topology(), MEMORY, &policy);
        Explanation::new(MEMORY, estimate, Some(8), &policy)
    }

    /// What is recommended to it. Its kind is that of a fleet with a past.
    pub(crate) fn recommendation() -> ResourceRecommendation {
        let facts = ResourceFacts { configured: Some(8), nominal: Some(4096.0), ..ResourceFacts::default() };
        let found = ResourceRecommendation::new(MEMORY, &explanation(), facts, &Policy::default());
        ResourceRecommendation { requirement: Some(4), kind: RecommendationKind::Calibrated, ..found }
    }

    /// What is recommended to it as a whole.
    pub(crate) fn recommendation_of_definition() -> Recommendation {
        let policy = Policy::default();
        let nothing = |resource| {
            let explanation = Explanation::new(resource, None, Some(8), &policy);
            let facts = ResourceFacts { configured: Some(8), ..ResourceFacts::default() };
            ResourceRecommendation::new(resource, &explanation, facts, &policy)
        };
        let mut memory = recommendation();
        memory.demand.max = Some(2100.0);
        Recommendation {
            definition_id: DefinitionId::parse("asked").ok(),
            revision: Some(2),
            as_of: "7".to_owned(),
            promise: policy.promise.share(),
            finding: Some(Finding::OverProvisioned),
            resources: ByResource {
                cpu_cores: nothing(Resource::CpuCores),
                memory_mb: memory,
                storage_mb: nothing(Resource::StorageMb),
            },
            sizing: None,
            topology: AskedTopology {
                source: TopologySource::Unknown,
                nodes: Vec::new(),
                node_count: 0,
                assumed: Vec::new(),
            },
            mixed: Vec::new(),
            left_out: LeftOut::new(LeftOutCode::Excluded, 1).into_iter().collect(),
            policy,
        }
    }
}
