//! From the answer to a POST until its observation is visible in the per-definition aggregate, at 500 a second whether or
//! not earlier ones were answered. Beside it the same with nothing around it: insert, publish, consume, upsert.

mod bare_pipeline;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use app::log::{Log, LogOptions};
use bus::clock::{Clock, IdGenerator};
use harness::Lablet;
use projections::{Projections, ReadModel};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::bare_pipeline::BarePipeline;
use crate::effort::Effort;
use crate::history;
use crate::http;
use crate::http_client::{Connection, address};
use crate::load::percentile;
use crate::surroundings::{Database, Surroundings, settled};
use crate::table::{self, Comparison, Target, Unit};

const PER_SECOND: usize = 500;
/// Requests under way at a time; none waits for a free one as long as answers take less than an eighth of a second.
const SENDERS: usize = 64;
const TARGET: f64 = 2.0;
/// Both are looked at this often.
const POLL: Duration = Duration::from_millis(1);
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let (database, yardstick) = (surroundings.database("latency").await?, surroundings.database("bare").await?);
    http::sessions().write(&database.pool).await?;
    let lablet = surroundings.all_roles(&database).await?;
    settled(&lablet).await?;
    let bare = BarePipeline::start(&yardstick.url, surroundings.nats_of_roles()).await?;
    // Long enough for a p99 that rests on some dozens of requests.
    let duration = effort.round * 3;
    let line = |what: &str| {
        let title = format!("all roles in one process, {PER_SECOND}/s, {what}");
        Comparison::new(title, Unit::Milliseconds, Target::RatioAtMost(TARGET))
    };
    let (mut median, mut slowest) = (line("p50"), line("p99"));
    for _ in 0..effort.rounds {
        let raw = bare.visible_after(duration).await?;
        let ours = visible_after(&lablet, &database, duration).await?;
        let ms = |waits: &[Duration], share| percentile(waits, share).as_secs_f64() * 1_000.0;
        median.add(ms(&ours, 0.5), ms(&raw, 0.5));
        slowest.add(ms(&ours, 0.99), ms(&raw, 0.99));
        settled(&lablet).await?;
    }
    bare.stop().await;
    table::group("POST answered until visible in the definition's aggregate", "insert, publish, consume, upsert")?;
    table::print(&median)?;
    table::print(&slowest)?;
    lablet.stop().await
}

/// What an answer to a command says of its place in the log.
#[derive(Deserialize)]
struct CommandAnswer {
    position: String,
}

async fn visible_after(lablet: &Lablet, database: &Database, duration: Duration) -> anyhow::Result<Vec<Duration>> {
    let log = Log::new(database.pool.clone(), Clock::system(), IdGenerator::random(), LogOptions::default());
    let projections = Projections::new(log);
    let mut connections = Vec::new();
    for _ in 0..SENDERS {
        connections.push(Connection::open(address(&lablet.ready().http)?).await?);
    }
    let (key, body) = (lablet.ready().internal_api_key.clone(), history::report());
    let sessions = http::sessions();
    let post = move |mut connection: Connection, number: usize| {
        let request = http::report(&sessions.session(number % sessions.sessions), &key, &body);
        async move {
            let answer = connection.send(&request).await?;
            let answered = Instant::now();
            ensure!(answer.status == 200, "{}: {}", answer.status, String::from_utf8_lossy(answer.body));
            let CommandAnswer { position } = serde_json::from_slice(answer.body)?;
            Ok((connection, Acknowledgement { at: answered, position }))
        }
    };
    let position = move || {
        let projections = projections.clone();
        async move { Ok(projections.position(ReadModel::Observations).await?.to_string()) }
    };
    measure(connections, duration, post, position).await
}

/// Something was written and answered.
struct Acknowledgement {
    at: Instant,
    /// Its place; sorts as text.
    position: String,
}

/// Sends at the set rate, watches how far the rows have come, and answers how long each took to be visible; sorted.
async fn measure<C, S, F, P, G>(
    senders: Vec<C>,
    duration: Duration,
    send: S,
    position: P,
) -> anyhow::Result<Vec<Duration>>
where
    C: Send + 'static,
    S: Fn(C, usize) -> F + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<(C, Acknowledgement)>> + Send,
    P: Fn() -> G + Send + Sync + 'static,
    G: Future<Output = anyhow::Result<String>> + Send,
{
    let reached: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
    let watching = tokio::spawn({
        let reached = reached.clone();
        async move {
            loop {
                let position = position().await?;
                let now = Instant::now();
                let mut reached = reached.lock().await;
                if reached.last().is_none_or(|(_, last)| *last != position) {
                    reached.push((now, position));
                }
                drop(reached);
                sleep(POLL).await;
            }
        }
    });
    let answered = send_at_rate(senders, duration, send).await?;
    let newest = answered.iter().map(|answered| &answered.position).max().context("nothing was sent")?.clone();
    let give_up = Instant::now() + VISIBLE_TIMEOUT;
    while reached.lock().await.last().is_none_or(|(_, position)| *position < newest) {
        if watching.is_finished() {
            let ended: anyhow::Result<()> = watching.await?;
            return Err(ended.err().context("the watch ended")?);
        }
        ensure!(Instant::now() < give_up, "what was written does not become visible");
        sleep(POLL).await;
    }
    watching.abort();
    let reached = reached.lock().await;
    let mut waits: Vec<Duration> = answered
        .iter()
        .filter_map(|Acknowledgement { at, position }| {
            let first = reached.partition_point(|(_, reached)| reached < position);
            reached.get(first).map(|(visible, _)| visible.saturating_duration_since(*at))
        })
        .collect();
    waits.sort_unstable();
    Ok(waits)
}

/// Sends each at its time. One whose senders are all busy is sent late: its own wait begins with its answer.
async fn send_at_rate<C, S, F>(senders: Vec<C>, duration: Duration, send: S) -> anyhow::Result<Vec<Acknowledgement>>
where
    C: Send + 'static,
    S: Fn(C, usize) -> F + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<(C, Acknowledgement)>> + Send,
{
    let (send, next) = (Arc::new(send), Arc::new(AtomicUsize::new(0)));
    let interval = Duration::from_secs(1) / u32::try_from(PER_SECOND)?;
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for mut sender in senders {
        let (send, next) = (send.clone(), next.clone());
        running.spawn(async move {
            let mut all = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let due = begin + interval * u32::try_from(number)?;
                if due >= begin + duration {
                    return anyhow::Ok(all);
                }
                sleep_until(due).await;
                let (free, answered) = send(sender, number).await?;
                sender = free;
                all.push(answered);
            }
        });
    }
    let mut all = Vec::new();
    while let Some(sent) = running.join_next().await {
        all.extend(sent??);
    }
    Ok(all)
}
