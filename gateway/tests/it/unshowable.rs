//! What cannot be shown is said where it is looked for: rows that cannot be read, aggregates that are parked, allocations
//! that cannot be right.

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{OPERATOR, World, observation};

/// Two sessions that run and were observed, with the read models standing still.
async fn two_sessions() -> World {
    let mut world = World::start().await;
    world.session("s1", "running").await;
    world.post("/api/internal/lablet-sessions", &json!({"id": "s2", "definition_id": "d1"})).await.expect(201);
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    world.post(path, &observation(2, &json!({"PC_serial": 5041}))).await.expect(200);
    world.settle().await;
    world.stand_still().await;
    world
}

async fn page(world: &World, path: &str) -> (u16, String) {
    let request = world.request(Method::GET, path).bearer_auth(OPERATOR).header("accept", "text/html");
    let answer = world.send(request).await;
    (answer.status, answer.body.as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn one_row_that_cannot_be_read_fails_no_list_and_is_named() {
    let world = two_sessions().await;
    let spoil = "UPDATE read_sessions.sessions SET updated_at = 'infinity' WHERE id = 's1'";
    sqlx::query(spoil).execute(world.log.pool()).await.unwrap();
    for path in
        ["/api/lablet-sessions", "/api/lablet-sessions?limit=1&sort=observed", "/api/lablet-sessions?sort=changed"]
    {
        let listed = world.get(path).await.expect(200);
        assert_eq!(listed.body["unreadable"][0]["id"], "s1", "{path}: {}", listed.body);
    }
    let listed = world.get_internally("/api/internal/lablet-sessions").await.expect(200);
    assert_eq!(listed.body["items"][0]["id"], "s2");
    assert!(listed.body["unreadable"][0]["reason"].as_str().unwrap().starts_with("updated_at: "), "{}", listed.body);
    let first = world.get("/api/lablet-sessions?limit=1&sort=oldest").await.expect(200);
    assert_eq!(first.body["items"], json!([]), "the first page holds only what cannot be read");
    let next = first.body["next_cursor"].as_str().unwrap();
    let second = world.get(&format!("/api/lablet-sessions?limit=1&sort=oldest&cursor={next}")).await.expect(200);
    assert_eq!(second.body["items"][0]["id"], "s2");

    let detail = world.get("/api/lablet-sessions/s1").await.problem(500, "unreadable", None);
    let told = detail.body["detail"].as_str().unwrap();
    assert!(told.contains("s1") && told.contains("updated_at"), "{told}");
    assert!(!told.contains("database"), "{told}");
    for path in [
        "/api/overview",
        "/api/search?text=s1",
        "/api/workers",
        "/api/workers/w1/port-map",
        "/api/workers/w1/load",
        "/api/worker-loads",
        "/api/lablet-definitions",
        "/api/lablet-definitions/d1/resource-observations",
        "/api/lablet-sessions/s1/events",
        "/api/lablet-sessions/s1/nodes",
        "/api/operations",
        "/readyz",
    ] {
        let request = world.request(Method::GET, path).bearer_auth(OPERATOR);
        world.send(request).await.expect(200);
    }
    for path in ["/", "/sessions", "/sessions?format=csv", "/workers", "/workers/w1", "/definitions", "/definitions/d1"]
    {
        let (status, text) = page(&world, path).await;
        assert_eq!(status, 200, "{path}: {text}");
    }
    let (_, text) = page(&world, "/sessions").await;
    assert!(text.contains("1 row cannot be read") && text.contains("updated_at"), "{text}");
    let request = world.request(Method::GET, "/sessions?format=csv").bearer_auth(OPERATOR);
    let file = world.send(request).await.expect(200);
    assert_eq!(file.header("lablet-unreadable-rows"), "s1");
    assert!(file.header("content-disposition").contains("without-1-unreadable"));
}

#[tokio::test]
async fn a_parked_definition_is_not_up_to_date_anywhere_and_offers_no_version() {
    let world = World::start().await;
    world.session("s1", "running").await;
    // As a newer release would have written it.
    let append =
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        VALUES ('lablet_definition', 'd1', 2, 'lablet_definition.renamed', '1',
                '{\"type\": \"lablet_definition.renamed.v1\"}', '{}')";
    sqlx::query(append).execute(world.log.pool()).await.unwrap();
    world.settle().await;
    let shown = world.get("/api/lablet-definitions/d1").await.expect(200);
    let parked = &shown.body["parked"][0];
    assert_eq!((&parked["read_model"], &parked["waiting_events"]), (&json!("definitions"), &json!(1)));
    assert!(parked["reason"].as_str().is_some_and(|reason| !reason.is_empty()) && parked["since"].is_string());
    assert_eq!(shown.body["etag"], "", "its old version is not offered");
    assert_eq!(shown.header("etag"), "");
    let listed = world.get("/api/lablet-definitions").await.expect(200);
    assert_eq!(listed.body["items"][0]["parked"][0]["aggregate_id"], "d1");
    let ready = world.get("/readyz").await.expect(200);
    assert_eq!((&ready.body["parked"], &ready.body["postgres"]), (&json!(["definitions", "advice"]), &json!("ok")));
    let operations = world.get("/api/operations").await.expect(200);
    let models = operations.body["read_models"].as_array().unwrap();
    let definitions = models.iter().find(|model| model["read_model"] == "definitions").unwrap();
    assert_eq!((&definitions["up_to_date"], &definitions["parked_aggregates"]), (&json!(false), &json!(1)));
    for path in ["/definitions", "/definitions/d1", "/definitions/d1/edit"] {
        let (status, text) = page(&world, path).await;
        assert_eq!(status, 200, "{path}: {text}");
        assert!(text.contains("Not up to date") && text.contains("lablet_definition.renamed"), "{path}: {text}");
    }
    let (_, text) = page(&world, "/definitions/d1").await;
    assert!(text.contains("not the newest") && !text.contains("etag <code>"), "{text}");
}

#[tokio::test]
async fn what_could_not_even_be_created_is_told_by_the_event_that_could_not_be_applied() {
    let world = World::start().await;
    for (kind, path) in [
        ("lablet_session", "/api/lablet-sessions/new"),
        ("lablet_definition", "/api/lablet-definitions/new"),
        ("worker", "/api/workers/new"),
    ] {
        // As a newer release would have written it.
        let append =
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            VALUES ($1, 'new', 1, $1 || '.imagined', '1', jsonb_build_object('type', $1 || '.imagined.v1'), '{}')
            RETURNING event_id::text";
        let event: String = sqlx::query_scalar(append).bind(kind).fetch_one(world.log.pool()).await.unwrap();
        world.settle().await;
        let told = world.get(path).await.problem(500, "unreadable", None);
        let detail = told.body["detail"].as_str().unwrap();
        assert!(detail.contains(&event) && detail.contains(&format!("{kind}.imagined")), "{path}: {detail}");
        assert!(told.header("retry-after").is_empty(), "coming back does not help");
    }
    world.get("/api/workers/nobody").await.problem(404, "not-found", None);
}

async fn scheduled(world: &World, id: &str, ports: &Value) -> Value {
    world.post("/api/internal/lablet-sessions", &json!({"id": id, "definition_id": "d1"})).await.expect(201);
    let step = json!({"new_status": "scheduled", "worker_id": "w1", "allocated_ports": ports});
    world.post(&format!("/api/internal/lablet-sessions/{id}/transition"), &step).await.expect(200).body
}

#[tokio::test]
async fn allocations_that_cannot_be_right_are_recorded_and_told() {
    let world = World::start().await;
    world.session("s1", "running").await;
    // An allocation is compared with what the read models show, for which a command waits only so long.
    world.settle().await;
    let fine = scheduled(&world, "s2", &json!({"PC_serial": 5043, "PC_vnc": 5044})).await;
    assert!(fine["warnings"].as_array().is_none_or(Vec::is_empty), "{fine}");
    let wrong = scheduled(&world, "s3", &json!({"PC_serial": 5041, "PC_vnc": 9000})).await;
    let warnings = wrong["warnings"].as_array().unwrap();
    let told: Vec<(&str, &str)> = warnings
        .iter()
        .map(|warning| (warning["code"].as_str().unwrap(), warning["field"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("port_conflict", "allocated_ports.PC_serial"), ("port_out_of_range", "allocated_ports.PC_vnc")],
        "{wrong}"
    );
    assert!(warnings[0]["message"].as_str().unwrap().contains("session s1"), "{wrong}");
    assert!(warnings[1]["message"].as_str().unwrap().contains("2000 to 7999"), "{wrong}");
    world.settle().await;
    let map = world.get("/api/workers/w1/port-map").await.expect(200).body;
    assert_eq!((&map["clashes"], &map["out_of_range"]), (&json!(1), &json!(1)));
    let clash = map["ports"].as_array().unwrap().iter().find(|port| port["clash"] == true).unwrap();
    assert_eq!((&clash["outside"], clash["holders"].as_array().unwrap().len()), (&json!(5041), 2));
}
