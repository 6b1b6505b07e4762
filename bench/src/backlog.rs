//! The relay behind a backlog, beside raw pipelined publishing of the same bytes to the same server.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use app::log::{Log, LogOptions};
use async_nats::HeaderMap;
use async_nats::header::{
    NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID,
};
use async_nats::jetstream::stream::{Config, Info, LastRawMessageErrorKind};
use bus::clock::{Clock, IdGenerator};
use bus::{Bus, BusOptions};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use servers::{NatsAccounts, NatsOptions, NatsServer};
use tokio::time::Instant;

use crate::effort::Effort;
use crate::history::{History, STEPS};
use crate::surroundings::{Database, Surroundings};
use crate::table::{self, Comparison, Target, Unit};

const EVENTS: usize = 200_000;
const SESSIONS: usize = 1_000;
const TARGET: f64 = 0.7;
/// Publishes whose acknowledgement is awaited at a time.
const IN_FLIGHT: usize = 1_000;
/// Bytes of them.
const BYTES_IN_FLIGHT: usize = 16 * 1024 * 1024;
/// Messages of each stream that are taken as examples of all, and their bytes.
const EXAMPLES: u64 = 500;
const EXAMPLE_BYTES: u64 = 64 * 1024 * 1024;
const RELAY_TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(10);

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let database = surroundings.database("backlog").await?;
    let (sessions, observations) = (effort.size(SESSIONS), EVENTS / SESSIONS - STEPS);
    let history = History { name: "backlog".to_owned(), definitions: 20, sessions, observations };
    history.write(&database.pool).await?;
    table::group(
        &format!("The relay behind {} events", history.len()),
        "pipelined publishing of what the relay wrote",
    )?;
    let mut line = Comparison::new("events published by the relay", Unit::PerSecond, Target::RatioAtLeast(TARGET));
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousands")]
    let events = history.len() as f64;
    for _ in 0..effort.rounds {
        // A server without streams each time: the relay finds nothing there and publishes the whole log.
        let folder = tempfile::tempdir()?;
        let options = NatsOptions { data_dir: folder.path().join("nats"), port: None, accounts: NatsAccounts::One };
        let nats = NatsServer::start(options).await?;
        let bus = Bus::connect(&BusOptions::new(nats.url(), "bench")).await?;
        bus.connected(Duration::from_secs(10)).await?;
        let by_relay = relay(surroundings, &database, &nats.url(), &bus, events).await?;
        let raw = publish_again(&bus).await?;
        line.add(by_relay, events / raw.as_secs_f64());
        bus.close().await;
        nats.stop().await?;
    }
    table::print(&line)
}

/// Events a second from the first message that is seen to the last acknowledgement.
async fn relay(
    surroundings: &Surroundings,
    database: &Database,
    nats_url: &str,
    bus: &Bus,
    events: f64,
) -> anyhow::Result<f64> {
    let log = Log::new(database.pool.clone(), Clock::system(), IdGenerator::random(), LogOptions::default());
    let head = log.head().await?;
    let relay = surroundings.role(database, nats_url, &["relay"], &[])?;
    let give_up = Instant::now() + RELAY_TIMEOUT;
    let (began, first) = loop {
        ensure!(Instant::now() < give_up, "the relay does not begin");
        if let Ok(stream) = bus.jetstream().get_stream(bus::streams::EVENTS).await
            && stream.cached_info().state.messages > 0
        {
            break (Instant::now(), stream.cached_info().state.messages);
        }
        tokio::time::sleep(POLL).await;
    };
    let stream = bus.jetstream().get_stream(bus::streams::EVENTS).await?;
    // What an earlier relay reached stands in the checkpoint until this one moves it.
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousands")]
    while (stream.get_info().await?.state.last_sequence as f64) < events
        || app::relay::progress(&database.pool).await?.position < head
    {
        ensure!(Instant::now() < give_up, "the relay does not catch up");
        tokio::time::sleep(POLL).await;
    }
    let took = began.elapsed();
    relay.stop().await?;
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousands")]
    Ok((events - first as f64) / took.as_secs_f64())
}

/// What stands for the messages of a stream.
struct Examples {
    config: Config,
    /// How many messages the stream got.
    messages: u64,
    examples: Vec<Example>,
}

struct Example {
    subject: String,
    /// Without those that are made anew for each message.
    headers: HeaderMap,
    /// Whether the message names the one before it.
    names_previous: bool,
    payload: Bytes,
}

/// Publishes as many messages of the same sizes as all streams got, each to a stream of the same configuration.
async fn publish_again(bus: &Bus) -> anyhow::Result<Duration> {
    let mut all = Vec::new();
    let infos: Vec<_> = bus.jetstream().streams().try_collect().await?;
    for info in infos {
        if info.state.last_sequence > 0 {
            all.push(examples(bus, info).await?);
        }
    }
    for Examples { config, .. } in &all {
        bus.jetstream().create_stream(config.clone()).await?;
    }
    let began = Instant::now();
    let (mut in_flight, mut bytes_in_flight) = (VecDeque::new(), 0);
    for Examples { config: _, messages, examples } in &all {
        for number in 0..*messages {
            let at = usize::try_from(number)? % examples.len();
            let Example { subject, headers, names_previous, payload } =
                examples.get(at).context("a stream without messages")?;
            let mut headers = headers.clone();
            headers.insert(NATS_MESSAGE_ID, message_id(number));
            if *names_previous && let Some(previous) = number.checked_sub(1) {
                headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, message_id(previous));
            }
            let sent = bus.jetstream().publish_with_headers(subject.clone(), headers, payload.clone()).await?;
            bytes_in_flight += payload.len();
            in_flight.push_back((sent, payload.len()));
            while (in_flight.len() >= IN_FLIGHT || bytes_in_flight >= BYTES_IN_FLIGHT)
                && let Some((oldest, bytes)) = in_flight.pop_front()
            {
                oldest.await?;
                bytes_in_flight -= bytes;
            }
        }
    }
    for (sent, _) in in_flight {
        sent.await?;
    }
    Ok(began.elapsed())
}

/// As long as an event's id.
fn message_id(number: u64) -> String {
    format!("{number:036}")
}

/// Messages of a stream from its first to its last, at even distances.
async fn examples(bus: &Bus, info: Info) -> anyhow::Result<Examples> {
    let name = format!("BENCH_{}", info.config.name);
    let stream = bus.jetstream().get_stream(&info.config.name).await?;
    let (first, last) = (info.state.first_sequence, info.state.last_sequence);
    let average = info.state.bytes / info.state.messages.max(1);
    let count = EXAMPLES.min(EXAMPLE_BYTES / average.max(1)).max(1);
    let step = usize::try_from(((last - first) / count).max(1))?;
    let mut examples = Vec::new();
    for sequence in (first..=last).step_by(step) {
        let message = match stream.get_raw_message(sequence).await {
            Ok(message) => message,
            // It grew too old meanwhile.
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => continue,
            Err(error) => return Err(error.into()),
        };
        let mut headers = HeaderMap::new();
        let mut names_previous = false;
        for (header, values) in message.headers.iter() {
            names_previous |= *header == NATS_EXPECTED_LAST_MESSAGE_ID;
            if [NATS_MESSAGE_ID, NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE].contains(header) {
                continue;
            }
            for value in values {
                let value = if *header == NATS_EXPECTED_STREAM { name.as_str() } else { value.as_str() };
                headers.append(header.clone(), value);
            }
        }
        let subject = format!("bench.{}", message.subject);
        examples.push(Example { subject, headers, names_previous, payload: message.payload });
    }
    let subjects = info.config.subjects.iter().map(|subject| format!("bench.{subject}")).collect();
    Ok(Examples { config: Config { name, subjects, ..info.config }, messages: last, examples })
}
