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
