//! Recommendations and what they rest on, over HTTP.

use std::time::Duration;

use app::commands::Commands;
use bus::clock::{Clock, IdGenerator};
use projections::Projections;
use proposer::{Proposer, ProposerOptions};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::proposals::propose;
use crate::world::{ADMIN, OPERATOR, VIEWER, World, definition, until, worker};

const HOME: &str = "/api/lablet-definitions/d1";

/// Sessions of the definition `d1` that ended, each of which needed so many MB of memory on two routers.
async fn ended(world: &World, memory: &[f64]) {
    world.post("/api/workers", &worker("w1")).await.expect(201);
    for (number, memory_mb) in memory.iter().enumerate() {
        let (id, node) = (format!("s{number}"), |name: &str| {
            json!({"node_id": name, "label": name, "node_definition": "iosv", "state": "BOOTED", "cpus": 1,
                   "nominal_cpu_cores": 1.0, "ram_mb": 2048,
                   "usage": {"cpu_cores": 0.25, "memory_mb": memory_mb / 2.0, "disk_mb": 100.0}})
        });
        let new = json!({"id": id, "definition_id": "d1"});
        world.post("/api/internal/lablet-sessions", &new).await.expect(201);
        let go = async |body: Value| {
            world.post(&format!("/api/internal/lablet-sessions/{id}/transition"), &body).await.expect(200);
        };
        go(json!({"new_status": "scheduled", "worker_id": "w1"})).await;
        go(json!({"new_status": "instantiating"})).await;
        go(json!({"new_status": "ready"})).await;
        go(json!({"new_status": "running", "cml_lab_id": format!("lab-{number}")})).await;
        let observation = json!({"observed_resources": {
            "observer": "controller", "nodes": [node("n-1"), node("n-2")],
            "usage": {"cpu_cores": 0.5, "memory_mb": memory_mb, "storage_mb": 200.0},
            "coverage": {"nodes_total": 2, "nodes_booted": 2, "phase": "steady"}, "cml_version": "2.10.0"
        }});
        let path = format!("/api/internal/lablet-sessions/{id}/resource-observations");
        world.post(&path, &observation).await.expect(200);
        go(json!({"new_status": "stopping"})).await;
    }
    world.settle().await;
}

async fn world() -> World {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    world
}

#[tokio::test]
async fn a_definition_is_recommended_explained_and_tried_on_its_past() {
    let world = world().await;
    ended(&world, &[1500.0, 1600.0, 1700.0, 1800.0]).await;
    let answer = world.get(&format!("{HOME}/recommendation")).await.expect(200).body;
    let memory = &answer["resources"]["memory_mb"];
    assert_eq!((&answer["promise"], &answer["finding"]), (&json!(0.95), &json!("over_provisioned")));
    assert_eq!((&memory["configured"], &memory["sessions"]), (&json!(8192.0), &json!(4)));
    let careful = world.get(&format!("{HOME}/recommendation?promise=0.999")).await.expect(200).body;
    assert!(careful["resources"]["memory_mb"]["value"].as_f64() > memory["value"].as_f64());
    let as_of = answer["as_of"].as_str().unwrap();

    let explained = world.get(&format!("{HOME}/recommendation/explanation")).await.expect(200).body;
    let reading = &explained["resources"]["memory_mb"]["readings"][0];
    assert_eq!((&reading["session_id"], &reading["demand"]), (&json!("s3"), &json!(1800.0)));
    world.get(&format!("/api/events/{}", reading["event_id"].as_str().unwrap())).await.expect(200);

    let tried = world.get(&format!("{HOME}/back-test?memory_gb=1")).await.expect(200).body;
    assert_eq!(tried["resources"]["memory_mb"]["sessions_short"], 4);
    assert_eq!(tried["size"], json!({"cpu_cores": 4, "memory_gb": 1, "storage_gb": 20}));
    let stated = world.get(&format!("{HOME}/back-test")).await.expect(200).body;
    assert_eq!(stated["resources"]["memory_mb"]["sessions_short"], 0);

    let page = world.get(&format!("{HOME}/evidence?limit=3")).await.expect(200).body;
    assert_eq!((&page["items"][0]["session_id"], page["items"].as_array().unwrap().len()), (&json!("s3"), 3));
    let next = format!("{HOME}/evidence?cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(world.get(&next).await.expect(200).body["items"][0]["session_id"], "s0");

    let because = json!({"reason": "a load test"});
    let exclude = world.request(Method::POST, "/api/lablet-sessions/s3/evidence-exclusion").bearer_auth(OPERATOR);
    let excluded = world.send(exclude.json(&because)).await.expect(200);
    let position = excluded.body["position"].as_str().unwrap();
    let without = world.get(&format!("{HOME}/recommendation?position={position}")).await.expect(200).body;
    assert_eq!(without["resources"]["memory_mb"]["sessions"], 3);
    let then = world.get(&format!("{HOME}/recommendation?as_of={as_of}")).await.expect(200).body;
    assert_eq!(then, answer, "what was advised then stays what it was");

    let score = world.get("/api/advice-score?resource=memory_mb").await.expect(200).body;
    assert_eq!(
        (&score["totals"][0]["resource"], &score["by_definition"][0]["definition_id"]),
        (&json!("memory_mb"), &json!("d1"))
    );
}

#[tokio::test]
async fn what_cannot_be_advised_on_is_refused_by_its_field() {
    let world = world().await;
    for promise in ["0", "1", "abc", "-0.5", "1e400"] {
        let refused = world.get(&format!("{HOME}/recommendation?promise={promise}")).await;
        refused.problem(400, "invalid-input", Some("promise"));
    }
    let beyond = "0000000001-00000000099999999999-0000000099999999999";
    for as_of in ["abc", "7", "", beyond] {
        let refused = world.get(&format!("{HOME}/recommendation?as_of={as_of}")).await;
        refused.problem(400, "invalid-input", Some("as_of"));
    }
    for (path, field) in [
        (format!("{HOME}/back-test?memory_gb=0"), "memory_gb"),
        (format!("{HOME}/back-test?cpu_cores=1.5"), "cpu_cores"),
        (format!("{HOME}/evidence?limit=0"), "limit"),
        ("/api/advice-score?resource=network".to_owned(), "resource"),
        ("/api/proposals?status=verified".to_owned(), "status"),
        ("/api/proposals?cursor=AA".to_owned(), "cursor"),
    ] {
        world.get(&path).await.problem(400, "invalid-input", Some(field));
    }
    for path in ["recommendation", "recommendation/explanation", "back-test", "evidence"] {
        world.get(&format!("/api/lablet-definitions/nobody/{path}")).await.problem(404, "not-found", None);
    }
    let start = "0000000000-00000000000000000000-0000000000000000000";
    world.get(&format!("{HOME}/recommendation?as_of={start}")).await.problem(404, "not-found", None);
    world.get("/api/proposals/nobody").await.problem(404, "not-found", None);
}

#[tokio::test]
async fn a_topology_is_sized_as_nodes_as_yaml_within_json_and_as_a_file() {
    let world = world().await;
    ended(&world, &[1500.0, 1600.0, 1700.0]).await;
    let path = "/api/topology-recommendations";
    let send = async |media_type: &str, body: String| {
        let request = world.request(Method::POST, path).bearer_auth(VIEWER).header("content-type", media_type);
        world.send(request.body(body)).await
    };
    let nodes = json!({"nodes": [{"node_definition": "iosv", "cpus": 1, "ram_mb": 2048, "count": 2}]});
    let yaml = "nodes:\n- {node_definition: iosv, cpus: 1, ram: 2048}\n- {node_definition: iosv, cpus: 1, ram: 2048}\n";
    let by_nodes = send("application/json", nodes.to_string()).await.expect(200).body;
    assert_eq!((&by_nodes["definition_id"], &by_nodes["topology"]["node_count"]), (&json!(null), &json!(2)));
    assert!(by_nodes["resources"]["memory_mb"]["requirement"].as_u64() > Some(0));
    let within = send("application/json", json!({ "cml_yaml": yaml }).to_string()).await.expect(200).body;
    assert_eq!(within, by_nodes);
    for media_type in ["application/yaml", "text/yaml; charset=utf-8", "application/x-yaml"] {
        assert_eq!(send(media_type, yaml.to_owned()).await.expect(200).body, by_nodes);
    }
    let warned = send("application/json", json!({"nodes": nodes["nodes"], "lab": {}}).to_string()).await.expect(200);
    assert_eq!(warned.body["warnings"][0]["field"], "lab");

    let refused = send("application/yaml", " ".repeat(10 << 20)).await.problem(413, "too-large", None);
    assert!(refused.body["detail"].as_str().unwrap().contains("4194304"), "{}", refused.body);
    let large = json!({"cml_yaml": " ".repeat(10 << 20)}).to_string();
    send("application/json", large).await.problem(413, "too-large", None);
    let many = json!({"nodes": vec![json!({"node_definition": "iosv"}); 10_001]}).to_string();
    send("application/json", many).await.problem(400, "invalid-input", Some("nodes"));
    let many = format!("nodes:\n{}", "- {node_definition: iosv}\n".repeat(10_001));
    send("application/yaml", many).await.problem(400, "invalid-input", Some("nodes"));
    send("application/yaml", "nodes: [".to_owned()).await.problem(400, "invalid-input", None);
    send("application/json", "{}".to_owned()).await.problem(400, "invalid-input", Some("nodes"));
    send("text/plain", yaml.to_owned()).await.problem(415, "unsupported-media-type", None);
    let unknown = json!({"nodes": [{"node_definition": "never-seen", "cpus": 2, "ram_mb": 4096}]});
    let sized = send("application/json", unknown.to_string()).await.expect(200).body;
    let reasons = sized["resources"]["memory_mb"]["reasons"].to_string();
    assert!(reasons.contains("nodes_never_measured"), "{reasons}");
}

#[tokio::test]
async fn a_proposal_is_listed_exported_and_applied_without_naming_its_definition() {
    let world = world().await;
    let id = propose(&world, 6).await;
    world.settle().await;
    let listed = world.get("/api/proposals?status=open&definition_id=d1").await.expect(200).body;
    assert_eq!(
        (&listed["items"][0]["proposal_id"], &listed["items"][0]["before"]["memory_gb"]),
        (&json!(id), &json!(8))
    );
    assert_eq!(world.get("/api/proposals?status=applied").await.expect(200).body["items"], json!([]));
    let shown = world.get(&format!("/api/proposals/{id}")).await.expect(200);
    assert_eq!((shown.header("etag"), &shown.body["status"]), ("\"1\"", &json!("open")));

    let yaml = world.get(&format!("/api/proposals/{id}/export")).await.expect(200);
    assert_eq!(yaml.header("content-type"), "application/yaml");
    let text = yaml.body.as_str().unwrap();
    assert!(text.starts_with(&format!("# Lablet's proposal {id} (open) for the definition d1")), "{text}");
    let mut file: Value = serde_norway::from_str(text).unwrap();
    assert_eq!(file["resource_requirements"], json!({"cpu_cores": 4, "memory_gb": 6, "storage_gb": 20}));
    file["id"] = "d2".into();
    world.post("/api/lablet-definitions", &file).await.expect(201);

    let patch = world.get(&format!("/api/proposals/{id}/export?format=json_patch")).await.expect(200);
    assert_eq!(patch.header("content-type"), "application/json-patch+json");
    assert_eq!(
        patch.body,
        json!([
            {"op": "test", "path": "/name", "value": "Routing basics"},
            {"op": "test", "path": "/version", "value": "1.0"},
            {"op": "test", "path": "/resource_requirements", "value": {"cpu_cores": 4, "memory_gb": 8, "storage_gb": 20}},
            {"op": "replace", "path": "/resource_requirements/memory_gb", "value": 6},
        ])
    );
    world.get(&format!("/api/proposals/{id}/export?format=toml")).await.problem(400, "invalid-input", Some("format"));

    let claim = world.request(Method::POST, &format!("/api/proposals/{id}/claim")).bearer_auth(OPERATOR);
    let claimed = world.send(claim.header("if-match", shown.header("etag"))).await.expect(200);
    assert_eq!((&claimed.body["definition_id"], &claimed.body["status"]), (&json!("d1"), &json!("claimed")));
    let position = claimed.body["position"].as_str().unwrap();
    let listed = world.get(&format!("/api/proposals?status=claimed&position={position}")).await.expect(200).body;
    assert_eq!(listed["items"][0]["claimed_by"], "admin:oli");
}

#[tokio::test]
async fn two_proposers_open_a_proposal_once_and_apply_it_once_when_the_default_policy_says_so() {
    let world = world().await;
    let stop = CancellationToken::new();
    let proposers: Vec<_> = (0..2)
        .map(|_| {
            let commands = Commands::new(world.log.clone(), Clock::system(), IdGenerator::random());
            let options = ProposerOptions { poll: Duration::from_millis(100), ..ProposerOptions::default() };
            let proposer = Proposer::new(commands, Projections::new(world.log.clone()), options);
            tokio::spawn(proposer.run(stop.clone()))
        })
        .collect();
    ended(&world, &[1500.0, 1600.0, 1700.0]).await;
    let one_in = async |status: &str| {
        until(status, async || {
            let body = world.get("/api/proposals").await.expect(200).body;
            if body["items"][0]["status"] == status { Ok(body) } else { Err(body.to_string()) }
        })
        .await
    };
    let open = one_in("open").await;
    assert_eq!((open["items"].as_array().unwrap().len(), &open["items"][0]["sessions"]), (1, &json!(3)));
    let policy = json!({"policy": {"applier": "automatic"}, "reason": "a class of many"});
    let set = world.request(Method::PUT, "/api/advice-policy").bearer_auth(ADMIN).header("if-match", "*");
    world.send(set.json(&policy)).await.expect(200);
    let applied = one_in("applied").await;
    assert_eq!((applied["items"].as_array().unwrap().len(), &applied["items"][0]["revision"]), (1, &json!(2)));
    assert_eq!(applied["items"][0]["policy_set_by"], "admin:ada");
    stop.cancel();
    for proposer in proposers {
        proposer.await.unwrap();
    }
}
