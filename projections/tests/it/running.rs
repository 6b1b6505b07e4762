//! Nothing is skipped and nothing applied twice, whatever happens to a runner.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use chrono::TimeDelta;
use domain::SessionId;
use projections::{Projections, ReadModel, Runner, RunnerOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::given::{World, seen};

/// Polls a future so often and no more: where it is then, it is dropped. `true`: it had ended.
async fn ended_within(polls: usize, future: impl Future) -> bool {
    let mut future = pin!(future);
    let mut polled = 0;
    std::future::poll_fn(|context| {
        polled += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if polled >= polls => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn holds(world: &World) {
    for model in ReadModel::ALL {
        let report = world.projections.verify(model).await.unwrap();
        assert!(report.holds(), "{report:?}");
        assert_eq!(report.dead_letters, 0, "{report:?}");
    }
}

#[tokio::test]
async fn a_runner_that_dies_between_any_two_statements_loses_nothing_and_repeats_nothing() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    for _ in 0..4 {
        world.observe("s-1", seen(json!({"observed_ports": {"PC_serial": 1}}))).await;
    }
    for model in ReadModel::ALL {
        for polls in 1.. {
            assert!(polls < 10_000, "{model} never ends");
            if ended_within(polls, world.projections.catch_up(model)).await {
                break;
            }
        }
    }
    world.settle().await;
    holds(&world).await;
    let detail = world.projections.session(&SessionId::parse("s-1").unwrap()).await.unwrap().unwrap();
    assert_eq!(detail.session.observation_count, 4);
}

#[tokio::test]
async fn several_runners_share_the_work_without_doing_it_twice() {
    let world = World::new().await;
    world.definition("ospf").await;
    let token = CancellationToken::new();
    // Runners of other processes: they share no bell with the log.
    let runners: Vec<_> = (0..3)
        .map(|_| {
            let options = RunnerOptions { poll: Duration::from_millis(20), batch: 7, ..RunnerOptions::default() };
            let runner = Runner::new(Projections::new(world.log.clone()), None, options);
            tokio::spawn(runner.run(token.clone()))
        })
        .collect();
    let mut last = None;
    for number in 0..12 {
        let id = format!("s-{number}");
        world.running(&id, "ospf").await;
        last = Some(world.observe(&id, seen(json!({}))).await);
    }
    world.projections.wait_for(&ReadModel::ALL, last.unwrap(), Duration::from_secs(60)).await.unwrap();
    token.cancel();
    for runner in runners {
        runner.await.unwrap();
    }
    holds(&world).await;
    let definition = world.projections.definition(&serde_json::from_value(json!("ospf")).unwrap()).await.unwrap();
    assert_eq!(definition.unwrap().observations.observation_count, 12);
}

#[tokio::test]
async fn an_event_whose_transaction_commits_late_is_not_skipped() {
    let world = World::new().await;
    world.definition("ospf").await;
    let mut late = app::log::begin(&world.database.pool()).await.unwrap();
    let statement = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
            metadata)
        SELECT 'worker', 'late', 1, 'worker.registered', '1', $1::json, '{}'";
    let payload = json!({
        "type": "worker.registered.v1", "worker_id": "late", "name": "Late", "address": "https://late.example.org",
        "capacity": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1, "max_nodes": 1},
        "registered_at": "2026-03-01T10:00:00Z"
    });
    sqlx::query(statement).bind(payload.to_string()).execute(&mut *late).await.unwrap();
    // Written later and committed earlier.
    world.worker("cml-1").await;
    world.projections.catch_up(ReadModel::Workers).await.unwrap();
    late.commit().await.unwrap();
    world.settle().await;
    let workers = world.projections.workers(&projections::PageRequest::default()).await.unwrap().items;
    let ids: Vec<&str> = workers.iter().map(|worker| worker.id.as_str()).collect();
    assert_eq!(ids, ["cml-1", "late"]);
    holds(&world).await;
}

#[tokio::test]
async fn a_database_that_goes_away_is_waited_for() {
    let world = World::new().await;
    world.definition("ospf").await;
    let token = CancellationToken::new();
    let runner = Runner::new(world.projections.clone(), None, RunnerOptions::default());
    let runner = tokio::spawn(runner.run(token.clone()));
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut last = world.running("s-0", "ospf").await;
    for number in 1..6 {
        sqlx::query(kill).execute(&world.database.pool()).await.unwrap();
        last = world.running(&format!("s-{number}"), "ospf").await;
    }
    world.projections.wait_for(&ReadModel::ALL, last, Duration::from_secs(60)).await.unwrap();
    token.cancel();
    runner.await.unwrap();
    holds(&world).await;
}

#[tokio::test]
async fn verify_names_what_differs() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    world.running("s-2", "ospf").await;
    world.clock.advance(TimeDelta::seconds(1));
    world.settle().await;
    holds(&world).await;
    let spoil = [
        "UPDATE read_sessions.applied SET events = events + 1 WHERE aggregate_id = 's-1'",
        "DELETE FROM read_sessions.sessions WHERE id = 's-2'",
        "INSERT INTO read_sessions.applied VALUES ('lablet_session', 's-3', 1, 1, 7, false)",
        "UPDATE read_workers.checkpoint SET position = '0000000002' || substr(position, 11)",
    ];
    for statement in spoil {
        sqlx::query(statement).execute(&world.database.pool()).await.unwrap();
    }
    let report = world.projections.verify(ReadModel::Sessions).await.unwrap();
    assert_eq!(
        report.contradictions, 4,
        "s-1 by its count, s-2 and s-3 by their rows, s-3 also by its events: {report:?}"
    );
    let report = world.projections.verify(ReadModel::Workers).await.unwrap();
    assert_eq!(report.findings, [projections::verify::Finding::AheadOfTheLog]);
    let rows = projections::rebuild::RebuildOptions { compare: true, keep_live: true };
    let report = world.projections.rebuild(ReadModel::Sessions, rows, &CancellationToken::new()).await.unwrap();
    let tables: Vec<String> = report.differing_tables.unwrap().into_iter().map(|table| table.table).collect();
    assert_eq!(tables, ["applied", "sessions"]);
    // Thrown away, it comes back from the log.
    let fresh = world
        .projections
        .rebuild(ReadModel::Sessions, projections::rebuild::RebuildOptions::default(), &CancellationToken::new())
        .await
        .unwrap();
    assert!(fresh.swapped);
    assert!(world.projections.verify(ReadModel::Sessions).await.unwrap().holds());
}
