//! What needs somebody, and controllers that tell of themselves.

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{OPERATOR, Surroundings, VIEWER, World, until, worker};

/// A world with a bus, and who publishes on it as a controller does.
async fn world() -> (World, async_nats::Client) {
    let nats = servers::testing::nats().await;
    let world =
        World::start_in(Surroundings { nats_url: Some(nats.url().to_owned()), ..Surroundings::default() }).await;
    (world, nats.connect().await)
}

/// What a controller tells that reads one worker.
fn report(state: &str, is_ending: bool) -> Value {
    let failure = json!({
        "at": "2026-03-01T10:00:00Z", "since": "2026-03-01T09:00:00Z", "times": 7,
        "words": "cml.example.org: CML refused the user name or the password",
    });
    let failed = state != "answers";
    json!({
        "id": "c1", "host": "lab-host", "version": "0.1.0", "started_at": "2026-03-01T09:00:00Z",
        "told_at": "2026-03-01T10:00:00Z", "is_ending": is_ending, "has_credentials": true, "gateway_error": null,
        "workers": [{
            "worker_id": "w1", "host": "cml.example.org", "state": state, "last_answer_at": null,
            "last_error": if failed { failure.clone() } else { Value::Null },
            "failures": if failed { json!([failure]) } else { json!([]) },
        }],
    })
}

impl World {
    /// What this controller tells, told until the worker's contact is as it says.
    async fn hear(&self, nats: &async_nats::Client, told: &Value, seen: &str) -> Value {
        until("the worker's contact", async || {
            nats.publish("lablet.live.controllers.c1", told.to_string().into()).await.unwrap();
            let worker = self.get("/api/workers/w1").await.expect(200).body;
            if worker["contact"]["state"] == seen { Ok(worker) } else { Err(worker.to_string()) }
        })
        .await
    }

    async fn kinds(&self) -> Vec<String> {
        let attention = self.get("/api/attention").await.expect(200).body;
        let items = attention["items"].as_array().unwrap().iter();
        items.map(|item| item["kind"].as_str().unwrap().to_owned()).collect()
    }

    async fn page(&self, path: &str) -> String {
        let page = self.send(self.request(Method::GET, path).bearer_auth(VIEWER)).await.expect(200);
        page.body.as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_worker_that_refuses_the_sign_in_is_told_with_its_host_wherever_somebody_looks() {
    let (world, nats) = world().await;
    world.session("s1", "running").await;
    let unknown = world.get("/api/workers/w1").await.expect(200).body;
    assert_eq!(unknown["contact"], Value::Null, "what nobody told is unknown");
    let heard = world.get("/api/controllers").await.expect(200).body;
    assert_eq!((&heard["presence"]["state"], &heard["items"]), (&json!("not_heard_yet"), &json!([])));

    let told = world.hear(&nats, &report("sign_in_refused", false), "sign_in_refused").await;
    assert_eq!(told["contact"]["last_error"]["times"], 7);
    assert_eq!(told["contact"]["controller_host"], "lab-host");
    let listed = world.get("/api/workers").await.expect(200).body;
    assert_eq!(listed["items"][0]["contact"]["state"], "sign_in_refused");
    let controllers = world.get("/api/controllers").await.expect(200).body;
    assert_eq!(controllers["words"], "1 controller runs");
    assert_eq!(
        (&controllers["items"][0]["state"], &controllers["items"][0]["failing_workers"]),
        (&json!("running"), &json!(1))
    );

    let attention = until("the worker among what needs attention", async || {
        let attention = world.get("/api/attention").await.expect(200).body;
        let found = attention["items"].as_array().unwrap().iter().find(|item| item["kind"] == "worker_sign_in_refused");
        found.cloned().ok_or_else(|| attention.to_string())
    })
    .await;
    assert_eq!((&attention["severity"], &attention["since"]), (&json!("bad"), &json!("2026-03-01T09:00:00Z")));
    assert_eq!(
        attention["next_step"],
        json!({"words": "See its last error", "path": "/workers/w1#contact", "command": null})
    );

    let overview = world.page("/").await;
    assert!(overview.contains("Needs attention") && overview.contains("/workers/w1#contact"), "{overview}");
    let page = world.page("/workers/w1").await;
    assert!(page.contains("refuses the sign-in") && page.contains("cml.example.org: CML refused"), "{page}");
    assert!(page.contains("need attention\"") || page.contains("needs attention\""), "a badge on every page: {page}");
    assert!(world.page("/workers").await.contains("refuses the sign-in"));
    let operations = world.page("/operations").await;
    assert!(operations.contains("lab-host") && operations.contains("1 of 1 worker cannot be read"), "{operations}");

    // Where an observation is requested it is said, and the request is taken all the same.
    let session = world.page("/sessions/s1").await;
    assert!(session.contains("The worker refuses the sign-in"), "{session}");
    let observe = world.request(Method::POST, "/api/lablet-sessions/s1/observe-resources").bearer_auth(OPERATOR);
    let requested = world.send(observe).await.expect(202).body;
    assert!(
        requested["message"].as_str().unwrap().contains("correct LABLET_CML_CREDENTIALS on lab-host"),
        "{requested}"
    );

    let told = world.hear(&nats, &report("answers", false), "answers").await;
    assert_eq!(told["contact"]["last_error"], Value::Null);
    until("nothing of the worker", async || {
        let kinds = world.kinds().await;
        if kinds.iter().any(|kind| kind.starts_with("worker_")) { Err(format!("{kinds:?}")) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_report_harms_nobody_and_one_that_ends_is_known_to_have_ended() {
    let (world, nats) = world().await;
    world.post("/api/workers", &worker("w1")).await.expect(201);
    world.settle().await;
    for other in ["", "{", "null", "{\"id\":\"c2\"}", &"x".repeat(600_000)] {
        nats.publish("lablet.live.controllers.c2", other.to_owned().into()).await.unwrap();
    }
    world.hear(&nats, &report("answers", false), "answers").await;
    assert_eq!(world.get("/api/controllers").await.expect(200).body["items"].as_array().unwrap().len(), 1);
    world.hear(&nats, &report("answers", true), "unknown").await;
    let controllers = world.get("/api/controllers").await.expect(200).body;
    assert_eq!(controllers["items"][0]["state"], "ended");
}

#[tokio::test]
async fn what_needs_attention_is_a_table_and_a_file() {
    let world = World::start().await;
    // No relay, no watcher and no bus in this test.
    let kinds = world.kinds().await;
    assert!(
        ["bus_disconnected", "relay_absent", "watcher_absent"]
            .iter()
            .all(|kind| kinds.iter().any(|found| found == kind)),
        "{kinds:?}"
    );
    let csv = world.page("/?table=attention&format=csv").await;
    assert!(csv.contains("severity,kind,count,what,since,next_step,path_or_command"), "{csv}");
    assert!(csv.contains("lablet relay"), "{csv}");
    world.send(world.request(Method::GET, "/api/attention")).await.problem(401, "unauthenticated", None);
}
