//! Bad input: each gets a clear error and changes nothing.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Answer, KEY, VIEWER, World, definition, observation, worker};

async fn raw(world: &World, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = world.request(Method::POST, path).header("x-api-key", KEY).header("content-type", content_type);
    world.send(request.body(body)).await
}

#[tokio::test]
async fn a_body_is_bounded_in_size_whether_its_length_is_declared_or_not() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let large = vec![b' '; 20_000_000];
    for path in ["/api/workers", "/api/internal/lablet-sessions/s1/resource-observations"] {
        raw(&world, path, "application/json", large.clone()).await.problem(413, "too-large", None);
        let chunks = large.chunks(1 << 16).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
        let streamed = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        raw(&world, path, "application/json", streamed).await.problem(413, "too-large", None);
    }
    assert_eq!(world.log.history("lablet_session", "s1", 5, 10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_body_is_json_in_utf8_of_bounded_depth() {
    let world = World::start().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let json = "application/json";
    let no_text = b"{\"name\": \"\xff\xfe\"}".to_vec();
    raw(&world, "/api/workers", json, no_text).await.problem(400, "invalid-input", Some(""));
    raw(&world, "/api/workers", json, deep).await.problem(400, "invalid-input", Some(""));
    raw(&world, "/api/workers", json, "{").await.problem(400, "invalid-input", Some(""));
    raw(&world, "/api/workers", json, "").await.problem(400, "invalid-input", None);
    raw(&world, "/api/workers", "text/plain", "{}").await.problem(415, "unsupported-media-type", None);
    raw(&world, "/api/workers", "application/json; charset=utf-8", worker("w1").to_string()).await.expect(201);
}

#[tokio::test]
async fn an_observation_of_ten_thousand_nodes_is_refused() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    let mut many = observation(0, &json!({}));
    let nodes: Vec<Value> = (0..10_000).map(|index| json!({"node_id": index.to_string()})).collect();
    many["observed_resources"]["nodes"] = nodes.into();
    world.post(path, &many).await.problem(400, "invalid-input", Some("observed_resources.nodes"));
}

#[tokio::test]
async fn absurd_numbers_are_refused_by_field() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let changed = |mut body: Value, pointer: &str, value: Value| {
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    for (value, field) in [
        (json!(0), "cpu_cores"),
        (json!(-4), "cpu_cores"),
        (json!(1_000_000), "cpu_cores"),
        (json!(1.5), "cpu_cores"),
        (json!("4"), "cpu_cores"),
    ] {
        let body = changed(definition("d2"), "/resource_requirements/cpu_cores", value);
        let field = format!("resource_requirements.{field}");
        world.post("/api/lablet-definitions", &body).await.problem(400, "invalid-input", Some(&field));
    }
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    for (pointer, value, field) in [
        ("/observed_ports/PC_serial", json!(0), "observed_ports.PC_serial"),
        ("/observed_ports/PC_serial", json!(70_000), "observed_ports.PC_serial"),
        ("/observed_ports/PC_serial", json!(-1), "observed_ports.PC_serial"),
        ("/observed_resources/total_cpu_cores", json!(-1.0), "observed_resources.total_cpu_cores"),
        ("/observed_resources/total_memory_mb", json!(1e300), "observed_resources.total_memory_mb"),
        ("/observed_resources/nodes/0/cpu_limit", json!(5_000), "observed_resources.nodes[0].cpu_limit"),
        ("/observed_resources/nodes/0/label", json!("a\u{0}b"), "observed_resources.nodes[0].label"),
        ("/observed_resources/nodes/0/ram_mb", json!(-1), "observed_resources.nodes[0].ram_mb"),
    ] {
        let body = changed(observation(1, &json!({"PC_serial": 5041})), pointer, value);
        let refused = world.post(path, &body).await.problem(400, "invalid-input", Some(field));
        assert!(!refused.body["errors"][0]["expected"].as_str().unwrap().is_empty());
    }
    let scheduled = json!({"new_status": "scheduled", "worker_id": "w1", "allocated_ports": {"PC_serial": 65_536}});
    let path = "/api/internal/lablet-sessions/s1/transition";
    world.post(path, &scheduled).await.problem(400, "invalid-input", Some("allocated_ports.PC_serial"));
    let http = changed(worker("w2"), "/address", json!("http://cml-1.example.org"));
    world.post("/api/workers", &http).await.problem(400, "invalid-input", Some("address"));
    let secret = changed(worker("w2"), "/address", json!("https://admin:hunter2@cml-1.example.org"));
    let refused = world.post("/api/workers", &secret).await.problem(400, "invalid-input", Some("address"));
    assert!(!refused.body.to_string().contains("hunter2"), "{}", refused.body);
    assert_eq!(world.log.history("lablet_session", "s1", 5, 10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_is_unknown_is_not_found_and_what_is_no_id_is_said_to_be_none() {
    let world = World::start().await;
    world.session("s1", "pending").await;
    for path in [
        "/api/lablet-sessions/x",
        "/api/lablet-definitions/x",
        "/api/workers/x",
        "/api/lablet-definitions/x/resource-observations",
        "/api/events/019b2c1e-5f7a-7c3e-9d4b-000000000000",
        "/nowhere",
        "/api/nowhere",
    ] {
        world.get(path).await.problem(404, "not-found", None);
    }
    for path in [
        "/api/lablet-sessions/a.b",
        "/api/lablet-sessions/a%20b",
        "/api/workers/-x",
        "/api/events/7",
        "/api/lablet-sessions/%FF",
    ] {
        world.get(path).await.problem(400, "invalid-input", Some("id"));
    }
    let step = json!({"new_status": "scheduled", "worker_id": "nobody"});
    world.post("/api/internal/lablet-sessions/s1/transition", &step).await.problem(404, "not-found", None);
    let step = json!({"new_status": "scheduled", "worker_id": "w1"});
    world.post("/api/internal/lablet-sessions/x/transition", &step).await.problem(404, "not-found", None);
    let new = json!({"definition_id": "nobody"});
    world.post("/api/internal/lablet-sessions", &new).await.problem(404, "not-found", None);
    let other = world.send(world.request(Method::DELETE, "/api/workers").bearer_auth(VIEWER)).await;
    let other = other.problem(405, "method-not-allowed", None);
    assert!(other.header("allow").contains("POST"), "{:?}", other.headers);
}

#[tokio::test]
async fn a_transition_that_is_not_allowed_names_the_ones_that_are() {
    let world = World::start().await;
    world.session("s1", "pending").await;
    let path = "/api/internal/lablet-sessions/s1/transition";
    let refused = world.post(path, &json!({"new_status": "running"})).await.problem(400, "wrong-state", None);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("pending") && detail.contains("scheduled, terminated"), "{detail}");
    world.post(path, &json!({"new_status": "scheduled"})).await.problem(400, "invalid-input", Some("worker_id"));
    world.post(path, &json!({"new_status": "flying"})).await.problem(400, "invalid-input", Some("new_status"));
    assert_eq!(world.log.history("lablet_session", "s1", 0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_runs_may_finish_when_the_gateway_ends() {
    let mut world = World::start().await;
    let body = worker("w1").to_string();
    let mut connection = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /api/workers HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let (first, rest) = body.split_at(10);
    connection.write_all(first.as_bytes()).await.unwrap();
    // The request is under way once another one behind it on a new connection was answered.
    world.get("/api/workers").await.expect(200);
    let ending = tokio::time::timeout(Duration::from_secs(20), world.end());
    let finishing = async {
        connection.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (ended, answer) = tokio::join!(ending, finishing);
    ended.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}
