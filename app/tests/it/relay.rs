//! The relay against real Postgres and NATS.

use std::time::Duration;

use app::log::{Log, Position};
use app::relay::{Relay, RelayOptions, progress};
use bus::{Bus, cloud_event, streams};
use cloudevents::{AttributesReader as _, Event};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, connect, until};

pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(log: &Log, bus: &Bus) -> Self {
        let stop = CancellationToken::new();
        let options = RelayOptions {
            lease: Duration::from_secs(2),
            audit_every: Duration::from_millis(500),
            confirm_loss: Duration::from_secs(1),
            ..RelayOptions::default()
        };
        let relay = Relay::new(log.clone(), bus.clone(), options);
        let task = tokio::spawn(relay.run(stop.clone()));
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Waits until every event of the log is published, then compares the stream with the log.
pub(crate) async fn settled(stage: &Stage, what: &str) -> Vec<Event> {
    stage.database.settle().await;
    let expected: Vec<String> = stage
        .log
        .read_without_payloads(Position::START, 10_000)
        .await
        .unwrap()
        .iter()
        .map(|event| event.event_id.to_string())
        .collect();
    let head = stage.log.head().await.unwrap();
    // Reading the stream over and over would keep messages in the server's memory that it has lost on disk.
    until(what, || async { (progress(stage.log.pool()).await.unwrap().position >= head).then_some(()) }).await;
    until(what, || async {
        let published = stage.published().await;
        let ids: Vec<String> = published.iter().map(|event| event.id().to_owned()).collect();
        (ids == expected).then_some(published)
    })
    .await
}

fn position(event: &Event, name: &str) -> Position {
    cloud_event::extension(event, name).unwrap().parse().unwrap()
}

#[tokio::test]
async fn events_are_published_in_order_each_naming_the_position_before_it() {
    let stage = Stage::new().await;
    stage.register_workers(0..5).await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(5..300).await;
    let published = settled(&stage, "300 events").await;
    let mut before = Position::START;
    for event in &published {
        assert_eq!(position(event, "previousposition"), before);
        before = position(event, "position");
    }
    assert_eq!(before, stage.log.head().await.unwrap(), "nothing was recorded since");
    relay.stop().await;
    assert_eq!(progress(stage.log.pool()).await.unwrap().position, before);
    assert_eq!(progress(stage.log.pool()).await.unwrap().holder, None, "the lease was given back");
}

#[tokio::test]
async fn restarts_neither_repeat_nor_skip() {
    let stage = Stage::new().await;
    for round in 0..5 {
        let relay = Running::start(&stage.log, &stage.bus);
        stage.register_workers(round * 20..(round + 1) * 20).await;
        if round == 2 {
            // As a crash: no acknowledgement is awaited and the lease runs out.
            relay.task.abort();
        } else {
            relay.stop().await;
        }
    }
    let relay = Running::start(&stage.log, &stage.bus);
    settled(&stage, "100 events, each once").await;
    relay.stop().await;
}

#[tokio::test]
async fn one_of_two_relays_works_and_the_other_takes_over() {
    let stage = Stage::new().await;
    let first = Running::start(&stage.log, &stage.bus);
    until("a relay that works", || async { progress(stage.log.pool()).await.unwrap().holder }).await;
    let holder = progress(stage.log.pool()).await.unwrap().holder;
    let second = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..20).await;
    settled(&stage, "20 events").await;
    assert_eq!(progress(stage.log.pool()).await.unwrap().holder, holder);
    first.stop().await;
    stage.register_workers(20..40).await;
    settled(&stage, "40 events").await;
    let now = progress(stage.log.pool()).await.unwrap().holder;
    assert!(now.is_some() && now != holder);
    second.stop().await;
}

#[tokio::test]
async fn a_deleted_stream_comes_back_from_the_log() {
    let stage = Stage::new().await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..30).await;
    settled(&stage, "30 events").await;
    stage.bus.jetstream().delete_stream(streams::EVENTS).await.unwrap();
    settled(&stage, "30 events again, nothing having happened since").await;
    stage.bus.jetstream().delete_stream(streams::EVENTS).await.unwrap();
    stage.register_workers(30..40).await;
    settled(&stage, "40 events").await;
    assert!(progress(stage.log.pool()).await.unwrap().losses >= 2);
    relay.stop().await;
}

#[tokio::test]
async fn a_stream_replaced_while_the_relay_works_has_every_event_in_its_order() {
    let stage = Stage::new().await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..20).await;
    settled(&stage, "20 events").await;
    for round in 1..=5 {
        let replace = async {
            streams::replace(&stage.bus, streams::EVENTS, &streams::StreamBounds::default()).await.unwrap();
        };
        tokio::join!(stage.register_workers(round * 20..(round + 1) * 20), replace);
        settled(&stage, "all events in their order, none ahead of those that were lost").await;
    }
    relay.stop().await;
}

#[tokio::test]
async fn a_message_of_somebody_else_on_the_stream_holds_nothing_up() {
    let stage = Stage::new().await;
    let relay = Running::start(&stage.log, &stage.bus);
    for round in 0..3 {
        stage.register_workers(round * 5..(round + 1) * 5).await;
        stage.bus.jetstream().publish("lablet.events.worker.changed.stray", "{}".into()).await.unwrap().await.unwrap();
    }
    stage.database.settle().await;
    let head = stage.log.head().await.unwrap();
    until("all events", || async { (progress(stage.log.pool()).await.unwrap().position >= head).then_some(()) }).await;
    let compared = app::relay::compare(&stage.log, &stage.bus, head).await.unwrap();
    assert_eq!((compared.events, compared.missing, compared.unknown), (15, 0, 1), "{compared:?}");
    relay.stop().await;
}

#[tokio::test]
async fn what_a_foreign_writer_calls_its_aggregates_stops_no_relay() {
    let stage = Stage::new().await;
    let relay = Running::start(&stage.log, &stage.bus);
    let ids = ["two words", "a.b", "*", "lablet.>", "line\r\nend", "", "\u{e4}", &"long".repeat(500)];
    for id in ids {
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             VALUES ('order', $1, 1, 'Order placed', '1', '{}', '{}')",
        )
        .bind(id)
        .execute(&stage.database.pool())
        .await
        .unwrap();
    }
    stage.register_workers(0..1).await;
    stage.database.settle().await;
    let head = stage.log.head().await.unwrap();
    let reached = || async { (progress(stage.log.pool()).await.unwrap().position >= head).then_some(()) };
    until("the relay at the end of the log", reached).await;
    let mut stream = stage.bus.jetstream().get_stream(streams::EVENTS).await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, ids.len() as u64 + 1);
    let first = stream.get_raw_message(1).await.unwrap();
    assert_eq!(first.subject.as_str(), "lablet.events.Order%20placed.two%20words");
    let notice = cloud_event::read(Some(&first.headers), &first.payload, streams::LARGEST_EVENT).unwrap();
    assert_eq!(notice.subject(), Some("two words"), "the notice says the id as it is");
    relay.stop().await;
}

#[tokio::test]
async fn a_server_that_lost_everything_gets_everything_again() {
    let mut nats = servers::testing::private_nats().await;
    let stage = Stage::on(nats.url()).await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..30).await;
    settled(&stage, "30 events").await;
    nats.kill_now().await;
    stage.register_workers(30..60).await;
    nats.lose_everything().await;
    settled(&stage, "60 events").await;
    relay.stop().await;
}

#[tokio::test]
async fn a_jetstream_folder_deleted_while_it_runs_heals_by_itself() {
    let mut nats = servers::testing::private_nats().await;
    let stage = Stage::on(nats.url()).await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..30).await;
    settled(&stage, "30 events").await;
    std::fs::remove_dir_all(nats.jetstream_dir()).unwrap();
    stage.register_workers(30..60).await;
    settled(&stage, "60 events").await;
    nats.kill_now().await;
    nats.start_again().await;
    settled(&stage, "60 events, on a server that was started again").await;
    relay.stop().await;
}

#[tokio::test]
async fn a_stream_that_takes_nothing_more_is_replaced() {
    let nats = servers::testing::private_nats().await;
    let stage = Stage::on(nats.url()).await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..10).await;
    settled(&stage, "10 events").await;
    std::fs::remove_dir_all(nats.jetstream_dir()).unwrap();
    // More than one of the server's files holds: it misses its folder.
    for number in 0..180 {
        stage.create_large_definition(&format!("d{number}")).await;
    }
    settled(&stage, "190 events").await;
    assert!(progress(stage.log.pool()).await.unwrap().losses > 0);
    relay.stop().await;
}

#[tokio::test]
async fn a_bus_that_is_away_at_first_is_waited_for() {
    let mut nats = servers::testing::private_nats().await;
    let stage = Stage::on(nats.url()).await;
    nats.stop().await;
    let bus = bus::Bus::connect(&bus::BusOptions::new(nats.url(), "late")).await.unwrap();
    let relay = Running::start(&stage.log, &bus);
    stage.register_workers(0..10).await;
    nats.start_again().await;
    settled(&stage, "10 events").await;
    relay.stop().await;
    drop(connect(nats.url()).await);
}

#[tokio::test]
async fn a_lease_whose_times_cannot_be_read_is_an_error_of_its_reader_alone() {
    let stage = Stage::new().await;
    sqlx::query("UPDATE relays SET leased_until = 'infinity', hindered_since = '-infinity'")
        .execute(&stage.database.pool())
        .await
        .unwrap();
    let unreadable = progress(stage.log.pool()).await.unwrap_err();
    assert!(matches!(unreadable, sqlx::Error::ColumnDecode { .. }), "{unreadable}");
    sqlx::query("UPDATE relays SET leased_until = '-infinity'").execute(&stage.database.pool()).await.unwrap();
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..1).await;
    // A lease that ended ever so long ago is taken over, and so its time is one again.
    until("a lease that can be read", || async { progress(stage.log.pool()).await.ok() }).await;
    settled(&stage, "the event of a relay that took over").await;
    relay.stop().await;
}
