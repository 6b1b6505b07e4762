//! What becomes of events that a target does not take.

use app::dead_letters::{DeadLetterKind, Status};
use app::webhook_targets::TargetState;
use http::Method;

use crate::world::{FIELDS, Reply, World, until, workers};

#[tokio::test]
async fn a_failing_target_is_tried_again_and_nothing_overtakes_the_event() {
    let world = World::new().await;
    world.receiver.will_answer([500, 503, 429, 408]);
    world.register_workers(0..3).await;
    let running = world.start(world.target(""));
    world.receiver.messages_when(7).await;
    running.stop().await;
    assert_eq!(world.receiver.subjects(), ["w0", "w0", "w0", "w0", "w0", "w1", "w2"]);
    let status = world.status().await.unwrap();
    assert_eq!((status.failing_event, status.failed_attempts, status.attempts, status.delivered), (None, 0, 7, 3));
}

#[tokio::test]
async fn who_says_when_to_come_again_is_not_asked_before() {
    let world = World::new().await;
    world.receiver.will([Reply::Status(503, vec![("retry-after", "1")])]);
    world.register_workers(0..1).await;
    let running = world.start(world.target("attempts = 1"));
    let messages = world.receiver.messages_when(2).await;
    running.stop().await;
    let at = |index: usize| messages[index].header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(at(1) > at(0), "a second later, by the clock that signs");
    assert_eq!(world.dead_letters().waiting(DeadLetterKind::Webhook).await.unwrap(), 0, "it counts as no attempt");
}

#[tokio::test]
async fn what_a_target_refuses_goes_to_the_dead_letters_and_is_sent_again_on_request() {
    let world = World::new().await;
    world.receiver.will_answer([204, 422, 204, 422]);
    world.register_workers(0..3).await;
    let running = world.start(world.target(""));
    world.receiver.messages_when(3).await;
    let letters = world.dead_letters();
    let letter = until("a letter", || async {
        letters.list(Some(DeadLetterKind::Webhook), Some(Status::Waiting), 10).await.unwrap().pop()
    })
    .await;
    assert_eq!((letter.source.as_str(), letter.aggregate_id.as_deref()), ("booking", Some("w1")));
    assert_eq!(letter.reason, "422: said so");
    assert!(letter.position.is_some());
    assert_eq!(world.receiver.subjects(), workers(0..3), "the next ones come all the same");
    world.status_when("a cursor behind", |status| status.delivered == 2 && status.dead_lettered == 1).await;

    assert!(letters.request_retry(letter.id, "admin:ada").await.unwrap());
    let again = || async {
        let letter = letters.show(letter.id).await.unwrap()?.letter;
        (letter.attempts == 2).then_some(letter)
    };
    let refused = until("a second refusal", again).await;
    assert_eq!((refused.status, refused.reason.as_str()), (Status::Waiting, "422: said so"));

    assert!(letters.request_retry(letter.id, "admin:ada").await.unwrap());
    let settled = || async {
        let letter = letters.show(letter.id).await.unwrap()?.letter;
        (letter.status == Status::Retried).then_some(letter)
    };
    let settled = until("a settled letter", settled).await;
    assert_eq!(settled.settled_by.as_deref(), Some("admin:ada"));
    assert_eq!(world.receiver.subjects(), ["w0", "w1", "w2", "w1", "w1"]);
    running.stop().await;
    assert!(!letters.request_retry(letter.id, "admin:ada").await.unwrap(), "it does not wait any more");
}

#[tokio::test]
async fn an_event_is_given_up_after_its_attempts_and_the_count_survives_a_restart() {
    let world = World::new().await;
    world.receiver.will_answer([500, 500]);
    world.receiver.will([Reply::Status(500, vec![("connection", "close")])]);
    world.register_workers(0..2).await;
    let mut options = world.options();
    // After its second failure it waits for as long as the test likes.
    options.waits.first = std::time::Duration::from_secs(2);
    let first = world.start_with(world.target("attempts = 3"), options);
    world.status_when("two failures", |status| status.failed_attempts == 2).await;
    first.stop().await;
    let second = world.start(world.target("attempts = 3"));
    world.receiver.messages_when(4).await;
    world.status_when("a letter", |status| status.dead_lettered == 1 && status.delivered == 1).await;
    second.stop().await;
    assert_eq!(world.receiver.subjects(), ["w0", "w0", "w0", "w1"]);
}

#[tokio::test]
async fn a_target_that_is_gone_gets_nothing_until_it_is_resumed() {
    let world = World::new().await;
    world.receiver.will_answer([204, 410]);
    world.register_workers(0..3).await;
    let running = world.start(world.target(""));
    let status = world.status_when("a target that is gone", |status| status.state == TargetState::Gone).await;
    assert_eq!(status.state_reason.as_deref(), Some("it answered 410 Gone"));
    world.register_workers(3..4).await;
    let resumed = world.records().set_state("booking", TargetState::Active, "operator", None).await.unwrap();
    assert_eq!(resumed, Some(()));
    world.receiver.messages_when(5).await;
    running.stop().await;
    assert_eq!(world.receiver.subjects(), ["w0", "w1", "w1", "w2", "w3"], "410 is no delivery");
}

#[tokio::test]
async fn a_target_that_does_not_agree_is_asked_again_and_sent_nothing() {
    let world = World::new().await;
    world.receiver.will_agree(Some(Reply::Status(405, vec![])));
    world.register_workers(0..2).await;
    let running = world.start(world.targets(&format!("[booking]{FIELDS}attempts = 1")));
    let asked = || async { (world.receiver.requests(&Method::OPTIONS).len() >= 3).then_some(()) };
    until("three questions", asked).await;
    let status = world.status_when("what it answered", |status| status.last_answer.is_some()).await;
    let answer = status.last_answer.unwrap();
    assert!(answer.contains("OPTIONS was answered 405"), "{answer}");
    assert_eq!((world.receiver.messages().len(), status.dead_lettered), (0, 0));
    let agrees = vec![("webhook-allowed-origin", "lablet.example.com"), ("webhook-allowed-rate", "60")];
    world.receiver.will_agree(Some(Reply::Status(200, agrees)));
    let messages = world.receiver.messages_when(2).await;
    running.stop().await;
    assert_eq!(world.receiver.subjects(), workers(0..2));
    let at = |index: usize| messages[index].header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(at(1) > at(0), "not more than 60 a minute, by the clock that signs");
}

#[tokio::test]
async fn an_answer_is_read_up_to_a_bound_and_a_redirect_is_not_followed() {
    let world = World::new().await;
    let elsewhere = vec![("location", "/elsewhere")];
    world.receiver.will([Reply::Status(307, elsewhere)]);
    world.register_workers(0..1).await;
    let running = world.start(world.target(""));
    let messages = world.receiver.messages_when(2).await;
    running.stop().await;
    assert!(messages.iter().all(|message| message.path == "/hooks"), "{messages:?}");
}
