//! What the log accepts, everything can show; what could not be shown is refused by field.

use serde_json::{Value, json};

use crate::world::{World, definition, observation, worker};

const OBSERVE: &str = "/api/internal/lablet-sessions/s1/resource-observations";

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value;
    body
}

/// Times that were accepted once, and failed everybody who read the list.
const UNSHOWABLE: [&str; 5] = [
    "0001-01-01T00:00:00+08:00",
    "9999-12-31T23:59:59-05:00",
    "-5000-01-01T00:00:00Z",
    "0000-06-01T00:00:00Z",
    "+262142-12-31T00:00:00Z",
];

#[tokio::test]
async fn a_time_outside_the_stated_years_is_refused_with_its_field_and_the_range() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let transition = "/api/internal/lablet-sessions/s1/transition";
    let sessions = "/api/internal/lablet-sessions";
    for bad in UNSHOWABLE {
        let body = with(observation(1, &json!({})), "/observed_resources/observed_at", bad.into());
        let refused = world.post(OBSERVE, &body).await;
        let refused = refused.problem(400, "invalid-input", Some("observed_resources.observed_at"));
        let expected = refused.body["errors"][0]["expected"].as_str().unwrap();
        assert!(expected.contains("2000-01-01T00:00:00Z"), "{expected}");
        let slot = |start: &str, end: &str| json!({"start": start, "end": end});
        for (timeslot, field) in
            [(slot(bad, "2199-01-01T00:00:00Z"), "timeslot.start"), (slot("2026-03-01T10:00:00Z", bad), "timeslot.end")]
        {
            // One that ends before it begins is told so first.
            let field = if timeslot["end"] == bad && !bad.starts_with(['9', '+']) { "timeslot.end" } else { field };
            let new = json!({"id": "s2", "definition_id": "d1", "timeslot": timeslot});
            world.post(sessions, &new).await.problem(400, "invalid-input", None).names(field);
            let step = json!({"new_status": "collecting", "timeslot": timeslot});
            world.post(transition, &step).await.problem(400, "invalid-input", None).names(field);
        }
        let filter: String = url::form_urlencoded::byte_serialize(bad.as_bytes()).collect();
        let listed = world.get(&format!("/api/lablet-sessions?timeslot_ended_before={filter}")).await;
        listed.problem(400, "invalid-input", Some("timeslot_ended_before"));
    }
    assert_eq!(world.log.history("lablet_session", "s1", 5, 10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_time_without_an_offset_is_told_that_the_offset_is_missing() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let body = with(observation(1, &json!({})), "/observed_resources/observed_at", "2026-03-01T10:00:00".into());
    let refused = world.post(OBSERVE, &body).await;
    let refused = refused.problem(400, "invalid-input", Some("observed_resources.observed_at"));
    assert!(refused.body.to_string().contains("lacks its offset"), "{}", refused.body);
    let filtered = world.get("/api/lablet-sessions?timeslot_ended_before=2026-03-01T10:00:00").await;
    let filtered = filtered.problem(400, "invalid-input", Some("timeslot_ended_before"));
    assert!(filtered.body.to_string().contains("lacks its offset"), "{}", filtered.body);
}

#[tokio::test]
async fn an_observation_is_at_most_five_minutes_ahead_of_the_log() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let ahead = |by: chrono::TimeDelta| {
        let at = bus::clock::Clock::system().now() + by;
        with(observation(1, &json!({})), "/observed_resources/observed_at", at.to_rfc3339().into())
    };
    let refused = world.post(OBSERVE, &ahead(chrono::TimeDelta::minutes(10))).await;
    let refused = refused.problem(400, "invalid-input", Some("observed_resources.observed_at"));
    assert!(refused.body.to_string().contains("ahead of the log's clock"), "{}", refused.body);
    world.post(OBSERVE, &ahead(chrono::TimeDelta::minutes(3))).await.expect(200);
}

#[tokio::test]
async fn a_text_that_cannot_be_stored_is_refused_by_its_field_wherever_it_stands() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let resources = json!({
        "observer": "x", "cml_version": "2.9", "topology_fingerprint": "f", "lab_title": "OSPF",
        "node_definitions_used": ["iosv"],
        "unreadable_tags": [{"node_id": "n", "tag": "pat:", "reason": "r"}],
        "ports": [{"name": "a_ssh", "node_id": "n", "node_label": "a", "outside": 22, "kind": "named", "intent": "ssh",
                   "l4_protocol": "tcp", "honoured": false}],
        "coverage": {"nodes_total": 1, "nodes_booted": 1, "failed_reads": [{"read": "a", "reason": "b"}],
                     "unreadable_entries": [{"read": "a", "reason": "b"}]},
        "nodes": [{"node_id": "n", "label": "a", "node_definition": "d", "state": "BOOTED", "image_definition": "i",
                   "tags": ["t"], "interfaces": [{"interface_id": "i", "label": "l", "state": "s", "mac_address": "m",
                                                  "ip4": ["4"], "ip6": ["6"]}]}],
    });
    let body = json!({"observed_resources": resources});
    world.post(OBSERVE, &body).await.expect(200);
    for (pointer, field) in [
        ("/observer", "observer"),
        ("/cml_version", "cml_version"),
        ("/topology_fingerprint", "topology_fingerprint"),
        ("/lab_title", "lab_title"),
        ("/unreadable_tags/0/node_id", "unreadable_tags[0].node_id"),
        ("/unreadable_tags/0/tag", "unreadable_tags[0].tag"),
        ("/unreadable_tags/0/reason", "unreadable_tags[0].reason"),
        ("/ports/0/node_id", "ports[0].node_id"),
        ("/ports/0/node_label", "ports[0].node_label"),
        ("/ports/0/intent", "ports[0].intent"),
        ("/coverage/failed_reads/0/read", "coverage.failed_reads[0].read"),
        ("/coverage/unreadable_entries/0/reason", "coverage.unreadable_entries[0].reason"),
        ("/nodes/0/node_id", "nodes[0].node_id"),
        ("/nodes/0/state", "nodes[0].state"),
        ("/nodes/0/image_definition", "nodes[0].image_definition"),
        ("/nodes/0/interfaces/0/mac_address", "nodes[0].interfaces[0].mac_address"),
    ] {
        for nasty in ["a\u{0}b", "a\u{1b}[31m", "a\u{202e}b"] {
            let bad = with(body.clone(), &format!("/observed_resources{pointer}"), nasty.into());
            let refused = world.post(OBSERVE, &bad).await;
            refused.problem(400, "invalid-input", Some(&format!("observed_resources.{field}")));
        }
    }
    let stats = with(body, "/observed_resources/simulation_stats", json!({"nodes": {"a\u{0}": 1}}));
    world.post(OBSERVE, &stats).await.problem(400, "invalid-input", Some("observed_resources.simulation_stats"));
    for (path, body, field) in [
        ("/api/internal/lablet-sessions", json!({"definition_id": "d1", "owner_id": "a\u{0}"}), "owner_id"),
        ("/api/internal/lablet-sessions/s1/transition", json!({"new_status": "stopping", "reason": "\u{0}"}), "reason"),
        ("/api/lablet-definitions", with(definition("d2"), "/name", "a\nb".into()), "name"),
        ("/api/lablet-definitions", with(definition("d2"), "/version", "1\u{0}".into()), "version"),
        ("/api/lablet-definitions", with(definition("d2"), "/description", "\u{0}".into()), "description"),
        ("/api/workers", with(worker("w2"), "/name", " ".into()), "name"),
    ] {
        world.post(path, &body).await.problem(400, "invalid-input", Some(field));
    }
    assert_eq!(world.log.history("lablet_session", "s1", 6, 10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_number_that_fits_no_column_is_refused_by_its_field() {
    let world = World::start().await;
    world.session("s1", "running").await;
    for (pointer, value, field) in [
        ("/nominal", json!({"unknown_cpu_nodes": 3_000_000_000_u64}), "nominal.unknown_cpu_nodes"),
        ("/usage", json!({"unknown_memory_nodes": 4_294_967_295_u64}), "usage.unknown_memory_nodes"),
        ("/usage", json!({"highest_cpu_percent": -1}), "usage.highest_cpu_percent"),
        ("/coverage", json!({"nodes_total": 4_000_000_000_u64}), "coverage.nodes_total"),
        ("/nodes/0/usage", json!({"disk_read_bytes": u64::MAX}), "nodes[0].usage.disk_read_bytes"),
        ("/nodes/0/usage", json!({"booted_seconds": u64::MAX}), "nodes[0].usage.booted_seconds"),
        ("/nodes/0/cpus", json!(5_000), "nodes[0].cpus"),
    ] {
        let body = with(observation(1, &json!({})), &format!("/observed_resources{pointer}"), value);
        let refused = world.post(OBSERVE, &body).await;
        refused.problem(400, "invalid-input", Some(&format!("observed_resources.{field}")));
    }
    assert_eq!(world.log.history("lablet_session", "s1", 5, 10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_is_asked_for_in_a_path_or_a_query_is_a_text_that_can_be_looked_for() {
    let world = World::start().await;
    world.session("s1", "running").await;
    world.post(OBSERVE, &observation(1, &json!({}))).await.expect(200);
    world.settle().await;
    for path in [
        "/api/lablet-sessions/s1/nodes/%00",
        "/sessions/s1/nodes/%00",
        "/api/lablet-sessions/s1/nodes/a%1Bb",
        "/api/lablet-sessions/s1/nodes?text=%00",
        "/api/lablet-sessions/%00",
        "/api/lablet-sessions?text=%00",
        "/api/lablet-sessions?cursor=AGE",
        "/api/lablet-sessions?sort=observed&cursor=b2JzZXJ2ZWQ6czE6LTUwMDAtMDEtMDFUMDA6MDA6MDBa",
        "/api/lablet-definitions?text=%00",
        "/api/lablet-definitions?sort=name&cursor=bmFtZTpkMTpBAA",
        "/api/search?text=%00",
        "/api/schemas/%00",
        "/sessions?text=%00",
        "/definitions?text=%00",
        "/search?text=%00",
        "/workers/w1?text=%00",
    ] {
        let answer = world.get(path).await;
        assert!((400..405).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
    }
    world.get("/api/lablet-sessions/s1/nodes/node-0").await.expect(200);
}

#[tokio::test]
async fn a_total_that_contradicts_its_nodes_is_shown_with_both_numbers_and_counts_nowhere() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let mut body = observation(3, &json!({}));
    for node in body["observed_resources"]["nodes"].as_array_mut().unwrap() {
        node["cpus"] = 1.into();
    }
    let body = with(body, "/observed_resources/total_cpu_cores", json!(300));
    world.post(OBSERVE, &body).await.expect(200);
    world.settle().await;
    let observed = world.get("/api/lablet-definitions/d1/resource-observations").await.expect(200).body;
    assert_eq!(observed["aggregate"]["cpu_cores"]["max"], Value::Null, "{observed}");
    assert_eq!(observed["aggregate"]["memory_mb"]["latest"], json!(2304.0));
    let told = json!([{"field": "total_cpu_cores", "stated": 300.0, "of_nodes": 3.0}]);
    assert_eq!(observed["sessions"][0]["contradictions"], told);
    let recorded = world.get("/api/lablet-sessions/s1/resource-observations").await.expect(200).body;
    assert_eq!((&recorded["items"][0]["contradictions"], &recorded["items"][0]["no_evidence"]), (&told, &Value::Null));
    for page in ["/sessions/s1", "/definitions/d1"] {
        let page = world.get(page).await.expect(200).body;
        let words = "total_cpu_cores says 300 cores, its nodes add up to 3 cores";
        assert!(page.as_str().unwrap().contains(words), "{page}");
    }
}

#[tokio::test]
async fn a_lab_of_no_nodes_is_shown_as_no_evidence() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let body = json!({"observed_resources": {"total_cpu_cores": 0, "total_memory_mb": 0, "total_storage_mb": 0,
        "actual_node_count": 0, "nodes": [], "coverage": {"nodes_total": 0, "nodes_booted": 0}}});
    world.post(OBSERVE, &body).await.expect(200);
    world.settle().await;
    let observed = world.get("/api/lablet-definitions/d1/resource-observations").await.expect(200).body;
    assert_eq!(observed["aggregate"]["cpu_cores"]["known_sessions"], 0, "{observed}");
    assert_eq!(observed["sessions"][0]["no_evidence"], "nothing_ran");
    let page = world.get("/sessions/s1").await.expect(200).body;
    assert!(page.as_str().unwrap().contains("no node of the lab was running"), "{page}");
}

#[tokio::test]
async fn the_same_port_by_another_name_is_as_planned_named_otherwise() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let renamed = world.post(OBSERVE, &observation(1, &json!({"PC_tcp": 5041, "PC_vnc": 5042}))).await.expect(200);
    assert_eq!(renamed.body["port_drift_detected"], false, "{}", renamed.body);
    world.settle().await;
    let session = world.get("/api/lablet-sessions/s1").await.expect(200).body;
    let told = &session["ports"][0];
    assert_eq!(
        (&told["name"], &told["comparison"], &told["observed_name"]),
        (&json!("PC_serial"), &json!("renamed"), &json!("PC_tcp"))
    );
    let page = world.get("/sessions/s1").await.expect(200).body;
    assert!(page.as_str().unwrap().contains("as planned, named otherwise"), "{page}");
    let csv = world.get("/sessions/s1?table=ports&format=csv").await.expect(200).body;
    assert!(csv.as_str().unwrap().contains("PC_tcp"), "{csv}");
    let moved =
        with(observation(1, &json!({"R1_tcp": 5041, "PC_vnc": 5042})), "/observed_resources/observer", "b".into());
    assert_eq!(world.post(OBSERVE, &moved).await.expect(200).body["port_drift_detected"], true);
}
