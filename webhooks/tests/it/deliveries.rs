//! What a target gets, in which order, and what a crash does to it.

use std::sync::Arc;

use http::Method;
use tokio::sync::Notify;

use crate::world::{FIELDS, Reply, World, until, workers};

#[tokio::test]
async fn a_target_gets_every_event_in_the_order_of_the_log_signed_and_once() {
    let world = World::new().await;
    world.register_workers(0..10).await;
    let running = world.start(world.targets(&format!("[booking]{FIELDS}")));
    world.register_workers(10..30).await;
    let messages = world.receiver.messages_when(30).await;
    running.stop().await;
    assert_eq!(world.receiver.subjects(), workers(0..30));
    let mut before = app::log::Position::START.to_string();
    for message in &messages {
        let event = message.event();
        assert_eq!(message.path, "/hooks");
        assert_eq!(message.header("content-type"), "application/cloudevents+json");
        assert_eq!(event["type"], "io.lablet.worker.registered.v1");
        assert_eq!(event["previousposition"], before);
        before = event["position"].as_str().unwrap().to_owned();
        assert_eq!(message.header("webhook-id"), event["id"].as_str().unwrap());
        assert!(message.header("webhook-signature").starts_with("v1,"));
        assert!(message.header("user-agent").starts_with("lablet-webhooks/"));
    }
    let asked = world.receiver.requests(&Method::OPTIONS);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("webhook-request-origin"), "lablet.example.com");

    // A second start neither asks nor sends again.
    let running = world.start(world.targets(&format!("[booking]{FIELDS}")));
    world.register_workers(30..31).await;
    world.receiver.messages_when(31).await;
    running.stop().await;
    assert_eq!(world.receiver.subjects(), workers(0..31));
    assert_eq!(world.receiver.requests(&Method::OPTIONS).len(), 1, "what was agreed is remembered");
    let status = world.status().await.unwrap();
    assert_eq!((status.attempts, status.delivered, status.dead_lettered), (31, 31, 0));
    assert_eq!((status.last_answer.as_deref(), status.lag_seconds), (Some("204"), 0.0));
}

#[tokio::test]
async fn in_binary_mode_attributes_are_headers_and_data_is_the_body() {
    let world = World::new().await;
    world.register_workers(0..1).await;
    let running = world.start(world.target("format = \"binary\""));
    let message = world.receiver.messages_when(1).await.remove(0);
    running.stop().await;
    assert_eq!(message.header("ce-type"), "io.lablet.worker.registered.v1");
    assert_eq!((message.header("ce-specversion"), message.header("ce-subject")), ("1.0", "w0"));
    assert_eq!(message.header("content-type"), "application/json");
    assert_eq!(message.header("ce-position"), world.log.head().await.unwrap().to_string());
    assert_eq!(message.event()["worker_id"], "w0", "the body is the data");
}

#[tokio::test]
async fn an_event_whose_answer_was_lost_in_a_crash_is_sent_again() {
    let world = World::new().await;
    let go_on = Arc::new(Notify::new());
    world.receiver.will_answer([204]);
    world.receiver.will([Reply::Held(go_on)]);
    world.register_workers(0..3).await;
    let first = world.start(world.target(""));
    world.receiver.messages_when(2).await;
    first.crash().await;
    let second = world.start(world.target(""));
    world.receiver.messages_when(4).await;
    second.stop().await;
    assert_eq!(world.receiver.subjects(), ["w0", "w1", "w1", "w2"]);
    let ids: Vec<String> =
        world.receiver.messages().iter().map(|message| message.header("webhook-id").to_owned()).collect();
    assert_eq!(ids[1], ids[2], "the receiver knows it by its id");
}

#[tokio::test]
async fn one_of_two_processes_delivers_and_the_other_takes_over() {
    let world = World::new().await;
    let first = world.start(world.target(""));
    world.register_workers(0..1).await;
    world.receiver.messages_when(1).await;
    let second = world.start(world.target(""));
    world.register_workers(1..20).await;
    world.receiver.messages_when(20).await;
    assert_eq!(world.receiver.subjects(), workers(0..20), "no event twice");
    first.stop().await;
    world.register_workers(20..30).await;
    world.receiver.messages_when(30).await;
    second.stop().await;
    assert_eq!(world.receiver.subjects(), workers(0..30));
}

#[tokio::test]
async fn a_target_that_does_not_answer_holds_up_no_other() {
    let world = World::new().await;
    world.receiver.will([Reply::Held(Arc::new(Notify::new()))]);
    world.register_workers(0..1).await;
    let slow = world.start(world.target(""));
    world.receiver.messages_when(1).await;
    slow.crash().await;
    // From here on the slow one's answers are held whatever it is sent: it has an address of its own.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("http://{}/", silent.local_addr().unwrap());
    let toml = format!(
        "[quick]{FIELDS}handshake = false\n[slow]{}handshake = false",
        FIELDS.replace("{url}/hooks", &silent_url)
    );
    let both = world.start(world.targets(&toml));
    world.register_workers(1..20).await;
    world.receiver.messages_when(1 + 20).await;
    let slow = world.records().list().await.unwrap().into_iter().find(|status| status.name == "slow").unwrap();
    assert_eq!(slow.delivered, 0);
    both.crash().await;
}

#[tokio::test]
async fn a_filter_lets_through_what_it_names_and_the_cursor_passes_the_rest() {
    let world = World::new().await;
    world.register_workers(0..1_500).await;
    let nothing = world.start(world.target("types = [\"io.lablet.lablet_session.*\"]"));
    let head = world.log.head().await.unwrap();
    world.status_when("a cursor at the end", |status| status.position == head).await;
    nothing.stop().await;
    assert_eq!(world.receiver.messages().len(), 0);

    let some = format!("[some]{FIELDS}handshake = false\nsubjects = [\"w7\", \"w149*\"]");
    let some = world.start(world.targets(&some));
    let status = || async {
        world
            .records()
            .list()
            .await
            .unwrap()
            .into_iter()
            .find(|status| status.name == "some" && status.position == head)
    };
    until("a cursor at the end", status).await;
    some.stop().await;
    let expected: Vec<String> = ["w7".to_owned(), "w149".to_owned()].into_iter().chain(workers(1_490..1_500)).collect();
    assert_eq!(world.receiver.subjects(), expected);
    assert!(world.records().list().await.unwrap().iter().any(|status| status.name == "booking" && !status.configured));
}

#[tokio::test]
async fn a_new_target_begins_with_what_happens_from_then_on() {
    let world = World::new().await;
    world.register_workers(0..5).await;
    let toml = format!("[booking]{}handshake = false", FIELDS.replace("start = \"beginning\"", ""));
    let running = world.start(world.targets(&toml));
    world.status_when("a target", |_| true).await;
    world.register_workers(5..8).await;
    world.receiver.messages_when(3).await;
    running.stop().await;
    assert_eq!(world.receiver.subjects(), workers(5..8));
}
