//! A message by which an operator tries a target, at once and apart from all deliveries.

use bus::clock::{Clock, IdGenerator};

use crate::answer::{Attempt, Consequence};
use crate::message::{Message, MessageError, Site};
use crate::resolver;
use crate::sender::{Handshake, Sender, SenderError};
use crate::targets::Target;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The id of the message.
    pub message_id: String,
    /// Whether the target took it.
    pub delivered: bool,
    /// What it answered: the status, and the beginning of what it said beside.
    pub answer: String,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Requests cannot be made.
    #[error("requests cannot be made")]
    Sender(#[from] SenderError),
    /// The message cannot be written.
    #[error("the message cannot be written: {0}")]
    Message(String),
}

impl From<MessageError> for TrialError {
    fn from(error: MessageError) -> Self {
        Self::Message(error.to_string())
    }
}

impl Trial {
    /// Sends a message of type [`crate::TEST_TYPE`], after the handshake where the target is asked.
    ///
    /// # Errors
    /// [`TrialError`]; that the target does not answer is no error.
    pub async fn send(target: &Target, site: &Site, clock: &Clock, ids: &IdGenerator) -> Result<Self, TrialError> {
        let sender = Sender::new(target, resolver::system(), clock.clone())?;
        let message = Message::test(target, ids.uuid(), clock.now(), site)?;
        let refused = if target.handshake {
            match sender.ask(&site.origin(), target.rate_per_minute).await {
                Handshake::Agreed { .. } => None,
                Handshake::Refused(reason) => Some(Attempt::NotAgreed(reason)),
            }
        } else {
            None
        };
        let attempt = match refused {
            Some(refused) => refused,
            None => sender.send(&message).await,
        };
        Ok(Self {
            delivered: attempt.consequence() == Consequence::Delivered,
            answer: attempt.describe(),
            message_id: message.id,
        })
    }
}
