//! Whatever a command holds: it is refused, or every read model, list, rebuild and verification still works afterwards.

use advice::scope::SessionScope;
use app::command::Command;
use app::commands::{CommandError, Commands};
use app::log::Origin;
use bus::clock::IdGenerator;
use domain::SessionId;
use projections::PageRequest;
use projections::read_models::observations::{NodeFilter, ObservationFilter};
use projections::read_models::sessions::SessionFilter;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tokio_util::sync::CancellationToken;

use crate::given::World;
use crate::hostile::{changed, changes, samples};

/// Commands that are sent; each tenth one meets a new session.
const COMMANDS: usize = 250;

/// Reads everything that anybody may ask about these sessions.
async fn look_at_everything(world: &World, sessions: &[SessionId]) {
    let (reads, page) = (&world.projections, PageRequest::default());
    assert!(reads.sessions(&SessionFilter::default(), &page).await.unwrap().unreadable.is_empty());
    reads.session_counts().await.unwrap();
    assert!(reads.observations(&ObservationFilter::default(), &page).await.unwrap().unreadable.is_empty());
    assert!(reads.workers(&page).await.unwrap().unreadable.is_empty());
    assert!(reads.definitions_off(SessionScope::Newest(20), 200).await.unwrap().unreadable.is_empty());
    reads.search("a", 10, projections::search::SearchDepth { dead_letters: true, history: true }).await.unwrap();
    for definition in ["ospf", "d-2"] {
        let definition = definition.parse().unwrap();
        reads.definition(&definition).await.unwrap();
        reads.definition_observations(&definition, SessionScope::Newest(200), 200).await.unwrap();
        reads.recommendation(&definition, None, None).await.unwrap();
        reads.explanation(&definition, None, None).await.unwrap();
    }
    for worker in ["cml-1", "w-2"] {
        let worker = worker.parse().unwrap();
        reads.worker(&worker).await.unwrap();
        reads.port_map(&worker).await.unwrap();
        assert!(reads.pressure_spells(&worker, &page).await.unwrap().unreadable.is_empty());
        reads.worker_shortage(&worker, world.now(), world.now()).await.unwrap();
    }
    for session in sessions {
        reads.session(session).await.unwrap().unwrap();
        let nodes = reads.session_nodes(session, &NodeFilter::default(), &page).await.unwrap();
        reads.session_profile(session).await.unwrap();
        for node in nodes.page.items {
            reads.session_node_profile(session, &node.node_id).await.unwrap().unwrap();
        }
    }
    for view in [
        "sessions",
        "observations",
        "observation_nodes",
        "definition_observation_totals",
        "definitions",
        "workers",
        "session_demands",
        "node_demands",
        "node_pools",
        "worker_pressure",
        "worker_pressure_spells",
        "session_evidence",
        "advice_scores",
        "advice_misses",
        "proposals",
        "definition_recommendations",
    ] {
        let statement = format!("SELECT to_json(v)::text FROM analytics_v1.{view} v");
        sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(statement))
            .fetch_all(&world.database.pool())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn whatever_a_command_holds_every_list_rebuild_and_verification_still_works() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.worker("cml-1").await;
    world.pressure("cml-1", world.now(), serde_json::json!({"short_of_cpu": true})).await;
    let commands = Commands::new(world.log.clone(), world.clock.clone(), IdGenerator::seeded(2, world.clock.clone()));
    let (mut runner, all) = (TestRunner::deterministic(), samples());
    let (mut sessions, mut recorded) = (Vec::<SessionId>::new(), 0);
    for number in 0..COMMANDS {
        if number % 10 == 0 {
            let id = format!("s-{}", 100 + number);
            world.running(&id, "ospf").await;
            sessions.push(id.parse().unwrap());
        }
        let (which, changes) = (any::<prop::sample::Index>(), changes()).new_tree(&mut runner).unwrap().current();
        // Observations are what most is made of.
        let (name, sample) = if number % 2 == 0 { &all[0] } else { which.get(&all) };
        // The first of each kind is sent as it is.
        let body = if number < 2 * all.len() { sample.clone() } else { changed(sample.clone(), &changes) };
        let subject = match Command::id_field(name) {
            Some("session_id") => Some(sessions[sessions.len() - 1].as_str()),
            Some("definition_id") => Some("d-2"),
            Some(_) => Some("w-2"),
            None => None,
        };
        let Ok(text) = serde_json::from_str(&body.to_string()) else { continue };
        let command = match Command::parse(name, subject, text) {
            Ok(body) => body.value,
            Err(invalid) => {
                assert!(!invalid.complaints().is_empty(), "{invalid}");
                continue;
            }
        };
        match commands.handle(command, &Origin::from_actor("team:x")).await {
            Ok(_) => recorded += 1,
            Err(error @ (CommandError::Broken(_) | CommandError::Unavailable(_))) => panic!("{name} {body}: {error:?}"),
            Err(CommandError::Invalid(invalid)) => assert!(!invalid.field.is_empty(), "{invalid}"),
            Err(_) => {}
        }
    }
    assert!(recorded > COMMANDS / 20, "only {recorded} were accepted: the changes are too wild to tell anything");
    world.settle().await;
    look_at_everything(&world, &sessions).await;
    let report = world.projections.verify_all(None, true, &CancellationToken::new()).await.unwrap();
    assert!(report.holds(), "{report:#?}");
    assert!(report.read_models.iter().all(|model| model.dead_letters == 0), "{report:#?}");
    world.database.finish().await;
}
