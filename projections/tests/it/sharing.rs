//! Processes that keep read models divide them among themselves, whoever comes and goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use app::log::Position;
use projections::{Projections, ReadModel, Runner, RunnerOptions};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::given::{World, seen};

const SOON: Duration = Duration::from_secs(60);

/// A process that keeps read models.
struct Process {
    running: JoinHandle<()>,
    stop: CancellationToken,
}

impl Process {
    fn start(world: &World) -> Self {
        let stop = CancellationToken::new();
        let options = RunnerOptions { poll: Duration::from_millis(20), ..RunnerOptions::default() };
        let runner = Runner::new(Projections::new(world.log.clone()), None, options);
        Self { running: tokio::spawn(runner.run(stop.clone())), stop }
    }

    /// As SIGTERM does.
    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }

    /// As SIGKILL does: nothing is given back.
    async fn kill(self) {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
    }
}

/// Who keeps which read models, once so many do and every read model is kept.
async fn divided_among(world: &World, processes: usize) -> BTreeMap<String, BTreeSet<ReadModel>> {
    let until = tokio::time::Instant::now() + SOON;
    loop {
        let mut kept: BTreeMap<String, BTreeSet<ReadModel>> = BTreeMap::new();
        for model in world.projections.freshness().await.unwrap().items {
            if let Some(holder) = model.kept_by {
                assert!(model.kept_since.is_some());
                kept.entry(holder).or_default().insert(model.read_model);
            }
        }
        if kept.len() == processes && kept.values().map(BTreeSet::len).sum::<usize>() == ReadModel::ALL.len() {
            return kept;
        }
        assert!(tokio::time::Instant::now() < until, "not divided among {processes}: {kept:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn follows(world: &World, position: Position) {
    world.projections.wait_for(&ReadModel::ALL, position, SOON).await.unwrap();
}

async fn observed(world: &World, id: &str) -> Position {
    world.running(id, "ospf").await;
    world.observe(id, seen(json!({}))).await
}

#[tokio::test]
async fn whoever_comes_is_given_a_share_and_whoever_goes_leaves_it_to_the_others() {
    let world = World::new().await;
    world.definition("ospf").await;
    let first = Process::start(&world);
    let alone = divided_among(&world, 1).await.into_keys().next().unwrap();
    let second = Process::start(&world);
    let both = divided_among(&world, 2).await;
    assert!(both.contains_key(&alone), "the one that was there keeps some: {both:?}");
    follows(&world, observed(&world, "s-1").await).await;

    second.end().await;
    assert_eq!(divided_among(&world, 1).await.into_keys().next().unwrap(), alone);
    follows(&world, observed(&world, "s-2").await).await;

    let third = Process::start(&world);
    divided_among(&world, 2).await;
    first.kill().await;
    let last = divided_among(&world, 1).await.into_keys().next().unwrap();
    assert_ne!(last, alone);
    follows(&world, observed(&world, "s-3").await).await;
    third.end().await;
    let freshness = world.projections.freshness().await.unwrap().items;
    assert!(freshness.iter().all(|model| model.kept_by.is_none()), "nobody is there: {freshness:?}");
    for model in ReadModel::ALL {
        let report = world.projections.verify(model).await.unwrap();
        assert!(report.holds(), "{report:?}");
    }
}

#[tokio::test]
async fn rows_of_an_older_build_and_of_a_newer_one_that_was_rolled_back_are_made_anew_by_one_process() {
    let world = World::new().await;
    world.definition("ospf").await;
    observed(&world, "s-1").await;
    world.settle().await;
    let pool = world.database.pool();
    sqlx::query("UPDATE read_workers.checkpoint SET revision = revision - 1").execute(&pool).await.unwrap();
    sqlx::query("UPDATE read_sessions.checkpoint SET revision = revision + 1").execute(&pool).await.unwrap();
    // Somebody who could follow those of the newer build was there a moment ago, and may come back.
    let gone = "INSERT INTO projection_members (holder, session_pid, present_until, revisions)
                VALUES ('gone', 0, clock_timestamp(), jsonb_build_object('sessions', $1::integer))";
    sqlx::query(gone).bind(ReadModel::Sessions.revision() + 1).execute(&pool).await.unwrap();
    let processes = [Process::start(&world), Process::start(&world)];
    let until = tokio::time::Instant::now() + SOON;
    loop {
        let freshness = world.projections.freshness().await.unwrap().items;
        let of = |model| freshness.iter().find(|fresh| fresh.read_model == model).unwrap();
        let workers = of(ReadModel::Workers);
        assert_eq!(of(ReadModel::Sessions).kept_by, None, "no process here can follow it, and one may that is gone");
        if workers.revision == ReadModel::Workers.revision() && workers.kept_by.is_some() {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "not rebuilt: {workers:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let epochs: i64 = sqlx::query_scalar(
        "SELECT lease_epoch FROM projection_leases WHERE read_model = 'workers' AND task = 'rebuild'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(epochs >= 1, "it was somebody's task");
    // It does not come back.
    sqlx::query("DELETE FROM projection_members WHERE holder = 'gone'").execute(&pool).await.unwrap();
    follows(&world, observed(&world, "s-2").await).await;
    let freshness = world.projections.freshness().await.unwrap().items;
    let sessions = freshness.iter().find(|fresh| fresh.read_model == ReadModel::Sessions).unwrap();
    assert_eq!(sessions.revision, ReadModel::Sessions.revision());
    for process in processes {
        process.end().await;
    }
}
