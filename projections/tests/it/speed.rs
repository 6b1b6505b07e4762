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

const LABS: i64 = 10_000;
const DEFINITIONS: i64 = 1_000;

/// Labs that run, are observed and end, each an event after the other.
async fn fill_with_labs(world: &World) {
    let step = |event_type: &str| {
        json!({"type": format!("{event_type}.v1"), "session_id": "@s", "definition_id": "@d",
               "definition_version": "1.2.0", "definition_revision": 1, "worker_id": "cml-1", "cml_lab_id": "lab-1",
               "at": "@t"})
    };
    let mut observed = observation();
    for node in observed["observed_resources"]["nodes"].as_array_mut().unwrap() {
        node["usage"]["memory_mb"] = json!("@m");
    }
    observed["observed_resources"]["usage"] = json!({"memory_mb": "@l", "cpu_cores": 0.155});
    observed["observed_resources"]["total_memory_mb"] = json!(3840.0);
    let created = json!({"type": "lablet_definition.created.v1", "definition_id": "@d", "name": "OSPF", "version": "1.2.0",
        "resource_requirements": {"cpu_cores": 4, "memory_gb": 8, "storage_gb": 10}, "port_template": {"ports": []},
        "created_at": "2026-02-01T00:00:00Z"});
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, event_id)
         SELECT 'lablet_definition', 'd-' || n, 1, 'lablet_definition.created', '1', replace($1, '@d', 'd-' || n)::json,
                '{\"actor\": \"admin:ada\"}', gen_random_uuid() FROM generate_series(0, $2::bigint - 1) n",
    )
    .bind(created.to_string())
    .bind(DEFINITIONS)
    .execute(&world.database.pool())
    .await
    .unwrap();
    for (sequence, event_type, payload) in [
        (1_i64, "lablet_session.running", step("lablet_session.running")),
        (2, "lablet_session.resources_observed", observed),
        (3, "lablet_session.stopping", step("lablet_session.stopping")),
    ] {
        let statement = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                metadata, event_id)
            SELECT 'lablet_session', 'l-' || n, $4, $1, '1',
                   replace(replace(replace(replace(replace($2, '@s', 'l-' || n), '@d', 'd-' || n % $5),
                       '\"@m\"', (200 + n % 97)::text), '\"@l\"', (5 * (200 + n % 97))::text), '@t',
                       to_char(timestamptz '2026-03-01' + n * interval '1 minute', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))::json,
                   '{\"actor\": \"team:grading\"}', gen_random_uuid()
              FROM generate_series(0, $3::bigint - 1) n";
        sqlx::query(statement)
            .bind(event_type)
            .bind(payload.to_string())
            .bind(LABS)
            .bind(sequence)
            .bind(DEFINITIONS)
            .execute(&world.database.pool())
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn what_a_session_and_a_recommendation_cost() {
    let world = World::new().await;
    fill_with_labs(&world).await;
    world.database.settle().await;
    let labs = LABS as f64;
    for model in ReadModel::ALL {
        let started = Instant::now();
        world.settle_one(model).await;
        let followed = started.elapsed().as_secs_f64();
        let fresh = Projections::new(world.log.clone());
        let started = Instant::now();
        fresh.rebuild(model, RebuildOptions::default(), &CancellationToken::new()).await.unwrap();
        let rebuilt = started.elapsed().as_secs_f64();
        let statement = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint,
                coalesce(sum(c.reltuples), 0)::bigint
            FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace($1)";
        sqlx::query("ANALYZE").execute(&world.database.pool()).await.unwrap();
        let (bytes, rows): (i64, i64) =
            sqlx::query_as(statement).bind(format!("read_{model}")).fetch_one(&world.database.pool()).await.unwrap();
        eprintln!(
            "{:22} {:7.0} µs a session, rebuilt {:7.0} µs, {:6.0} bytes, {:5.1} rows",
            model.name(),
            1e6 * followed / labs,
            1e6 * rebuilt / labs,
            bytes as f64 / labs,
            rows as f64 / labs
        );
    }
    for (what, as_of) in [("recommendation", false), ("as of the middle", true)] {
        let middle: String = sqlx::query_scalar(
            "SELECT ended_position FROM read_advice.sessions ORDER BY ended_position OFFSET $1 LIMIT 1",
        )
        .bind(LABS / 2)
        .fetch_one(&world.database.pool())
        .await
        .unwrap();
        let as_of = as_of.then(|| middle.parse().unwrap());
        let times = if as_of.is_some() { 2 } else { 100 };
        let started = Instant::now();
        for number in 0..times {
            let id = format!("d-{}", 7 * number).parse().unwrap();
            world.projections.recommendation(&id, None, as_of).await.unwrap().unwrap();
        }
        eprintln!("{what:22} {:7.1} ms", 1e3 * started.elapsed().as_secs_f64() / f64::from(times));
    }
}
