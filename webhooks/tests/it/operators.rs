//! What operators do with targets.

use app::log::Position;
use app::webhook_targets::{ReplayError, TargetState};

use crate::world::{World, until, workers};

#[tokio::test]
async fn a_part_of_the_log_is_sent_again_and_then_what_is_new() {
    let world = World::new().await;
    world.register_workers(0..6).await;
    let running = world.start(world.target("subjects = [\"w1\", \"w2\", \"w3\", \"w4\", \"w9\"]"));
    let messages = world.receiver.messages_when(4).await;
    let head = world.log.head().await.unwrap();
    world.status_when("a cursor at the end", |status| status.position == head).await;
    let position = |index: usize| messages[index].event()["position"].as_str().unwrap().parse::<Position>().unwrap();

    let records = world.records();
    records.replay("booking", position(0), Some(position(2))).await.unwrap();
    world.receiver.messages_when(6).await;
    world.status_when("the end of the replay", |status| status.replay_position.is_none()).await;
    assert_eq!(world.receiver.subjects(), ["w1", "w2", "w3", "w4", "w2", "w3"]);

    records.replay("booking", Position::START, None).await.unwrap();
    world.receiver.messages_when(10).await;
    world.register_workers(9..10).await;
    world.receiver.messages_when(11).await;
    running.stop().await;
    assert_eq!(world.receiver.subjects()[6..], ["w1", "w2", "w3", "w4", "w9"]);
    let ids = |message: usize| world.receiver.messages()[message].header("webhook-id").to_owned();
    assert_eq!(ids(0), ids(6), "an event keeps its id");

    let beyond: Position = "0000000009-00000000000000000001-0000000000000000001".parse().unwrap();
    assert!(matches!(records.replay("booking", beyond, None).await, Err(ReplayError::Beyond(_))));
    assert!(matches!(records.replay("nobody", Position::START, None).await, Err(ReplayError::NoTarget(_))));
    let empty = records.replay("booking", position(2), Some(position(1))).await;
    assert!(matches!(empty, Err(ReplayError::Empty { .. })));
}

#[tokio::test]
async fn a_paused_target_gets_nothing_and_goes_on_where_it_was() {
    let world = World::new().await;
    let running = world.start(world.target(""));
    world.register_workers(0..2).await;
    world.receiver.messages_when(2).await;
    let records = world.records();
    records.set_state("booking", TargetState::Paused, "operator", Some("they rebuild")).await.unwrap();
    // Another target would tell that the pause is heard; here the process is started again.
    running.stop().await;
    let running = world.start(world.target(""));
    world.register_workers(2..4).await;
    let status = world.status_when("a lag", |status| status.lag_seconds > 0.0).await;
    assert_eq!((status.state, status.state_reason.as_deref()), (TargetState::Paused, Some("they rebuild")));
    assert_eq!(world.receiver.messages().len(), 2);
    records.set_state("booking", TargetState::Active, "operator", None).await.unwrap();
    world.receiver.messages_when(4).await;
    assert_eq!(world.receiver.subjects(), workers(0..4));

    records.set_state("booking", TargetState::Paused, "operator", None).await.unwrap();
    until("a pause that is heard", || async {
        // An attempt that was under way may still end.
        (world.status().await?.state == TargetState::Paused).then_some(())
    })
    .await;
    running.stop().await;
    world.register_workers(4..6).await;
    assert!(records.skip("booking").await.unwrap().is_some());
    records.set_state("booking", TargetState::Active, "operator", None).await.unwrap();
    let running = world.start(world.target(""));
    world.register_workers(6..7).await;
    world.receiver.messages_when(5).await;
    running.stop().await;
    assert_eq!(world.receiver.subjects(), ["w0", "w1", "w2", "w3", "w6"], "what happened meanwhile was left out");
    assert_eq!(records.set_state("nobody", TargetState::Paused, "operator", None).await.unwrap(), None);
}
