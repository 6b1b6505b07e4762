//! What running sessions use: live, and afterwards on the session's page.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::world::{Surroundings, VIEWER, World, observation};

/// A world with a bus, and who publishes on it as a controller does.
async fn world() -> (World, async_nats::Client) {
    let nats = servers::testing::nats().await;
    let world =
        World::start_in(Surroundings { nats_url: Some(nats.url().to_owned()), ..Surroundings::default() }).await;
    (world, nats.connect().await)
}

fn sampled(at: &str, cores: f64) -> Value {
    json!({
        "session_id": "s1", "controller": "00000000-0000-0000-0000-000000000001", "term": 1, "outcome": "sampled",
        "sample": {"at": at, "nodes": {"n0": {"cpu_cores": cores, "memory_mb": null, "storage_mb": null}},
                   "unknown_nodes": 0, "unreadable": null},
        "lab": {"phase": "steady", "seconds": 3, "cpu_cores": cores, "memory_mb": null, "storage_mb": null},
    })
}

fn profiled() -> Value {
    let mut seen = observation(2, &json!({}));
    let phase = |peak: f64| {
        json!({"seconds": 60, "cpu_cores": {"peak": peak, "p95": peak / 2.0, "mean": peak / 4.0},
               "memory_mb": {"peak": 2048.0, "p95": 1024.0}})
    };
    seen["observed_resources"]["profile"] = json!({
        "from": "2026-03-01T09:50:00Z", "to": "2026-03-01T10:00:00Z", "interval_seconds": 30, "samples": 18,
        "missed_samples": 2, "boot": phase(8.0), "steady": phase(4.0),
        "gaps": [{"from": "2026-03-01T09:55:00Z", "to": "2026-03-01T09:56:30Z", "reason": "worker_away"}],
    });
    for (index, peak) in [(0, 1.0), (1, 7.0)] {
        seen["observed_resources"]["nodes"][index]["profile"] = json!({"restarts": index, "steady": phase(peak)});
    }
    seen
}

/// An open stream of samples.
struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    async fn open(world: &World) -> Self {
        let request = world.request(Method::GET, "/api/lablet-sessions/s1/samples").bearer_auth(VIEWER);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event with its data.
    async fn event(&mut self) -> (String, Value) {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
                if let (Some(event), Some(data)) = (field("event:"), field("data:")) {
                    return (event.to_owned(), serde_json::from_str(data).unwrap());
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.response.chunk());
            let chunk = chunk.await.expect("the stream shows something within 30 s").unwrap().expect("it goes on");
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event, of what is published over and over until it comes: a subscription takes effect at some time after
    /// the stream is open.
    async fn event_of(&mut self, nats: &async_nats::Client, message: &Value) -> (String, Value) {
        let publish = async {
            loop {
                nats.publish("lablet.live.samples.s1", message.to_string().into()).await.unwrap();
                nats.flush().await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            event = self.event() => event,
            () = publish => unreachable!("publishing never ends"),
        }
    }
}

#[tokio::test]
async fn whoever_looks_hears_what_was_used_so_far_and_every_sample_with_what_is_unknown() {
    let (world, nats) = world().await;
    world.session("s1", "running").await;
    world.post("/api/internal/lablet-sessions/s1/resource-observations", &profiled()).await.expect(200);
    world.settle().await;
    let mut stream = Stream::open(&world).await;
    let (event, data) = stream.event().await;
    assert_eq!((event.as_str(), &data["profile"]["boot"]["cpu_cores"]["peak"]), ("profile", &json!(8.0)));
    let (event, data) = stream.event_of(&nats, &sampled("2026-03-01T10:01:00Z", 2.5)).await;
    assert_eq!(event, "sample");
    assert_eq!(
        data,
        json!({"at": "2026-03-01T10:01:00Z", "seconds": 3, "phase": "steady", "cpu_cores": 2.5, "memory_mb": null,
               "storage_mb": null, "nodes": {"n0": {"cpu_cores": 2.5, "memory_mb": null, "storage_mb": null}}})
    );
    let missed =
        json!({"session_id": "s1", "controller": "x", "term": 2, "outcome": "missed", "reason": "worker_slow"});
    let mut heard = stream.event_of(&nats, &missed).await;
    while heard.0 == "sample" {
        heard = stream.event_of(&nats, &missed).await;
    }
    assert_eq!((heard.0.as_str(), &heard.1["reason"]), ("missed", &json!("worker_slow")));
}

#[tokio::test]
async fn samples_need_a_session_and_somebody_who_may_look() {
    let (mut world, _nats) = world().await;
    world.session("s1", "running").await;
    world.get("/api/lablet-sessions/nobody/samples").await.problem(404, "not-found", None);
    let anonymous = world.request(Method::GET, "/api/lablet-sessions/s1/samples");
    world.send(anonymous).await.problem(401, "unauthenticated", None);
    // Open streams end with the gateway.
    let mut stream = Stream::open(&world).await;
    let (ended, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(20), world.end()), async {
        while stream.response.chunk().await.unwrap().is_some() {}
    });
    ended.unwrap().unwrap();
}

#[tokio::test]
async fn a_session_shows_what_it_used_in_boot_and_steady_phase_with_the_gaps() {
    let (world, _nats) = world().await;
    world.session("s1", "running").await;
    world.settle().await;
    let page = async |path: &str| world.get(path).await.expect(200).body.as_str().unwrap().to_owned();
    let before = page("/sessions/s1").await;
    assert!(before.contains("data-goes-on=\"yes\"") && !before.contains("Use: boot and steady"));
    assert!(page("/sessions/s1/usage").await.contains("Nothing was sampled yet"));
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    world.post(path, &profiled()).await.expect(200);
    // Somebody else's observation without a profile hides none.
    world.post(path, &observation(2, &json!({}))).await.expect(200);
    world.post("/api/internal/lablet-sessions/s1/transition", &json!({"new_status": "collecting"})).await.expect(200);
    world.settle().await;
    let shown = page("/sessions/s1").await;
    for words in [
        "Use: boot and steady",
        "18 samples, 2 missed",
        "8 cores",
        "2 GB",
        "2026-03-01 09:55:00 UTC, 90 s: the worker could not be reached",
        "no curve",
        "data-goes-on=\"no\"",
    ] {
        assert!(shown.contains(words), "{words} is missing");
    }
    let csv = page("/sessions/s1?table=usage&format=csv").await;
    for row in ["cpu_cores,cores,boot,8,4,2", "storage_mb,MB,steady,,,"] {
        assert!(csv.contains(&format!("\r\n{row}\r\n")), "{csv}");
    }
    let nodes = page("/sessions/s1/usage").await;
    assert!(nodes.find(">R1 ").unwrap() < nodes.find(">R0 ").unwrap(), "the greatest peak comes first: {nodes}");
    assert!(nodes.contains("peak 7 cores, 1 restart") && nodes.contains("One scale for all nodes: 0 to 8 cores."));
    assert!(nodes.contains("As a table") && nodes.contains("<th scope=\"row\">R1</th><td>iosv</td><td>steady</td>"));
    let csv = page("/sessions/s1/usage?format=csv&sort=memory_mb").await;
    assert!(csv.contains("node-1,R1,iosv,1,,,,7,2048,"), "{csv}");
}
