//! A rebuild gives the rows that following the log gave, whatever happens meanwhile.

use std::time::Duration;

use app::log::Origin;
use domain::lablet_session::{LabletSession, LabletSessionCommand, ObservationReport, SessionStatus, Transition};
use projections::read_models::sessions::SessionFilter;
use projections::rebuild::{RebuildError, RebuildOptions};
use projections::{PageRequest, ReadModel, Runner, RunnerOptions};
use proptest::prelude::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::given::{World, seen, start};

const COMPARE: RebuildOptions = RebuildOptions { compare: true, keep_live: false };

#[tokio::test]
async fn events_flow_and_reads_go_on_while_every_read_model_is_rebuilt() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.worker("cml-1").await;
    let token = CancellationToken::new();
    let runner = Runner::new(world.projections.clone(), None, RunnerOptions::default());
    let runner = tokio::spawn(runner.run(token.clone()));
    let write = async {
        let mut last = world.running("s-0", "ospf").await;
        for number in 1..25 {
            world.running(&format!("s-{number}"), "ospf").await;
            last = world.observe(&format!("s-{number}"), seen(json!({"total_cpu_cores": number}))).await;
        }
        last
    };
    let rebuild = async {
        for _ in 0..2 {
            for model in ReadModel::ALL {
                let report = world.projections.rebuild(model, COMPARE, &token).await.unwrap();
                assert_eq!((report.swapped, report.differing_tables), (true, Some(vec![])), "{model}");
            }
        }
    };
    let done = CancellationToken::new();
    let read = async {
        let mut most = 0;
        while !done.is_cancelled() {
            let page = world.projections.sessions(&Default::default(), &PageRequest::first(100)).await.unwrap();
            assert!(page.items.len() >= most, "a read saw {} sessions after {most}", page.items.len());
            most = page.items.len();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let write_and_rebuild = async {
        let (last, ()) = tokio::join!(write, rebuild);
        done.cancel();
        last
    };
    let (last, ()) = tokio::join!(write_and_rebuild, read);
    world.projections.wait_for(&ReadModel::ALL, last, Duration::from_secs(60)).await.unwrap();
    token.cancel();
    runner.await.unwrap();
    let report = world.projections.verify_all(None, true, &CancellationToken::new()).await.unwrap();
    assert!(report.holds(), "{report:?}");
}

#[tokio::test]
async fn an_interrupted_rebuild_goes_on_and_leaves_the_live_rows_alone() {
    let world = World::new().await;
    world.definition("ospf").await;
    for number in 0..30 {
        world.running(&format!("s-{number}"), "ospf").await;
    }
    world.settle().await;
    let stopped = CancellationToken::new();
    stopped.cancel();
    let result = world.projections.rebuild(ReadModel::Sessions, COMPARE, &stopped).await;
    assert!(matches!(result, Err(RebuildError::Stopped)));
    // Dropped wherever it is, again and again: each time it has come further, or as far.
    let mut at = None;
    for _ in 0..20 {
        let token = CancellationToken::new();
        let rebuild = world.projections.rebuild(ReadModel::Sessions, COMPARE, &token);
        if tokio::time::timeout(Duration::from_millis(15), rebuild).await.is_ok() {
            break;
        }
        let came = world.projections.freshness().await.unwrap().items[0].rebuilding;
        assert!(came.is_none() || came >= at, "{came:?} after {at:?}");
        at = came;
    }
    let report = world.projections.rebuild(ReadModel::Sessions, COMPARE, &CancellationToken::new()).await.unwrap();
    assert_eq!(report.differing_tables, Some(vec![]));
    assert_eq!(world.projections.session_counts().await.unwrap().items[0].sessions, 30);
}

#[tokio::test]
async fn rows_of_an_older_revision_are_rebuilt_and_of_a_newer_one_left_alone() {
    let world = World::new().await;
    let first = world.worker("cml-1").await;
    world.settle().await;
    let revision = "UPDATE read_workers.checkpoint SET revision = $1";
    sqlx::query(revision).bind(0).execute(&world.database.pool()).await.unwrap();
    sqlx::query("UPDATE read_workers.workers SET name = 'as an older release had it'")
        .execute(&world.database.pool())
        .await
        .unwrap();
    world.settle().await;
    let workers = world.projections.workers(&PageRequest::default()).await.unwrap();
    assert_eq!(workers.items[0].profile.name, "cml-1");
    sqlx::query(revision).bind(99).execute(&world.database.pool()).await.unwrap();
    world.worker("cml-2").await;
    world.projections.catch_up(ReadModel::Workers).await.unwrap();
    assert_eq!(world.projections.position(ReadModel::Workers).await.unwrap(), first);
}

/// What may happen to a session, in whatever order; what the rules refuse, does not.
#[derive(Debug, Clone)]
enum Act {
    Go(usize),
    Observe { hours: i64, cpu: Option<u32>, ports: Option<u16>, answers: bool, used: Option<Used> },
    Ask,
    Fail,
}

/// What was in use: by a profile, or by a snapshot.
#[derive(Debug, Clone)]
struct Used {
    tenths_of_a_core: u32,
    by_profile: bool,
    image: Option<&'static str>,
}

impl Used {
    /// Adds to an observation what its second node used, and the lab with it.
    fn add_to(&self, resources: &mut serde_json::Value) {
        let cores = f64::from(self.tenths_of_a_core) / 10.0;
        let node = &mut resources["nodes"][1];
        node["image_definition"] = self.image.into();
        if self.by_profile {
            let phases =
                json!({"steady": {"cpu_cores": {"peak": cores}}, "boot": {"cpu_cores": {"peak": cores * 2.0}}});
            node["profile"] = phases.clone();
            resources["profile"] = phases;
        } else {
            node["usage"] = json!({"cpu_cores": cores});
            resources["usage"] = json!({"cpu_cores": cores});
        }
    }
}

fn acts() -> impl Strategy<Value = Vec<(u8, Act)>> {
    let image = prop_oneof![Just(None), Just(Some("iosv-159"))];
    let used = (0_u32..30, any::<bool>(), image).prop_map(|(tenths_of_a_core, by_profile, image)| Used {
        tenths_of_a_core,
        by_profile,
        image,
    });
    let used = proptest::option::of(used);
    let act = prop_oneof![
        3 => (1_usize..8).prop_map(Act::Go),
        4 => (0_i64..20, proptest::option::of(1_u32..64), proptest::option::of(5040_u16..5044), any::<bool>(), used)
            .prop_map(|(hours, cpu, ports, answers, used)| Act::Observe { hours, cpu, ports, answers, used }),
        1 => Just(Act::Ask),
        1 => Just(Act::Fail),
    ];
    proptest::collection::vec((0_u8..4, act), 1..60)
}

async fn perform(world: &World, number: usize, id: &str, act: &Act) {
    let now = world.now();
    let request = |number: usize| format!("r-{number}").parse().unwrap();
    let command = match act {
        Act::Go(to) => {
            let mut transition = Transition::to(SessionStatus::ALL[*to]);
            transition.worker_id = Some("cml-1".parse().unwrap());
            transition.cml_lab_id = Some(format!("lab-{id}").parse().unwrap());
            transition.allocated_ports = serde_json::from_value(json!({"PC_serial": 5041})).unwrap();
            LabletSessionCommand::Transition { transition, now }
        }
        Act::Observe { hours, cpu, ports, answers, used } => {
            let ports = ports.map(|port| json!({"PC_serial": port}));
            let mut resources = seen(json!({
                "observed_at": start() + chrono::TimeDelta::hours(*hours), "total_cpu_cores": cpu,
                "observed_ports": ports
            }));
            if let Some(used) = used {
                used.add_to(&mut resources);
            }
            let report: ObservationReport = serde_json::from_value(json!({
                "observed_resources": resources, "request_id": answers.then(|| format!("r-{}", number.saturating_sub(1)))
            }))
            .unwrap();
            LabletSessionCommand::RecordObservation {
                report: Box::new(report),
                reported_by: "team:grading".parse().unwrap(),
                now,
            }
        }
        Act::Ask => LabletSessionCommand::RequestObservation {
            request_id: request(number),
            requested_by: "admin:ada".parse().unwrap(),
            now,
        },
        Act::Fail => LabletSessionCommand::RecordObservationFailure {
            failure: serde_json::from_value(
                json!({"request_id": format!("r-{}", number.saturating_sub(1)), "outcome": "failed", "reason": "gone"}),
            )
            .unwrap(),
            now,
        },
    };
    // Refusals are part of a history too; they leave no event.
    if let Err(refused) = world.log.execute::<LabletSession>(id, command, &Origin::from_actor("service:booking")).await
    {
        assert!(!refused.to_string().is_empty());
    }
}

#[test]
fn a_rebuild_from_zero_equals_the_incremental_rows_for_any_history() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { max_shrink_iters: 20, ..ProptestConfig::with_cases(8) };
    proptest!(config, |(history in acts(), stops in proptest::collection::vec(0_usize..60, 0..4))| {
        runtime.block_on(async {
            let world = World::new().await;
            world.definition("ospf").await;
            for session in 0..4 {
                world.running(&format!("s-{session}"), "ospf").await;
            }
            for (number, (session, act)) in history.iter().enumerate() {
                perform(&world, number, &format!("s-{session}"), act).await;
                if stops.contains(&number) {
                    world.settle().await;
                }
            }
            world.settle().await;
            let report = world.projections.verify_all(None, true, &CancellationToken::new()).await.unwrap();
            assert!(report.holds(), "{report:#?}");
            assert!(report.read_models.iter().all(|model| model.dead_letters == 0), "{report:#?}");
            // What the fold keeps of a session is what its aggregate knows.
            for session in 0..4 {
                let id = format!("s-{session}");
                let row = world.projections.session(&id.parse().unwrap()).await.unwrap().unwrap().session;
                let events = world.log.history("lablet_session", &id, 0, 1_000).await.unwrap();
                assert_eq!(row.etag, format!("\"{}\"", events.len()));
                let observed = events.iter().filter(|event| event.event_type.ends_with("resources_observed")).count();
                assert_eq!(row.observation_count, observed as u64);
            }
            world.database.finish().await;
        });
    });
}

/// Locks on the read models that somebody waits for: behind it, everybody waits who comes later.
async fn waited_for(world: &World) -> i64 {
    let statement = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE NOT l.granted AND n.nspname LIKE 'read\\_%'
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    sqlx::query_scalar(statement).fetch_one(&world.database.pool()).await.unwrap()
}

#[tokio::test]
async fn an_analyst_who_reads_on_holds_up_a_rebuild_and_nobody_else() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.session("s-1", "ospf").await;
    world.settle().await;
    let pool = app::log::pool(&world.database.url_as("lablet_analyst"), 1).unwrap();
    let mut analyst = app::log::begin(&pool).await.unwrap();
    sqlx::query("SELECT * FROM analytics_v1.sessions").fetch_all(&mut *analyst).await.unwrap();
    let rebuilding = {
        let projections = world.projections.clone();
        tokio::spawn(async move {
            projections.rebuild(ReadModel::Sessions, RebuildOptions::default(), &CancellationToken::new()).await
        })
    };
    for _ in 0..40 {
        let page = world.projections.sessions(&SessionFilter::default(), &PageRequest::default()).await.unwrap();
        assert_eq!(page.items.len(), 1);
        assert_eq!(waited_for(&world).await, 0, "readers would stand in line");
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(!rebuilding.is_finished(), "the tables are in use");
    analyst.rollback().await.unwrap();
    let report = rebuilding.await.unwrap().unwrap();
    assert!(report.swapped);
}
