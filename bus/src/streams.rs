//! The streams, ensured on connect and again after any sign of loss.

use std::time::Duration;

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, LastRawMessageErrorKind, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{self, ErrorCode, consumer};
use chrono::TimeDelta;
use futures_util::TryStreamExt as _;

use super::deviation::{self, Deviation};
use super::{Bus, subjects};

/// The stream of published events. A copy of the log.
pub const EVENTS: &str = "LABLET_EVENTS";
/// The stream of commands that wait to be handled.
pub const COMMANDS: &str = "LABLET_COMMANDS";
/// The stream of full records of events, by which read models follow the log.
pub const RECORDS: &str = "LABLET_RECORDS";
/// The key-value bucket with what each running session used so far: one entry a session, by its id.
pub const SAMPLING_BUCKET: &str = "LABLET_SAMPLING";
/// The stream that holds the bucket.
pub const SAMPLING: &str = "KV_LABLET_SAMPLING";
/// An entry that nobody wrote for this long belongs to no session any more.
pub const SAMPLING_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most bytes of all entries.
pub const SAMPLING_BYTES: i64 = 1024 * 1024 * 1024;
/// Largest entry, below what a server takes in one message unless it is configured otherwise.
pub const LARGEST_SAMPLING_ENTRY: usize = 1_000_000;
/// Records older than this leave their stream.
pub const RECORDS_AGE: TimeDelta = TimeDelta::minutes(2);
/// Most bytes of records in the server's memory.
pub const RECORDS_BYTES: i64 = 64 * 1024 * 1024;
/// Largest message of records, headers included.
pub const LARGEST_RECORDS: usize = 768 * 1024;
/// The server drops a second message with the same id within this time.
pub const DEDUPE_WINDOW: Duration = Duration::from_secs(120);
/// Largest event on the wire, headers included.
pub const LARGEST_EVENT: usize = 64 * 1024;
/// Largest command on the wire, headers included. The server's own `max_payload` may be lower.
pub const LARGEST_COMMAND: usize = 8 * 1024 * 1024;

/// How much the streams may hold. Applied when a stream is created; an operator may change it afterwards.
#[derive(Debug, Clone, Copy)]
pub struct StreamBounds {
    /// Events older than this leave the stream (never the log).
    pub event_age: Duration,
    /// Most events in the stream; the oldest leave first.
    pub events: i64,
    /// Most commands that wait; more are refused, so that their senders know.
    pub commands: i64,
}

impl Default for StreamBounds {
    fn default() -> Self {
        Self { event_age: Duration::from_secs(30 * 24 * 3600), events: 5_000_000, commands: 200_000 }
    }
}

/// A stream could not be ensured.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// JetStream did not answer, or refused.
    #[error("the stream {stream} could not be {done}")]
    Unavailable {
        /// The stream.
        stream: &'static str,
        /// What was tried: `read`, `created` or `deleted`.
        done: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The configuration of the stream of events.
pub fn events(bounds: &StreamBounds) -> Config {
    Config {
        name: EVENTS.to_owned(),
        subjects: vec![subjects::EVENTS.to_owned()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_messages: bounds.events,
        max_age: bounds.event_age,
        max_message_size: 64 * 1024,
        ..shared("Copy of the log: one CloudEvent per event")
    }
}

/// The configuration of the stream of commands.
pub fn commands(bounds: &StreamBounds) -> Config {
    Config {
        name: COMMANDS.to_owned(),
        subjects: vec![subjects::COMMANDS.to_owned()],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_messages: bounds.commands,
        max_message_size: 8 * 1024 * 1024,
        ..shared("Commands that wait to be handled")
    }
}

/// The configuration of the stream of records: in memory, as it is a copy of minutes that costs no disk this way and is
/// read from the log after a restart of the server.
pub fn records() -> Config {
    Config {
        name: RECORDS.to_owned(),
        subjects: vec![subjects::RECORDS.to_owned()],
        retention: RetentionPolicy::Limits,
        storage: StorageType::Memory,
        discard: DiscardPolicy::Old,
        max_messages: -1,
        max_bytes: RECORDS_BYTES,
        max_age: RECORDS_AGE.to_std().unwrap_or(DEDUPE_WINDOW),
        max_message_size: 768 * 1024,
        ..shared("Internal: full records of the newest events, for read models")
    }
}

/// The configuration of the stream that holds the bucket, as clients of key-value buckets expect it. Written out here, as
/// the library asks servers before 2.10 what they do not know when it makes a bucket.
pub fn sampling() -> Config {
    Config {
        name: SAMPLING.to_owned(),
        subjects: vec![format!("$KV.{SAMPLING_BUCKET}.>")],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_messages: -1,
        max_messages_per_subject: 1,
        max_bytes: SAMPLING_BYTES,
        max_age: SAMPLING_AGE,
        max_message_size: 1024 * 1024,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..shared("What running sessions used so far")
    }
}

fn shared(description: &str) -> Config {
    Config {
        storage: StorageType::File,
        num_replicas: 1,
        duplicate_window: DEDUPE_WINDOW,
        description: Some(description.to_owned()),
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        ..Config::default()
    }
}

/// Makes sure that the stream of events is there, and as far as it can be changed, as it has to be. It is never deleted
/// here. What cannot be changed is reported, and no error.
///
/// # Errors
/// [`EnsureError`]; trying again with back-off is right.
pub async fn ensure_events(bus: &Bus, bounds: &StreamBounds) -> Result<Info, EnsureError> {
    ensure(bus, EVENTS, events(bounds)).await
}

/// Makes sure that the stream of commands is there, as [`ensure_events`].
///
/// # Errors
/// As [`ensure_events`].
pub async fn ensure_commands(bus: &Bus, bounds: &StreamBounds) -> Result<Info, EnsureError> {
    ensure(bus, COMMANDS, commands(bounds)).await
}

/// Makes sure that the bucket of samples is there, as [`ensure_events`].
///
/// # Errors
/// As [`ensure_events`].
pub async fn ensure_sampling(bus: &Bus) -> Result<Info, EnsureError> {
    ensure(bus, SAMPLING, sampling()).await
}

/// Makes sure that the stream of records is there, as [`ensure_events`]. A server without memory for it is no harm: read
/// models follow the log then.
///
/// # Errors
/// As [`ensure_events`].
pub async fn ensure_records(bus: &Bus) -> Result<Info, EnsureError> {
    ensure(bus, RECORDS, records()).await
}

fn unavailable(
    stream: &'static str,
    done: &'static str,
) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> EnsureError {
    move |source| EnsureError::Unavailable { stream, done, source }
}

pub(super) async fn look(jetstream: &jetstream::Context, stream: &'static str) -> Result<Option<Info>, EnsureError> {
    match jetstream.get_stream(stream).await {
        Ok(found) => Ok(Some(found.cached_info().clone())),
        Err(error) => match error.kind() {
            jetstream::context::GetStreamErrorKind::JetStream(reason)
                if reason.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(unavailable(stream, "read")(error.into())),
        },
    }
}

async fn create(jetstream: &jetstream::Context, stream: &'static str, wanted: &Config) -> Result<Info, EnsureError> {
    let created =
        jetstream.create_stream(wanted).await.map_err(|error| unavailable(stream, "created")(error.into()))?;
    tracing::info!(stream, "stream created");
    Ok(created.cached_info().clone())
}

/// Deviations from the required configuration.
pub(super) fn deviations(bus: &Bus, wanted: &Config, found: &Config) -> Vec<Deviation> {
    // The stream holds the only copy of a command.
    deviation::of_stream(wanted, found, wanted.name == COMMANDS, bus.replicas())
}

async fn ensure(bus: &Bus, stream: &'static str, wanted: Config) -> Result<Info, EnsureError> {
    let jetstream = bus.jetstream();
    let wanted = Config { num_replicas: bus.replicas().unwrap_or(wanted.num_replicas), ..wanted };
    // Reading first: a role whose user may not create streams works with one that is there.
    let mut info = match look(jetstream, stream).await? {
        Some(info) => info,
        None => create(jetstream, stream, &wanted).await?,
    };
    let mut found = deviations(bus, &wanted, &info.config);
    if bus.reported().is_worth_changing(stream, None, &found) {
        // Keeps the operator's capacity settings, and those that the server never changes.
        let changed = Config {
            subjects: wanted.subjects.clone(),
            duplicate_window: wanted.duplicate_window,
            discard: wanted.discard,
            discard_new_per_subject: false,
            max_message_size: wanted.max_message_size,
            max_messages_per_subject: wanted.max_messages_per_subject,
            max_age: if stream == COMMANDS { wanted.max_age } else { info.config.max_age },
            no_ack: false,
            allow_rollup: wanted.allow_rollup,
            sources: None,
            subject_transform: None,
            num_replicas: bus.replicas().unwrap_or(info.config.num_replicas),
            ..info.config.clone()
        };
        match jetstream.update_stream(&changed).await {
            Ok(updated) => {
                info = updated;
                found = deviations(bus, &wanted, &info.config);
                tracing::warn!(stream, replicas = info.config.num_replicas, "stream changed to what it has to be");
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, stream, "stream could not be changed");
            }
        }
    }
    if stream == COMMANDS && info.state.messages > 0 {
        match misses_its_first_message(bus, stream).await {
            Ok(true) => found.push(deviation::lost_messages(stream, info.state.messages)),
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(error = &*error as &dyn std::error::Error, stream, "first message not readable")
            }
        }
    }
    bus.reported().report(stream, None, &found);
    Ok(info)
}

/// Whether the stream counts a first message that cannot be read. Looks twice, as limits and acknowledgements remove
/// first messages all the time. A server under pressure may answer so too: once is no proof.
///
/// # Errors
/// The server does not answer, which says nothing about messages.
pub async fn misses_its_first_message(
    bus: &Bus,
    stream: &'static str,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let stream = bus.jetstream().get_stream(stream).await?;
    let mut state = stream.cached_info().state.clone();
    for _ in 0..2 {
        if state.messages == 0 {
            return Ok(false);
        }
        match stream.get_raw_message(state.first_sequence).await {
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
            // Any other error (e.g. unreadable headers) does not show that the message is lost.
            Err(error) => return Err(error.into()),
        }
        let now = stream.get_info().await?.state;
        if now.first_sequence != state.first_sequence {
            // The first message was removed meanwhile, which is normal.
            return Ok(false);
        }
        state = now;
    }
    Ok(true)
}

/// Deletes a stream and creates it again, empty, with its durable consumers. Returns their names.
///
/// # Errors
/// [`EnsureError`]. Consumers that could not be created again are logged and are no error.
pub async fn replace(bus: &Bus, stream: &'static str, bounds: &StreamBounds) -> Result<Vec<String>, EnsureError> {
    let wanted = match stream {
        COMMANDS => commands(bounds),
        RECORDS => records(),
        SAMPLING => sampling(),
        _ => events(bounds),
    };
    let jetstream = bus.jetstream();
    let mut config = Config { num_replicas: bus.replicas().unwrap_or(wanted.num_replicas), ..wanted };
    let mut durables = Vec::new();
    if let Some(info) = look(jetstream, stream).await? {
        durables = durable_consumers(jetstream, stream).await.unwrap_or_else(|error| {
            tracing::error!(
                error = &*error as &dyn std::error::Error,
                stream,
                "consumers of a lost stream are unknown"
            );
            Vec::new()
        });
        jetstream.delete_stream(stream).await.map_err(|error| unavailable(stream, "deleted")(error.into()))?;
        // Keeps the operator's capacity settings.
        config = Config {
            max_bytes: info.config.max_bytes,
            max_messages: info.config.max_messages,
            max_age: if stream == COMMANDS { config.max_age } else { info.config.max_age },
            num_replicas: bus.replicas().unwrap_or(info.config.num_replicas),
            placement: info.config.placement,
            ..config
        };
    }
    create(jetstream, stream, &config).await?;
    let handle =
        jetstream.get_stream_no_info(stream).await.map_err(|error| unavailable(stream, "read")(error.into()))?;
    let mut restored = Vec::new();
    for consumer in durables {
        let name = consumer.durable_name.clone().unwrap_or_default();
        match handle.create_consumer(consumer).await {
            Ok(_) => restored.push(name),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                stream,
                consumer = name,
                "consumer not created again"
            ),
        }
    }
    tracing::error!(stream, consumers = ?restored, "stream replaced, its consumers were made again");
    Ok(restored)
}

/// Configurations of a stream's durable consumers, for an empty stream.
async fn durable_consumers(
    jetstream: &jetstream::Context,
    stream: &str,
) -> Result<Vec<consumer::Config>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = jetstream.get_stream_no_info(stream).await?;
    let mut infos = stream.consumers();
    let mut durables = Vec::new();
    while let Some(info) = infos.try_next().await? {
        let mut config = info.config;
        if config.durable_name.is_none() {
            continue;
        }
        // Sequences of the old stream are meaningless on the new one; from its beginning nothing is missed.
        if matches!(config.deliver_policy, consumer::DeliverPolicy::ByStartSequence { .. }) {
            config.deliver_policy = consumer::DeliverPolicy::All;
        }
        durables.push(config);
    }
    Ok(durables)
}
