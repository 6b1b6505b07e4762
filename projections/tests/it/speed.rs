//! How fast it is: `cargo test --release -p projections --test it speed -- --ignored --nocapture`.

use std::time::Instant;

use app::log::Position;
use projections::projector::Recorded;
use projections::rebuild::RebuildOptions;
use projections::{Projections, ReadModel, Runner, RunnerOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::given::World;

const EVENTS: i64 = 30_000;
const SESSIONS: i64 = 500;

/// An observation of five nodes, some 2.4 KB.
fn observation() -> Value {
    let nodes: Vec<Value> = (0..5)
        .map(|index| {
            json!({"node_id": format!("0d9c1b7e-0f0a-4a53-9d7e-6b1f0000000{index}"), "label": format!("R{index}"),
                   "node_definition": "iosv", "image_definition": "iosv-159-3-m8", "state": "BOOTED", "cpu_limit": 100,
                   "ram_mb": 768, "cpus": 1, "nominal_cpu_cores": 1.0, "tags": [format!("serial:504{index}")],
                   "interfaces": [{"interface_id": "0d9c1b7e-0f0a-4a53-9d7e-6b1f00000101", "label": "Gi0/0", "slot": 0,
                                   "state": "STARTED", "mac_address": "52:54:00:00:00:01", "ip4": ["192.0.2.10"]}],
                   "usage": {"cpu_percent": 3.1, "cpu_cores": 0.031, "disk_read_bytes": 46081024,
                             "disk_written_bytes": 275878912, "booted_seconds": 3550}})
        })
        .collect();
    json!({"type": "lablet_session.resources_observed.v1", "session_id": "@s", "definition_id": "@d",
           "definition_version": "1.2.0", "definition_revision": 1, "worker_id": "cml-1", "cml_lab_id": "lab-1",
           "observed_resources": {"observed_at": "@t", "observer": "controller", "total_cpu_cores": 5.0,
               "total_memory_mb": 3840.0, "total_storage_mb": null, "nodes": nodes, "actual_node_count": 5,
               "node_definitions_used": ["iosv"], "observed_ports": {"R0_serial": 5040, "R1_serial": 5041},
               "simulation_stats": null},
           "observed_ports": {"R0_serial": 5040, "R1_serial": 5041}, "port_drift_detected": false,
           "observed_at": "@t", "recorded_at": "@t"})
}

async fn fill(world: &World) {
    let created = json!({"type": "lablet_session.created.v1", "session_id": "@s", "definition_id": "@d",
        "definition_version": "1.2.0", "definition_revision": 1, "owner_id": "ada", "created_at": "@t"});
    let statement = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
            metadata, event_id)
        SELECT 'lablet_session', 's-' || n % $3, 1 + n / $3, $1, '1',
               replace(replace(replace($2, '@s', 's-' || n % $3), '@d', 'd-' || n % 50), '@t',
                       to_char(timestamptz '2026-03-01' + n * interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))::json,
               '{\"actor\": \"team:grading\"}', gen_random_uuid()
          FROM generate_series($4::bigint, $5::bigint) n";
    for (event_type, payload, from, to) in [
        ("lablet_session.created", created, 0, SESSIONS - 1),
        ("lablet_session.resources_observed", observation(), SESSIONS, EVENTS - 1),
    ] {
        sqlx::query(statement)
            .bind(event_type)
            .bind(payload.to_string())
            .bind(SESSIONS)
            .bind(from)
            .bind(to)
            .execute(&world.database.pool())
            .await
            .unwrap();
    }
}

fn tell(what: &str, took: std::time::Duration) {
    eprintln!("{what:40} {:9.0} events/s", EVENTS as f64 / took.as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn how_fast_everything_is() {
    let world = World::new().await;
    fill(&world).await;
    world.database.settle().await;
    for _ in 0..2 {
        let started = Instant::now();
        let (mut position, mut read) = (Position::START, 0);
        loop {
            let events = world.log.read(position, 1_000).await.unwrap();
            let Some(last) = events.last() else { break };
            position = last.position;
            read += events.into_iter().map(Recorded::from_log).filter(|event| event.event.is_ok()).count();
        }
        assert_eq!(read as i64, EVENTS);
        tell("read and decode", started.elapsed());
    }
    let newest = world.newest().await;
    let started = Instant::now();
    let token = CancellationToken::new();
    let runner = Runner::new(world.projections.clone(), None, RunnerOptions::default());
    let runner = tokio::spawn(runner.run(token.clone()));
    world.projections.wait_for(&ReadModel::ALL, newest, std::time::Duration::from_secs(300)).await.unwrap();
    tell("all read models at once", started.elapsed());
    token.cancel();
    runner.await.unwrap();
    for model in [ReadModel::Sessions, ReadModel::Observations, ReadModel::Definitions] {
        let fresh = Projections::new(world.log.clone());
        let started = Instant::now();
        fresh.rebuild(model, RebuildOptions::default(), &CancellationToken::new()).await.unwrap();
        tell(&format!("rebuild of {model}"), started.elapsed());
    }
}
