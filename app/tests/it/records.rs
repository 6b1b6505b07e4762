//! The stream of full records, as the relay writes it and a reader follows it.

use std::time::Duration;

use app::log::{Position, RecordedEvent};
use app::records::{RecordBatch, RecordFeed};
use bus::streams;
use chrono::TimeDelta;
use tokio::time::timeout;

use crate::relay::{Running, settled};
use crate::stage::{Stage, until};

/// Follows the stream from some minutes ago.
async fn open(stage: &Stage) -> RecordFeed {
    let since = stage.log.clock().now() - TimeDelta::minutes(5);
    until("a stream of records", || async { RecordFeed::open(&stage.bus, since).await.ok() }).await
}

/// Takes what chains, as a read model does, until it is at `head`.
async fn follow(feed: &mut RecordFeed, mut at: Position, head: Position) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    while at < head {
        let next = timeout(Duration::from_secs(20), feed.next()).await.unwrap();
        let RecordBatch { previous, events: batch } = next.unwrap();
        assert!(previous <= at, "a hole: {previous} after {at}");
        events.extend(batch.into_iter().filter(|event| event.position > at));
        at = events.last().map_or(at, |event| event.position);
    }
    events
}

#[tokio::test]
async fn the_stream_of_records_holds_what_the_log_holds_with_every_column() {
    let stage = Stage::new().await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..30).await;
    let mut feed = open(&stage).await;
    stage.register_workers(30..60).await;
    stage.database.settle().await;
    let head = stage.log.head().await.unwrap();
    let events = follow(&mut feed, Position::START, head).await;
    assert_eq!(events, stage.log.read(Position::START, 1_000).await.unwrap());
    // A relay that publishes again from the log leaves readers where they are.
    stage.bus.jetstream().delete_stream(streams::EVENTS).await.unwrap();
    settled(&stage, "60 events again").await;
    stage.register_workers(60..61).await;
    stage.database.settle().await;
    let after = follow(&mut feed, head, stage.log.head().await.unwrap()).await;
    assert_eq!(after, stage.log.read(head, 10).await.unwrap());
    relay.stop().await;
}

#[tokio::test]
async fn a_stream_of_records_that_was_deleted_comes_back_and_holds_no_notice_up() {
    let stage = Stage::new().await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..5).await;
    drop(open(&stage).await);
    stage.bus.jetstream().delete_stream(streams::RECORDS).await.unwrap();
    stage.register_workers(5..10).await;
    settled(&stage, "10 events").await;
    let mut feed = open(&stage).await;
    let before = stage.log.head().await.unwrap();
    stage.register_workers(10..12).await;
    stage.database.settle().await;
    let events = follow(&mut feed, before, stage.log.head().await.unwrap()).await;
    assert_eq!(events, stage.log.read(before, 10).await.unwrap());
    relay.stop().await;
}
