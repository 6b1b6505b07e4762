//! Events become rows.

use domain::lablet_session::{FailureOutcome, SessionStatus};
use projections::observation_requests::{RequestFilter, RequestOutcome};
use projections::sessions::SessionFilter;
use serde_json::json;

use crate::world::{World, report};

#[tokio::test]
async fn a_session_is_shown_with_its_ports_its_newest_observation_and_its_open_requests() {
    let world = World::start().await;
    let running = world.run();
    world.define("ospf").await;
    world.running("s1", "ospf").await;
    world.wait(60);
    assert!(world.observe("s1", report(2, 2.0, Some(1024.0), Some(json!({"PC_serial": 5041, "PC_vnc": 5142})))).await);
    world.wait(60);
    // The tags could not be read: the verdict stands, with its age.
    assert!(world.observe("s1", report(3, 3.0, None, None)).await);
    assert!(world.request("s1", "r1").await);
    world.settle().await;

    let shown = world.projections.session("s1").await.unwrap().unwrap();
    let session = serde_json::to_value(&shown).unwrap();
    assert_eq!(session["status"], "running");
    assert_eq!(session["cml_lab_id"], "lab-s1");
    assert_eq!(session["port_drift_detected"], true);
    assert_eq!(session["port_drift"]["changed"], json!({"PC_vnc": {"allocated": 5042, "observed": 5142}}));
    assert_eq!(session["observed_ports"], json!({"PC_serial": 5041, "PC_vnc": 5142}));
    assert_eq!(session["observation_count"], 2);
    assert_eq!(session["observed_at"], "2026-02-25T06:15:20Z");
    assert_eq!(session["drift_observed_at"], "2026-02-25T06:14:20Z");
    assert_eq!(session["observed_resources"]["actual_node_count"], json!(null));
    assert_eq!(session["observed_resources"]["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(session["observation_requests"][0]["request_id"], "r1");
    assert_eq!(session["observation_requests"][0]["outcome"], "open");
    assert_eq!(session["etag"], "\"9\"");
    assert_eq!(session["position"], world.newest().await.to_string());

    let drifted = SessionFilter { drift: Some(true), status: Some(SessionStatus::Running), ..SessionFilter::default() };
    let page = world.projections.sessions(&drifted, None, 10).await.unwrap();
    assert_eq!(page.items, [shown.session]);
    let other = SessionFilter { text: Some("%".into()), ..SessionFilter::default() };
    assert!(world.projections.sessions(&other, None, 10).await.unwrap().items.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_session_that_nobody_observed_is_of_unknown_drift() {
    let world = World::start().await;
    let running = world.run();
    world.running("s1", "ospf").await;
    world.settle().await;
    let session = serde_json::to_value(world.projections.session("s1").await.unwrap()).unwrap();
    for field in ["port_drift_detected", "port_drift", "observed_ports", "observed_at", "observed_resources"] {
        assert_eq!(session[field], json!(null), "{field}");
    }
    assert_eq!(session["observation_count"], 0);
    running.stop().await;
}

#[tokio::test]
async fn what_arrives_late_counts_and_replaces_nothing() {
    let world = World::start().await;
    let running = world.run();
    world.define("ospf").await;
    world.running("s1", "ospf").await;
    world.wait(600);
    assert!(world.observe("s1", report(2, 2.0, Some(1024.0), Some(json!({"PC_serial": 5041, "PC_vnc": 5042})))).await);
    let mut late = report(5, 5.0, Some(9999.0), Some(json!({})));
    late["observed_resources"]["observed_at"] = json!("2026-02-25T06:13:30Z");
    assert!(world.observe("s1", late).await);
    world.settle().await;
    let session = serde_json::to_value(world.projections.session("s1").await.unwrap()).unwrap();
    assert_eq!(session["observation_count"], 2);
    assert_eq!(session["port_drift_detected"], false);
    assert_eq!(session["port_drift"], json!({"added": {}, "removed": {}, "changed": {}}));
    assert_eq!(session["observed_resources"]["nodes"].as_array().unwrap().len(), 2);
    let observations = world.projections.definition_observations("ospf", 20).await.unwrap();
    assert_eq!(observations.observation_count, 2);
    assert_eq!(observations.aggregate.memory_mb.latest, Some(1024.0));
    assert_eq!(observations.aggregate.port_drift_sessions, 0);
    let definition = world.projections.definition("ospf").await.unwrap().unwrap().definition;
    assert_eq!((definition.observation_count, definition.drift_sessions), (2, 0));
    running.stop().await;
}

#[tokio::test]
async fn observations_of_a_definition_add_up_and_lead_back_to_their_events() {
    let world = World::start().await;
    let running = world.run();
    world.define("ospf").await;
    let ports = Some(json!({"PC_serial": 5041, "PC_vnc": 5042}));
    for (session, cores, memory) in [("s1", 2.0, Some(1000.0)), ("s2", 4.0, Some(3000.0)), ("s3", 3.0, None)] {
        world.running(session, "ospf").await;
        world.wait(60);
        assert!(world.observe(session, report(2, cores, memory, ports.clone())).await);
    }
    // Once more, of which the memory is unknown: the known number stays.
    world.wait(60);
    assert!(world.observe("s2", report(4, 8.0, None, Some(json!({})))).await);
    world.settle().await;

    let all = world.projections.definition_observations("ospf", 20).await.unwrap();
    let order: Vec<&str> = all.sessions.iter().map(|session| session.session_id.as_str()).collect();
    assert_eq!(order, ["s2", "s3", "s1"]);
    assert_eq!((all.observation_count, all.session_count), (4, 3));
    let aggregate = serde_json::to_value(&all.aggregate).unwrap();
    assert_eq!(aggregate["cpu_cores"], json!({"max": 8.0, "avg": 13.0 / 3.0, "latest": 8.0, "unknown_sessions": 0}));
    assert_eq!(aggregate["memory_mb"], json!({"max": 3000.0, "avg": 2000.0, "latest": 3000.0, "unknown_sessions": 1}));
    assert_eq!(aggregate["storage_mb"], json!({"max": null, "avg": null, "latest": null, "unknown_sessions": 3}));
    assert_eq!(aggregate["node_count"], json!({"max": 4.0, "avg": 8.0 / 3.0, "latest": 4.0, "unknown_sessions": 0}));
    assert_eq!(aggregate["port_drift_sessions"], 1);
    let s2 = &all.sessions[0];
    assert_ne!(s2.sources.memory_mb, Some(s2.event_id));
    assert_eq!(s2.sources.cpu_cores, Some(s2.event_id));
    let event = world.log.event(s2.sources.memory_mb.unwrap()).await.unwrap().unwrap();
    assert_eq!(event.payload["observed_resources"]["total_memory_mb"], 3000.0);

    let newest = world.projections.definition_observations("ospf", 1).await.unwrap();
    assert_eq!((newest.session_count, newest.observation_count), (1, 2));
    assert_eq!(world.projections.session_observations("s2", 10).await.unwrap().len(), 2);
    let nodes: i64 = sqlx::query_scalar("SELECT count(*) FROM read_models.observation_nodes")
        .fetch_one(&world.database.pool())
        .await
        .unwrap();
    assert_eq!(nodes, 10);

    let definition = world.projections.definition("ospf").await.unwrap().unwrap().definition;
    let indicators = (definition.observation_count, definition.observed_sessions, definition.drift_sessions);
    assert_eq!(indicators, (4, 3, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_request_shows_its_one_outcome() {
    let world = World::start().await;
    let running = world.run();
    world.running("s1", "ospf").await;
    for request in ["r1", "r2", "r3", "r4"] {
        world.wait(1);
        assert!(world.request("s1", request).await);
    }
    let mut answer = report(1, 1.0, None, None);
    answer["request_id"] = json!("r1");
    assert!(world.observe("s1", answer).await);
    assert!(world.fail("s1", "r2", FailureOutcome::Failed).await);
    assert!(world.fail("s1", "r3", FailureOutcome::Skipped).await);
    world.settle().await;
    let page = world.projections.observation_requests(&RequestFilter::default(), None, 10).await.unwrap();
    let outcomes: Vec<_> = page.items.iter().map(|request| (request.request_id.as_str(), request.outcome)).collect();
    let expected = [
        ("r4", RequestOutcome::Open),
        ("r3", RequestOutcome::Skipped),
        ("r2", RequestOutcome::Failed),
        ("r1", RequestOutcome::Recorded),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(page.items[2].reason.as_deref(), Some("the controller did not answer"));
    let open = RequestFilter { outcome: Some(RequestOutcome::Open), ..RequestFilter::default() };
    assert_eq!(world.projections.observation_requests(&open, None, 10).await.unwrap().items.len(), 1);

    // Page by page, none twice.
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page =
            world.projections.observation_requests(&RequestFilter::default(), cursor.as_deref(), 1).await.unwrap();
        seen.extend(page.items.into_iter().map(|request| request.request_id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["r4", "r3", "r2", "r1"]);
    running.stop().await;
}

#[tokio::test]
async fn definitions_and_workers_show_what_they_are_now() {
    let world = World::start().await;
    let running = world.run();
    world.define("ospf").await;
    world.wait(5);
    world.revise("ospf", 12).await;
    world.register("cml-1").await;
    world.rename("cml-1", "CML one").await;
    world.settle().await;
    let definition = serde_json::to_value(world.projections.definition("ospf").await.unwrap()).unwrap();
    assert_eq!(definition["revision"], 2);
    assert_eq!(definition["resource_requirements"], json!({"cpu_cores": 4, "memory_gb": 12, "storage_gb": 20}));
    assert_eq!(definition["revisions"][0]["before"]["resource_requirements"]["memory_gb"], 8);
    assert_eq!(definition["revisions"][0]["evidence"], json!(["e-1", "e-2"]));
    assert_eq!(definition["last_observed_at"], json!(null));
    assert_eq!(definition["etag"], "\"2\"");
    let worker = serde_json::to_value(world.projections.worker("cml-1").await.unwrap()).unwrap();
    assert_eq!(worker["name"], "CML one");
    assert_eq!(worker["port_range"], json!({"first": 2000, "last": 7999}));
    assert_eq!(worker["capacity"]["max_nodes"], 300);
    assert_eq!(world.projections.workers(None, 10).await.unwrap().items.len(), 1);
    assert_eq!(world.projections.definitions(Some("OSPF"), None, 10).await.unwrap().items.len(), 1);
    assert!(world.projections.worker("none").await.unwrap().is_none());
    running.stop().await;
}
