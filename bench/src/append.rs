//! Appending through the log, through stock postgres-es, and pgbench's single-row insert of the same row.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use app::log::{Log, LogOptions, Origin};
use bench::{Add, Added, Counter, note};
use bus::clock::{Clock, IdGenerator};
use cqrs_es::EventStore;
use cqrs_es::persist::{EventStoreAggregateContext, PersistedEventStore};
use postgres_es::PostgresEventRepository;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::effort::Effort;
use crate::pgbench::{self, Row};
use crate::surroundings::Surroundings;
use crate::table::{self, Comparison, Target, Unit};

/// Size of an event's payload.
const EVENT_BYTES: usize = 2_000;
const CLIENTS: [usize; 4] = [1, 8, 32, 64];
const TARGETS: [f64; 4] = [0.95, 1.1, 1.7, 1.9];
/// Connections of stock postgres-es, which holds one for the whole of an append.
const STOCK_CONNECTIONS: u32 = 70;
/// Connections of the log for reading; its writers have their own.
const LOG_CONNECTIONS: u32 = 20;

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let database = surroundings.database("append").await?;
    let pool = app::log::pool(&database.url, LOG_CONNECTIONS)?;
    let log = Log::new(pool.clone(), Clock::system(), IdGenerator::random(), LogOptions::default());
    let stock_pool =
        sqlx_08::postgres::PgPoolOptions::new().max_connections(STOCK_CONNECTIONS).connect(&database.url).await?;
    let stock = Arc::new(Stock::new_event_store(PostgresEventRepository::new(stock_pool.clone())));
    let payload = serde_json::to_string(&Added { amount: 1, note: note(EVENT_BYTES, 7) })?;
    let row = Row { aggregate_type: "counter", event_type: "counter.added", payload: &payload, with_key: false };
    table::group(
        &format!("Appending events of {EVENT_BYTES} bytes in process"),
        "pgbench's single-row insert of the same row; stock postgres-es",
    )?;
    for (at, clients) in CLIENTS.into_iter().enumerate() {
        let line = |beside: &str, target| {
            Comparison::new(format!("the log beside {beside}, {clients} clients"), Unit::PerSecond, target)
        };
        let mut beside_pgbench = line("pgbench", Target::RatioAtLeast(TARGETS[at]));
        let mut beside_stock = line("postgres-es", Target::None);
        for _ in 0..effort.rounds {
            let ours = through_the_log(&log, clients, effort.round).await?;
            let stock = through_stock(&stock, clients, effort.round).await?;
            let pgbench = pgbench::insert(&database.url, clients, effort.round, &row).await?;
            beside_pgbench.add(ours, pgbench.per_second);
            beside_stock.add(ours, stock);
        }
        table::print(&beside_pgbench)?;
        table::print(&beside_stock)?;
    }
    stock_pool.close().await;
    pool.close().await;
    Ok(())
}

/// An id that no earlier client had.
fn fresh_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("bench-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Events a second by `clients` that each append to an aggregate of their own.
async fn measure<F, C>(clients: usize, duration: Duration, client: F) -> anyhow::Result<f64>
where
    F: Fn(String, Instant) -> C,
    C: Future<Output = anyhow::Result<u64>> + Send + 'static,
{
    let started = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        running.spawn(client(fresh_id(), started + duration));
    }
    let mut appended = 0;
    while let Some(count) = running.join_next().await {
        appended += count??;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let appended = appended as f64;
    Ok(appended / started.elapsed().as_secs_f64())
}

async fn through_the_log(log: &Log, clients: usize, duration: Duration) -> anyhow::Result<f64> {
    measure(clients, duration, |id, end| {
        let log = log.clone();
        async move {
            let origin = Origin::from_actor("bench");
            let mut appended = 0;
            while Instant::now() < end {
                let add = Add { amounts: vec![1], note: note(EVENT_BYTES, appended) };
                log.execute::<Counter>(&id, add, &origin).await?;
                appended += 1;
            }
            Ok(appended)
        }
    })
    .await
}

type Stock = PersistedEventStore<PostgresEventRepository, Counter>;

async fn through_stock(stock: &Arc<Stock>, clients: usize, duration: Duration) -> anyhow::Result<f64> {
    measure(clients, duration, |id, end| {
        let stock = stock.clone();
        async move {
            let metadata = HashMap::from([("actor".to_owned(), "bench".to_owned())]);
            let mut appended: u64 = 0;
            while Instant::now() < end {
                // Only the append is compared: the context is made up instead of loaded.
                let context = EventStoreAggregateContext {
                    aggregate_id: id.clone(),
                    aggregate: Counter { total: appended },
                    current_sequence: usize::try_from(appended)?,
                    current_snapshot: None,
                };
                let added = Added { amount: 1, note: note(EVENT_BYTES, appended) };
                stock.commit(vec![added], context, metadata.clone()).await?;
                appended += 1;
            }
            Ok(appended)
        }
    })
    .await
}
