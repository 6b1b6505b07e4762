use reqwest::{Method, StatusCode};
use serde_json::json;
use simulator::SimulatorOptions;

use crate::client::{Controller, options};

async fn control(controller: &Controller, method: Method, path: &str, body: serde_json::Value) -> StatusCode {
    controller.call(method, &format!("/simulator{path}"), Some(body.to_string())).await.status
}

#[tokio::test]
async fn the_control_path_does_what_the_methods_do() {
    let controller = Controller::start().await;
    let lab = controller.lab("Three tiers");
    let faults = json!([{ "kind": "status", "code": 503, "path": "topology", "share": 0.5 }]);
    assert_eq!(control(&controller, Method::PUT, "/faults", faults).await, StatusCode::NO_CONTENT);
    let path = format!("/api/v0/labs/{lab}/topology");
    assert_eq!(controller.call(Method::GET, &path, None).await.status, StatusCode::OK);
    assert_eq!(controller.call(Method::GET, &path, None).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let none = json!({ "kind": "status", "code": 7 });
    assert_eq!(control(&controller, Method::POST, "/faults", none).await, StatusCode::BAD_REQUEST);

    let counts = controller.call(Method::GET, "/simulator/requests", None).await.json();
    assert_eq!(counts, json!({ "total": 2, "by_path": { "GET /api/v0/labs/{id}/topology": 2 } }));
    assert_eq!(control(&controller, Method::DELETE, "/requests", json!(null)).await, StatusCode::NO_CONTENT);
    assert_eq!(controller.simulator.requests().total, 0);
    assert_eq!(control(&controller, Method::DELETE, "/faults", json!(null)).await, StatusCode::NO_CONTENT);

    let before = controller.simulator.now();
    assert_eq!(control(&controller, Method::PATCH, "/time", json!({ "advance_seconds": 90 })).await, StatusCode::OK);
    assert_eq!((controller.simulator.now() - before).num_seconds(), 90);
    let bad = json!({ "advance_seconds": -1 });
    assert_eq!(control(&controller, Method::PATCH, "/time", bad).await, StatusCode::BAD_REQUEST);

    let moved = json!({ "node": "R2", "from": 2022, "to": 2023 });
    let path = format!("/labs/{lab}/ports");
    assert_eq!(control(&controller, Method::PATCH, &path, moved.clone()).await, StatusCode::NO_CONTENT);
    assert_eq!(control(&controller, Method::PATCH, &path, moved).await, StatusCode::BAD_REQUEST);
    let nodes = controller.get(&format!("/labs/{lab}/nodes?data=true")).await;
    let tags = |label| nodes.as_array().unwrap().iter().find(|node| node["label"] == label).unwrap()["tags"].clone();
    assert_eq!(tags("R2"), json!(["serial:5042", "pat:2023:22"]));

    assert_eq!(control(&controller, Method::DELETE, "/tokens", json!(null)).await, StatusCode::NO_CONTENT);
    assert_eq!(controller.call(Method::GET, "/api/v0/labs", None).await.status, StatusCode::UNAUTHORIZED);
    let state = controller.call(Method::GET, "/simulator", None).await.json();
    assert_eq!(state["labs"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn outside_ports_are_forwarded_within_the_range_of_the_installation() {
    let narrow = simulator::PortRange::new(5901, 7999);
    let controller = Controller::with(SimulatorOptions { port_range: narrow.unwrap(), ..options() }).await;
    let lab = controller.lab("Three tiers");
    controller.simulator.set_tags(&lab, "R2", &["vnc:5901", "pat:udp:5901:161"]).unwrap();
    controller.boot(&lab);
    let shown = controller.call(Method::GET, "/simulator", None).await.json();
    assert_eq!(shown["port_range"], serde_json::json!({"first": 5901, "last": 7999}));
    let ports = controller.call(Method::GET, "/simulator/ports", None).await.json();
    let treatments = |port: &serde_json::Value| format!("{} {}", port["tag"], port["treatment"]).replace('"', "");
    let treatments: Vec<String> = ports.as_array().unwrap().iter().map(treatments).collect();
    assert!(treatments.contains(&"serial:5041 out_of_range".to_owned()), "{treatments:?}");
    assert!(
        treatments.contains(&"vnc:5901 forwarded".to_owned()) && treatments.contains(&"vnc:5901 in_use".to_owned()),
        "{treatments:?}"
    );
    assert!(treatments.contains(&"pat:udp:5901:161 forwarded".to_owned()), "{treatments:?}");
}

#[tokio::test]
async fn the_worker_is_short_where_it_is_told_to_be_and_nodes_wait_in_the_queue() {
    let controller = Controller::with_api(simulator::ApiVersion::V2_10).await;
    let lab = controller.lab("Three tiers");
    let queue = async || controller.call(Method::GET, "/api/v0/diagnostics/node_launch_queue", None).await;
    let empty = json!({ "queue": {}, "overload": { "cpu": false, "memory": false, "disk": false } });
    assert_eq!(queue().await.json(), empty);
    let well = controller.get("/system_stats").await;

    let short = json!({ "cpu": true, "memory": true, "launch_delay_seconds": 600 });
    assert_eq!(control(&controller, Method::PUT, "/pressure", short.clone()).await, StatusCode::NO_CONTENT);
    controller.simulator.start_lab(&lab).unwrap();
    controller.pass(300);
    let told = queue().await.json();
    assert_eq!(told["overload"], json!({ "cpu": true, "memory": true, "disk": false }));
    let entries = told["queue"].as_object().unwrap();
    assert_eq!(entries.len(), 3, "machines only: {told}");
    let needs = |ram: u64| entries.values().find(|entry| entry["resource_requirements"]["ram"] == ram).unwrap();
    let router = needs(768);
    assert_eq!(router["queued_time"], 300);
    assert_eq!(router["resource_requirements"]["cpu_points"], 100);
    assert_eq!((&router["dependencies"], &router["priority"]), (&json!([]), &json!(null)));

    let statistics = controller.get("/system_stats").await;
    let part = |statistics: &serde_json::Value, path: &str| {
        let host = statistics["computes"].as_object().unwrap().values().next().unwrap();
        host["stats"].pointer(path).unwrap().as_f64().unwrap()
    };
    assert!(part(&well, "/cpu/percent") < 50.0 && part(&statistics, "/cpu/percent") > 99.0);
    let free = |statistics| part(statistics, "/memory/free") / part(statistics, "/memory/total");
    assert!(free(&well) > 0.5 && free(&statistics) < 0.02);
    assert_eq!(part(&well, "/disk/free"), part(&statistics, "/disk/free"));

    controller.pass(600);
    assert_eq!(queue().await.json()["queue"], json!({}), "they were launched");
    assert_eq!(control(&controller, Method::PUT, "/pressure", json!({})).await, StatusCode::NO_CONTENT);
    assert_eq!(queue().await.json(), empty);
    let endless = json!({ "launch_delay_seconds": 100_000 });
    assert_eq!(control(&controller, Method::PUT, "/pressure", endless).await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_launch_queue_is_for_admins() {
    let controller = Controller::with_api(simulator::ApiVersion::V2_10).await;
    assert_eq!(control(&controller, Method::PATCH, "/user", json!({ "admin": false })).await, StatusCode::NO_CONTENT);
    let reply = controller.call(Method::GET, "/api/v0/diagnostics/node_launch_queue", None).await;
    assert_eq!((reply.status, &reply.json()["code"]), (StatusCode::FORBIDDEN, &json!(403)));
    assert_eq!(controller.get("/authentication").await["admin"], false);
    controller.get("/system_stats").await;
    controller.simulator.set_admin(true);
    controller.get("/diagnostics/node_launch_queue").await;
}

#[tokio::test]
async fn a_clock_that_is_off_shows_in_moments_and_not_in_durations() {
    let controller = Controller::start().await;
    let lab = controller.lab("Three tiers");
    controller.boot(&lab);
    let statistics = controller.get(&format!("/labs/{lab}/simulation_stats")).await;
    let off = json!({ "skew_seconds": -31_536_000 });
    assert_eq!(control(&controller, Method::PATCH, "/time", off).await, StatusCode::OK);
    let created = controller.get(&format!("/labs/{lab}")).await["created"].clone();
    assert_eq!(created, "2025-01-01T00:00:00+00:00");
    assert_eq!(controller.get(&format!("/labs/{lab}/simulation_stats")).await, statistics);
    let url = format!("{}/api/v0/system_information", controller.simulator.url());
    let reply = crate::client::http_client(&controller.simulator).get(url).send().await.unwrap();
    assert_eq!(reply.headers()["date"], "Wed, 01 Jan 2025 01:00:00 GMT");
    let absurd = json!({ "skew_seconds": i64::MAX });
    assert_eq!(control(&controller, Method::PATCH, "/time", absurd).await, StatusCode::BAD_REQUEST);
}
