//! What operators see and do.

use app::dead_letters::{DeadLetterKind, Undeliverable};
use reqwest::Method;
use serde_json::json;

use crate::page_forms::page;
use crate::world::{KEY, OPERATOR, VIEWER, World, until, worker};

#[tokio::test]
async fn operators_see_how_far_everything_is() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let operations = world.get("/api/operations").await.expect(200);
    assert_eq!(operations.body["read_models"].as_array().unwrap().len(), 7);
    assert_eq!(operations.body["bus_connected"], false);
    assert_eq!(operations.body["relay"]["caught_up"], false);
    assert_eq!(operations.body["dead_letters"], json!({"commands": 0, "webhooks": 0, "events": 0}));
    assert_eq!(operations.body["schema_version"], operations.body["build_schema_version"]);
    assert_eq!(operations.body["last_verify"], json!(null));
    assert!(operations.body["visibility_lag_seconds"].is_number());
    for (index, stream) in ["LABLET_EVENTS", "LABLET_COMMANDS"].into_iter().enumerate() {
        let consumers = &operations.body["consumers"][index];
        assert_eq!(
            (&consumers["stream"], &consumers["consumers"]),
            (&json!(stream), &json!(null)),
            "unknown is not none"
        );
        assert_eq!(consumers["unknown_because"], "there is no connection to the bus");
    }
}

#[tokio::test]
async fn what_an_open_transaction_keeps_from_readers_is_told_wherever_somebody_asks() {
    let world = World::start().await;
    let mut stranger = app::log::begin(&world.owner()).await.unwrap();
    sqlx::query("SELECT set_config('application_name', 'a report', false), pg_current_xact_id()::text")
        .execute(&mut *stranger)
        .await
        .unwrap();
    world.post("/api/workers", &worker("w1")).await.expect(201);

    let operations = world.get("/api/operations").await.expect(200).body;
    assert_eq!(operations["visibility_lag_events"], 1);
    assert!(operations["visibility_lag_seconds"].as_f64().unwrap() > 0.0);
    let holders = operations["blocking_transactions"].as_array().unwrap();
    let holder = holders.iter().find(|holder| holder["application_name"] == "a report").unwrap();
    assert_eq!((&holder["role_name"], &holder["is_own"]), (&json!("postgres"), &json!(false)));
    assert!(holder["pid"].is_number() && holder["transaction_seconds"].is_number());
    assert_eq!(operations["read_models"][0]["events_behind"], 1, "it is committed, and no read model has it");
    assert_eq!(operations["relay"]["caught_up"], false);
    assert_eq!(operations["watcher"]["watching"], false, "nobody watches in this test");
    let page = world.send(world.request(Method::GET, "/operations").bearer_auth(OPERATOR)).await.expect(200).body;
    let page = page.as_str().unwrap();
    assert!(page.contains("wait for an open transaction") && page.contains("a report"), "{page}");

    let ready = async || world.send(world.request(Method::GET, "/readyz")).await.expect(200).body;
    let first = ready().await;
    assert_eq!(first["visibility_lag_events"], 1);
    assert!(first["visibility_lag_seconds"].as_f64().unwrap() > 0.0);
    let late = until("a read model that is behind", async || {
        let late = ready().await;
        if late["behind"].as_array().unwrap().is_empty() { Err(late.to_string()) } else { Ok(late) }
    })
    .await;
    assert_eq!(late["status"], "degraded");
    assert_eq!(late["behind"].as_array().unwrap().len(), 7, "{late}");
    let metrics = world.send(world.request(Method::GET, "/metrics")).await.expect(200);
    assert_eq!(metrics.status, 200);

    stranger.rollback().await.unwrap();
    world.settle().await;
    let operations = world.get("/api/operations").await.expect(200).body;
    assert_eq!((&operations["visibility_lag_events"], &operations["blocking_transactions"]), (&json!(0), &json!([])));
    assert_eq!(ready().await["behind"], json!([]));
}

#[tokio::test]
async fn a_dead_command_is_shown_retried_and_discarded() {
    let world = World::start().await;
    let event = json!({
        "specversion": "1.0", "id": "1", "source": "/grading", "type": "io.lablet.command.transition_lablet_session.v1",
        "data": {"session_id": "s1", "new_status": "collecting"},
    });
    let payload = event.to_string();
    let keep = async |source: &str| {
        let letter = Undeliverable {
            kind: DeadLetterKind::Command,
            source,
            reason: "there is no session s1".to_owned(),
            aggregate: Some(("lablet_session", "s1")),
            event: None,
            headers: [("Content-Type".to_owned(), "application/cloudevents+json".to_owned())].into(),
            raw_headers: None,
            payload: payload.as_bytes(),
        };
        format!("command:{}", world.dead_letters.keep(&letter).await.unwrap())
    };
    let id = keep("lablet.commands.grading.transition_lablet_session").await;
    let ask = |method, path: &str| world.request(method, path).bearer_auth(OPERATOR);
    let list = world.send(ask(Method::GET, "/api/dead-letters")).await.expect(200);
    assert_eq!(list.body["items"][0]["id"], id);
    let shown = world.send(ask(Method::GET, &format!("/api/dead-letters/{id}"))).await.expect(200);
    assert_eq!(shown.body["message"], payload);
    let retry = format!("/api/dead-letters/{id}/retry");
    world.send(ask(Method::POST, &retry)).await.problem(409, "conflict", None);
    world.session("s1", "running").await;
    let retried = world.send(ask(Method::POST, &retry)).await.expect(200);
    assert_eq!(retried.body["answer"]["session_status"], "collecting");
    world.send(ask(Method::POST, &retry)).await.problem(409, "conflict", None);

    let id = keep("lablet.commands.other.transition_lablet_session").await;
    let discard = format!("/api/dead-letters/{id}/discard");
    let bare = ask(Method::POST, &discard).json(&json!({}));
    world.send(bare).await.problem(400, "invalid-input", Some("reason"));
    let discarded = world.send(ask(Method::POST, &discard).json(&json!({"reason": "a test"}))).await.expect(200);
    assert_eq!(discarded.body["outcome"], "discarded");
    let settled = world.send(ask(Method::GET, &format!("/api/dead-letters/{id}"))).await.expect(200);
    assert_eq!(settled.body["settled"]["reason"], "a test", "the reason is kept as data");
    world.send(ask(Method::POST, &discard).json(&json!({"reason": "a test"}))).await.problem(404, "not-found", None);
    world.send(ask(Method::GET, "/api/dead-letters/x")).await.problem(400, "invalid-input", Some("id"));
}

#[tokio::test]
async fn letters_of_one_cause_are_a_group_that_is_settled_with_one_reason() {
    let world = World::start().await;
    for (index, reason) in
        ["there is no session s-1", "there is no session s-2", "there is no worker w-1"].iter().enumerate()
    {
        let payload = format!("{{\"no\": {index}}}");
        let letter = Undeliverable {
            kind: DeadLetterKind::Command,
            source: "lablet.commands.grading.transition_lablet_session",
            reason: (*reason).to_owned(),
            aggregate: None,
            event: None,
            headers: std::collections::BTreeMap::new(),
            raw_headers: None,
            payload: payload.as_bytes(),
        };
        world.dead_letters.keep(&letter).await.unwrap();
    }
    let ask = |method, path: &str| world.request(method, path).bearer_auth(OPERATOR);
    let groups = world.send(ask(Method::GET, "/api/dead-letter-groups")).await.expect(200).body;
    assert_eq!(groups["items"].as_array().unwrap().len(), 2, "{groups}");
    let first = &groups["items"][0];
    assert_eq!((&first["count"], &first["cause"]), (&json!(2), &json!("there is no session …")));
    let group = format!("/api/dead-letter-groups/{}", first["id"].as_str().unwrap());
    let retried = world.send(ask(Method::POST, &format!("{group}/retry"))).await.expect(200).body;
    assert_eq!((&retried["retried"], &retried["refused"][0]["count"]), (&json!(0), &json!(2)), "{retried}");
    let groups = world.send(ask(Method::GET, "/api/dead-letter-groups")).await.expect(200).body;
    let group = groups["items"].as_array().unwrap().iter().find(|group| group["count"] == 2).unwrap()["id"].clone();
    let discard = format!("/api/dead-letter-groups/{}/discard", group.as_str().unwrap());
    world.send(ask(Method::POST, &discard).json(&json!({}))).await.problem(400, "invalid-input", Some("reason"));
    let discarded = world.send(ask(Method::POST, &discard).json(&json!({"reason": "a test"}))).await.expect(200).body;
    assert_eq!((&discarded["discarded"], &discarded["left"]), (&json!(2), &json!(0)));
    world.send(ask(Method::POST, &discard).json(&json!({"reason": "a test"}))).await.problem(404, "not-found", None);
    what_was_discarded_is_a_list(&world).await;
}

async fn what_was_discarded_is_a_list(world: &World) {
    let ask = async |asked: &str| {
        let path = format!("/api/discarded-letters?{asked}");
        world.send(world.request(Method::GET, &path).bearer_auth(OPERATOR)).await.expect(200).body
    };
    let listed = ask("").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let row = &listed["items"][0];
    assert_eq!((&row["discarded_because"], &row["kind"]), (&json!("a test"), &json!("command")), "{row}");
    assert_eq!((&row["discarded_by"], &row["attempts"]), (&json!("admin:oli"), &json!(2)), "{row}");
    let first = ask("limit=1").await;
    let second = ask(&format!("limit=1&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!(second["items"][0]["id"], listed["items"][1]["id"]);
    assert_eq!(second["next_cursor"], json!(null));
    for (asked, found) in [
        ("kind=command&discarded_by=admin:oli&last=hour", 2),
        ("source=lablet.commands.grading.transition_lablet_session", 2),
        ("kind=event", 0),
        ("kind=webhook", 0),
        ("discarded_by=lablet", 0),
        ("before=2001-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(ask(asked).await["items"].as_array().unwrap().len(), found, "{asked}");
    }
    let get = async |path: &str| world.send(world.request(Method::GET, path).bearer_auth(OPERATOR)).await;
    get("/api/discarded-letters?last=day&from=2026-03-01T10:00:00Z").await.problem(400, "invalid-input", Some("last"));
    get("/api/discarded-letters?cursor=bm9uZQ").await.problem(400, "invalid-input", Some("cursor"));
    world.send(world.request(Method::GET, "/api/discarded-letters").bearer_auth(VIEWER)).await.expect(403);
    let shown = page(world, OPERATOR, "/operations/dead-letters/discarded?discarded_by=admin:oli").await;
    for words in ["Discarded letters that match", "the message is no CloudEvent", "a test", "admin:oli", "Commands"] {
        assert!(shown.contains(words), "{words} is missing in {shown}");
    }
    let none = page(world, OPERATOR, "/operations/dead-letters/discarded?kind=event").await;
    assert!(none.contains("No discarded letter matches."), "{none}");
    let csv = get("/operations/dead-letters/discarded?format=csv").await.expect(200);
    assert_eq!(csv.body.as_str().unwrap().matches("the message is no CloudEvent").count(), 2, "{}", csv.body);
}

#[tokio::test]
async fn a_letter_whose_message_was_not_kept_whole_says_so_and_is_not_tried_again() {
    let world = World::start().await;
    let letter = Undeliverable {
        kind: DeadLetterKind::Command,
        source: "lablet.commands.gr\u{0}ding.record_resource_observation",
        reason: "the message cannot be read: its header \"Author\" holds bytes that are no UTF-8".to_owned(),
        aggregate: None,
        event: None,
        headers: [("Author".to_owned(), "Jos\\xe9".to_owned())].into(),
        raw_headers: Some(b"NATS/1.0\r\nAuthor: Jos\xe9\r\n\r\n"),
        payload: &[b'x'; 100_000],
    };
    let id = format!("command:{}", world.dead_letters.keep(&letter).await.unwrap());
    let ask = |method, path: &str| world.request(method, path).bearer_auth(OPERATOR);
    let shown = world.send(ask(Method::GET, &format!("/api/dead-letters/{id}"))).await.expect(200);
    assert_eq!(shown.body["source"], "lablet.commands.gr\\u{0}ding.record_resource_observation");
    assert_eq!((&shown.body["message_kept"], &shown.body["message_bytes"]), (&json!("beginning"), &json!(100_000)));
    assert_eq!(shown.body["raw_headers"], "TkFUUy8xLjANCkF1dGhvcjogSm9z6Q0KDQo=");
    let refused = world.send(ask(Method::POST, &format!("/api/dead-letters/{id}/retry"))).await;
    let refused = refused.problem(409, "conflict", None);
    let detail = refused.body["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("was not kept as it came (kept: beginning)"), "{detail}");
}

#[tokio::test]
async fn while_the_database_is_away_everything_says_so_and_nothing_of_its_secrets() {
    let world = World::without_database().await;
    let open = async |path: &str| world.send(world.request(Method::GET, path)).await;
    open("/livez").await.expect(200);
    let ready = open("/readyz").await.expect(503);
    assert_eq!((&ready.body["status"], &ready.body["postgres"]), (&json!("down"), &json!("down")));
    for path in ["/api/lablet-sessions", "/api/lablet-sessions/s1", "/api/operations", "/api/stream"] {
        let away = world.get(path).await.problem(503, "unavailable", None);
        assert!(!away.header("retry-after").is_empty(), "{path}");
        assert!(!away.body.to_string().contains("secret"), "{}", away.body);
    }
    let post = world.request(Method::POST, "/api/workers").header("x-api-key", KEY).json(&worker("w1"));
    let answer = world.send(post).await;
    assert!(matches!(answer.status, 503 | 504), "{}", answer.body);
}
