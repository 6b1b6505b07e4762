//! The stream of full records, by which read models follow the log without reading it.
//!
//! The relay writes the events that it reads, in full and many to a message, beside their notices. The stream is short
//! and in memory, and nothing waits for its acknowledgement: a message that is lost, an event that is too large and a
//! server that was started again are holes, which the reader sees by `previous` and reads from the log.

use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::RawJson;
use futures_util::StreamExt as _;
use metrics::counter;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::log::{Metadata, Position, RecordedEvent};
use bus::connect::REQUEST_TIMEOUT;
use bus::{Bus, streams, subjects};

/// A message is sent once it has so many bytes of payloads.
const BATCH_BYTES: usize = 256 * 1024;
/// Events whose payload is larger are left to the log.
const LARGEST_PAYLOAD: usize = streams::LARGEST_RECORDS - BATCH_BYTES - 1_024;
/// Approximate size of an event without its payload.
const EVENT_BYTES: usize = 384;
/// Version of the messages' format. To a reader of another release a message is a hole.
const FORMAT: u8 = 1;
/// Messages that one request asks for.
const MESSAGES_AT_ONCE: i64 = 16;

/// Consecutive events of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordBatch {
    /// The position of the event before the first one.
    pub previous: Position,
    /// The events.
    pub events: Vec<RecordedEvent>,
}

/// A message that holds no records of this format.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Another release wrote it.
    #[error("the records are of format {0:?}; expected {FORMAT}")]
    Format(Option<u8>),
    /// It cannot be read or written.
    #[error("the records cannot be read or written")]
    Encoding(#[from] postcard::Error),
    /// A time is out of range.
    #[error("a record holds a time out of range: {0} microseconds since 1970")]
    Time(i64),
}

/// The stream of records cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum RecordFeedError {
    /// The stream is not there, the server does not answer, or refuses.
    #[error("the stream of records cannot be followed")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The connection was made anew, or the consumer ended.
    #[error("the consumer of records ended")]
    Ended,
}

#[derive(Serialize, Deserialize)]
struct Batch<'a> {
    previous: PositionParts,
    #[serde(borrow)]
    events: Vec<Record<'a>>,
}

/// A position as its parts.
type PositionParts = (i32, u64, i64);

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    position: PositionParts,
    event_id: [u8; 16],
    aggregate_type: &'a str,
    aggregate_id: &'a str,
    sequence: i64,
    event_type: &'a str,
    event_version: &'a str,
    payload: &'a str,
    actor: Option<&'a str>,
    correlation_id: Option<&'a str>,
    causation_id: Option<&'a str>,
    traceparent: Option<&'a str>,
    /// In microseconds since 1970.
    recorded_at: i64,
}

fn position_parts(position: Position) -> PositionParts {
    (position.epoch, position.written_by, position.position)
}

fn position((epoch, written_by, position): PositionParts) -> Position {
    Position { epoch, written_by, position }
}

impl<'a> From<&'a RecordedEvent> for Record<'a> {
    fn from(event: &'a RecordedEvent) -> Self {
        Self {
            position: position_parts(event.position),
            event_id: event.event_id.into_bytes(),
            aggregate_type: &event.aggregate_type,
            aggregate_id: &event.aggregate_id,
            sequence: event.sequence,
            event_type: &event.event_type,
            event_version: &event.event_version,
            payload: event.payload.text(),
            actor: event.metadata.actor.as_deref(),
            correlation_id: event.metadata.correlation_id.as_deref(),
            causation_id: event.metadata.causation_id.as_deref(),
            traceparent: event.metadata.traceparent.as_deref(),
            recorded_at: event.recorded_at.timestamp_micros(),
        }
    }
}

impl TryFrom<Record<'_>> for RecordedEvent {
    type Error = RecordError;
    fn try_from(record: Record<'_>) -> Result<Self, RecordError> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Ok(Self {
            position: position(record.position),
            event_id: Uuid::from_bytes(record.event_id),
            aggregate_type: record.aggregate_type.to_owned(),
            aggregate_id: record.aggregate_id.to_owned(),
            sequence: record.sequence,
            event_type: record.event_type.to_owned(),
            event_version: record.event_version.to_owned(),
            payload: RawJson::trusted(record.payload),
            metadata: Metadata {
                actor: text(record.actor),
                correlation_id: text(record.correlation_id),
                causation_id: text(record.causation_id),
                traceparent: text(record.traceparent),
            },
            recorded_at: DateTime::from_timestamp_micros(record.recorded_at)
                .ok_or(RecordError::Time(record.recorded_at))?,
        })
    }
}

impl RecordBatch {
    /// Reads a message.
    ///
    /// # Errors
    /// [`RecordError`]: to the reader it is a hole.
    pub fn decode(message: &[u8]) -> Result<Self, RecordError> {
        let Some((&FORMAT, message)) = message.split_first() else {
            return Err(RecordError::Format(message.first().copied()));
        };
        let Batch { previous, events } = postcard::from_bytes(message)?;
        let events = events.into_iter().map(RecordedEvent::try_from).collect::<Result<_, _>>()?;
        Ok(Self { previous: position(previous), events })
    }
}

/// Consecutive events as messages; `previous` is the position before them.
///
/// # Errors
/// [`RecordError::Encoding`], which no event should cause.
pub fn encode(previous: Position, events: &[RecordedEvent]) -> Result<Vec<Bytes>, RecordError> {
    let mut messages = Vec::new();
    let mut batch = Batch { previous: position_parts(previous), events: Vec::new() };
    let mut bytes = 0;
    let mut finish = |batch: &mut Batch<'_>, bytes: &mut usize, next: Position| -> Result<(), RecordError> {
        if !batch.events.is_empty() {
            let mut message = Vec::with_capacity(*bytes + 64);
            message.push(FORMAT);
            messages.push(postcard::to_extend(batch, message)?.into());
        }
        *batch = Batch { previous: position_parts(next), events: Vec::new() };
        *bytes = 0;
        Ok(())
    };
    for event in events {
        if event.payload.bytes() > LARGEST_PAYLOAD {
            finish(&mut batch, &mut bytes, event.position)?;
            continue;
        }
        bytes += event.payload.bytes() + EVENT_BYTES;
        batch.events.push(Record::from(event));
        if bytes >= BATCH_BYTES {
            finish(&mut batch, &mut bytes, event.position)?;
        }
    }
    finish(&mut batch, &mut bytes, previous)?;
    Ok(messages)
}

/// Publishes events of a page to the stream of records, as far as it would keep them. What fails is a hole, and no error.
pub(crate) async fn publish(bus: &Bus, previous: Position, events: &[RecordedEvent], now: DateTime<Utc>) {
    // The client would keep what is published while there is no connection.
    if !bus.is_connected() {
        return;
    }
    // Events older than the stream keeps any are read from the log by whoever lacks them.
    let old = |event: &RecordedEvent| now - event.recorded_at > streams::RECORDS_AGE;
    let from = events.iter().take_while(|event| old(event)).count();
    let previous = from.checked_sub(1).and_then(|last| events.get(last)).map_or(previous, |event| event.position);
    let recent = events.get(from..).unwrap_or_default();
    let messages = match encode(previous, recent) {
        Ok(messages) => messages,
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "records could not be written, left to the log");
            return;
        }
    };
    if messages.is_empty() {
        return;
    }
    let publish = async {
        for message in messages {
            bus.client().publish(subjects::RECORDS_BATCH, message).await?;
        }
        Ok::<(), async_nats::client::PublishError>(())
    };
    match timeout(REQUEST_TIMEOUT, publish).await {
        Ok(Ok(())) => counter!("lablet_relay_records_total").increment(recent.len() as u64),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn Error, "records were not published, left to the log");
        }
        Err(_) => tracing::warn!("records were not published in time, left to the log"),
    }
}

/// Follows the stream of records.
pub struct RecordFeed {
    messages: Ordered,
    connects: watch::Receiver<u64>,
}

impl std::fmt::Debug for RecordFeed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RecordFeed").finish_non_exhaustive()
    }
}

impl RecordFeed {
    /// Follows the stream from what was published at a time.
    ///
    /// # Errors
    /// [`RecordFeedError::Unavailable`]; trying again with back-off is right, the log being read meanwhile.
    pub async fn open(bus: &Bus, since: DateTime<Utc>) -> Result<Self, RecordFeedError> {
        let unavailable = |error: Box<dyn Error + Send + Sync>| RecordFeedError::Unavailable(error);
        let mut connects = bus.connects();
        connects.mark_unchanged();
        let start_time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(since.timestamp_micros()) * 1_000)
            .map_err(|error| unavailable(Box::new(error)))?;
        let open = async {
            let stream = bus
                .jetstream()
                .get_stream_no_info(streams::RECORDS)
                .await
                .map_err(|error| unavailable(Box::new(error)))?;
            let config = OrderedConfig {
                description: Some("Feeds read models".to_owned()),
                deliver_policy: DeliverPolicy::ByStartTime { start_time },
                replay_policy: ReplayPolicy::Instant,
                max_batch: MESSAGES_AT_ONCE,
                ..OrderedConfig::default()
            };
            let consumer = stream.create_consumer(config).await.map_err(|error| unavailable(Box::new(error)))?;
            consumer.messages().await.map_err(|error| unavailable(Box::new(error)))
        };
        let messages = timeout(REQUEST_TIMEOUT, open).await.map_err(|error| unavailable(Box::new(error)))??;
        Ok(Self { messages, connects })
    }

    /// The next events of the stream. They may lie before what the reader has, or leave a hole behind it.
    ///
    /// # Errors
    /// [`RecordFeedError`]: a new feed has to be opened.
    pub async fn next(&mut self) -> Result<RecordBatch, RecordFeedError> {
        loop {
            let message = tokio::select! {
                _ = self.connects.changed() => return Err(RecordFeedError::Ended),
                message = self.messages.next() => message,
            };
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(RecordFeedError::Unavailable(Box::new(error))),
                None => return Err(RecordFeedError::Ended),
            };
            match RecordBatch::decode(&message.payload) {
                Ok(batch) => return Ok(batch),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "records cannot be read, left to the log");
                }
            }
        }
    }
}

/// How long before what a reader has applied it begins to follow the stream: clocks differ, and publishing takes time.
pub const SLACK: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: i64, payload: String) -> RecordedEvent {
        RecordedEvent {
            position: Position { epoch: 1, written_by: 7, position: number },
            event_id: Uuid::from_u128(u128::try_from(number).unwrap()),
            aggregate_type: "worker".to_owned(),
            aggregate_id: format!("w{number}"),
            sequence: number,
            event_type: "worker.changed".to_owned(),
            event_version: "1".to_owned(),
            payload: RawJson::trusted(payload),
            metadata: Metadata { actor: Some("admin:ada".to_owned()), ..Metadata::default() },
            recorded_at: DateTime::from_timestamp_micros(1_700_000_000_123_456 + number).unwrap(),
        }
    }

    fn decoded(messages: &[Bytes]) -> Vec<RecordBatch> {
        messages.iter().map(|message| RecordBatch::decode(message).unwrap()).collect()
    }

    #[test]
    fn events_come_back_as_they_were_in_chained_batches_that_the_bus_takes() {
        let events: Vec<_> = (1..=1_000).map(|number| event(number, format!("\"{}\"", "x".repeat(1_000)))).collect();
        let messages = encode(Position::START, &events).unwrap();
        assert!(messages.len() > 1);
        assert!(messages.iter().all(|message| message.len() <= streams::LARGEST_RECORDS));
        let mut before = Position::START;
        let mut found = Vec::new();
        for batch in decoded(&messages) {
            assert_eq!(batch.previous, before);
            before = batch.events.last().unwrap().position;
            found.extend(batch.events);
        }
        assert_eq!(found, events);
        assert_eq!(encode(before, &[]).unwrap(), Vec::<Bytes>::new());
    }

    #[test]
    fn an_event_that_is_too_large_is_a_hole_that_shows() {
        let events = [event(1, "1".to_owned()), event(2, "2".repeat(LARGEST_PAYLOAD + 1)), event(3, "3".to_owned())];
        let batches = decoded(&encode(Position::START, &events).unwrap());
        assert_eq!(batches.len(), 2);
        assert_eq!(batches[0].events, [events[0].clone()]);
        assert_eq!(batches[1].previous, events[1].position, "it follows what is left out, which the reader lacks");
        assert_eq!(batches[1].events, [events[2].clone()]);
    }

    #[test]
    fn what_another_release_wrote_is_refused() {
        assert!(matches!(RecordBatch::decode(&[9, 1, 2]), Err(RecordError::Format(Some(9)))));
        assert!(matches!(RecordBatch::decode(&[]), Err(RecordError::Format(None))));
        assert!(matches!(RecordBatch::decode(&[FORMAT, 200, 200]), Err(RecordError::Encoding(_))));
    }
}
