//! A bus that cannot store, and streams that lost what they held.

use std::time::Duration;

use app::relay::progress;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream;
use bus::{StreamBounds, streams};
use cloudevents::AttributesReader as _;

use crate::relay::{Running, settled};
use crate::stage::{Stage, until};

const MOST_BYTES: usize = 4 << 20;

/// A stream of somebody else's that takes most of the store.
async fn fill_the_store(jetstream: &async_nats::jetstream::Context, leave: usize) {
    let config =
        stream::Config { name: "FILLER".to_owned(), subjects: vec!["filler".to_owned()], ..Default::default() };
    jetstream.create_stream(config).await.unwrap();
    for _ in 0..(MOST_BYTES - leave) / 100_000 {
        jetstream.publish("filler", vec![b'x'; 100_000].into()).await.unwrap().await.unwrap();
    }
}

async fn stream_identity(stage: &Stage) -> String {
    stage.bus.jetstream().get_stream(streams::EVENTS).await.unwrap().cached_info().created.to_string()
}

async fn add_a_consumer_of_others(stage: &Stage) {
    let stream = stage.bus.jetstream().get_stream(streams::EVENTS).await.unwrap();
    let config = pull::Config { durable_name: Some("billing".to_owned()), max_deliver: 7, ..Default::default() };
    stream.create_consumer(config).await.unwrap();
}

#[tokio::test]
async fn a_full_store_is_waited_for_with_an_alarm_and_no_stream_is_deleted() {
    let server = servers::testing::configured_nats(|folder| {
        format!("jetstream {{ store_dir: {:?}, max_file_store: {MOST_BYTES} }}", folder.join("jetstream"))
    })
    .await;
    let stage = Stage::on(&format!("nats://127.0.0.1:{}", server.port())).await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..3).await;
    settled(&stage, "3 events").await;
    add_a_consumer_of_others(&stage).await;
    let before = stream_identity(&stage).await;
    fill_the_store(stage.bus.jetstream(), 300_000).await;

    for number in 0..12 {
        stage.create_large_definition(&format!("d{number}")).await;
    }
    let hindrance = until("the alarm", || async { progress(stage.log.pool()).await.unwrap().hindrance }).await;
    assert!(hindrance.contains("resources") || hindrance.contains("storage"), "{hindrance}");
    // The relay has looked at the stream several times meanwhile.
    let blocked_at = progress(stage.log.pool()).await.unwrap().hindered_since;
    until("another try", || async {
        let now = progress(stage.log.pool()).await.unwrap();
        (now.hindrance.is_some() && now.leased_until.unwrap() > blocked_at.unwrap() + Duration::from_secs(6))
            .then_some(())
    })
    .await;
    assert_eq!(stream_identity(&stage).await, before, "the stream is the same");
    assert_eq!(progress(stage.log.pool()).await.unwrap().losses, 0);

    stage.bus.jetstream().delete_stream("FILLER").await.unwrap();
    let published = settled(&stage, "everything, once there is room").await;
    assert_eq!(published.len(), 15);
    assert_eq!(stream_identity(&stage).await, before);
    let stream = stage.bus.jetstream().get_stream(streams::EVENTS).await.unwrap();
    assert_eq!(stream.consumer_info("billing").await.unwrap().config.max_deliver, 7);
    until("the alarm's end", || async { progress(stage.log.pool()).await.unwrap().hindrance.is_none().then_some(()) })
        .await;
    relay.stop().await;
}

#[tokio::test]
async fn a_stream_that_lost_its_messages_is_replaced_with_its_consumers_and_at_most_once_an_hour() {
    let nats = servers::testing::private_nats().await;
    let stage = Stage::on(nats.url()).await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..10).await;
    settled(&stage, "10 events").await;
    add_a_consumer_of_others(&stage).await;
    let before = stream_identity(&stage).await;
    let lose = || {
        let jetstream = nats.jetstream_dir().to_owned();
        std::fs::remove_dir_all(jetstream).unwrap();
    };
    lose();
    // More than one of the server's files holds: it misses its folder.
    for number in 0..180 {
        stage.create_large_definition(&format!("d{number}")).await;
    }
    settled(&stage, "190 events").await;
    assert_ne!(stream_identity(&stage).await, before);
    let stream = stage.bus.jetstream().get_stream(streams::EVENTS).await.unwrap();
    let consumer = stream.consumer_info("billing").await.unwrap();
    assert_eq!((consumer.config.max_deliver, consumer.num_pending), (7, 190), "others' consumers come back with it");

    let replaced_at = progress(stage.log.pool()).await.unwrap().stream_replaced_at.unwrap();
    lose();
    for number in 180..360 {
        stage.create_large_definition(&format!("d{number}")).await;
    }
    let what = "the alarm that it is not replaced again";
    until(what, || async {
        let hindrance = progress(stage.log.pool()).await.unwrap().hindrance?;
        hindrance.contains("lablet bus replace LABLET_EVENTS").then_some(())
    })
    .await;
    assert_eq!(progress(stage.log.pool()).await.unwrap().stream_replaced_at, Some(replaced_at));
    // What an operator does then.
    let kept = streams::replace(&stage.bus, streams::EVENTS, &StreamBounds::default()).await.unwrap();
    assert_eq!(kept, ["billing"]);
    let published = settled(&stage, "370 events").await;
    assert_eq!(published.first().unwrap().ty(), "io.lablet.worker.registered.v1");
    relay.stop().await;
}

#[tokio::test]
async fn the_stream_of_commands_is_never_deleted_whatever_it_has_lost() {
    let nats = servers::testing::private_nats().await;
    let stage = Stage::on(nats.url()).await;
    streams::ensure_commands(&stage.bus, &StreamBounds::default()).await.unwrap();
    let publish = |number: usize| {
        let jetstream = stage.bus.jetstream().clone();
        async move {
            let payload = vec![b'x'; 500_000];
            jetstream.publish(format!("lablet.commands.t.c{number}"), payload.into()).await.unwrap().await
        }
    };
    for number in 0..30 {
        publish(number).await.unwrap();
    }
    let created = || async {
        stage.bus.jetstream().get_stream(streams::COMMANDS).await.unwrap().cached_info().created.to_string()
    };
    let before = created().await;
    std::fs::remove_dir_all(nats.jetstream_dir()).unwrap();
    for _ in 0..5 {
        streams::ensure_commands(&stage.bus, &StreamBounds::default()).await.unwrap();
    }
    assert_eq!(created().await, before);
    assert_eq!(streams::replace(&stage.bus, streams::COMMANDS, &StreamBounds::default()).await.unwrap(), [""; 0]);
    assert_ne!(created().await, before, "an operator may");
    publish(1).await.unwrap();
}
