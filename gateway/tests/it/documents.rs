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
            for status in ["429", "503", "504"] {
                let reference = responses[status]["$ref"].as_str().unwrap_or_else(|| panic!("{name} {status}"));
                let response = described.pointer(reference.trim_start_matches('#')).unwrap();
                assert_eq!(response["headers"]["Retry-After"]["$ref"], "#/components/headers/Retry-After");
            }
            assert!(!path.contains('{') || responses.contains_key("404"), "{name}");
            assert!(operation["parameters"].is_null() || responses.contains_key("400"), "{name}");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{name}");
        }
    }
}

/// Parameters have bounds, as what they hold is looked for in tables, or a set of values.
#[test]
fn parameters_of_a_query_are_bounded_and_never_null() {
    let described = gateway::openapi().unwrap();
    let mut found = 0;
    for operation in
        described["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let schema = &parameter["schema"];
            assert!(!schema.to_string().contains("null"), "{parameter}");
            let is_bounded = ["$ref", "enum", "format", "maximum", "maxLength", "pattern"]
                .iter()
                .any(|keyword| schema.get(keyword).is_some() || schema["items"].get(keyword).is_some());
            let needs_none = schema["type"] == "boolean" || parameter["name"] == "Prefer";
            assert!(is_bounded || needs_none, "{} {parameter}", operation["operationId"]);
            found += 1;
        }
    }
    assert!(found > 100, "{found}");
}

/// What the generators of clients misread is not in the description.
#[test]
fn the_description_is_in_the_forms_that_generators_read() {
    fn look(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                let only =
                    |name: &str| members.get(name).and_then(Value::as_array).filter(|schemas| schemas.len() == 1);
                let constants = members
                    .get("oneOf")
                    .and_then(Value::as_array)
                    .is_some_and(|schemas| schemas.iter().all(|schema| schema.get("const").is_some()));
                if only("allOf").is_some()
                    || constants
                    || (members.contains_key("default") && members.contains_key("type"))
                {
                    found.push(value.to_string());
                }
                members.values().for_each(|member| look(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| look(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let described = gateway::openapi().unwrap();
    let mut found = Vec::new();
    look(&described, &mut found);
    assert!(found.is_empty(), "{found:#?}");
    let status = &described["components"]["schemas"]["SessionStatus"];
    assert!(status["enum"].as_array().unwrap().contains(&"running".into()), "{status}");
    let port = &described["components"]["schemas"]["ObservedPort"];
    assert_eq!(port["discriminator"]["mapping"]["serial"], "#/components/schemas/ObservedPortSerial");
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
    assert_eq!(open("/api/asyncapi.json").await.body["asyncapi"], "3.1.0");
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
