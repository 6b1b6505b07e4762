//! One message of the stream of commands, however it was read, and its acknowledgement.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::raw_message::RawMessage;
use super::{CommandConsumerError, CommandDecoder, Rejection};
use crate::command::Command;
use crate::command_consumer::decoder::DecodedCommand;
use crate::dead_letters::{DeadLetterKind, Undeliverable, from_wire, plain_headers};
use bus::Bus;

/// A message that was delivered and has to be acknowledged.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) subject: String,
    headers: Option<HeaderMap>,
    /// The headers as they came, where the client library cannot read them.
    raw_headers: Option<Vec<u8>>,
    payload: Bytes,
    /// Its sequence in the stream.
    pub(super) sequence: u64,
    /// How often it was delivered, this time included.
    pub(super) delivered: i64,
    /// The subject for its acknowledgement.
    pub(super) acknowledgements: String,
    /// The id of its CloudEvent, once it is decoded.
    pub(super) command_id: Option<String>,
    /// Its share of the byte bound of commands in hand.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Delivery {
    /// A message that the consumer delivered.
    ///
    /// # Errors
    /// [`CommandConsumerError::Silent`] where it is no message of a stream.
    pub(super) fn from_message(message: Message) -> Result<Self, CommandConsumerError> {
        let info = message.info().map_err(|error| CommandConsumerError::Silent(Some(error)))?;
        let (sequence, delivered) = (info.stream_sequence, info.delivered);
        let message = message.message;
        Ok(Self {
            subject: message.subject.to_string(),
            headers: message.headers,
            raw_headers: None,
            payload: message.payload,
            sequence,
            delivered,
            acknowledgements: message.reply.map(|reply| reply.to_string()).unwrap_or_default(),
            command_id: None,
            room: None,
        })
    }

    /// A message that was delivered, and could only be read from the stream itself.
    pub(super) fn from_raw(message: RawMessage, acknowledgements: String) -> Self {
        Self {
            acknowledgements,
            subject: message.subject,
            headers: None,
            raw_headers: Some(message.headers),
            payload: message.payload.into(),
            sequence: message.sequence,
            delivered: 1,
            command_id: None,
            room: None,
        }
    }

    /// Decodes the command. A message whose decoding panics is refused: it would panic each time.
    pub(super) fn decode(&self) -> Result<DecodedCommand, Rejection> {
        let decode = || CommandDecoder::take(&self.subject, self.headers.as_ref(), &self.payload);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)).unwrap_or_else(|_| Err(Rejection::panicked()))
    }

    /// The message on its way to the dead letters.
    pub(super) fn undeliverable<'a>(&'a self, rejection: &'a Rejection) -> Undeliverable<'a> {
        Undeliverable {
            kind: DeadLetterKind::Command,
            source: &self.subject,
            reason: rejection.to_string(),
            aggregate: rejection.about(),
            event: None,
            headers: self.plain_headers(),
            raw_headers: self.raw_headers.as_deref(),
            payload: &self.payload,
        }
    }

    /// A header of the message, by its name in any case.
    pub(super) fn header(&self, wanted: &str) -> Option<String> {
        self.plain_headers().into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    }

    fn plain_headers(&self) -> BTreeMap<String, String> {
        self.raw_headers.as_deref().map_or_else(|| plain_headers(self.headers.as_ref()), from_wire)
    }

    /// Acknowledges or terminates the message, and waits for the server's confirmation.
    pub(super) async fn settle(&self, bus: &Bus, kind: AckKind) {
        let settled = bus.client().request(self.acknowledgements.clone(), kind.into()).await;
        if let Err(error) = settled {
            // It is delivered again; the command's key then shows that it took effect.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                subject = %self.subject,
                "acknowledgement not confirmed"
            );
        }
    }

    /// Has the message delivered again after the delay.
    pub(super) async fn nak(&self, bus: &Bus, delay: Duration) {
        self.publish_ack(bus, AckKind::Nak(Some(delay))).await;
    }

    /// Extends the time for the acknowledgement.
    pub(super) async fn in_progress(&self, bus: &Bus) {
        self.publish_ack(bus, AckKind::Progress).await;
    }

    async fn publish_ack(&self, bus: &Bus, kind: AckKind) {
        if let Err(error) = bus.client().publish(self.acknowledgements.clone(), kind.into()).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "state of a command not sent, it is delivered again"
            );
        }
    }
}

/// Has a message that was delivered and lost delivered again at once.
///
/// # Errors
/// The connection is closed.
pub(super) async fn redeliver(bus: &Bus, acknowledgements: String) -> Result<(), async_nats::client::PublishError> {
    bus.client().publish(acknowledgements, AckKind::Nak(None).into()).await
}

/// A command's name for metrics.
pub(super) fn name(decoded: &Result<DecodedCommand, Rejection>) -> &'static str {
    decoded.as_ref().map_or("unknown", |decoded| Command::name(&decoded.command))
}
