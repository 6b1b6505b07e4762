//! How far consumers are, as the bus says.

use std::time::Duration;

use app::command_consumer;
use async_nats::jetstream::consumer::pull;
use bus::{ConsumersUnknown, StreamBounds, streams};

use crate::stage::Stage;

#[tokio::test]
async fn consumers_are_told_and_a_stream_that_is_missing_is_no_stream_without_consumers() {
    let stage = Stage::new().await;
    let timeout = Duration::from_secs(30);
    let missing = stage.bus.consumers(streams::COMMANDS, timeout).await.unwrap_err();
    assert!(matches!(missing, ConsumersUnknown::Refused { stream: streams::COMMANDS, .. }), "{missing:?}");
    command_consumer::ensure_consumer(&stage.bus, &StreamBounds::default()).await.unwrap();
    let publish = stage.bus.jetstream().publish("lablet.commands.grading.nothing", "{}".into());
    publish.await.unwrap().await.unwrap();
    let consumers = stage.bus.consumers(streams::COMMANDS, timeout).await.unwrap();
    let told: Vec<_> = consumers.iter().map(|state| (state.name.as_str(), state.pending, state.ack_pending)).collect();
    assert_eq!(told, [(command_consumer::CONSUMER, 1, 0)]);
}

#[tokio::test]
async fn the_consumer_of_an_earlier_release_makes_room_for_its_successor() {
    let stage = Stage::new().await;
    streams::ensure_commands(&stage.bus, &StreamBounds::default()).await.unwrap();
    let former = pull::Config { durable_name: Some("lablet_door".to_owned()), ..command_consumer::consumer_config() };
    stage.bus.ensure_consumer(streams::COMMANDS, &former).await.unwrap();
    let publish = stage.bus.jetstream().publish("lablet.commands.grading.nothing", "{}".into());
    publish.await.unwrap().await.unwrap();
    command_consumer::ensure_consumer(&stage.bus, &StreamBounds::default()).await.unwrap();
    let consumers = stage.bus.consumers(streams::COMMANDS, Duration::from_secs(30)).await.unwrap();
    let found: Vec<_> = consumers.iter().map(|state| (state.name.as_str(), state.pending)).collect();
    assert_eq!(found, [(command_consumer::CONSUMER, 1)], "what had not been handled is delivered");
}
