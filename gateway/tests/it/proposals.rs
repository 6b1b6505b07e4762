//! Policies, excluded evidence and the steps of proposals over HTTP.

use app::commands::Commands;
use app::log::Origin;
use bus::clock::{Clock, IdGenerator};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, Answer, KEY, OPERATOR, PLAIN_KEY, VIEWER, World, definition};

/// Proposes another amount of memory for the definition `d1`, as the proposer does.
pub(crate) async fn propose(world: &World, memory_gb: u32) -> String {
    let commands = Commands::new(world.log.clone(), Clock::system(), IdGenerator::random());
    let new = json!({
        "kind": "size", "after": {"cpu_cores": 4, "memory_gb": memory_gb, "storage_gb": 20},
        "finding": "over_provisioned", "promise": 0.95, "as_of": "0000000001-00000000000000000007-0000000000000000007", "sessions": 5, "reason": "5 sessions used less"
    });
    let new = serde_json::from_value(new).unwrap();
    let (id, _) =
        commands.open_proposal(&"d1".parse().unwrap(), new, &Origin::from_actor("lablet:proposer")).await.unwrap();
    id.unwrap().to_string()
}

async fn step(world: &World, token: &str, id: &str, step: &str, etag: &str, reason: Option<&str>) -> Answer {
    let body = json!({"definition_id": "d1", "reason": reason});
    let request = world.request(Method::POST, &format!("/api/proposals/{id}/{step}")).header("if-match", etag);
    let request = if token == KEY || token == PLAIN_KEY {
        request.header("x-api-key", token)
    } else {
        request.bearer_auth(token)
    };
    world.send(request.json(&body)).await
}

async fn put(world: &World, token: &str, path: &str, etag: &str, body: &Value) -> Answer {
    world.send(world.request(Method::PUT, path).bearer_auth(token).header("if-match", etag).json(body)).await
}

#[tokio::test]
async fn the_default_policy_is_shown_and_set_in_the_version_that_was_seen() {
    let world = World::start().await;
    let path = "/api/advice-policy";
    let usual = world.get(path).await.expect(200);
    assert_eq!((usual.header("etag"), &usual.body["set_by"]), ("\"0\"", &json!(null)));
    assert_eq!((&usual.body["policy"]["promise"], &usual.body["policy"]["applier"]), (&json!(0.95), &json!("admin")));
    let careful =
        json!({"policy": {"promise": 0.9, "limits": {"memory_mb": {"cap": 65536}}}, "reason": "labs are cheap"});
    put(&world, OPERATOR, path, "\"0\"", &careful).await.problem(403, "forbidden", None);
    let bare = world.request(Method::PUT, path).bearer_auth(ADMIN).json(&careful);
    world.send(bare).await.problem(428, "version-required", None);
    let set = put(&world, ADMIN, path, "\"0\"", &careful).await.expect(200);
    assert_eq!((set.header("etag"), &set.body["set_by"]), ("\"1\"", &json!("admin:ada")));
    put(&world, ADMIN, path, "\"0\"", &careful).await.problem(412, "stale-version", None);
    for (policy, field) in [
        (json!({"promise": 0}), "policy.promise"),
        (json!({"promise": 1}), "policy.promise"),
        (json!({"promise": "abc"}), "policy.promise"),
        (json!({"limits": {"cpu_cores": {"floor": 8, "cap": 4}}}), "policy.limits.cpu_cores.floor"),
        (json!({"largest_step": 0.01}), "policy.largest_step"),
    ] {
        let refused = put(&world, ADMIN, path, "*", &json!({"policy": policy, "reason": "because"})).await;
        refused.problem(400, "invalid-input", None).names(field);
    }
    put(&world, ADMIN, path, "*", &json!({"policy": {}})).await.problem(400, "invalid-input", Some("reason"));
    let costly = json!({"policy": {"promise": 0.999}, "reason": "exams"});
    put(&world, ADMIN, path, "\"1\"", &costly).await.expect(200);
    let given_up = put(&world, ADMIN, path, "*", &json!({"policy": null, "reason": "as usual"})).await.expect(200);
    assert_eq!((&given_up.body["policy"]["promise"], &given_up.body["set_at"]), (&json!(0.95), &json!(null)));
}

#[tokio::test]
async fn a_definition_has_a_policy_of_its_own_or_the_default_one() {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let path = "/api/lablet-definitions/d1/advice-policy";
    let default = json!({"policy": {"promise": 0.9}, "reason": "because"});
    put(&world, ADMIN, "/api/advice-policy", "*", &default).await.expect(200);
    let by_default = world.get(path).await.expect(200);
    assert_eq!((&by_default.body["policy"]["promise"], &by_default.body["own"]), (&json!(0.9), &json!(null)));
    assert_eq!(by_default.body["default"]["set_by"], "admin:ada");
    let own = json!({"policy": {"promise": 0.97, "applier": "automatic"}, "reason": "exams"});
    let set = put(&world, ADMIN, path, by_default.header("etag"), &own).await.expect(200);
    assert_eq!((set.header("etag"), &set.body["own"]["policy"]["applier"]), ("\"2\"", &json!("automatic")));
    put(&world, ADMIN, path, "\"1\"", &own).await.problem(412, "stale-version", None);
    // The policy is a part of the definition: whoever revises it has to have seen it.
    let revision = json!({"description": "another", "reason": "because"});
    world.patch("/api/lablet-definitions/d1", "\"1\"", &revision).await.problem(412, "stale-version", None);
    put(&world, VIEWER, path, "*", &own).await.problem(403, "forbidden", None);
    world.get("/api/lablet-definitions/nobody/advice-policy").await.problem(404, "not-found", None);
    put(&world, ADMIN, "/api/lablet-definitions/nobody/advice-policy", "*", &own).await.problem(404, "not-found", None);
}

#[tokio::test]
async fn a_session_is_excluded_from_the_evidence_with_a_reason_and_included_again() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let change = async |token: &str, which: &str, body: Value| {
        let path = format!("/api/lablet-sessions/s1/evidence-{which}");
        world.send(world.request(Method::POST, &path).bearer_auth(token).json(&body)).await
    };
    let because = json!({"reason": "a load test"});
    change(VIEWER, "exclusion", because.clone()).await.problem(403, "forbidden", None);
    change(OPERATOR, "exclusion", json!({})).await.problem(400, "invalid-input", Some("reason"));
    let excluded = change(OPERATOR, "exclusion", because.clone()).await.expect(200);
    assert_eq!(excluded.body["evidence_excluded"], true);
    let again = change(OPERATOR, "exclusion", because.clone()).await.expect(200);
    assert_eq!((&again.body["etag"], again.header("etag")), (&excluded.body["etag"], excluded.header("etag")));
    let included = change(OPERATOR, "inclusion", because).await.expect(200);
    assert_eq!(included.body["evidence_excluded"], false);
    let events = world
        .get(&format!("/api/lablet-sessions/s1/events?position={}", included.body["position"].as_str().unwrap()))
        .await
        .expect(200);
    let types: Vec<&str> =
        events.body["items"].as_array().unwrap().iter().filter_map(|event| event["type"].as_str()).collect();
    for event in ["io.lablet.lablet_session.evidence_excluded.v1", "io.lablet.lablet_session.evidence_included.v1"] {
        assert!(types.contains(&event), "{types:?}");
    }
}

#[tokio::test]
async fn a_proposal_is_claimed_and_applied_in_the_version_that_was_seen() {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let id = propose(&world, 6).await;
    step(&world, VIEWER, &id, "claim", "*", None).await.problem(403, "forbidden", None);
    step(&world, PLAIN_KEY, &id, "claim", "*", None).await.problem(403, "forbidden", None);
    let bare = world.request(Method::POST, &format!("/api/proposals/{id}/claim")).bearer_auth(OPERATOR);
    world.send(bare.json(&json!({"definition_id": "d1"}))).await.problem(428, "version-required", None);
    step(&world, OPERATOR, &id, "claim", "\"7\"", None).await.problem(412, "stale-version", None);
    let claimed = step(&world, OPERATOR, &id, "claim", "\"1\"", None).await.expect(200);
    assert_eq!((&claimed.body["status"], claimed.header("etag")), (&json!("claimed"), "\"2\""));
    step(&world, KEY, &id, "claim", "*", None).await.problem(409, "conflict", None);
    let stale = step(&world, ADMIN, &id, "apply", "\"1\"", None).await.problem(412, "stale-version", None);
    assert_eq!(stale.header("etag"), "\"2\"");

    // By the usual policy admins apply.
    for token in [OPERATOR, KEY] {
        let refused = step(&world, token, &id, "apply", "\"2\"", None).await.problem(403, "forbidden", None);
        assert!(refused.body["detail"].as_str().unwrap().contains("applied by admins"), "{}", refused.body);
    }
    let applied = step(&world, ADMIN, &id, "apply", "\"1\", \"2\"", None).await.expect(200);
    assert_eq!((&applied.body["status"], &applied.body["revision"]), (&json!("applied"), &json!(2)));
    assert_eq!((&applied.body["etag"], applied.header("etag")), (&json!(null), ""));
    step(&world, ADMIN, &id, "apply", "\"2\"", None).await.expect(200);
    let position = applied.body["position"].as_str().unwrap();
    let now = world.get(&format!("/api/lablet-definitions/d1?position={position}")).await.expect(200);
    assert_eq!((&now.body["resource_requirements"]["memory_gb"], &now.body["revision"]), (&json!(6), &json!(2)));
    let revisions = world.get("/api/lablet-definitions/d1/revisions").await.expect(200);
    assert_eq!(revisions.body["items"][0]["revised_by"], "admin:ada");
}

#[tokio::test]
async fn a_policy_lets_operators_and_services_apply() {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let operators = json!({"policy": {"applier": "operator"}, "reason": "because"});
    put(&world, ADMIN, "/api/advice-policy", "*", &operators).await.expect(200);
    for (token, memory_gb) in [(OPERATOR, 6), (KEY, 5)] {
        let id = propose(&world, memory_gb).await;
        let applied = step(&world, token, &id, "apply", "\"1\"", Some("in the next release")).await.expect(200);
        assert_eq!(applied.body["status"], "applied");
    }
}

#[tokio::test]
async fn a_proposal_is_dismissed_failed_or_superseded_and_takes_no_more_steps() {
    let world = World::start().await;
    let created = world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let id = propose(&world, 6).await;
    let unnamed = world.request(Method::POST, &format!("/api/proposals/{id}/dismiss")).bearer_auth(OPERATOR);
    world.send(unnamed.header("if-match", "*").json(&json!({"definition_id": "d1"}))).await.problem(
        400,
        "invalid-input",
        Some("reason"),
    );
    step(&world, OPERATOR, &id, "fail", "*", Some("it is not claimed")).await.problem(409, "conflict", None);
    let dismissed = step(&world, OPERATOR, &id, "dismiss", "\"1\"", Some("an exam is on")).await.expect(200);
    assert_eq!(dismissed.body["status"], "dismissed");
    step(&world, ADMIN, &id, "apply", "*", None).await.problem(409, "conflict", None);

    let id = propose(&world, 7).await;
    step(&world, OPERATOR, &id, "claim", "*", None).await.expect(200);
    let failed = step(&world, OPERATOR, &id, "fail", "\"2\"", Some("the repository is frozen")).await.expect(200);
    assert_eq!(failed.body["status"], "failed");

    // Whoever revises the definition by hand rests on its content, not on what is proposed.
    let id = propose(&world, 5).await;
    let by_hand = json!({
        "resource_requirements": {"cpu_cores": 2, "memory_gb": 4, "storage_gb": 20}, "reason": "a new image"
    });
    let revised = world.patch("/api/lablet-definitions/d1", created.header("etag"), &by_hand).await.expect(200);
    assert_eq!(revised.body["etag"], revised.header("etag"));
    let read = format!("/api/lablet-definitions/d1?position={}", revised.body["position"].as_str().unwrap());
    assert_eq!(world.get(&read).await.expect(200).header("etag"), revised.header("etag"));
    step(&world, ADMIN, &id, "apply", "*", None).await.problem(409, "conflict", None);
    step(&world, ADMIN, "nobody", "apply", "*", None).await.problem(404, "not-found", None);
}
