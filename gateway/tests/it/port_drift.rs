//! Ports that drifted: acknowledged, corrected, and listed, over HTTP and by the pages' forms.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use crate::page_forms::{fields, page, submit};
use crate::world::{ADMIN, Answer, KEY, OPERATOR, PLAIN_KEY, VIEWER, World, observation};

const HOME: &str = "/api/lablet-sessions/s1";

/// A gateway with a running session whose second port is elsewhere.
async fn drifted() -> World {
    let world = World::start().await;
    world.session("s1", "running").await;
    observe(&world, &json!({"PC_serial": 5041, "PC_vnc": 5142}), 10).await;
    world.settle().await;
    world
}

async fn observe(world: &World, ports: &Value, minute: u32) {
    let mut seen = observation(1, ports);
    seen["observed_resources"]["observed_at"] = format!("2026-03-01T10:{minute}:00Z").into();
    world.post("/api/internal/lablet-sessions/s1/resource-observations", &seen).await.expect(200);
    world.settle().await;
}

async fn send(world: &World, token: &str, path: &str, body: Value) -> Answer {
    world.send(world.request(Method::POST, path).bearer_auth(token).json(&body)).await
}

fn in_days(world: &World, days: i64) -> Value {
    json!(world.log.clock().now() + TimeDelta::days(days))
}

async fn listed(world: &World, drift: &str) -> usize {
    world.settle().await;
    let answer = world.get(&format!("/api/lablet-sessions?drift={drift}")).await.expect(200);
    answer.body["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_drift_is_acknowledged_by_operators_and_told_apart_until_it_changes() {
    let world = drifted().await;
    let path = format!("{HOME}/port-drift/acknowledge");
    let known = json!({"reason": "the guide names it", "until": in_days(&world, 1)});
    send(&world, VIEWER, &path, known.clone()).await.problem(403, "forbidden", None);
    let late = json!({"reason": "for ever", "until": in_days(&world, 91)});
    send(&world, OPERATOR, &path, late).await.problem(400, "invalid-input", Some("until"));
    let done = send(&world, OPERATOR, &path, known).await.expect(200).body;
    assert_eq!((&done["port_drift_detected"], &done["session_id"]), (&json!(true), &json!("s1")));
    assert!(done["acknowledged_until"].is_string() && done["etag"].is_string(), "{done}");
    assert_eq!((listed(&world, "open").await, listed(&world, "acknowledged").await), (0, 1));
    assert_eq!((listed(&world, "true").await, listed(&world, "unknown").await), (1, 0));
    let session = world.get(HOME).await.expect(200).body;
    assert_eq!(session["port_drift_acknowledgement"]["by"], "admin:oli", "{session}");
    let overview = world.get("/api/overview").await.expect(200).body;
    assert_eq!(overview["sessions"][0]["drift_acknowledged"], 1, "{overview}");
    let shown = page(&world, VIEWER, "/sessions/s1").await;
    for words in ["drift acknowledged", "the guide names it", "by admin:oli"] {
        assert!(shown.contains(words), "{words} is missing");
    }
    observe(&world, &json!({"PC_serial": 5041, "PC_vnc": 5143}), 20).await;
    assert_eq!((listed(&world, "open").await, listed(&world, "acknowledged").await), (1, 0), "another drift is open");
}

#[tokio::test]
async fn an_acknowledgement_is_withdrawn_by_operators_and_told_with_its_reason() {
    let world = drifted().await;
    let path = format!("{HOME}/port-drift/withdraw");
    let wrong = json!({"reason": "the guide was corrected"});
    send(&world, VIEWER, &path, wrong.clone()).await.problem(403, "forbidden", None);
    send(&world, OPERATOR, &path, json!({})).await.problem(400, "invalid-input", Some("reason"));
    let nothing = send(&world, OPERATOR, &path, wrong.clone()).await.expect(200).body;
    let known = json!({"reason": "the guide names it", "until": in_days(&world, 1)});
    send(&world, OPERATOR, &format!("{HOME}/port-drift/acknowledge"), known.clone()).await.expect(200);
    assert_eq!((listed(&world, "open").await, listed(&world, "acknowledged").await), (0, 1));
    let done = send(&world, OPERATOR, &path, wrong).await.expect(200).body;
    assert_eq!((&done["port_drift_detected"], &done["acknowledged_until"]), (&json!(true), &Value::Null), "{done}");
    assert_ne!(done["etag"], nothing["etag"], "the first one changed nothing");
    assert_eq!((listed(&world, "open").await, listed(&world, "acknowledged").await), (1, 0));
    assert!(world.get("/api/attention").await.expect(200).body.to_string().contains("drift"));
    let told = world.get("/api/activity?kind=session&limit=1").await.expect(200).body["items"][0].clone();
    assert_eq!(told["type"], "lablet_session.port_drift_acknowledgement_withdrawn.v1", "{told}");
    assert_eq!((&told["actor"], &told["reason"]), (&json!("admin:oli"), &json!("the guide was corrected")));
    let event = page(&world, VIEWER, &format!("/events/{}", told["event_id"].as_str().unwrap())).await;
    assert!(event.contains("was withdrawn by admin:oli") && event.contains("5142"), "{event}");
    send(&world, OPERATOR, &format!("{HOME}/port-drift/acknowledge"), known).await.expect(200);
    assert_eq!(listed(&world, "acknowledged").await, 1, "known once more");
    the_page_reviews_the_withdrawal(&world).await;
}

async fn the_page_reviews_the_withdrawal(world: &World) {
    let review = "/sessions/s1/port-drift/withdraw";
    let shown = page(world, VIEWER, "/sessions/s1").await;
    assert!(shown.contains("withdraw-why") && !shown.contains(review), "{shown}");
    assert!(page(world, OPERATOR, "/sessions/s1").await.contains(review));
    assert!(page(world, VIEWER, review).await.contains("needs the role operator"));
    let shown = page(world, OPERATOR, review).await;
    for words in ["acknowledged until", "admin:oli", "the guide names it", "open again at once"] {
        assert!(shown.contains(words), "{words} is missing in {shown}");
    }
    let mut form = fields(&shown, review);
    let again = submit(world, OPERATOR, review, &form).await.expect(400);
    assert!(again.body.as_str().unwrap().contains("The reason"), "without a reason the review is shown again");
    form.insert("reason".to_owned(), "the guide was corrected".to_owned());
    submit(world, OPERATOR, review, &form).await.expect(303);
    assert_eq!(listed(world, "open").await, 1);
    let shown = page(world, OPERATOR, review).await;
    assert!(shown.contains("No port drift of this session is acknowledged now."), "{shown}");
}

#[tokio::test]
async fn what_has_not_drifted_is_not_acknowledged() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let path = format!("{HOME}/port-drift/acknowledge");
    let body = json!({"reason": "known", "until": in_days(&world, 1)});
    let refused = send(&world, OPERATOR, &path, body.clone()).await.problem(400, "wrong-state", None);
    assert!(refused.body["detail"].as_str().unwrap().contains("unknown"), "{}", refused.body);
    observe(&world, &json!({"PC_serial": 5041, "PC_vnc": 5042}), 10).await;
    let refused = send(&world, OPERATOR, &path, body).await.problem(400, "wrong-state", None);
    assert!(refused.body["detail"].as_str().unwrap().contains("nothing to acknowledge"), "{}", refused.body);
}

#[tokio::test]
async fn an_allocation_is_corrected_by_admins_and_by_services_that_may() {
    let world = drifted().await;
    let path = format!("{HOME}/allocation");
    let observed = json!({"reason": "imported so"});
    send(&world, OPERATOR, &path, observed.clone()).await.problem(403, "forbidden", None);
    let by_key = |key| world.request(Method::POST, &path).header("x-api-key", key).json(&observed);
    world.send(by_key(PLAIN_KEY)).await.problem(403, "forbidden", None);
    let done = world.send(by_key(KEY)).await.expect(200).body;
    assert_eq!(done["allocated_ports"], json!({"PC_serial": 5041, "PC_vnc": 5142}));
    assert_eq!(done["port_drift_detected"], false);
    let given = json!({"reason": "by hand", "allocated_ports": {"PC_serial": 5041, "PC_vnc": 5042}});
    let done = send(&world, ADMIN, &path, given).await.expect(200).body;
    assert_eq!(done["port_drift"]["changed"]["PC_vnc"], json!({"allocated": 5042, "observed": 5142}));
    let stale = world.request(Method::POST, &path).bearer_auth(ADMIN).header("if-match", "\"1\"").json(&observed);
    world.send(stale).await.expect(412);
}

#[tokio::test]
async fn drifted_ports_are_listed_by_definition_with_csv_and_json() {
    let world = drifted().await;
    let all = world.get("/api/port-drift").await.expect(200).body;
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "{all}");
    let row = &all["items"][0];
    assert_eq!((&row["port"], &row["kind"], &row["state"]), (&json!("PC_vnc"), &json!("changed"), &json!("open")));
    assert_eq!((&row["allocated_least"], &row["observed_most"]), (&json!(5042), &json!(5142)));
    for nothing in ["port=PC_serial", "kind=added", "state=acknowledged", "worker_id=w9", "definition_id=d9"] {
        let found = world.get(&format!("/api/port-drift?{nothing}")).await.expect(200).body;
        assert_eq!(found["items"], json!([]), "{nothing}");
    }
    world.get("/api/port-drift?kind=sideways").await.problem(400, "invalid-input", Some("kind"));
    let csv = page_text(&world, "/drift?format=csv").await;
    assert!(csv.contains("\r\nd1,Routing basics,PC_vnc,changed,5042,5042,5142,5142,1,1,open,1,"), "{csv}");
    let shown = page(&world, VIEWER, "/drift?port=5142").await;
    for words in ["Routing basics", "PC_vnc", "5042", "5142", "/sessions/s1#port-drift"] {
        assert!(shown.contains(words), "{words} is missing");
    }
    assert!(page(&world, VIEWER, "/drift?port=5041").await.contains("No port matches."));
}

async fn page_text(world: &World, path: &str) -> String {
    world.send(world.request(Method::GET, path).bearer_auth(VIEWER)).await.expect(200).body.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_page_says_who_holds_the_numbers_now_and_acknowledges() {
    let world = drifted().await;
    // Another session was given the number on which the first one's port was seen.
    world.post("/api/internal/lablet-sessions", &json!({"id": "s2", "definition_id": "d1"})).await.expect(201);
    let step = json!({"new_status": "scheduled", "worker_id": "w1", "allocated_ports": {"PC_vnc": 5142}});
    world.post("/api/internal/lablet-sessions/s2/transition", &step).await.expect(200);
    world.settle().await;
    let shown = page(&world, VIEWER, "/sessions/s1").await;
    for words in ["/workers/w1?text=5142#port-map", "/sessions/s2#ports", "nobody else", "needs the role operator"] {
        assert!(shown.contains(words), "{words} is missing in {shown}");
    }
    assert!(shown.contains("/drift?definition_id=d1&#38;kind=changed&#38;port=PC_vnc"), "{shown}");
    let shown = page(&world, OPERATOR, "/sessions/s1").await;
    let mut form = fields(&shown, "/sessions/s1/port-drift");
    submit(&world, OPERATOR, "/sessions/s1/port-drift", &form).await.expect(400);
    form.insert("reason".to_owned(), "the guide names it".to_owned());
    let done = submit(&world, OPERATOR, "/sessions/s1/port-drift", &form).await.expect(303);
    assert!(done.header("location").starts_with("/sessions/s1?position="), "{}", done.header("location"));
    assert_eq!(listed(&world, "acknowledged").await, 1);
}

#[tokio::test]
async fn a_correction_is_reviewed_and_refused_where_it_would_meet_another_session() {
    let world = drifted().await;
    world.post("/api/internal/lablet-sessions", &json!({"id": "s2", "definition_id": "d1"})).await.expect(201);
    let step = json!({"new_status": "scheduled", "worker_id": "w1", "allocated_ports": {"PC_vnc": 5777}});
    world.post("/api/internal/lablet-sessions/s2/transition", &step).await.expect(200);
    world.settle().await;
    let review = page(&world, ADMIN, "/sessions/s1/allocation").await;
    assert!(review.contains("nothing drifts any more") && review.contains("nobody else"), "{review}");
    let clash = page(&world, ADMIN, "/sessions/s1/allocation?ports=PC_serial+5041%0APC_vnc+5777").await;
    for words in ["held by two sessions", "/sessions/s2#ports", "Choose another", "disabled"] {
        assert!(clash.contains(words), "{words} is missing in {clash}");
    }
    let wrong = world.send(world.request(Method::GET, "/sessions/s1/allocation?ports=PC_vnc").bearer_auth(ADMIN)).await;
    assert!(wrong.expect(400).body.as_str().unwrap().contains("a port&#39;s name and its number"));
    let refused = page(&world, OPERATOR, "/sessions/s1/allocation").await;
    assert!(refused.contains("needs the role admin"), "{refused}");
    let mut form = fields(&review, "/sessions/s1/allocation");
    submit(&world, OPERATOR, "/sessions/s1/allocation", &form).await.expect(403);
    let again = submit(&world, ADMIN, "/sessions/s1/allocation", &form).await.expect(400);
    assert!(again.body.as_str().unwrap().contains("The reason"), "without a reason the review is shown again");
    form.insert("reason".to_owned(), "imported so".to_owned());
    submit(&world, ADMIN, "/sessions/s1/allocation", &form).await.expect(303);
    assert_eq!(listed(&world, "false").await, 1);
    let events = world.get(&format!("{HOME}/events?order=newest&limit=1")).await.expect(200).body;
    let event = &events["items"][0];
    assert_eq!(event["type"], "io.lablet.lablet_session.allocation_corrected.v1", "{event}");
    assert!(event["data"]["evidence"].is_string(), "it names the observation that was looked at: {event}");
    let told = page(&world, VIEWER, &format!("/events/{}", event["event_id"].as_str().unwrap())).await;
    assert!(told.contains("were corrected by admin:ada") && told.contains("imported so"), "{told}");
}
