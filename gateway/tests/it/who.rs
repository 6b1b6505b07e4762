//! Who may do what.

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, KEY, OPERATOR, VIEWER, World, definition};

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
