//! Notices that were sent and are not acknowledged yet.
//!
//! Each names the message that has to stand before it, so that the stream refuses whatever would stand out of order:
//! after a message that was lost on its way, beside another relay, or on a stream that was replaced meanwhile.

use std::collections::VecDeque;
use std::future::{IntoFuture as _, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use futures_util::future::BoxFuture;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::RelayError;
use super::checkpoint::Checkpoint;
use crate::log::Position;
use crate::notice::Notice;
use bus::{Bus, streams};

/// Most bytes of notices whose acknowledgement is awaited.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// What has to be the last message of the stream for the next one to be taken.
enum Last {
    /// The message at this sequence: known from a look at the stream, after which the server may have forgotten ids.
    Sequence(u64),
    /// The notice of this event, which was sent before.
    Event(Uuid),
}

/// A notice that was sent and not yet acknowledged.
struct PendingPublish {
    position: Position,
    event_id: Uuid,
    bytes: usize,
    acknowledgement: BoxFuture<'static, Result<PublishAck, PublishError>>,
    /// In the trace of its event; it ends with the acknowledgement.
    span: Span,
}

/// The span of one notice, below what made its event. An event without a trace has none.
fn publish_span(notice: &Notice) -> Span {
    if notice.traceparent.is_none() {
        return Span::none();
    }
    tracing::debug_span!(
        "relay.publish_event",
        otel.name = "send LABLET_EVENTS",
        otel.kind = "producer",
        otel.status_code = tracing::field::Empty,
        messaging.system = "nats",
        messaging.operation.type = "send",
        messaging.destination.name = notice.subject,
        messaging.message.id = %notice.event_id,
        position = %notice.position,
        traceparent = notice.traceparent,
    )
}

/// The notices in flight, in their order, and how far those before them are acknowledged.
pub(super) struct Window {
    most: usize,
    bytes: usize,
    last: Last,
    in_flight: VecDeque<PendingPublish>,
    acknowledged: Checkpoint,
    again_until: Position,
}

/// Numbers of notices that were acknowledged.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Acknowledgements {
    /// All of them.
    pub(super) events: u64,
    /// Of these, those published again after a loss.
    pub(super) again: u64,
}

impl Window {
    /// A window of at most `most` notices, for a stream whose last sequence is known from a look at it. Up to
    /// `again_until` they were published before.
    pub(super) fn new(most: usize, acknowledged: Checkpoint, last_sequence: u64, again_until: Position) -> Self {
        let last = Last::Sequence(last_sequence);
        let in_flight = VecDeque::with_capacity(most);
        Self { most: most.max(1), bytes: 0, last, in_flight, acknowledged, again_until }
    }

    /// Whether another notice may be sent.
    fn has_room(&self) -> bool {
        self.in_flight.len() < self.most && self.bytes < MOST_BYTES
    }

    /// Whether everything that was sent is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// How far the log is published without a hole.
    pub(super) fn acknowledged(&self) -> &Checkpoint {
        &self.acknowledged
    }

    /// Sends notices while there is room, and leaves the rest.
    ///
    /// # Errors
    /// One could not be sent; what was sent before it is in flight.
    pub(super) async fn send_all(&mut self, bus: &Bus, unsent: &mut VecDeque<Notice>) -> Result<(), RelayError> {
        let Some(first) = unsent.front().filter(|_| self.has_room()) else { return Ok(()) };
        let span = tracing::info_span!(
            "relay.publish",
            first = %first.position,
            traceparent = first.traceparent.as_deref(),
            events = tracing::field::Empty,
        );
        let send = async {
            let mut events = 0_u64;
            while self.has_room()
                && let Some(notice) = unsent.pop_front()
            {
                self.send(bus, notice).await?;
                events += 1;
            }
            Ok::<u64, RelayError>(events)
        };
        let events = send.instrument(span.clone()).await?;
        span.record("events", events);
        Ok(())
    }

    async fn send(&mut self, bus: &Bus, notice: Notice) -> Result<(), RelayError> {
        let span = publish_span(&notice);
        let Notice { subject, event_id, position, headers, payload, .. } = notice;
        let bytes = payload.len();
        let message = PublishMessage::build().headers(headers).expected_stream(streams::EVENTS).payload(payload);
        let message = match self.last {
            Last::Sequence(sequence) => message.expected_last_sequence(sequence),
            Last::Event(event_id) => message.expected_last_message_id(event_id.to_string()),
        };
        let acknowledgement = bus
            .jetstream()
            .send_publish(subject, message)
            .await
            .map_err(|source| RelayError::Publish { event_id, source: Box::new(source) })?
            .into_future();
        self.last = Last::Event(event_id);
        self.bytes += bytes;
        self.in_flight.push_back(PendingPublish { position, event_id, bytes, acknowledgement, span });
        Ok(())
    }

    /// Waits until the oldest notice is acknowledged, and takes what else is by then; none where nothing is in flight.
    /// Nothing is lost where the wait is given up.
    ///
    /// # Errors
    /// The oldest was refused, or its outcome is unknown.
    pub(super) async fn settle(&mut self) -> Result<Acknowledgements, RelayError> {
        poll_fn(|context| {
            let mut acknowledgements = Acknowledgements::default();
            while let Some(oldest) = self.in_flight.front_mut() {
                match Pin::new(&mut oldest.acknowledgement).poll(context) {
                    Poll::Pending if acknowledgements.events == 0 => return Poll::Pending,
                    Poll::Pending => break,
                    Poll::Ready(outcome) => {
                        if outcome.is_err() {
                            oldest.span.record("otel.status_code", "ERROR");
                        }
                        let (position, event_id, bytes) = (oldest.position, oldest.event_id, oldest.bytes);
                        self.in_flight.pop_front();
                        self.bytes -= bytes;
                        if let Err(error) = accept(outcome, position, event_id, &mut self.acknowledged) {
                            return Poll::Ready(Err(error));
                        }
                        acknowledgements.events += 1;
                        acknowledgements.again += u64::from(position <= self.again_until);
                    }
                }
            }
            Poll::Ready(Ok(acknowledgements))
        })
        .await
    }
}

/// Moves the checkpoint to an event that was acknowledged.
fn accept(
    outcome: Result<PublishAck, PublishError>,
    position: Position,
    event_id: Uuid,
    checkpoint: &mut Checkpoint,
) -> Result<(), RelayError> {
    let acknowledged = outcome.map_err(|error| match error.kind() {
        // The server answered, and with none of the refusals that have a name of their own.
        PublishErrorKind::Other => RelayError::Refused { event_id, source: Box::new(error) },
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence => {
            RelayError::OutOfOrder { event_id, source: Box::new(error) }
        }
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::MaxPayloadExceeded => RelayError::Publish { event_id, source: Box::new(error) },
    })?;
    let sequence = i64::try_from(acknowledged.sequence)
        .map_err(|error| RelayError::Publish { event_id, source: Box::new(error) })?;
    if let Some(last) = checkpoint.acked_sequence
        && sequence <= last
        && !acknowledged.duplicate
    {
        return Err(RelayError::Replaced { got: sequence, last });
    }
    // A duplicate is acknowledged with the sequence that the first one had, or with none by old servers.
    if !acknowledged.duplicate || checkpoint.acked_sequence.is_none_or(|last| sequence > last) {
        checkpoint.acked_sequence = Some(sequence);
        checkpoint.event_id = Some(event_id);
    }
    checkpoint.position = position;
    Ok(())
}
