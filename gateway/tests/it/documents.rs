//! What the API says of itself, and health.

use reqwest::Method;
use serde_json::Value;

use crate::world::World;

/// The committed description is the one that the code gives. `UPDATE_SNAPSHOTS=1` writes it anew.
#[test]
fn the_committed_description_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let described = gateway::openapi().unwrap();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, serde_json::to_string_pretty(&described).unwrap() + "\n").unwrap();
    }
    // In which order serde_json keeps members depends on what else is built, and with it in which order parameters come.
    let mut committed = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut described = described;
    put_in_order(&mut committed);
    put_in_order(&mut described);
    assert!(committed == described, "gateway/openapi.json is not what the code gives; run with UPDATE_SNAPSHOTS=1");
}

/// Puts lists whose order means nothing in the order of their names.
fn put_in_order(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), &mut *member) {
                    ("parameters", Value::Array(parameters)) => {
                        parameters
                            .sort_by_key(|parameter| (parameter["name"].to_string(), parameter["in"].to_string()));
                    }
                    ("required", Value::Array(names)) => names.sort_by_key(Value::to_string),
                    _ => {}
                }
                put_in_order(member);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(put_in_order),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_operation_is_named_and_says_what_may_go_wrong() {
    let described = gateway::openapi().unwrap();
    let mut names = std::collections::BTreeSet::new();
    for (path, operations) in described["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no name"));
            assert!(names.insert(name.to_owned()), "{name} twice");
            assert!(
                operation["summary"].is_string() && !operation["security"].as_array().unwrap().is_empty(),
                "{name}"
            );
            let responses = operation["responses"].as_object().unwrap();
            for status in ["401", "403", "default"] {
                assert!(responses[status]["content"]["application/problem+json"].is_object(), "{name} {status}");
            }
            assert!(responses.keys().any(|status| status.starts_with('2')), "{name}");
        }
    }
}

#[tokio::test]
async fn descriptions_and_health_are_open() {
    let world = World::start().await;
    let open = async |path: &str| world.send(world.request(Method::GET, path)).await.expect(200);
    assert_eq!(open("/livez").await.body, "ok\n");
    let ready = open("/readyz").await;
    assert_eq!(ready.body["postgres"], "ok");
    assert_eq!((&ready.body["nats"], &ready.body["status"]), (&"degraded".into(), &"degraded".into()));
    assert_eq!(open("/api/openapi.json").await.body, gateway::openapi().unwrap());
    assert_eq!(open("/api/asyncapi.json").await.body["asyncapi"].as_str().unwrap().chars().next(), Some('3'));
    let schemas = open("/api/schemas").await;
    let href = schemas.body["items"][0]["href"].as_str().unwrap();
    assert!(open(href).await.body["$id"].as_str().unwrap().ends_with(href));
    assert_eq!(open("/api").await.body["name"], "lablet");
    let metrics = open("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    // Who comes through a proxy comes from outside.
    let proxied = world.request(Method::GET, "/metrics").header("x-forwarded-for", "203.0.113.7");
    world.send(proxied).await.problem(401, "unauthenticated", None);
    world.send(world.request(Method::GET, "/api/schemas/none")).await.problem(404, "not-found", None);
}
