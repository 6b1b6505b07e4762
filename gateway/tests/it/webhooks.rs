//! Webhooks as operators see them: their targets, and what these did not take.

use app::dead_letters::{DeadLetterKind, Undeliverable, next_requested_retry};
use app::webhook_targets::{TargetState, WebhookTargets};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::world::{ADMIN, OPERATOR, World};

#[tokio::test]
async fn what_a_target_did_not_take_is_shown_requested_again_and_discarded() {
    let world = World::start().await;
    let position = "0000000001-00000000000000000012-0000000000000000007";
    let keep = async |event_id: Uuid| {
        let letter = Undeliverable {
            kind: DeadLetterKind::Webhook,
            source: "booking",
            reason: "422: unknown type".to_owned(),
            aggregate: Some(("lablet_session", "s1")),
            event: Some((event_id, position.to_owned())),
            headers: [("ce-id".to_owned(), event_id.to_string())].into(),
            raw_headers: None,
            payload: b"{}",
        };
        format!("webhook:{}", world.dead_letters.keep(&letter).await.unwrap())
    };
    let event_id = Uuid::max();
    let id = keep(event_id).await;
    let ask = |method, path: &str| world.request(method, path).bearer_auth(OPERATOR);
    for list in ["/api/dead-letters", "/api/dead-letters?kind=webhook"] {
        let letter = world.send(ask(Method::GET, list)).await.expect(200).body["items"][0].clone();
        assert_eq!(
            (&letter["id"], &letter["kind"], &letter["source"]),
            (&json!(id), &json!("webhook"), &json!("booking"))
        );
        assert_eq!((&letter["event_id"], &letter["position"]), (&json!(event_id), &json!(position)));
    }
    for kind in ["command", "event"] {
        let list = world.send(ask(Method::GET, &format!("/api/dead-letters?kind={kind}"))).await.expect(200);
        assert_eq!(list.body["items"], json!([]), "{kind}");
    }
    let shown = world.send(ask(Method::GET, &format!("/api/dead-letters/{id}"))).await.expect(200);
    assert_eq!((&shown.body["message"], &shown.body["headers"]["ce-id"]), (&json!("{}"), &json!(event_id)));
    let other = id.replace("webhook:", "command:");
    world.send(ask(Method::GET, &format!("/api/dead-letters/{other}"))).await.problem(404, "not-found", None);
    world.send(ask(Method::POST, &format!("/api/dead-letters/{other}/retry"))).await.problem(404, "not-found", None);

    let retried = world.send(ask(Method::POST, &format!("/api/dead-letters/{id}/retry"))).await.expect(200);
    assert_eq!(retried.body["outcome"], "requested");
    let requested = next_requested_retry(world.log.pool(), DeadLetterKind::Webhook, "booking").await.unwrap().unwrap();
    assert_eq!((requested.event_id, requested.requested_by.starts_with("admin:")), (event_id, true));

    let page = world.send(ask(Method::GET, &format!("/operations/dead-letters/{id}?requested=true"))).await.expect(200);
    let html = page.body.as_str().unwrap();
    assert!(
        html.contains("Another attempt was requested.") && html.contains("Send the event to the target once more.")
    );

    let discard = ask(Method::POST, &format!("/api/dead-letters/{id}/discard")).json(&json!({"reason": "a test"}));
    assert_eq!(world.send(discard).await.expect(200).body["outcome"], "discarded");
    assert_eq!(next_requested_retry(world.log.pool(), DeadLetterKind::Webhook, "booking").await.unwrap(), None);
    world.send(ask(Method::POST, &format!("/api/dead-letters/{id}/retry"))).await.problem(409, "conflict", None);
}

#[tokio::test]
async fn targets_are_shown_with_how_far_they_are() {
    let world = World::start().await;
    let none = world.send(world.request(Method::GET, "/operations").bearer_auth(ADMIN)).await.expect(200);
    assert!(!none.body.as_str().unwrap().contains(">Webhooks</h2>"), "where there are none, there is no table of them");
    world.session("s1", "running").await;
    world.settle().await;
    let head = world.log.head().await.unwrap();
    let insert = "INSERT INTO webhook_targets (name, lease_epoch, host, format, position, last_answer, delivered)
                  VALUES ('booking', 1, 'booking.example.com', 'structured', $1, '204', 7)";
    sqlx::query(insert).bind(head.to_string()).execute(&world.owner()).await.unwrap();
    let operations = world.get("/api/operations").await.expect(200).body;
    let target = &operations["webhooks"][0];
    assert_eq!((&target["name"], &target["state"]), (&json!("booking"), &json!("active")));
    assert_eq!((&target["lag_seconds"], &target["position"]), (&json!(0.0), &json!(head)));

    let targets = WebhookTargets::new(&world.log);
    targets.set_state("booking", TargetState::Paused, "operator", Some("they <b>rebuild</b>")).await.unwrap();
    sqlx::query("UPDATE webhook_targets SET position = '0000000000-00000000000000000000-0000000000000000000'")
        .execute(&world.owner())
        .await
        .unwrap();
    let target = world.get("/api/operations").await.expect(200).body["webhooks"][0].clone();
    assert!(target["lag_seconds"].as_f64().unwrap() > 0.0, "{target}");
    let page = world.get("/operations").await.expect(200);
    let html = page.body.as_str().unwrap();
    assert!(html.contains("paused: they &#60;b&#62;rebuild"), "{html}");
    let csv = world.get("/operations?table=webhooks&format=csv").await.expect(200);
    assert!(csv.body.as_str().unwrap().contains("booking,booking.example.com,structured,paused: they"), "{}", csv.body);
}
