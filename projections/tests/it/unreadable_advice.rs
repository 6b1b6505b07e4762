//! What a column of the read model of advice may hold, whoever asks for advice is answered, or told which row cannot be read.

use app::log::Position;
use domain::lablet_definition::{ProposalCommand, ProposalStatus, ProposalStep};
use domain::resource::Resource;
use domain::{DefinitionId, ProposalId, SessionId};
use projections::read_models::advice::evidence::EvidenceFilter;
use projections::read_models::advice::proposals::ProposalFilter;
use projections::read_models::advice::score::AdviceScoreFilter;
use projections::read_models::advice::sizing_gaps::SizingGapFilter;
use projections::{PageRequest, ReadModel};
use serde_json::json;

use crate::given::{World, start};
use crate::unreadable::{check, spoil_each_column};

/// Two definitions with sessions that ended, one of them excluded, a policy each, and a proposal that was claimed and
/// dismissed beside an open one; with a position before the last events.
async fn advised() -> (World, Position) {
    let world = World::new().await;
    world.default_policy(json!({"promise": 0.9})).await;
    for definition in ["ospf", "bgp"] {
        world.definition(definition).await;
        world.state(definition, json!({"nodes": [{"node_definition": "iosv", "count": 2}]})).await;
        for number in 0..3 {
            world.ended(&format!("{definition}-{number}"), definition, 1500.0 + 100.0 * f64::from(number)).await;
        }
        world.running(&format!("{definition}-runs"), definition).await;
        world.count_evidence(&format!("{definition}-0"), false).await;
        world.policy(definition, json!({"promise": 0.8, "include_boot": definition == "bgp"})).await;
        world.propose(definition, &format!("p-{definition}")).await;
    }
    let earlier = world.newest().await;
    let step = |reason: &str| ProposalStep {
        proposal_id: ProposalId::parse("p-ospf").unwrap(),
        version: None,
        reason: Some(reason.parse().unwrap()),
    };
    world.step("ospf", ProposalCommand::Claim(step("I look at it"))).await;
    world.step("ospf", ProposalCommand::Dismiss(step("an exam is near"))).await;
    world.settle_one(ReadModel::Advice).await;
    (world, earlier)
}

/// Asks for everything that reads rows of advice in a way of its own: an explanation and the policy in force, e.g., read what a
/// recommendation reads.
async fn ask_for_advice(world: &World, earlier: Position, spoilt: &str) {
    let reads = &world.projections;
    let request = PageRequest::default();
    for definition in ["ospf", "bgp"] {
        let id = DefinitionId::parse(definition).unwrap();
        let session = SessionId::parse(format!("{definition}-1")).unwrap();
        check(spoilt, reads.recommendation(&id, None, None).await);
        check(spoilt, reads.recommendation(&id, None, Some(earlier)).await);
        check(spoilt, reads.back_test(&id, None, |stated| stated).await);
        check(spoilt, reads.learnt_topology_change(&id).await);
        check(spoilt, reads.session_evidence(&session).await);
        check(spoilt, reads.proposal(&ProposalId::parse(format!("p-{definition}")).unwrap()).await);
        let evidence = check(spoilt, reads.evidence(&id, &EvidenceFilter::All, &request).await).unwrap();
        // A session whose definition is spoilt is missing here, and one whose end is, that has none, is listed.
        assert!((2..=4).contains(&(evidence.items.len() + evidence.unreadable.len())), "{spoilt}");
        let own = AdviceScoreFilter { definition_id: Some(id), resource: Some(Resource::MemoryMb) };
        check(spoilt, reads.advice_score(&own).await);
    }
    let topology = serde_json::from_value(json!({"nodes": [{"node_definition": "iosv", "count": 4}]})).unwrap();
    check(spoilt, reads.topology_recommendation(&topology, None).await);
    check(spoilt, reads.advice_score(&AdviceScoreFilter::default()).await);
    let open = ProposalFilter { status: Some(ProposalStatus::Open), definition_id: None };
    assert!(check(spoilt, reads.proposals(&open, &request).await).is_some(), "{spoilt}");
    let proposals = check(spoilt, reads.proposals(&ProposalFilter::default(), &request).await).unwrap();
    assert_eq!(proposals.items.len() + proposals.unreadable.len(), 2, "{spoilt}");
    let listed = check(spoilt, reads.definition_recommendations(&request).await).unwrap();
    assert_eq!(listed.items.len() + listed.unreadable.len(), 2, "{spoilt}");
    assert!(check(spoilt, reads.definitions_by_verdict().await).is_some(), "{spoilt}");
    let ranking = check(spoilt, reads.sizing_ranking(start()).await).unwrap();
    let gaps = reads.sizing_gaps(&ranking, &SizingGapFilter::default(), 10).await;
    assert!(check(spoilt, gaps).is_some(), "{spoilt}");
    let ids = ["ospf", "bgp"].map(|id| DefinitionId::parse(id).unwrap());
    assert!(check(spoilt, reads.sessions_ended_since(&ids, start()).await).is_some(), "{spoilt}");
}

#[tokio::test]
async fn whatever_a_column_of_advice_holds_every_question_is_answered() {
    let (world, earlier) = advised().await;
    let ask = async |world: &World, spoilt: &str| ask_for_advice(world, earlier, spoilt).await;
    let spoilt_columns = spoil_each_column(&world, &["read_advice"], ask).await;
    assert!(spoilt_columns > 150, "{spoilt_columns}");
}
