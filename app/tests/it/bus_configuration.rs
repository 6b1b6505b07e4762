//! Streams and consumers that exist and are not as they have to be.

use std::time::Duration;

use app::command_consumer;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream;
use bus::{Deviation, StreamBounds, streams};
use proptest::prelude::*;

use crate::stage::Stage;

const TIMEOUT: Duration = Duration::from_secs(30);

async fn told(stage: &Stage) -> Vec<Deviation> {
    stage.bus.deviations(&[(streams::COMMANDS, command_consumer::consumer_config())], TIMEOUT).await.unwrap()
}

fn fields(deviations: &[Deviation]) -> Vec<&str> {
    deviations.iter().map(|deviation| deviation.field.as_str()).collect()
}

#[tokio::test]
async fn a_stream_that_loses_commands_is_told_and_mended_and_its_capacity_left() {
    let stage = Stage::new().await;
    let as_it_has_to_be = streams::commands(&StreamBounds::default());
    let config = stream::Config {
        max_age: Duration::from_secs(600),
        no_ack: true,
        max_messages_per_subject: 3,
        discard: stream::DiscardPolicy::Old,
        max_bytes: 123_456_789,
        max_messages: 77,
        ..as_it_has_to_be.clone()
    };
    stage.bus.jetstream().create_stream(config).await.unwrap();
    let found = told(&stage).await;
    assert_eq!(fields(&found), ["discard", "max_msgs_per_subject", "no_ack", "max_age"]);
    assert_eq!(found[3].to_string(), "stream LABLET_COMMANDS: max_age is 600s, and has to be 0ns");

    let info = streams::ensure_commands(&stage.bus, &StreamBounds::default()).await.unwrap();
    assert_eq!(told(&stage).await, []);
    assert_eq!((info.config.max_bytes, info.config.max_messages), (123_456_789, 77));
}

#[tokio::test]
async fn what_the_server_never_changes_is_told_with_what_an_operator_can_do_and_is_worked_with() {
    let stage = Stage::new().await;
    let memory = stream::Config { storage: stream::StorageType::Memory, ..streams::commands(&StreamBounds::default()) };
    let stream = stage.bus.jetstream().create_stream(memory).await.unwrap();
    let consumer = pull::Config {
        ack_policy: AckPolicy::Explicit,
        replay_policy: async_nats::jetstream::consumer::ReplayPolicy::Original,
        max_deliver: 3,
        ack_wait: Duration::from_secs(5),
        ..command_consumer::consumer_config()
    };
    stream.create_consumer(consumer).await.unwrap();
    assert_eq!(fields(&told(&stage).await), ["storage", "replay_policy", "max_deliver", "ack_wait"]);
    command_consumer::ensure_consumer(&stage.bus, &StreamBounds::default()).await.unwrap();
    let left = told(&stage).await;
    assert_eq!(fields(&left), ["storage", "replay_policy"], "the rest was mended");
    assert!(left[0].remedy.as_ref().unwrap().contains("lablet bus replace LABLET_COMMANDS"));
    assert!(left[1].remedy.as_ref().unwrap().contains("nats consumer rm LABLET_COMMANDS lablet_commands"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn whatever_of_a_consumer_can_be_changed_is_mended(
        max_deliver in -1..20_i64, ack_wait in 1..300_u64, max_ack_pending in 1..5_000_i64, headers_only: bool,
        max_batch in 0..9_i64, max_bytes in 0..9_000_i64, narrow: bool,
    ) {
        let wanted = command_consumer::consumer_config();
        let config = pull::Config {
            max_deliver,
            ack_wait: Duration::from_secs(ack_wait),
            max_ack_pending,
            headers_only,
            max_batch,
            max_bytes,
            filter_subject: if narrow { "lablet.commands.grading.>".to_owned() } else { wanted.filter_subject.clone() },
            ..wanted
        };
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let stage = Stage::new().await;
            let commands = streams::commands(&StreamBounds::default());
            let stream = stage.bus.jetstream().create_stream(commands).await.unwrap();
            stream.create_consumer(config.clone()).await.unwrap();
            command_consumer::ensure_consumer(&stage.bus, &StreamBounds::default()).await.unwrap();
            assert_eq!(told(&stage).await, [], "{config:?}");
        });
    }
}
