//! Read models that follow the bus have the same rows as those that follow the log.

use std::time::Duration;

use app::log::{Log, LogOptions};
use app::relay::{Relay, RelayOptions};
use bus::clock::IdGenerator;
use bus::{Bus, BusOptions};
use projections::{FeedSource, ReadModel, Runner, RunnerOptions};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::given::{World, seen};

async fn connect(url: &str) -> Bus {
    let bus = Bus::connect(&BusOptions::new(url, "test")).await.unwrap();
    bus.connected(Duration::from_secs(20)).await.unwrap();
    bus
}

struct Roles {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Roles {
    /// A relay, and a runner of these projections.
    fn start(world: &World, bus: &Bus, source: FeedSource) -> Self {
        let stop = CancellationToken::new();
        let relay = tokio::spawn(Relay::new(world.log.clone(), bus.clone(), RelayOptions::default()).run(stop.clone()));
        let runner = Runner::new(
            world.projections.clone(),
            Some(bus.clone()),
            RunnerOptions { source, ..RunnerOptions::default() },
        );
        let runner = tokio::spawn(runner.run(stop.clone()));
        Self { stop, tasks: vec![relay, runner] }
    }

    async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// A world whose events are appended and published by the database's owner, while the projections keep their role.
async fn world() -> World {
    let mut world = World::new().await;
    let ids = IdGenerator::seeded(2, world.clock.clone());
    world.log = Log::new(world.database.pool(), world.clock.clone(), ids, LogOptions::default());
    world
}

/// Waits until every read model has what was appended.
async fn reached(world: &World) {
    let newest = world.newest().await;
    for model in ReadModel::ALL {
        for tries in 0.. {
            if world.projections.position(model).await.unwrap() >= newest {
                break;
            }
            assert!(tries < 1_200, "{model} did not come to {newest}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

/// The rows are those that a fold of the log makes.
async fn holds(world: &World) {
    for model in ReadModel::ALL {
        let report = world.projections.verify(model).await.unwrap();
        assert!(report.holds(), "{report:?}");
        assert_eq!(report.dead_letters, 0, "{report:?}");
    }
}

async fn observe_often(world: &World, session: &str) {
    for number in 0..20 {
        world.observe(session, seen(json!({"observed_ports": {"PC_serial": 5_000 + number}}))).await;
    }
}

/// Read models come to what is observed now while their role may not read the log.
async fn moves_without_the_log(world: &World, session: &str) {
    let owner = world.database.pool();
    sqlx::query("REVOKE SELECT ON events FROM lablet_app, lablet_projector").execute(&owner).await.unwrap();
    let role = sqlx::PgPool::connect(&world.database.url_as("lablet_app")).await.unwrap();
    let read = sqlx::query("SELECT position FROM events LIMIT 1").fetch_optional(&role).await;
    assert!(read.is_err(), "the role cannot read the log");
    observe_often(world, session).await;
    reached(world).await;
    sqlx::query("GRANT SELECT ON events TO lablet_app, lablet_projector").execute(&owner).await.unwrap();
}

#[tokio::test]
async fn read_models_move_while_their_role_may_not_read_the_log() {
    let nats = servers::testing::nats().await;
    let (world, bus) = (world().await, connect(nats.url()).await);
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    let roles = Roles::start(&world, &bus, FeedSource::Bus);
    reached(&world).await;
    moves_without_the_log(&world, "s-1").await;
    roles.stop().await;
    holds(&world).await;
}

#[tokio::test]
async fn an_event_that_is_too_large_for_the_bus_is_read_from_the_log_and_the_bus_goes_on_behind_it() {
    let nats = servers::testing::nats().await;
    let (world, bus) = (world().await, connect(nats.url()).await);
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    let roles = Roles::start(&world, &bus, FeedSource::Bus);
    reached(&world).await;
    observe_often(&world, "s-1").await;
    let node = |number: u32| json!({"node_id": format!("n-{number}"), "label": "x".repeat(250)});
    let nodes: Vec<_> = (0..2_000).map(node).collect();
    let large = json!({"nodes": nodes, "actual_node_count": 2_000, "total_cpu_cores": null, "total_memory_mb": null,
        "node_definitions_used": []});
    world.observe("s-1", seen(large)).await;
    reached(&world).await;
    moves_without_the_log(&world, "s-1").await;
    roles.stop().await;
    holds(&world).await;
}

#[tokio::test]
async fn both_sources_give_the_same_rows_also_in_turns() {
    let nats = servers::testing::nats().await;
    let (world, bus) = (world().await, connect(nats.url()).await);
    world.definition("ospf").await;
    for (number, source) in [FeedSource::Bus, FeedSource::Log, FeedSource::Bus].into_iter().enumerate() {
        let session = format!("s-{number}");
        world.running(&session, "ospf").await;
        let roles = Roles::start(&world, &bus, source);
        observe_often(&world, &session).await;
        reached(&world).await;
        roles.stop().await;
        // Nobody follows these: they are a hole between the records.
        observe_often(&world, &session).await;
    }
    let roles = Roles::start(&world, &bus, FeedSource::Bus);
    reached(&world).await;
    roles.stop().await;
    holds(&world).await;
}

#[tokio::test]
async fn read_models_go_on_from_the_log_when_the_bus_was_wiped() {
    let mut nats = servers::testing::private_nats().await;
    let (world, bus) = (world().await, connect(nats.url()).await);
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    let roles = Roles::start(&world, &bus, FeedSource::Bus);
    observe_often(&world, "s-1").await;
    reached(&world).await;
    nats.kill_now().await;
    observe_often(&world, "s-1").await;
    reached(&world).await;
    nats.lose_everything().await;
    observe_often(&world, "s-1").await;
    reached(&world).await;
    roles.stop().await;
    holds(&world).await;
}
