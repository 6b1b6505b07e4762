//! The log in partitions: what one, ten and fifty old ones cost those who append, load an aggregate and follow the log, beside
//! the same log in one table; and what cutting and moving cost while others append.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use app::log::partitions;
use app::log::{DedupeKey, Log, LogOptions, Origin, Position};
use bench::{Add, Added, Counter, note};
use bus::clock::{Clock, IdGenerator};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::effort::Effort;
use crate::surroundings::{Database, Surroundings};
use crate::table::{self, Comparison, Target, Unit};

/// Events of an aggregate of the past.
const OF_EACH: i64 = 20;
/// Bytes of an event's payload, so that two logs of ten million fit on a disk.
const EVENT_BYTES: usize = 250;
/// Old partitions.
const PARTITIONS: [i32; 3] = [1, 10, 50];
const CLIENTS: usize = 32;
/// Events between two cuts.
const BETWEEN: i64 = 2_000;
const LOADS: u64 = 300;

/// Measures and prints. `events`: of the log.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort, events: u64) -> anyhow::Result<()> {
    let events = i64::try_from(events)?;
    let whole = surroundings.database("whole").await?;
    fill(&whole.pool, 0, events).await?;
    sqlx::raw_sql("VACUUM ANALYZE events; CHECKPOINT").execute(&whole.pool).await?;
    let (whole, parted) = surroundings.copied(whole, "parted").await?;
    table::group(&format!("A log of {events} events in partitions"), "the same log in one table")?;
    appends("appends, 0 old", effort, [&log_of(&whole)?, &log_of(&parted)?]).await?;
    let mut old = 0;
    for wanted in PARTITIONS {
        while old < wanted {
            if old > 0 {
                fill(&parted.pool, events + i64::from(old) * BETWEEN, BETWEEN).await?;
            }
            cut(&parted, old == 0).await?;
            old += 1;
        }
        sqlx::raw_sql("VACUUM ANALYZE").execute(&parted.pool).await?;
        let logs = [log_of(&whole)?, log_of(&parted)?];
        let lines = ["appends", "loads of an aggregate of the past", "the newest page", "a page of the past"];
        let lines = lines.map(|line| format!("{line}, {wanted} old"));
        appends(&lines[0], effort, [&logs[0], &logs[1]]).await?;
        loads(&lines[1], effort, [&whole, &parted], events).await?;
        pages(&lines[2], effort, [&logs[0], &logs[1]], true).await?;
        pages(&lines[3], effort, [&logs[0], &logs[1]], false).await?;
    }
    let mut reading = Comparison::new("reading all of it in pages, events", Unit::PerSecond, Target::None);
    reading.add(read_all(&log_of(&parted)?).await?, read_all(&log_of(&whole)?).await?);
    table::print(&reading)?;
    sizes(&whole, &parted, old + 1).await?;
    moving(&parted, old + 1, events).await
}

fn log_of(database: &Database) -> anyhow::Result<Log> {
    let pool = app::log::pool(&database.url, 20)?;
    Ok(Log::new(pool, Clock::system(), IdGenerator::random(), LogOptions::default()))
}

/// Adds events of aggregates of their own, each by a command with a key.
async fn fill(pool: &PgPool, from: i64, events: i64) -> anyhow::Result<()> {
    const AT_ONCE: i64 = 100_000;
    let payload = serde_json::to_string(&Added { amount: 1, note: note(EVENT_BYTES, 7) })?;
    let mut connection = pool.acquire().await?;
    sqlx::raw_sql("SET statement_timeout = 0; SET synchronous_commit = off").execute(&mut *connection).await?;
    let mut at = from;
    while at < from + events {
        let to = (at + AT_ONCE).min(from + events);
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, event_id,
                                 command_key, command_digest)
             SELECT 'counter', 'past-' || n / $3, n % $3 + 1, 'counter.added', '1', $4::json, '{\"actor\":\"bench\"}',
                    lpad(to_hex(n), 32, '0')::uuid, 'past-' || n, sha256('past')
               FROM generate_series($1, $2 - 1) AS n",
        )
        .bind(at)
        .bind(to)
        .bind(OF_EACH)
        .bind(&payload)
        .execute(&mut *connection)
        .await?;
        at = to;
    }
    Ok(())
}

fn fresh_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("new-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Commands a second, each with a key, by clients that each have an aggregate of their own; and the longest of them.
async fn append(
    log: &Log,
    clients: usize,
    is_over: impl Fn(Instant) -> bool + Clone + Send + 'static,
) -> anyhow::Result<(f64, Duration)> {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (log, is_over) = (log.clone(), is_over.clone());
        running.spawn(async move {
            let (id, mut appended, mut longest) = (fresh_id(), 0_u64, Duration::ZERO);
            while !is_over(started) {
                let origin = Origin::from_actor("bench").once(DedupeKey::new(&format!("{id}-{appended}"), b"add"));
                let add = Add { amounts: vec![1], note: note(EVENT_BYTES, appended) };
                let asked = Instant::now();
                log.execute::<Counter>(&id, add, &origin).await?;
                longest = longest.max(asked.elapsed());
                appended += 1;
            }
            anyhow::Ok((appended, longest))
        });
    }
    let (mut appended, mut longest) = (0, Duration::ZERO);
    while let Some(client) = running.join_next().await {
        let (of_client, slowest) = client??;
        appended += of_client;
        longest = longest.max(slowest);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of some seconds")]
    let appended = appended as f64;
    Ok((appended / started.elapsed().as_secs_f64(), longest))
}

async fn appends(what: &str, effort: Effort, [whole, parted]: [&Log; 2]) -> anyhow::Result<()> {
    let mut line = Comparison::new(format!("{what}, {CLIENTS} clients"), Unit::PerSecond, Target::None);
    let round = effort.round;
    for _ in 0..effort.rounds {
        let (ours, _) = append(parted, CLIENTS, move |started| started.elapsed() >= round).await?;
        let (yardstick, _) = append(whole, CLIENTS, move |started| started.elapsed() >= round).await?;
        line.add(ours, yardstick);
    }
    table::print(&line)
}

/// Loads of aggregates of the past that no process knows.
async fn loads(what: &str, effort: Effort, databases: [&Database; 2], events: i64) -> anyhow::Result<()> {
    let mut line = Comparison::new(what, Unit::Milliseconds, Target::None);
    for round in 0..effort.rounds {
        let [whole, parted] = databases;
        let mut each = [0.0, 0.0];
        for (figure, database) in each.iter_mut().zip([parted, whole]) {
            let log = log_of(database)?;
            let started = Instant::now();
            for number in 0..LOADS {
                let number = (number * 7_919 + u64::try_from(round)?) % u64::try_from(events / OF_EACH)?;
                let loaded = log.load::<Counter>(&format!("past-{number}")).await?;
                anyhow::ensure!(
                    loaded.is_some_and(|(_, sequence, _)| sequence == OF_EACH),
                    "past-{number} is not whole"
                );
            }
            *figure = started.elapsed().as_secs_f64() * 1_000.0 / f64::from(u32::try_from(LOADS)?);
        }
        line.add(each[0], each[1]);
    }
    table::print(&line)
}

/// A page of a thousand, as followers and rebuilds ask for them.
async fn pages(what: &str, effort: Effort, logs: [&Log; 2], newest: bool) -> anyhow::Result<()> {
    const TIMES: u32 = 50;
    let mut line = Comparison::new(what, Unit::Milliseconds, Target::None);
    for _ in 0..effort.rounds {
        let mut each = [0.0, 0.0];
        for (figure, log) in each.iter_mut().zip([logs[1], logs[0]]) {
            let after = if newest { log.head().await? } else { Position::START };
            let started = Instant::now();
            for _ in 0..TIMES {
                log.read(after, 1_000).await?;
            }
            *figure = started.elapsed().as_secs_f64() * 1_000.0 / f64::from(TIMES);
        }
        line.add(each[0], each[1]);
    }
    table::print(&line)
}

#[expect(clippy::cast_precision_loss, reason = "millions")]
async fn read_all(log: &Log) -> anyhow::Result<f64> {
    let (started, mut after, mut read) = (Instant::now(), Position::START, 0_usize);
    loop {
        let page = log.read(after, 1_000).await?;
        let Some(last) = page.last() else { return Ok(read as f64 / started.elapsed().as_secs_f64()) };
        after = last.position;
        read += page.len();
    }
}

/// Cuts while others append, and says what they noticed where it is worth a line.
async fn cut(database: &Database, is_told: bool) -> anyhow::Result<()> {
    let log = log_of(database)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let appending = tokio::spawn({
        let is_over = is_over.clone();
        async move { append(&log, 8, move |_| is_over.load(Ordering::Relaxed)).await }
    });
    let started = Instant::now();
    let cut = partitions::cut(&database.pool, &watch::Sender::new(0)).await?;
    let took = started.elapsed();
    is_over.store(true, Ordering::Relaxed);
    let (rate, longest) = appending.await??;
    if is_told {
        let milliseconds = |what: &str, time: Duration| {
            let mut line = Comparison::new(what, Unit::Milliseconds, Target::None);
            line.figures.push(time.as_secs_f64() * 1_000.0);
            table::print(&line)
        };
        milliseconds(&format!("the first cut, of {} events, as a whole", cut.events), took)?;
        milliseconds("nothing could be appended for", cut.locked_for)?;
        milliseconds("the longest command of 8 clients meanwhile", longest)?;
        let mut line = Comparison::new("their commands meanwhile", Unit::PerSecond, Target::None);
        line.figures.push(rate);
        table::print(&line)?;
    }
    Ok(())
}

/// What an append has to keep in memory.
async fn sizes(whole: &Database, parted: &Database, current: i32) -> anyhow::Result<()> {
    let indexes = |table: String| format!("SELECT pg_indexes_size('{table}')");
    let mut line = Comparison::new("indexes of the partition that is appended to", Unit::Megabytes, Target::None);
    line.add(
        megabytes(&parted.pool, indexes(format!("events_{current}"))).await?,
        megabytes(&whole.pool, indexes("events_1".to_owned())).await?,
    );
    table::print(&line)?;
    let mut line = Comparison::new("what is noted of the old ones, with its indexes", Unit::Megabytes, Target::None);
    let noted = "SELECT pg_total_relation_size('past_aggregates') + pg_total_relation_size('past_commands')";
    line.figures.push(megabytes(&parted.pool, noted.to_owned()).await?);
    table::print(&line)
}

#[expect(clippy::cast_precision_loss, reason = "sizes")]
async fn megabytes(pool: &PgPool, statement: String) -> anyhow::Result<f64> {
    Ok(sqlx::query_scalar::<_, i64>(AssertSqlSafe(statement)).fetch_one(pool).await? as f64 / 1_000_000.0)
}

/// Moves a partition while its aggregates are loaded.
async fn moving(database: &Database, current: i32, events: i64) -> anyhow::Result<()> {
    let moved = (events / 20).max(BETWEEN);
    let first = events + i64::from(current) * BETWEEN;
    fill(&database.pool, first, moved).await?;
    partitions::cut(&database.pool, &watch::Sender::new(0)).await?;
    let mut connection = database.pool.acquire().await?;
    sqlx::raw_sql("SET allow_in_place_tablespaces = on").execute(&mut *connection).await?;
    sqlx::raw_sql("CREATE TABLESPACE archive LOCATION ''").execute(&mut *connection).await?;
    drop(connection);
    let is_over = Arc::new(AtomicBool::new(false));
    let (url, over) = (database.url.clone(), is_over.clone());
    let loading = tokio::spawn(async move {
        let pool = app::log::pool(&url, 4)?;
        let (mut loads, mut longest, started) = (0_u32, Duration::ZERO, Instant::now());
        while !over.load(Ordering::Relaxed) {
            let log = Log::new(pool.clone(), Clock::system(), IdGenerator::random(), LogOptions::default());
            let asked = Instant::now();
            let id = format!("past-{}", first / OF_EACH + i64::from(loads) % (moved / OF_EACH));
            anyhow::ensure!(log.load::<Counter>(&id).await?.is_some(), "{id} cannot be loaded");
            longest = longest.max(asked.elapsed());
            loads += 1;
        }
        anyhow::Ok((f64::from(loads) / started.elapsed().as_secs_f64(), longest))
    });
    let started = Instant::now();
    partitions::move_to_tablespace(&database.pool, current, "archive", &watch::Sender::new(0)).await?;
    let took = started.elapsed();
    is_over.store(true, Ordering::Relaxed);
    let (rate, longest) = loading.await??;
    let mut line = Comparison::new(format!("moving a partition of {moved} events"), Unit::Milliseconds, Target::None);
    line.figures.push(took.as_secs_f64() * 1_000.0);
    table::print(&line)?;
    let mut line =
        Comparison::new("loads of its aggregates meanwhile, one after another", Unit::PerSecond, Target::None);
    line.figures.push(rate);
    table::print(&line)?;
    let mut line = Comparison::new("the longest of them", Unit::Milliseconds, Target::None);
    line.figures.push(longest.as_secs_f64() * 1_000.0);
    table::print(&line)
}
