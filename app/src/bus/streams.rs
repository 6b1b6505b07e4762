//! The two streams, ensured on connect and again after any sign of loss.

use std::time::Duration;

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, LastRawMessageErrorKind, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{self, ErrorCode};

use super::{Bus, subjects};

/// The stream of published events. A copy of the log.
pub const EVENTS: &str = "LABLET_EVENTS";
/// The stream of commands that wait to be handled.
pub const COMMANDS: &str = "LABLET_COMMANDS";
/// The server drops a second message with the same id within this time.
pub const DEDUPE_WINDOW: Duration = Duration::from_secs(120);
/// Largest event on the wire, headers included.
pub const LARGEST_EVENT: usize = 64 * 1024;
/// Largest command on the wire, headers included. The server's own `max_payload` may be lower.
pub const LARGEST_COMMAND: usize = 8 * 1024 * 1024;

/// How much the streams may hold. Applied when a stream is created; an operator may change it afterwards.
#[derive(Debug, Clone, Copy)]
pub struct StreamBounds {
    /// Copies in a cluster.
    pub replicas: usize,
    /// Events older than this leave the stream (never the log).
    pub event_age: Duration,
    /// Most events in the stream; the oldest leave first.
    pub events: i64,
    /// Most commands that wait; more are refused, so that their senders know.
    pub commands: i64,
}

impl Default for StreamBounds {
    fn default() -> Self {
        Self { replicas: 1, event_age: Duration::from_secs(30 * 24 * 3600), events: 5_000_000, commands: 200_000 }
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
        /// What was tried: `read`, `created`, `changed` or `replaced`.
        done: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server took the configuration and silently dropped a part of it, as old servers do.
    #[error("the server keeps the stream {stream} with {field} = {got}, not {wanted}")]
    Dropped {
        /// The stream.
        stream: &'static str,
        /// The setting.
        field: &'static str,
        /// What was asked for.
        wanted: String,
        /// What came back.
        got: String,
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
        ..shared(bounds, "Copy of the log: one CloudEvent per event")
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
        ..shared(bounds, "Commands that wait to be handled")
    }
}

fn shared(bounds: &StreamBounds, description: &str) -> Config {
    Config {
        storage: StorageType::File,
        num_replicas: bounds.replicas,
        duplicate_window: DEDUPE_WINDOW,
        description: Some(description.to_owned()),
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        ..Config::default()
    }
}

/// Makes sure that the stream of events is there as it should be; answers what the server says of it.
///
/// # Errors
/// [`EnsureError`]; trying again with back-off is right for `Unavailable`, and harmless for `Dropped`.
pub async fn ensure_events(bus: &Bus, bounds: &StreamBounds) -> Result<Info, EnsureError> {
    ensure(bus.jetstream(), EVENTS, events(bounds)).await
}

/// Makes sure that the stream of commands is there as it should be.
///
/// # Errors
/// As [`ensure_events`].
pub async fn ensure_commands(bus: &Bus, bounds: &StreamBounds) -> Result<Info, EnsureError> {
    ensure(bus.jetstream(), COMMANDS, commands(bounds)).await
}

async fn ensure(jetstream: &jetstream::Context, stream: &'static str, wanted: Config) -> Result<Info, EnsureError> {
    let unavailable = |done| {
        move |source: Box<dyn std::error::Error + Send + Sync>| EnsureError::Unavailable { stream, done, source }
    };
    // Reading first: a role whose user may not create streams works with one that is there.
    let existing = match jetstream.get_stream(stream).await {
        Ok(found) if is_damaged(&found).await.map_err(unavailable("read"))? => {
            // A server whose folder was deleted keeps such a stream for ever and takes nothing more into it.
            tracing::error!(stream, "the stream has lost messages that it still counts; replacing it");
            jetstream.delete_stream(stream).await.map_err(|error| unavailable("replaced")(error.into()))?;
            None
        }
        Ok(found) => Some(found.cached_info().clone()),
        Err(error) => match error.kind() {
            jetstream::context::GetStreamErrorKind::JetStream(reason)
                if reason.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                None
            }
            _ => return Err(unavailable("read")(error.into())),
        },
    };
    let info = match existing {
        Some(info) if first_difference(&wanted, &info.config).is_none() => return Ok(info),
        Some(info) => {
            tracing::warn!(stream, "the stream is not as it should be; changing it");
            // What is a matter of capacity stays as the operator has it.
            let changed = Config {
                subjects: wanted.subjects.clone(),
                duplicate_window: wanted.duplicate_window,
                discard: wanted.discard,
                max_message_size: wanted.max_message_size,
                retention: wanted.retention,
                storage: wanted.storage,
                ..info.config
            };
            jetstream.update_stream(&changed).await.map_err(|error| unavailable("changed")(error.into()))?
        }
        None => {
            let created =
                jetstream.create_stream(&wanted).await.map_err(|error| unavailable("created")(error.into()))?;
            tracing::info!(stream, "the stream was created");
            created.cached_info().clone()
        }
    };
    match first_difference(&wanted, &info.config) {
        Some((field, wanted, got)) => Err(EnsureError::Dropped { stream, field, wanted, got }),
        None => Ok(info),
    }
}

/// Whether the stream counts a first message that cannot be read. Looks twice, as limits and acknowledgements remove
/// first messages all the time.
async fn is_damaged(stream: &jetstream::stream::Stream) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let mut state = stream.cached_info().state.clone();
    for _ in 0..2 {
        if state.messages == 0 {
            return Ok(false);
        }
        match stream.get_raw_message(state.first_sequence).await {
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
            // Whatever else is wrong (a header that cannot be read, say), the message is there, or cannot be asked for.
            Err(_) => return Ok(false),
        }
        let now = stream.get_info().await?.state;
        if now.first_sequence != state.first_sequence {
            return Ok(false);
        }
        state = now;
    }
    Ok(true)
}

/// The first setting on which correctness rests and that is not as wanted.
fn first_difference(wanted: &Config, got: &Config) -> Option<(&'static str, String, String)> {
    let show = |value: &dyn std::fmt::Debug| format!("{value:?}");
    [
        ("subjects", show(&wanted.subjects), show(&got.subjects)),
        ("retention", show(&wanted.retention), show(&got.retention)),
        ("storage", show(&wanted.storage), show(&got.storage)),
        ("discard", show(&wanted.discard), show(&got.discard)),
        ("duplicate_window", show(&wanted.duplicate_window), show(&got.duplicate_window)),
        ("max_msg_size", show(&wanted.max_message_size), show(&got.max_message_size)),
    ]
    .into_iter()
    .find(|(_, wanted, got)| wanted != got)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_was_dropped_is_noticed_and_capacity_is_the_operators() {
        let wanted = events(&StreamBounds::default());
        let mut got = wanted.clone();
        got.max_messages = 7;
        got.num_replicas = 3;
        assert_eq!(first_difference(&wanted, &got), None);
        got.duplicate_window = Duration::ZERO;
        assert_eq!(first_difference(&wanted, &got).unwrap().0, "duplicate_window");
    }
}
