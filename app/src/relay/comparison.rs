//! Does the bus hold the events that the log holds?

use std::collections::HashMap;
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::log::{Log, LogError, Position};
use bus::{Bus, streams};

/// Events read from the log at once.
const PAGE: i64 = 1_000;
/// How long the stream may take to give its next message.
const MESSAGE_WITHIN: Duration = Duration::from_secs(20);
/// Most differences that are listed.
const MOST_LISTED: usize = 20;

/// What the comparison of log and bus found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Comparison {
    /// Messages of the stream that were looked at.
    pub messages: u64,
    /// Events of the log up to the position that was asked for, those left out that aged out of the stream.
    pub events: u64,
    /// Events that aged out of the stream, as its bounds want it.
    pub aged_out: u64,
    /// How many events of the log are not on the stream.
    pub missing: u64,
    /// The first of them.
    pub missing_events: Vec<Uuid>,
    /// How many messages on the stream tell of no event of the log.
    pub unknown: u64,
    /// The first of their ids.
    pub unknown_messages: Vec<String>,
}

impl Comparison {
    /// Whether the bus holds what the log holds.
    pub fn holds(&self) -> bool {
        self.missing == 0 && self.unknown == 0
    }
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    /// An event of the log is not on the stream.
    Missing {
        /// Which.
        event_id: Uuid,
        /// The position of the event before it.
        previous: Position,
    },
    /// A message on the stream tells of no event of the log.
    Unknown {
        /// Its id; empty where it has none.
        message_id: String,
        /// Where it stands on the stream.
        sequence: u64,
    },
}

/// The comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ComparisonError {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// The stream cannot be read.
    #[error("the stream of events cannot be read")]
    Stream(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn stream_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ComparisonError {
    ComparisonError::Stream(error.into())
}

/// Compares the stream with the log up to `until`, which the relay has published.
///
/// Both are read once, in order. What stands on the stream before its place in the log is remembered until the log
/// comes to it, so memory grows with disorder and not with the number of events.
///
/// # Errors
/// [`ComparisonError`] when one of the two cannot be read.
pub async fn compare(log: &Log, bus: &Bus, until: Position) -> Result<Comparison, ComparisonError> {
    compare_and_tell(log, bus, until, None).await
}

/// As [`compare`]; each difference is handed on where somebody wants it. Missing events come in the order of the log.
pub(super) async fn compare_and_tell(
    log: &Log,
    bus: &Bus,
    until: Position,
    differences: Option<mpsc::Sender<Difference>>,
) -> Result<Comparison, ComparisonError> {
    let tell = async |difference| {
        if let Some(differences) = &differences {
            // A receiver that is gone has failed, and says so itself.
            let _ = differences.send(difference).await;
        }
    };
    let mut stream = bus.jetstream().get_stream(streams::EVENTS).await.map_err(stream_error)?;
    let state = stream.info().await.map_err(stream_error)?.state.clone();
    let mut remaining = state.messages;
    let consumer = stream
        .create_consumer(OrderedConfig { headers_only: true, ..OrderedConfig::default() })
        .await
        .map_err(stream_error)?;
    let mut messages = consumer.messages().await.map_err(stream_error)?;
    let mut next_message = async || -> Result<Option<(String, u64)>, ComparisonError> {
        if remaining == 0 {
            return Ok(None);
        }
        remaining -= 1;
        let message = tokio::time::timeout(MESSAGE_WITHIN, messages.next()).await.map_err(stream_error)?;
        let Some(message) = message else { return Ok(None) };
        let message = message.map_err(stream_error)?;
        let sequence = message.info().map_err(stream_error)?.stream_sequence;
        let id = message.headers.as_ref().and_then(|headers| headers.get(NATS_MESSAGE_ID));
        Ok(Some((id.map(|id| id.as_str().to_owned()).unwrap_or_default(), sequence)))
    };

    let mut found = Comparison::default();
    let mut ahead: HashMap<String, u64> = HashMap::new();
    // Only where the stream no longer has its first message did its bounds let events go.
    let mut may_have_aged_out = state.first_sequence > 1;
    let (mut after, mut previous) = (Position::START, Position::START);
    'log: loop {
        let page = log.read_without_payloads(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for event in page {
            if event.position > until {
                break 'log;
            }
            let id = event.event_id.to_string();
            let mut is_there = ahead.remove(&id).is_some();
            // Events older than the oldest message aged out: one message is enough to look for them.
            while !is_there && (!may_have_aged_out || ahead.is_empty()) {
                let Some((message, sequence)) = next_message().await? else { break };
                found.messages += 1;
                is_there = message == id;
                if !is_there {
                    ahead.insert(message, sequence);
                }
            }
            if is_there {
                may_have_aged_out = false;
                found.events += 1;
            } else if may_have_aged_out {
                found.aged_out += 1;
            } else {
                found.events += 1;
                found.missing += 1;
                if found.missing_events.len() < MOST_LISTED {
                    found.missing_events.push(event.event_id);
                }
                tell(Difference::Missing { event_id: event.event_id, previous }).await;
            }
            previous = event.position;
        }
    }
    // What is left on the stream is newer than `until`, told of twice, or told of nothing that is in the log.
    while let Some((message, sequence)) = next_message().await? {
        found.messages += 1;
        ahead.insert(message, sequence);
    }
    for (message, sequence) in ahead {
        let event_id = message.parse::<Uuid>().ok();
        let is_known = match event_id {
            Some(event_id) => log.event(event_id).await?.is_some(),
            None => false,
        };
        if !is_known {
            found.unknown += 1;
            if found.unknown_messages.len() < MOST_LISTED {
                found.unknown_messages.push(message.clone());
            }
            tell(Difference::Unknown { message_id: message, sequence }).await;
        }
    }
    Ok(found)
}
