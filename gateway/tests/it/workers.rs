//! What workers are asked for over HTTP.

use reqwest::Method;
use serde_json::json;

use crate::world::{World, observation};

#[tokio::test]
async fn a_worker_shows_its_load_and_who_holds_its_ports() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    let recorded = world.post(path, &observation(2, &json!({"PC_serial": 5041, "PC_vnc": 5142}))).await.expect(200);
    let position = recorded.body["position"].as_str().unwrap();
    let load = world.get(&format!("/api/workers/w1/load?position={position}")).await.expect(200);
    assert_eq!(load.body["cpu_cores"], json!({"known": 2.0, "unknown_sessions": 0}));
    assert_eq!(load.body["storage_mb"], json!({"known": null, "unknown_sessions": 1}));
    assert_eq!((&load.body["up_sessions"], &load.body["drifted_sessions"]), (&json!(1), &json!(1)));
    let all = world.get("/api/worker-loads").await.expect(200);
    assert_eq!(all.body, json!({"items": [load.body], "next_cursor": null}));

    let map = world.get(&format!("/api/workers/w1/port-map?position={position}")).await.expect(200);
    assert_eq!(map.body["port_range"], json!({"first": 2000, "last": 7999}));
    assert_eq!((&map.body["clashes"], &map.body["cut"]), (&json!(0), &json!(false)));
    let ports = map.body["ports"].as_array().unwrap();
    let holder = &ports[2]["holders"][0];
    assert_eq!((&ports[2]["outside"], &ports[2]["l4_protocol"]), (&json!(5142), &json!("tcp")));
    assert_eq!((&holder["source"], &holder["comparison"]), (&json!("observed"), &json!("changed")));
    for path in ["/api/workers/nobody/load", "/api/workers/nobody/port-map"] {
        world.get(path).await.problem(404, "not-found", None);
    }
}

#[tokio::test]
async fn a_pressure_is_recorded_by_its_internal_key_and_does_not_outdate_a_change() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let before = world.get_in_time("/api/workers/w1").await;
    let path = "/api/internal/workers/w1/pressure";
    let report = json!({"pressure": {"short_of_cpu": true, "queued_nodes": 2, "launch_queue": "answered"}});
    let recorded = world.post(path, &report).await.expect(200);
    assert_eq!((&recorded.body["worker_id"], &recorded.body["condition"]), (&json!("w1"), &json!("short")));
    let again = world.post(path, &report).await.expect(200);
    assert_eq!(again.body["position"], recorded.body["position"], "what is no news is not recorded");

    let renamed = world.patch("/api/workers/w1", before.header("etag"), &json!({"name": "Renamed"})).await.expect(200);
    assert_ne!(renamed.header("etag"), before.header("etag"));
    world.patch("/api/workers/w1", before.header("etag"), &json!({"name": "CML"})).await.problem(
        412,
        "stale-version",
        None,
    );
    let position = renamed.body["position"].as_str().unwrap();
    let shown = world.get(&format!("/api/workers/w1?position={position}")).await.expect(200);
    assert_eq!(shown.header("etag"), renamed.header("etag"));

    let pressure = &shown.body["pressure"];
    assert_eq!((&pressure["condition"], &pressure["short_of"]), (&json!("short"), &json!(["cpu"])));
    assert_eq!(pressure["reading"]["queued_nodes"], json!(2));
    assert_eq!(pressure["reading"]["free_memory_mb"], json!(null), "unknown is not zero");

    let spells = world.get("/api/workers/w1/pressure").await.expect(200);
    let spell = &spells.body["items"][0];
    assert_eq!((&spell["number"], &spell["ended_at"]), (&json!(1), &json!(null)));
    assert_eq!(spell["event_id"], pressure["event_id"]);
    let asked = |since: &str| format!("/api/internal/workers/w1/shortage?since={since}&until=2199-12-31T00:00:00Z");
    let shortage = world.get_internally(&asked("2026-01-01T00:00:00Z")).await.expect(200);
    assert_eq!(shortage.body, json!({"worker_id": "w1", "worker_short": true, "worker_short_of": ["cpu"]}));
    let unknown = world.get_internally(&asked("2199-01-01T00:00:00Z")).await.expect(200);
    assert_eq!(unknown.body["worker_short"], json!(null));
    world.get_internally(&asked("today")).await.problem(400, "invalid-input", Some("since"));
    world.get(&asked("2026-01-01T00:00:00Z")).await.expect(403);
    for path in ["/api/workers/nobody/pressure".to_owned(), asked("2026-01-01T00:00:00Z").replace("w1", "nobody")] {
        world.get_internally(&path).await.problem(404, "not-found", None);
    }

    for (bad, field) in [
        (json!({"pressure": {"queued_nodes": -1}}), "pressure.queued_nodes"),
        (json!({"pressure": {"free_memory_mb": 1e300}}), "pressure.free_memory_mb"),
        (json!({"pressure": {"launch_queue": "maybe"}}), "pressure.launch_queue"),
        (json!({"observed_at": "2199-01-01T00:00:00Z"}), "observed_at"),
    ] {
        world.post(path, &bad).await.names(field);
    }
    world.post("/api/internal/workers/nobody/pressure", &report).await.problem(404, "not-found", None);
    let by_admin = world.request(Method::POST, path).json(&report);
    world.send(by_admin).await.expect(401);
}
