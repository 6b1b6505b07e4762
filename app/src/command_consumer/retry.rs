//! Retry of a dead-lettered command, through the same decoder.

use uuid::Uuid;

use super::{CommandDecoder, Rejection};
use crate::commands::Answer;
use crate::dead_letters::{DeadLetterKind, DeadLetters, OpenedLetter, PayloadKept, Status, header_map};

/// A dead letter was not retried.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// There is none with this id.
    #[error("there is no dead letter {0}")]
    NotFound(Uuid),
    /// It is an event; its projection retries it.
    #[error("the dead letter {0} belongs to a projection")]
    OtherKind(Uuid),
    /// It is settled already.
    #[error("the dead letter {0} was settled before")]
    Settled(Uuid),
    /// Its message was not stored whole.
    #[error("the message of the dead letter {id} was not kept as it came (kept: {}); have its sender send it again", .kept.as_str())]
    NotKept {
        /// The letter.
        id: Uuid,
        /// What is kept.
        kept: PayloadKept,
    },
    /// The command was rejected again.
    #[error(transparent)]
    Rejected(Rejection),
    /// Postgres did not answer.
    #[error("the dead letters cannot be read")]
    Unavailable(#[from] sqlx::Error),
}

/// Retries a dead-lettered command as the team that sent it, with that team's authority; `actor` asked for the retry.
/// The command keeps its key, so it takes effect at most once.
///
/// # Errors
/// [`RetryError`].
pub async fn retry(
    decoder: &CommandDecoder,
    dead_letters: &DeadLetters,
    id: Uuid,
    actor: &str,
) -> Result<Answer, RetryError> {
    let OpenedLetter { letter, payload, .. } = dead_letters.show(id).await?.ok_or(RetryError::NotFound(id))?;
    if letter.kind != DeadLetterKind::Command {
        return Err(RetryError::OtherKind(id));
    }
    if letter.status != Status::Waiting {
        return Err(RetryError::Settled(id));
    }
    if letter.payload_kept != PayloadKept::Whole {
        return Err(RetryError::NotKept { id, kept: letter.payload_kept });
    }
    let handled = match CommandDecoder::take(&letter.source, Some(&header_map(&letter.headers)), &payload) {
        Ok(decoded) => decoder.handle(decoded).await,
        Err(rejection) => Err(rejection),
    };
    match handled {
        Ok(answer) => {
            dead_letters.settle(id, Status::Retried, actor, None).await?;
            Ok(answer)
        }
        Err(rejection) => {
            dead_letters.failed_again(id, &rejection.to_string()).await?;
            Err(RetryError::Rejected(rejection))
        }
    }
}
