//! What is advised of a definition, by sessions of the log.

use advice::recommendation::{Recommendation, RecommendationKind, TopologySource};
use app::log::Position;
use domain::DefinitionId;
use domain::lablet_definition::Finding;
use domain::lablet_session::SessionStatus;
use projections::rebuild::RebuildOptions;
use projections::{ReadError, ReadModel};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::given::{World, measured};

const COMPARE: RebuildOptions = RebuildOptions { compare: true, keep_live: false };

fn id(text: &str) -> DefinitionId {
    text.parse().unwrap()
}

async fn advised(world: &World, definition: &str, as_of: Option<Position>) -> Recommendation {
    world.projections.recommendation(&id(definition), None, as_of).await.unwrap().unwrap()
}

/// Three definitions with a few sessions each.
async fn fleet(world: &World, sessions: u32) {
    for definition in ["ospf", "bgp", "isis"] {
        world.definition(definition).await;
        for number in 0..sessions {
            let memory = 1500.0 + 100.0 * f64::from(number % 4);
            world.ended(&format!("{definition}-{number}"), definition, memory).await;
        }
    }
}

#[tokio::test]
async fn a_definition_is_sized_by_its_sessions_and_names_the_readings() {
    let world = World::new().await;
    fleet(&world, 4).await;
    world.running("ospf-runs", "ospf").await;
    world.settle_one(ReadModel::Advice).await;
    let answer = advised(&world, "ospf", None).await;
    let memory = &answer.resources.memory_mb;
    assert_eq!((answer.finding, memory.sessions, memory.configured), (Some(Finding::OverProvisioned), 4, Some(4096.0)));
    assert_eq!((memory.nominal, memory.demand.max, memory.demand.latest), (Some(4096.0), Some(1800.0), Some(1800.0)));
    assert_eq!((memory.demand.median, memory.requirement), (Some(1700.0), Some(2)));
    assert_eq!(memory.kind, RecommendationKind::DistributionFree);
    assert_eq!(memory.evidence.len(), 4);
    assert_eq!((answer.topology.source, answer.topology.node_count), (TopologySource::Learnt, 2));
    let left_out: Vec<_> = answer.left_out.iter().map(|left_out| left_out.text.as_str()).collect();
    assert_eq!(left_out, ["1 session still running: counted once nothing of it can be observed any more."]);
    let explained = world.projections.explanation(&id("ospf"), None, None).await.unwrap().unwrap();
    let greatest = &explained.resources.memory_mb.readings[0];
    assert_eq!((greatest.session_id.as_str(), greatest.demand), ("ospf-3", 1800.0));
    assert_eq!(memory.evidence[0].to_string(), greatest.event_id.to_string());
    let base = explained.resources.memory_mb.steps.estimate.unwrap().base.unwrap();
    assert_eq!((base.parts.len(), base.parts[0].runs), (1, 16), "eight sessions of others had two such routers each");
    assert!(world.projections.recommendation(&id("unknown"), None, None).await.unwrap().is_none());
    world.database.finish().await;
}

#[tokio::test]
async fn what_was_advised_at_a_position_is_the_same_bytes_later_and_after_a_rebuild() {
    let world = World::new().await;
    for definition in ["ospf", "bgp"] {
        world.definition(definition).await;
    }
    let mut asked = Vec::new();
    for number in 0..14_u32 {
        let definition = if number % 3 == 0 { "bgp" } else { "ospf" };
        let session = format!("s-{number}");
        world.running(&session, definition).await;
        let routers = if number < 8 { 2 } else { 3 };
        world.observe(&session, measured(1000.0 + 150.0 * f64::from(number), routers)).await;
        if number == 6 {
            world.count_evidence(&session, false).await;
        }
        world.go(&session, SessionStatus::Stopping).await;
        match number {
            4 => world.count_evidence("s-1", false).await,
            5 => world.default_policy(json!({"promise": 0.9})).await,
            7 => world.revise("ospf", 3, &[]).await,
            9 => world.count_evidence("s-1", true).await,
            10 => world.count_evidence("s-6", true).await,
            _ => Position::START,
        };
        world.settle_one(ReadModel::Advice).await;
        let position = world.projections.position(ReadModel::Advice).await.unwrap();
        for definition in ["ospf", "bgp"] {
            let answer = serde_json::to_string(&advised(&world, definition, None).await).unwrap();
            let explained = world.projections.explanation(&id(definition), None, None).await.unwrap().unwrap();
            asked.push((definition, position, answer, serde_json::to_string(&explained).unwrap()));
        }
    }
    for _ in 0..2 {
        for (definition, position, answer, explained) in &asked {
            let again = serde_json::to_string(&advised(&world, definition, Some(*position)).await).unwrap();
            assert_eq!(&again, answer, "{definition} at {position}");
            let again = world.projections.explanation(&id(definition), None, Some(*position)).await.unwrap().unwrap();
            assert_eq!(&serde_json::to_string(&again).unwrap(), explained);
        }
        let report = world.projections.rebuild(ReadModel::Advice, COMPARE, &CancellationToken::new()).await.unwrap();
        assert_eq!((report.swapped, report.differing_tables), (true, Some(vec![])));
    }
    let beyond: Position = "0000000009-00000000000000000001-0000000000000000001".parse().unwrap();
    let refused = world.projections.recommendation(&id("ospf"), None, Some(beyond)).await.unwrap_err();
    assert!(matches!(&refused, ReadError::Invalid(invalid) if invalid.field == "as_of"), "{refused:?}");
    assert!(world.projections.recommendation(&id("ospf"), None, Some(Position::START)).await.unwrap().is_none());
    world.database.finish().await;
}

#[tokio::test]
async fn evidence_that_is_excluded_leaves_and_included_again_everything_is_as_before() {
    let world = World::new().await;
    fleet(&world, 3).await;
    world.settle_one(ReadModel::Advice).await;
    let without_position = |mut answer: Recommendation| {
        answer.as_of.clear();
        answer
    };
    let before = without_position(advised(&world, "ospf", None).await);
    for number in 0..3 {
        world.count_evidence(&format!("ospf-{number}"), false).await;
    }
    world.settle_one(ReadModel::Advice).await;
    let emptied = advised(&world, "ospf", None).await;
    let memory = &emptied.resources.memory_mb;
    assert_eq!((memory.sessions, memory.kind), (0, RecommendationKind::FromTopology));
    assert_eq!((emptied.finding, memory.demand.max), (Some(Finding::InsufficientEvidence), None));
    assert_eq!(emptied.left_out[0].text, "3 sessions excluded by somebody, with a reason.");
    for number in (0..3).rev() {
        world.count_evidence(&format!("ospf-{number}"), true).await;
    }
    world.settle_one(ReadModel::Advice).await;
    assert_eq!(without_position(advised(&world, "ospf", None).await), before);
    let report = world.projections.rebuild(ReadModel::Advice, COMPARE, &CancellationToken::new()).await.unwrap();
    assert_eq!(report.differing_tables, Some(vec![]));
    world.database.finish().await;
}

#[tokio::test]
async fn a_definition_that_never_ran_is_sized_from_the_topology_that_it_states() {
    let world = World::new().await;
    fleet(&world, 3).await;
    world.settle_one(ReadModel::Advice).await;
    let topology = serde_json::from_value(json!({"nodes": [{"node_definition": "iosv", "count": 4}]})).unwrap();
    let answer = world.projections.topology_recommendation(&topology, None).await.unwrap();
    let memory = &answer.resources.memory_mb;
    assert_eq!((memory.kind, memory.nominal), (RecommendationKind::FromTopology, Some(8192.0)));
    assert_eq!(answer.topology.assumed[0].taken.nominal_memory_mb, Some(2048));
    assert!(memory.requirement.is_some_and(|gigabytes| (3..8).contains(&gigabytes)), "{memory:?}");
    world.database.finish().await;
}
