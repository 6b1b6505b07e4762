//! `make bench`: appending through the log, through stock postgres-es, and pgbench's single-row insert of the same row,
//! side by side in one run on one private Postgres with fsync. With the argument `pages`: [`pages`], with `memory`:
//! [`memory`].
//!
//! Read the ratios, which are medians over rounds of their own: what else a machine does changes from minute to minute, so
//! that figures of two runs cannot be compared.

mod memory;
mod pages;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use app::log::{Log, LogOptions, MIGRATOR, Origin};
use bench::{Add, Added, Counter, note};
use bus::clock::{Clock, IdGenerator};
use cqrs_es::EventStore;
use cqrs_es::persist::{EventStoreAggregateContext, PersistedEventStore};
use postgres_es::PostgresEventRepository;
use servers::{PostgresOptions, PostgresServer};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Size of an event's payload.
const EVENT_BYTES: usize = 2_000;
const CLIENTS: [u32; 3] = [1, 8, 32];
/// Short rounds in turn: what else the machine does meets all three alike. Not shorter, as pgbench takes its time to
/// sign its clients in and then tells nothing.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<ExitCode> {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match std::env::args().nth(1).as_deref() {
        None => runtime()?.block_on(comparisons())?,
        Some("memory") => runtime()?.block_on(memory::run())?,
        Some("pages") => runtime()?.block_on(pages::run())?,
        // `pages` starts this executable as `lablet`.
        Some(_) => return Ok(cli::main()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn comparisons() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let options = PostgresOptions { data_dir: folder.path().join("postgres"), port: None, fsync: true };
    let server = PostgresServer::start(options).await?;
    server.ensure_database("bench").await?;
    let url = server.url("bench");
    let compared = compare(&url).await;
    server.stop().await?;
    compared
}

async fn compare(url: &str) -> anyhow::Result<()> {
    let pool = app::log::pool(url, 40)?;
    MIGRATOR.run(&pool).await?;
    let log = Log::new(pool, Clock::system(), IdGenerator::random(), LogOptions::default());
    let stock_pool = sqlx_08::postgres::PgPoolOptions::new().max_connections(40).connect(url).await?;
    let stock = Arc::new(PersistedEventStore::<PostgresEventRepository, Counter>::new_event_store(
        PostgresEventRepository::new(stock_pool),
    ));
    let mut out = std::io::stdout();
    writeln!(
        out,
        "appended events of {EVENT_BYTES} bytes a second, median of {ROUNDS} rounds of {} s each\n",
        ROUND.as_secs()
    )?;
    writeln!(out, "clients        log  postgres-es      pgbench   log/postgres-es   log/pgbench")?;
    for clients in CLIENTS {
        let (mut ours, mut stocks, mut pgbenches) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(through_the_log(&log, clients).await?);
            stocks.push(through_stock(&stock, clients).await?);
            pgbenches.push(through_pgbench(url, clients).await?);
        }
        let ratio = |others: &[f64]| median(ours.iter().zip(others).map(|(ours, other)| ours / other).collect());
        let (to_stock, to_pgbench) = (ratio(&stocks), ratio(&pgbenches));
        let (ours, stock, pgbench) = (median(ours.clone()), median(stocks), median(pgbenches));
        writeln!(out, "{clients:7} {ours:10.0} {stock:12.0} {pgbench:12.0} {to_stock:17.2} {to_pgbench:13.2}")?;
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// An id that no earlier client had.
fn fresh_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("bench-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Events a second by `clients` that each append to an aggregate of their own.
async fn measure<F, C>(clients: u32, client: F) -> anyhow::Result<f64>
where
    F: Fn(String, Instant) -> C,
    C: Future<Output = anyhow::Result<u64>> + Send + 'static,
{
    let started = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        running.spawn(client(fresh_id(), started + ROUND));
    }
    let mut appended = 0;
    while let Some(count) = running.join_next().await {
        appended += count??;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let appended = appended as f64;
    Ok(appended / started.elapsed().as_secs_f64())
}

async fn through_the_log(log: &Log, clients: u32) -> anyhow::Result<f64> {
    measure(clients, |id, end| {
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

async fn through_stock(stock: &Arc<Stock>, clients: u32) -> anyhow::Result<f64> {
    measure(clients, |id, end| {
        let stock = stock.clone();
        async move {
            let metadata = std::collections::HashMap::from([("actor".to_owned(), "bench".to_owned())]);
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

async fn through_pgbench(url: &str, clients: u32) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("insert.sql");
    let payload = serde_json::to_string(&Added { amount: 1, note: note(EVENT_BYTES, 7) })?;
    std::fs::write(
        &script,
        format!(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
             VALUES ('counter', gen_random_uuid()::text, 1, 'counter.added', '1', '{payload}', '{{\"actor\":\"bench\"}}');\n"
        ),
    )?;
    let output = tokio::process::Command::new(pgbench()?)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .args([format!("--client={clients}"), format!("--time={}", ROUND.as_secs())])
        .arg("--file")
        .arg(&script)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .await
        .context("pgbench cannot be run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find(|line| line.starts_with("tps = ")).context("pgbench tells no tps")?;
    let figure = line.split_whitespace().nth(2).context("pgbench tells no tps")?;
    Ok(figure.parse()?)
}

/// pgbench comes with Postgres; Debian keeps it beside the server, out of the way of PATH.
fn pgbench() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let beside_server = versions.filter_map(Result::ok).map(|version| version.path().join("bin/pgbench"));
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).map(|folder| folder.join("pgbench")).collect::<Vec<_>>());
    beside_server.chain(on_path).find(|program| program.is_file()).context("pgbench is missing; it comes with Postgres")
}
