//! One contract, two stores: the log and stock postgres-es, each reading what the other wrote.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod stock_program;

use std::collections::HashMap;

use app::log::{Log, LogOptions, MIGRATOR};
use bench::{Add, Added, Counter};
use bus::clock::{Clock, IdGenerator};
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{AggregateContext, AggregateError, CqrsFramework, EventStore};
use postgres_es::PostgresEventRepository;
use servers::testing::TestDatabase;

fn log(database: &TestDatabase) -> Log {
    Log::new(database.pool(), Clock::system(), IdGenerator::random(), LogOptions::default())
}

async fn repository(database: &TestDatabase) -> PostgresEventRepository {
    PostgresEventRepository::new(sqlx_08::PgPool::connect(database.url()).await.unwrap())
}

async fn stock(database: &TestDatabase) -> PersistedEventStore<PostgresEventRepository, Counter> {
    PersistedEventStore::new_event_store(repository(database).await)
}

fn added(amount: u64) -> Added {
    Added { amount, note: "ä \"quoted\" \u{1f600}".into() }
}

fn metadata() -> HashMap<String, String> {
    HashMap::from([("actor".to_owned(), "service:test".to_owned()), ("correlation_id".to_owned(), "c-1".to_owned())])
}

/// What every store has to do.
async fn contract(store: &impl EventStore<Counter>) {
    // What was never written is empty.
    assert!(store.load_events("unknown").await.unwrap().is_empty());
    assert_eq!(store.load_aggregate("unknown").await.unwrap().aggregate(), &Counter::default());

    // What was committed comes back in order, once, with its metadata.
    let context = store.load_aggregate("a").await.unwrap();
    let committed = store.commit(vec![added(1), added(2)], context, metadata()).await.unwrap();
    assert_eq!(committed.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2]);
    let context = store.load_aggregate("a").await.unwrap();
    store.commit(vec![added(4)], context, metadata()).await.unwrap();
    let events = store.load_events("a").await.unwrap();
    assert_eq!(
        events.iter().map(|event| (event.sequence, event.payload.amount)).collect::<Vec<_>>(),
        [(1, 1), (2, 2), (3, 4)]
    );
    assert!(events.iter().all(|event| event.payload.note == added(1).note && event.metadata == metadata()));
    assert_eq!(store.load_aggregate("a").await.unwrap().aggregate(), &Counter { total: 7 });

    // Of two that decided on the same state one wins, and the other leaves nothing behind.
    let (first, second) = (store.load_aggregate("a").await.unwrap(), store.load_aggregate("a").await.unwrap());
    store.commit(vec![added(8)], first, metadata()).await.unwrap();
    let lost = store.commit(vec![added(100), added(100)], second, metadata()).await;
    assert!(matches!(lost, Err(AggregateError::AggregateConflict)));
    assert_eq!(store.load_aggregate("a").await.unwrap().aggregate(), &Counter { total: 15 });
    assert_eq!(store.load_events("a").await.unwrap().len(), 4);

    // Committing nothing is nothing.
    let context = store.load_aggregate("a").await.unwrap();
    assert!(store.commit(vec![], context, metadata()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_log_keeps_the_contract() {
    let database = servers::testing::database(&MIGRATOR).await;
    contract(&log(&database)).await;
}

#[tokio::test]
async fn stock_postgres_es_keeps_the_contract_on_the_same_table() {
    let database = servers::testing::database(&MIGRATOR).await;
    contract(&stock(&database).await).await;
}

#[tokio::test]
async fn each_reads_what_the_other_wrote() {
    let database = servers::testing::database(&MIGRATOR).await;
    let (log, stock) = (log(&database), stock(&database).await);
    for amount in [1, 2, 4, 8] {
        let events = vec![added(amount)];
        if amount % 3 == 1 {
            let context = EventStore::<Counter>::load_aggregate(&log, "a").await.unwrap();
            log.commit(events, context, metadata()).await.unwrap();
        } else {
            let context = stock.load_aggregate("a").await.unwrap();
            stock.commit(events, context, metadata()).await.unwrap();
        }
    }
    let by_log = EventStore::<Counter>::load_events(&log, "a").await.unwrap();
    let by_stock = stock.load_events("a").await.unwrap();
    let seen = |events: &[cqrs_es::EventEnvelope<Counter>]| {
        events.iter().map(|event| (event.sequence, event.payload.clone(), event.metadata.clone())).collect::<Vec<_>>()
    };
    assert_eq!(seen(&by_log), seen(&by_stock));
    assert_eq!(EventStore::<Counter>::load_aggregate(&log, "a").await.unwrap().aggregate(), &Counter { total: 15 });
    assert_eq!(stock.load_aggregate("a").await.unwrap().aggregate(), &Counter { total: 15 });
    // And both stand in one order with ids of their own, once no other transaction of the cluster holds it back.
    database.settle().await;
    let all = log.read(app::log::Position::START, 10).await.unwrap();
    assert_eq!(all.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn stock_snapshots_count_events_twice_and_ours_do_not() {
    let database = servers::testing::database(&MIGRATOR).await;
    let add = || Add { amounts: vec![1, 1], note: String::new() };
    let snapshots = PersistedEventStore::<_, Counter>::new_snapshot_store(repository(&database).await, 1);
    let framework = CqrsFramework::new(snapshots, vec![], ());
    framework.execute("stock", add()).await.unwrap();
    let stock = PersistedEventStore::<_, Counter>::new_snapshot_store(repository(&database).await, 1);
    let total = stock.load_aggregate("stock").await.unwrap().aggregate().total;
    assert_eq!(total, 4, "the defect for which the log keeps its own snapshots: 2 was added, 4 is counted");

    let log = Log::new(
        database.pool(),
        Clock::system(),
        IdGenerator::random(),
        LogOptions { snapshot_every: 1, ..LogOptions::default() },
    );
    let framework = CqrsFramework::<Counter, Log>::new(log.clone(), vec![], ());
    framework.execute("ours", add()).await.unwrap();
    log.execute::<Counter>("ours", add(), &app::log::Origin::from_actor("test")).await.unwrap();
    let fresh = Log::new(database.pool(), Clock::system(), IdGenerator::random(), LogOptions::default());
    assert_eq!(*fresh.load::<Counter>("ours").await.unwrap().unwrap().0, Counter { total: 4 });
}
