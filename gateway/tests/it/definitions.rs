//! Definitions and workers over HTTP: versions, revisions, repeated requests.

use reqwest::Method;
use serde_json::json;

use crate::world::{ADMIN, KEY, World, definition, observation, worker};

#[tokio::test]
async fn a_revision_rests_on_a_version_and_records_why() {
    let world = World::start().await;
    let created = world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    assert_eq!(created.header("location"), "/api/lablet-definitions/d1");
    assert_eq!(created.body["revision"], 1);
    let etag = created.body["etag"].as_str().unwrap().to_owned();
    assert_eq!(created.header("etag"), etag);
    let read = world.get("/api/lablet-definitions/d1").await.expect(200);
    assert_eq!(read.header("etag"), etag);

    let revision = json!({
        "resource_requirements": {"cpu_cores": 6, "memory_gb": 8, "storage_gb": 20},
        "reason": "it used more", "evidence": ["019b2c1e-5f7a-7c3e-9d4b-000000000000"],
    });
    let bare = world.request(Method::PATCH, "/api/lablet-definitions/d1").bearer_auth(ADMIN).json(&revision);
    world.send(bare).await.problem(428, "version-required", None);
    world.patch("/api/lablet-definitions/d1", "seven", &revision).await.problem(400, "invalid-input", Some("If-Match"));
    let revised = world.patch("/api/lablet-definitions/d1", &etag, &revision).await.expect(200);
    assert_eq!(revised.body["revision"], 2);
    assert_eq!(revised.body["resource_requirements"]["cpu_cores"], 6);

    let other = json!({"description": "another", "reason": "at the same time"});
    let stale = world.patch("/api/lablet-definitions/d1", &etag, &other).await.problem(412, "stale-version", None);
    assert_eq!(stale.header("etag"), "\"2\"");
    let detail = stale.body["detail"].as_str().unwrap();
    assert!(detail.contains("\"1\"") && detail.contains("\"2\""), "{detail}");

    let position = revised.body["position"].as_str().unwrap();
    let revisions = world.get(&format!("/api/lablet-definitions/d1/revisions?position={position}")).await.expect(200);
    assert_eq!(revisions.body["items"][0]["reason"], "it used more");
    assert_eq!(revisions.body["items"][0]["revised_by"], "admin:ada");
    assert_eq!(revisions.body["items"][0]["evidence"], json!(["019b2c1e-5f7a-7c3e-9d4b-000000000000"]));
    let list = world.get("/api/lablet-definitions?observed=false").await.expect(200);
    assert_eq!(list.body["items"][0]["observations"]["observation_count"], 0);
    world.patch("/api/lablet-definitions/nobody", "*", &other).await.problem(404, "not-found", None);
}

#[tokio::test]
async fn what_is_off_by_most_is_listed_with_its_evidence() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let none = world.get("/api/definition-deviations").await.expect(200);
    assert_eq!(none.body, json!({"items": []}), "nothing is known, so nothing is off");
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    let recorded = world.post(path, &observation(2, &json!({}))).await.expect(200);
    let position = recorded.body["position"].as_str().unwrap();
    let off = world.get(&format!("/api/definition-deviations?position={position}")).await.expect(200);
    let found = &off.body["items"][0];
    assert_eq!((&found["definition_id"], &found["resource"]), (&json!("d1"), &json!("memory_gb")));
    assert_eq!((&found["ratio"], &found["memory_gb"]["needed"]), (&json!(0.25), &json!(2)), "2 of 8 GB");
    assert_eq!((&found["storage_gb"]["needed"], &found["storage_gb"]["unknown_sessions"]), (&json!(null), &json!(1)));
    let event = found["memory_gb"]["observed_max_event_id"].as_str().unwrap();
    world.get(&format!("/api/events/{event}")).await.expect(200);
    world.get("/api/definition-deviations?limit=0").await.problem(400, "invalid-input", Some("limit"));
}

#[tokio::test]
async fn a_worker_is_registered_read_and_changed() {
    let world = World::start().await;
    let registered = world.post("/api/workers", &worker("w1")).await.expect(201);
    assert_eq!(registered.body["port_range"], json!({"first": 2000, "last": 7999}));
    let read = world.get("/api/workers/w1").await.expect(200);
    assert_eq!(read.body["address"], "https://cml-1.example.org");
    let changed = world.patch("/api/workers/w1", read.header("etag"), &json!({"name": "CML two"})).await.expect(200);
    assert_eq!(changed.body["name"], "CML two");
    world.patch("/api/workers/w1", read.header("etag"), &json!({"name": "CML 3"})).await.problem(
        412,
        "stale-version",
        None,
    );
    let position = changed.body["position"].as_str().unwrap();
    let list = world.get(&format!("/api/workers?position={position}")).await.expect(200);
    assert_eq!(list.body["items"][0]["name"], "CML two");
    world.get("/api/workers/nobody").await.problem(404, "not-found", None);
}

#[tokio::test]
async fn the_same_id_with_other_content_is_a_conflict_and_with_the_same_none() {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let mut other = definition("d1");
    other["name"] = "Switching basics".into();
    world.post("/api/lablet-definitions", &other).await.problem(409, "conflict", None);
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_another_one_is_refused() {
    let world = World::start().await;
    let send = |key: &str, path: &str, body: serde_json::Value| {
        world
            .send(world.request(Method::POST, path).header("x-api-key", KEY).header("idempotency-key", key).json(&body))
    };
    let mut new = definition("d1");
    new.as_object_mut().unwrap().remove("id");
    let first = send("k1", "/api/lablet-definitions", new.clone()).await.expect(201);
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = send("k1", "/api/lablet-definitions", new.clone()).await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("location"), first.header("location"));

    let mut other = new.clone();
    other["name"] = "Switching basics".into();
    send("k1", "/api/lablet-definitions", other).await.problem(409, "idempotency-key-reused", None);
    send("k1", "/api/workers", worker("w1")).await.problem(409, "idempotency-key-reused", None);
    send("two words", "/api/lablet-definitions", new.clone()).await.problem(
        400,
        "invalid-input",
        Some("Idempotency-Key"),
    );
    // Another caller's key of the same name is another key.
    let admin = world.request(Method::POST, "/api/lablet-definitions").bearer_auth(ADMIN);
    let others = world.send(admin.header("idempotency-key", "k1").json(&new)).await.expect(201);
    assert_ne!(others.body["id"], first.body["id"]);
}
