//! A session's life over HTTP.

use reqwest::Method;
use serde_json::json;

use crate::world::{KEY, OPERATOR, World, observation};

#[tokio::test]
async fn a_session_is_created_moved_on_observed_and_read_back() {
    let world = World::start().await;
    world.session("s1", "pending").await;
    let session = world.get("/api/lablet-sessions/s1").await.expect(200);
    assert_eq!(session.body["status"], "pending");
    assert_eq!(session.header("etag"), "\"1\"");

    let scheduled = json!({"new_status": "scheduled", "worker_id": "w1", "allocated_ports": {"PC_serial": 5041}});
    let answer = world.post("/api/internal/lablet-sessions/s1/transition", &scheduled).await.expect(200);
    assert_eq!(answer.body["status"], "scheduled");
    assert_eq!(answer.body["worker_id"], "w1");
    assert_eq!(answer.body["etag"], "\"2\"");
    let position = answer.body["position"].as_str().unwrap();
    let read = world.get(&format!("/api/lablet-sessions/s1?position={position}")).await.expect(200);
    assert_eq!(read.body["status"], "scheduled");
    assert_eq!(read.body["allocated_ports"], json!({"PC_serial": 5041}));
}

#[tokio::test]
async fn creating_answers_with_the_full_shape_and_its_place() {
    let world = World::start().await;
    world.session("s1", "pending").await;
    let created = world
        .post("/api/internal/lablet-sessions", &json!({"definition_id": "d1", "owner_id": "learner-2"}))
        .await
        .expect(201);
    let id = created.body["id"].as_str().unwrap();
    assert_eq!(created.header("location"), format!("/api/lablet-sessions/{id}"));
    for field in [
        "id",
        "definition_id",
        "definition_version",
        "status",
        "worker_id",
        "cml_lab_id",
        "allocated_ports",
        "observed_ports",
        "port_drift_detected",
        "port_drift",
        "observation_count",
        "observed_at",
        "observed_resources",
        "timeslot",
        "created_at",
        "updated_at",
        "position",
        "etag",
    ] {
        assert!(created.body.get(field).is_some(), "{field} is missing: {}", created.body);
    }
    let read = world.get(created.header("location")).await.expect(200);
    for (field, value) in created.body.as_object().unwrap() {
        assert!(read.body.get(field).is_some(), "{field}={value} is missing on the read");
    }
}

#[tokio::test]
async fn an_observation_is_recorded_once_and_reaches_the_aggregate() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    let body = observation(302, &json!({"PC_serial": 5041, "PC_vnc": 6000}));
    let recorded = world.post(path, &body).await.expect(200);
    assert_eq!(recorded.body["session_id"], "s1");
    assert_eq!(recorded.body["observation_count"], 1);
    assert_eq!(recorded.body["port_drift_detected"], true);
    assert_eq!(recorded.body["observed_at"], "2026-03-01T10:00:00Z");
    // The same observer at the same instant made the same observation, whoever repeats it.
    let again = world.post(path, &body).await.expect(200);
    assert_eq!(again.body["observation_count"], 1);

    let position = again.header("lablet-position");
    let detail = world.get(&format!("/api/lablet-sessions/s1?position={position}")).await.expect(200);
    assert_eq!(detail.body["observed_resources"]["nodes"].as_array().unwrap().len(), 302);
    assert_eq!(detail.body["port_drift"]["changed"], json!({"PC_vnc": {"allocated": 5042, "observed": 6000}}));
    let path = format!("/api/lablet-definitions/d1/resource-observations?limit=20&position={position}");
    let aggregate = world.get(&path).await.expect(200);
    assert_eq!(aggregate.body["observation_count"], 1);
    assert_eq!(aggregate.body["aggregate"]["cpu_cores"]["max"], 2.0);
    assert_eq!(aggregate.body["aggregate"]["port_drift_sessions"], 1);
    let observations = world.get("/api/lablet-sessions/s1/resource-observations").await.expect(200);
    assert_eq!(observations.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_observation_that_arrives_late_is_history_to_everybody() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    let newer = observation(2, &json!({"PC_serial": 5041, "PC_vnc": 5042}));
    world.post(path, &newer).await.expect(200);
    let mut older = observation(3, &json!({"PC_serial": 6000}));
    older["observed_resources"]["observed_at"] = "2026-03-01T09:00:00Z".into();
    older["observed_resources"]["total_storage_mb"] = 10.into();
    let answer = world.post(path, &older).await.expect(200).body;
    let told = |body: &serde_json::Value| {
        (body["observation_count"].clone(), body["port_drift_detected"].clone(), body["observed_at"].clone())
    };
    let newest = (json!(2), json!(false), json!("2026-03-01T10:00:00Z"));
    assert_eq!(told(&answer), newest, "the answer tells what is newest, not what arrived");
    let again = world.post(path, &older).await.expect(200).body;
    assert_eq!(told(&again), newest, "and is the same when it comes again");

    let position = answer["position"].as_str().unwrap();
    let session = world.get(&format!("/api/lablet-sessions/s1?position={position}")).await.expect(200).body;
    assert_eq!(told(&session), newest);
    assert_eq!(session["observed_resources"]["nodes"].as_array().unwrap().len(), 2);
    assert_eq!((&session["port_drift"]["changed"], &session["port_drift_since"]), (&json!({}), &json!(null)));
    let aggregate = "/api/lablet-definitions/d1/resource-observations?limit=20";
    let aggregate = world.get(&format!("{aggregate}&position={position}")).await.expect(200).body;
    assert_eq!(aggregate["aggregate"]["node_count"]["latest"], 2.0);
    assert_eq!(aggregate["aggregate"]["storage_mb"]["latest"], 10.0, "of what no newer one knows it is the newest");
    assert_eq!(aggregate["aggregate"]["port_drift_sessions"], 0);
    let definition = world.get(&format!("/api/lablet-definitions/d1?position={position}")).await.expect(200).body;
    assert_eq!(definition["observations"]["drift_sessions"], 0);
    assert_eq!(definition["observations"]["last_observed_at"], "2026-03-01T10:00:00Z");
    let events = world.get("/api/lablet-sessions/s1/events?order=newest&limit=2").await.expect(200).body;
    let observed = |event: &serde_json::Value| (event["type"].clone(), event["data"]["observed_at"].clone());
    let observations = ["2026-03-01T09:00:00Z", "2026-03-01T10:00:00Z"]
        .map(|at| (json!("io.lablet.lablet_session.resources_observed.v1"), json!(at)));
    assert_eq!(events["items"].as_array().unwrap().iter().map(observed).collect::<Vec<_>>(), observations);
    assert_eq!(events["items"][0]["data"]["port_drift_detected"], true, "what it saw is recorded, and alarms nobody");
}

#[tokio::test]
async fn a_step_to_the_status_that_a_session_has_records_what_is_new() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let path = "/api/internal/lablet-sessions/s1/transition";
    world.settle().await;
    let before = world.get("/api/lablet-sessions/s1").await.expect(200).body;
    let slot = json!({"start": "2026-03-01T10:00:00Z", "end": "2026-03-01T12:00:00Z"});
    let body =
        json!({"new_status": "running", "allocated_ports": {"PC_serial": 5050}, "timeslot": slot, "reason": "moved"});
    let answer = world.post(path, &body).await.expect(200).body;
    assert_eq!((&answer["allocated_ports"], &answer["timeslot"]), (&json!({"PC_serial": 5050}), &slot));
    assert_eq!(answer["etag"], "\"6\"");
    assert_eq!(world.post(path, &body).await.expect(200).body["etag"], "\"6\"", "given again it is recorded already");
    let position = answer["position"].as_str().unwrap();
    let session = world.get(&format!("/api/lablet-sessions/s1?position={position}")).await.expect(200).body;
    assert_eq!((&session["allocated_ports"], &session["timeslot"]), (&json!({"PC_serial": 5050}), &slot));
    assert_eq!(session["status_reason"], "moved");
    assert_eq!(session["status_since"], before["status_since"], "it has been running since then");

    let other = json!({"new_status": "running", "cml_lab_id": "lab-2"});
    let refused = world.post(path, &other).await.problem(409, "conflict", Some("cml_lab_id")).body;
    assert_eq!(refused["errors"][0]["problem"], "is lab-2, while the session is bound to lab lab-1");
    assert_eq!(refused["errors"][0]["expected"], "lab-1, or nothing");
}

#[tokio::test]
async fn an_observation_is_refused_unless_the_session_is_running_or_collecting() {
    let world = World::start().await;
    world.session("s1", "ready").await;
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    let refused = world.post(path, &observation(1, &json!({}))).await.problem(400, "wrong-state", None);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("ready") && detail.contains("running, collecting"), "{detail}");
    let asked =
        world.send(world.request(Method::POST, "/api/lablet-sessions/s1/observe-resources").bearer_auth(OPERATOR));
    let refused = asked.await.problem(400, "wrong-state", None);
    assert!(refused.body["detail"].as_str().unwrap().contains("running"), "{}", refused.body);
    let unknown = "/api/internal/lablet-sessions/nobody/resource-observations";
    world.post(unknown, &observation(1, &json!({}))).await.problem(404, "not-found", None);
}

#[tokio::test]
async fn an_observation_is_asked_for_and_its_outcome_is_shown() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let ask = world.request(Method::POST, "/api/lablet-sessions/s1/observe-resources").bearer_auth(OPERATOR);
    let asked = world.send(ask).await.expect(202);
    assert_eq!(asked.body["session_id"], "s1");
    assert!(asked.body["message"].is_string());
    let request_id = asked.body["request_id"].as_str().unwrap();
    let position = asked.body["position"].as_str().unwrap();

    let open = world.get(&format!("/api/observation-requests?status=open&session_id=s1&position={position}")).await;
    let open = open.expect(200);
    assert_eq!(open.body["items"][0]["request_id"], request_id);
    assert_eq!(open.body["items"][0]["requested_by"], "admin:oli");
    let known = world.get_internally("/api/internal/lablet-sessions/s1").await.expect(200);
    assert_eq!(known.body["id"], "s1");
    assert_eq!(known.body["observation_requests"][0]["request_id"], request_id);
    assert_eq!(known.body["observation_requests"][0]["outcome"], "open");

    let mut report = observation(2, &json!({"PC_serial": 5041, "PC_vnc": 5042}));
    report["request_id"] = request_id.into();
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    let recorded = world.post(path, &report).await.expect(200);
    let position = recorded.body["position"].as_str().unwrap();
    let requests = world.get(&format!("/api/observation-requests?session_id=s1&position={position}")).await.expect(200);
    assert_eq!(requests.body["items"][0]["outcome"], "recorded");
    let outcome = requests.body["items"][0]["outcome_event_id"].as_str().unwrap();
    let relations = world.get(&format!("/api/events/{outcome}/relations?position={position}")).await.expect(200);
    assert_eq!(relations.body["causes"][0]["relation"], "request");
    assert_eq!(relations.body["causes"][0]["type"], "io.lablet.lablet_session.observe_resources_requested.v1");
    let nobody = "/api/events/00000000-0000-0000-0000-000000000000/relations";
    world.get(nobody).await.problem(404, "not-found", None);
    report["request_id"] = "unknown-request".into();
    report["observed_resources"]["observed_at"] = "2026-03-01T11:00:00Z".into();
    world.post(path, &report).await.problem(400, "invalid-input", Some("request_id"));
}

#[tokio::test]
async fn the_history_says_who_and_in_what_connection() {
    let world = World::start().await;
    world.session("s1", "scheduled").await;
    let step = world
        .request(Method::POST, "/api/internal/lablet-sessions/s1/transition")
        .header("x-api-key", KEY)
        .header("x-correlation-id", "order-7")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .json(&json!({"new_status": "instantiating", "reason": "its time has come"}));
    let answer = world.send(step).await.expect(200);
    assert_eq!(answer.header("x-correlation-id"), "order-7");

    let first = world.get("/api/lablet-sessions/s1/events?limit=2").await.expect(200);
    assert_eq!(first.body["items"][0]["type"], "io.lablet.lablet_session.created.v1");
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let rest = world.get(&format!("/api/lablet-sessions/s1/events?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!(rest.body["next_cursor"], json!(null));
    let event = &rest.body["items"][0];
    assert_eq!(event["sequence"], 3);
    assert_eq!(event["metadata"]["actor"], "service:booking");
    assert_eq!(event["metadata"]["correlation_id"], "order-7");
    assert_eq!(event["metadata"]["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(event["data"]["reason"], "its time has come");
    let single = world.get(&format!("/api/events/{}", event["event_id"].as_str().unwrap())).await.expect(200);
    assert_eq!(&single.body, event);
    world.get("/api/lablet-sessions/nobody/events").await.problem(404, "not-found", None);
    let newest = world.get("/api/lablet-sessions/s1/events?order=newest&data=false&limit=1").await.expect(200);
    assert_eq!((&newest.body["items"][0]["sequence"], &newest.body["items"][0]["data"]), (&json!(3), &json!(null)));
    let life = world.get("/api/lablet-sessions/s1/life").await.expect(200);
    assert_eq!(life.body["steps"][2]["status"], "instantiating");
    assert_eq!(life.body["steps"][2]["reason"], "its time has come");
    world.get("/api/lablet-sessions/nobody/life").await.problem(404, "not-found", None);
}

#[tokio::test]
async fn nodes_are_shown_in_pages_and_each_in_full() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let none = world.get("/api/lablet-sessions/s1/nodes").await.expect(200);
    assert_eq!(none.body, json!({"observation": null, "matching": 0, "items": [], "next_cursor": null}));
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    let recorded = world.post(path, &observation(3, &json!({}))).await.expect(200);
    let position = recorded.body["position"].as_str().unwrap();
    let first = world.get(&format!("/api/lablet-sessions/s1/nodes?limit=2&position={position}")).await.expect(200);
    assert_eq!((&first.body["matching"], &first.body["items"][1]["label"]), (&json!(3), &json!("R1")));
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let rest = world.get(&format!("/api/lablet-sessions/s1/nodes?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!(rest.body["items"].as_array().unwrap().len(), 1);
    let node = world.get("/api/lablet-sessions/s1/nodes/node-2").await.expect(200);
    assert_eq!(node.body["node"]["interfaces"][0]["ip4"], json!(["10.0.0.1"]));
    assert_eq!(node.body["event_id"], first.body["observation"]["event_id"]);
    world.get("/api/lablet-sessions/s1/nodes/other").await.problem(404, "not-found", None);
    world.get("/api/lablet-sessions/nobody/nodes").await.problem(404, "not-found", None);
    let other = "observation=00000000-0000-0000-0000-000000000000";
    world.get(&format!("/api/lablet-sessions/s1/nodes?{other}")).await.problem(404, "not-found", None);
    for (query, field) in [("cursor=bm9uZQ", "cursor"), ("observation=x", "observation")] {
        world.get(&format!("/api/lablet-sessions/s1/nodes?{query}")).await.problem(400, "invalid-input", Some(field));
    }
}

#[tokio::test]
async fn a_session_and_its_nodes_show_what_they_needed_and_by_which_event() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let none = world.get("/api/lablet-sessions/s1/profile").await.expect(200);
    let unknown = json!({"demand": null, "boot": null});
    assert_eq!((&none.body["profile"], &none.body["observation_count"]), (&json!(null), &json!(0)));
    assert_eq!(none.body["resources"], json!({"cpu_cores": unknown, "memory_mb": unknown, "storage_mb": unknown}));
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    let mut snapshot = observation(2, &json!({}));
    snapshot["observed_resources"]["usage"] = json!({"cpu_cores": 0.5, "memory_mb": 300});
    let recorded = world.post(path, &snapshot).await.expect(200);
    let position = recorded.body["position"].as_str().unwrap();
    let by_snapshot = world.get(&format!("/api/lablet-sessions/s1/profile?position={position}")).await.expect(200);
    assert_eq!((&by_snapshot.body["profile"], &by_snapshot.body["source"]), (&json!(null), &json!(null)));
    let memory = by_snapshot.body["resources"]["memory_mb"]["demand"].clone();
    assert_eq!((&memory["value"], &memory["source"]), (&json!(300.0), &json!("snapshot")));

    let mut sampled = observation(2, &json!({}));
    sampled["observed_resources"]["observed_at"] = json!("2026-03-01T11:00:00Z");
    let steady = json!({"cpu_cores": {"peak": 0.75, "p95": 0.5, "mean": 0.25}});
    sampled["observed_resources"]["profile"] = json!({
        "samples": 90, "missed_samples": 10, "boot": {"cpu_cores": {"peak": 1.5}}, "steady": steady
    });
    sampled["observed_resources"]["coverage"] = json!({"phase": "steady", "sampled_share": 0.9});
    sampled["observed_resources"]["nodes"][1]["profile"] = json!({"restarts": 1, "steady": steady});
    let recorded = world.post(path, &sampled).await.expect(200);
    let position = recorded.body["position"].as_str().unwrap();
    let session = world.get(&format!("/api/lablet-sessions/s1/profile?position={position}")).await.expect(200).body;
    assert_eq!(session["profile"]["steady"], json!({"cpu_cores": {"peak": 0.75, "p95": 0.5, "mean": 0.25}}));
    let source = &session["source"];
    assert_eq!((&source["sampled_share"], &source["samples"]), (&json!(0.9), &json!(90)));
    assert_eq!((&source["missed_samples"], &source["observed_at"]), (&json!(10), &json!("2026-03-01T11:00:00Z")));
    let peak = |value: f64| json!({"value": value, "source": "profile", "event_id": source["event_id"], "observed_at": "2026-03-01T11:00:00Z"});
    assert_eq!(session["resources"]["cpu_cores"], json!({"demand": peak(0.75), "boot": peak(1.5)}));
    assert_eq!(session["resources"]["memory_mb"]["demand"], memory, "of memory no profile knows");
    let node = world.get("/api/lablet-sessions/s1/nodes/node-1/profile").await.expect(200).body;
    assert_eq!((&node["profile"]["restarts"], &node["label"]), (&json!(1), &json!("R1")));
    assert_eq!(node["resources"]["cpu_cores"], json!({"demand": peak(0.75), "boot": null}));
    let other = world.get("/api/lablet-sessions/s1/nodes/node-0/profile").await.expect(200).body;
    assert_eq!((&other["profile"], &other["resources"]["cpu_cores"]), (&json!(null), &unknown));
    world.get("/api/lablet-sessions/s1/nodes/other/profile").await.problem(404, "not-found", None);
    world.get("/api/lablet-sessions/nobody/profile").await.problem(404, "not-found", None);
}

#[tokio::test]
async fn sessions_are_listed_in_pages_and_by_filter() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let mut position = String::new();
    for index in 2..=7 {
        let new = json!({"id": format!("s{index}"), "definition_id": "d1"});
        let created = world.post("/api/internal/lablet-sessions", &new).await.expect(201);
        created.header("lablet-position").clone_into(&mut position);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("/api/lablet-sessions?limit=3&position={position}{cursor}")).await.expect(200);
        seen.extend(page.body["items"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["s7", "s6", "s5", "s4", "s3", "s2", "s1"]);
    let oldest = world.get("/api/lablet-sessions?limit=3&sort=oldest").await.expect(200);
    assert_eq!(oldest.body["items"][0]["id"], "s1");
    let next = oldest.body["next_cursor"].as_str().unwrap();
    let rest = world.get(&format!("/api/lablet-sessions?limit=3&sort=oldest&cursor={next}")).await.expect(200);
    assert_eq!(rest.body["items"][0]["id"], "s4");
    let foreign = world.get(&format!("/api/lablet-sessions?sort=changed&cursor={next}")).await;
    foreign.problem(400, "invalid-input", Some("cursor"));
    let running = world.get_internally("/api/internal/lablet-sessions?status=running&worker_id=w1").await.expect(200);
    assert_eq!(running.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(running.body["items"][0]["cml_lab_id"], "lab-1");
    let workers = world.get_internally("/api/internal/workers").await.expect(200);
    assert_eq!(workers.body["items"][0]["address"], "https://cml-1.example.org");
    for (query, field) in [
        ("status=flying", "status"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("cursor=!", "cursor"),
        ("cursor=bm9uZQ", "cursor"),
        ("worker_id=a.b", "worker_id"),
        ("drift=maybe", "drift"),
        ("stauts=running", "stauts"),
        ("sort=colour", "sort"),
        ("position=7", "position"),
    ] {
        world.get(&format!("/api/lablet-sessions?{query}")).await.problem(400, "invalid-input", Some(field));
    }
}

#[tokio::test]
async fn what_was_written_is_read_however_far_behind_the_read_models_are() {
    let mut world = World::start_with(gateway::GatewayOptions {
        longest_wait: std::time::Duration::from_millis(300),
        ..gateway::GatewayOptions::default()
    })
    .await;
    world.session("s1", "pending").await;
    world.get_in_time("/api/lablet-sessions/s1").await;
    world.stand_still().await;
    let created =
        world.post("/api/internal/lablet-sessions", &json!({"id": "s2", "definition_id": "d1"})).await.expect(201);
    let position = created.body["position"].as_str().unwrap();

    // Not a stale 404, not an old list: it says that it is behind.
    let late = world.get("/api/lablet-sessions/s2").await.problem(503, "read-model-behind", None);
    assert_eq!(late.header("retry-after"), "1");
    let list = world.request(Method::GET, "/api/lablet-sessions").header("lablet-position", position);
    world.send(list.header("x-api-key", KEY)).await.problem(503, "read-model-behind", None);
    world.get("/api/lablet-sessions/nobody").await.problem(404, "not-found", None);

    world.project();
    world.get_in_time(&format!("/api/lablet-sessions/s2?position={position}")).await;
}
