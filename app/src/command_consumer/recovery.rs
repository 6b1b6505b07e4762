//! Finds commands that were delivered and never arrived.
//!
//! A message that the client library cannot read ends its connection, or is swallowed by it, and would come again for
//! ever. So whatever is delivered, not acknowledged and not in hand here is read from the stream itself: what is
//! unreadable goes to the dead letters, and after a break the rest is delivered again at once.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use super::delivery::{Delivery, redeliver};
use super::raw_message::{RawMessage, RawMessageError};
use super::{CONSUMER, CommandConsumerError, Handler, Rejection};
use bus::streams;

/// The messages that this process has decoded and not settled, by their place in the stream.
#[derive(Debug, Default)]
pub(super) struct InHand(Mutex<HashSet<u64>>);

impl InHand {
    pub(super) fn take(&self, sequence: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(sequence);
    }

    pub(super) fn release(&self, sequence: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&sequence);
    }

    fn holds(&self, sequence: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&sequence)
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Outcome of one pass over the outstanding messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecoveryOutcome {
    /// Messages that cannot be read, and are dead letters now.
    pub(super) unreadable: usize,
    /// Messages that are delivered again.
    pub(super) redelivered: usize,
}

/// Examines outstanding messages, each once while it is outstanding.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    readable: BTreeSet<u64>,
}

impl Recovery {
    /// Dead-letters what is outstanding and unreadable. With `after_break` what is outstanding, readable and not known
    /// here is delivered again at once: it was lost with the connection.
    ///
    /// # Errors
    /// [`CommandConsumerError::Recovery`]; what was done stays done.
    pub(super) async fn run(
        &mut self,
        handler: &Handler,
        after_break: bool,
    ) -> Result<RecoveryOutcome, CommandConsumerError> {
        let mut found = RecoveryOutcome::default();
        let stream = handler.bus.jetstream().get_stream_no_info(streams::COMMANDS).await;
        let stream = stream.map_err(|error| CommandConsumerError::Consumer(Box::new(error)))?;
        let info =
            stream.consumer_info(CONSUMER).await.map_err(|error| CommandConsumerError::Consumer(Box::new(error)))?;
        if info.num_ack_pending <= handler.in_hand.count() && !after_break {
            return Ok(found);
        }
        let (last, newest) = (info.delivered.stream_sequence, info.delivered.consumer_sequence);
        let mut next = info.ack_floor.stream_sequence + 1;
        self.readable = self.readable.split_off(&next);
        while next <= last {
            if self.readable.contains(&next) || handler.in_hand.holds(next) || handler.delayed.holds(next) {
                next += 1;
                continue;
            }
            let Some(message) = RawMessage::at_or_after(&handler.bus, next).await? else { break };
            let sequence = message.sequence;
            if sequence > last {
                break;
            }
            next = sequence + 1;
            let is_known =
                self.readable.contains(&sequence) || handler.in_hand.holds(sequence) || handler.delayed.holds(sequence);
            if is_known {
                continue;
            }
            match message.unreadable_because() {
                Some(because) => {
                    let delivery = Delivery::from_raw(message, handler.acknowledgements.subject(sequence, newest));
                    if handler.dead_letter(&delivery, "unknown", &Rejection::unreadable(because)).await {
                        found.unreadable += 1;
                    }
                }
                None if after_break => {
                    redeliver(&handler.bus, handler.acknowledgements.subject(sequence, newest))
                        .await
                        .map_err(|error| CommandConsumerError::Consumer(Box::new(error)))?;
                    found.redelivered += 1;
                }
                None => {
                    self.readable.insert(sequence);
                }
            }
        }
        Ok(found)
    }
}

impl From<RawMessageError> for CommandConsumerError {
    fn from(error: RawMessageError) -> Self {
        Self::Recovery(error)
    }
}
