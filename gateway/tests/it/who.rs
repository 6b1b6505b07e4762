//! Who may do what.

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, KEY, OPERATOR, PLAIN_KEY, VIEWER, World, definition, worker};

#[tokio::test]
async fn nothing_that_is_described_answers_without_key_or_token() {
    let world = World::start().await;
    let described = gateway::openapi().unwrap();
    for (path, operations) in described["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path.replace("{id}", "x");
            for request in [
                world.request(method.clone(), &path),
                world.request(method.clone(), &path).header("x-api-key", "wrong"),
                world.request(method.clone(), &path).bearer_auth("wrong"),
                world.request(method.clone(), &path).bearer_auth(KEY),
                world.request(method.clone(), &path).header("x-api-key", ADMIN),
            ] {
                let refused = world.send(request).await.problem(401, "unauthenticated", None);
                assert!(refused.headers.contains_key("www-authenticate"), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn authority_decides_and_a_refusal_says_which_is_needed() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let status = async |method: Method, path: &str, caller: &str, body: Value| {
        let request = world.request(method, path).json(&body);
        let request = if caller == KEY { request.header("x-api-key", KEY) } else { request.bearer_auth(caller) };
        world.send(request).await
    };
    for (method, path, body, allowed, needed) in [
        (Method::POST, "/api/internal/lablet-sessions", json!({"definition_id": "d1"}), vec![KEY], "an internal key"),
        (Method::GET, "/api/internal/workers", json!({}), vec![KEY], "an internal key"),
        (Method::GET, "/api/lablet-sessions", json!({}), vec![VIEWER, OPERATOR, ADMIN, KEY], ""),
        (Method::POST, "/api/lablet-definitions", definition("d1"), vec![ADMIN, KEY], "the role admin"),
        (
            Method::POST,
            "/api/lablet-sessions/s1/observe-resources",
            json!({}),
            vec![OPERATOR, ADMIN, KEY],
            "the role operator",
        ),
        (Method::GET, "/api/dead-letters", json!({}), vec![OPERATOR, ADMIN], "the role operator"),
    ] {
        for caller in [VIEWER, OPERATOR, ADMIN, KEY] {
            let answer = status(method.clone(), path, caller, body.clone()).await;
            if allowed.contains(&caller) {
                assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.body);
            } else {
                let refused = answer.problem(403, "forbidden", None);
                assert!(refused.body["detail"].as_str().unwrap().contains(needed), "{}", refused.body);
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_was_not_named_for_definitions_and_workers_sends_sessions_and_observations_alone() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let send = async |method: Method, path: &str, body: Value| {
        let request = world.request(method, path).header("x-api-key", PLAIN_KEY).header("if-match", "*");
        world.send(request.json(&body)).await
    };
    let moved = json!({"address": "https://elsewhere.example.org"});
    for (method, path, command, body) in [
        (Method::POST, "/api/lablet-definitions", "create_lablet_definition", definition("d9")),
        (Method::PATCH, "/api/lablet-definitions/d1", "revise_lablet_definition", json!({"reason": "because"})),
        (Method::POST, "/api/workers", "register_worker", worker("w9")),
        (Method::PATCH, "/api/workers/w1", "change_worker", moved),
        // What is not allowed is not read.
        (Method::PATCH, "/api/workers/w1", "change_worker", json!("nonsense")),
    ] {
        let refused = send(method, path, body).await.problem(403, "forbidden", None);
        let detail = refused.body["detail"].as_str().unwrap();
        for part in ["The internal key \"grading\"", command, "LABLET_INTERNAL_API_KEY_AUTHORITY"] {
            assert!(detail.contains(part), "{detail}");
        }
    }
    world.get("/api/workers/w9").await.expect(404);
    assert_eq!(world.get("/api/workers/w1").await.body["address"], worker("w1")["address"]);

    let internal = "/api/internal/lablet-sessions";
    send(Method::POST, internal, json!({"definition_id": "d1"})).await.expect(201);
    let request = send(Method::POST, "/api/lablet-sessions/s1/observe-resources", json!({})).await;
    assert_eq!(request.status, 202, "{}", request.body);
    let seen = json!({"observed_resources": {"total_cpu_cores": 1.0}});
    send(Method::POST, &format!("{internal}/s1/resource-observations"), seen).await.expect(200);
    send(Method::POST, &format!("{internal}/s1/transition"), json!({"new_status": "collecting"})).await.expect(200);
    world.send(world.request(Method::GET, "/api/internal/workers").header("x-api-key", PLAIN_KEY)).await.expect(200);
}

/// What is asked by a POST because the question is too long for an address: it changes nothing.
const QUESTIONS: [&str; 1] = ["/api/topology-recommendations"];

/// Every operation that a key may call and that changes something says which command it sends.
#[test]
fn every_change_that_a_key_may_make_names_its_command() {
    let described = gateway::openapi().unwrap();
    for (path, operations) in described["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let by_key = operation["security"].to_string().contains("internal_key");
            if method == "get" || !by_key || QUESTIONS.contains(&path.as_str()) {
                continue;
            }
            let command = operation["x-lablet-command"].as_str().unwrap_or_default();
            assert!(app::command::Command::NAMES.contains(&command), "{method} {path} sends {command:?}");
        }
    }
}
