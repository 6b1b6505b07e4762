//! The stream of events: in order, from anywhere, by filter, to the end.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::world::{VIEWER, World, definition};

/// What a client of the stream reads.
struct Client {
    response: Response,
    buffer: String,
}

/// One block of the stream: fields by name, comments under the empty one.
type Block = Vec<(String, String)>;

impl Client {
    async fn open(world: &World, query: &str, last_event_id: Option<&str>) -> Self {
        let mut request = world.request(Method::GET, &format!("/api/stream{query}")).bearer_auth(VIEWER);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut client = Self { response, buffer: String::new() };
        let hello = client.block().await.unwrap();
        assert!(hello.contains(&(String::new(), "connected".to_owned())), "{hello:?}");
        client
    }

    /// The next block; `None` at the end of the stream.
    async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let field = |line: &str| {
                    let (name, value) = line.split_once(':').unwrap();
                    (name.to_owned(), value.trim_start().to_owned())
                };
                return Some(block.trim_end().lines().map(field).collect());
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.response.chunk());
            // A client that does not read for too long is cut off, wherever in a block that is.
            let Ok(chunk) = chunk.await.expect("the stream shows something within 30 s") else { return None };
            let chunk = chunk?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event: id, type and data; `None` at the end of the stream.
    async fn event_or_end(&mut self) -> Option<(String, String, Value)> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| block.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
            if let (Some(id), Some(event), Some(data)) = (field("id"), field("event"), field("data")) {
                return Some((id, event, serde_json::from_str(&data).unwrap()));
            }
        }
    }

    /// The next event, of a stream that goes on.
    async fn event(&mut self) -> (String, String, Value) {
        self.event_or_end().await.expect("the stream goes on")
    }
}

const START: &str = "0000000000-00000000000000000000-0000000000000000000";

#[tokio::test]
async fn what_happens_is_streamed_in_order_and_a_client_resumes_where_it_was() {
    let world = World::start().await;
    let mut live = Client::open(&world, "", None).await;
    world.session("s1", "running").await;
    let mut received = Vec::new();
    for _ in 0..7 {
        let (id, event, data) = live.event().await;
        assert_eq!(data["position"], id);
        assert_eq!(data["specversion"], "1.0");
        assert_eq!(data["type"], event);
        received.push((id, event));
    }
    assert_eq!(
        received.iter().map(|(_, event)| event.as_str()).collect::<Vec<_>>(),
        [
            "io.lablet.lablet_definition.created.v1",
            "io.lablet.worker.registered.v1",
            "io.lablet.lablet_session.created.v1",
            "io.lablet.lablet_session.scheduled.v1",
            "io.lablet.lablet_session.instantiating.v1",
            "io.lablet.lablet_session.ready.v1",
            "io.lablet.lablet_session.running.v1",
        ]
    );
    assert!(received.is_sorted_by(|(one, _), (other, _)| one < other));

    let mut resumed = Client::open(&world, &format!("?after={START}"), Some(&received[3].0)).await;
    assert_eq!(resumed.event().await.1, "io.lablet.lablet_session.instantiating.v1");
    let mut all = Client::open(&world, &format!("?after={START}"), None).await;
    for (id, event) in &received {
        let (got, kind, _) = all.event().await;
        assert_eq!((&got, &kind), (id, event));
    }
    // Both go on live.
    world.post("/api/internal/lablet-sessions/s1/transition", &json!({"new_status": "collecting"})).await.expect(200);
    for client in [&mut all, &mut live] {
        assert_eq!(client.event().await.1, "io.lablet.lablet_session.collecting.v1");
    }
}

#[tokio::test]
async fn a_filter_lets_through_what_it_names() {
    let world = World::start().await;
    world.session("s1", "scheduled").await;
    world.post("/api/lablet-definitions", &definition("d2")).await.expect(201);
    world.post("/api/internal/lablet-sessions", &json!({"id": "s2", "definition_id": "d2"})).await.expect(201);
    let first = async |query: &str| {
        let mut client = Client::open(&world, &format!("?after={START}&{query}"), None).await;
        let (_, event, data) = client.event().await;
        (event, data["subject"].as_str().unwrap().to_owned())
    };
    assert_eq!(first("aggregate=worker").await, ("io.lablet.worker.registered.v1".to_owned(), "w1".to_owned()));
    assert_eq!(first("session_id=s2").await, ("io.lablet.lablet_session.created.v1".to_owned(), "s2".to_owned()));
    assert_eq!(first("definition_id=d2").await, ("io.lablet.lablet_definition.created.v1".to_owned(), "d2".to_owned()));
    for (query, field) in [("after=x", "after"), ("aggregate=cloud", "aggregate"), ("session_id=a.b", "session_id")] {
        world.get(&format!("/api/stream?{query}")).await.problem(400, "invalid-input", Some(field));
    }
}

#[tokio::test]
async fn a_client_that_falls_behind_the_buffer_gets_every_event_once_and_in_order() {
    // Together they are more than the buffer, the client's queue and the sockets hold.
    const EVENTS: usize = 400;
    let world = World::start().await;
    let mut slow = Client::open(&world, "?aggregate=lablet_definition", None).await;
    let ports: Vec<_> =
        (0..400).map(|port| json!({"name": format!("{port}_{}", "x".repeat(80)), "protocol": "serial"})).collect();
    for number in 0..EVENTS {
        let mut large = definition(&format!("d{number}"));
        large["port_template"] = json!({ "ports": ports });
        world.post("/api/lablet-definitions", &large).await.expect(201);
    }
    let (mut last, mut number) = (START.to_owned(), 0);
    while number < EVENTS {
        // One that stood still for too long is cut off, and resumes.
        let Some((id, _, data)) = slow.event_or_end().await else {
            slow = Client::open(&world, "?aggregate=lablet_definition", Some(&last)).await;
            continue;
        };
        assert!(last < id, "{last} {id}");
        assert_eq!(data["subject"], format!("d{number}"));
        (last, number) = (id, number + 1);
    }
}

#[tokio::test]
async fn streams_end_with_the_gateway_and_say_so() {
    let mut world = World::start().await;
    let mut client = Client::open(&world, "", None).await;
    let ending = async { tokio::time::timeout(Duration::from_secs(20), world.end()).await };
    let last = async {
        let mut last = None;
        while let Some(block) = client.block().await {
            last = Some(block);
        }
        last.unwrap()
    };
    let (ended, last) = tokio::join!(ending, last);
    ended.unwrap().unwrap();
    assert!(last[0].1.contains("resume with Last-Event-ID"), "{last:?}");
}
