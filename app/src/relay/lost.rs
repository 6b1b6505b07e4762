//! What the bus tells of and the log has lost, after a standby was promoted that lacked the newest events.

use std::error::Error;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use metrics::counter;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use crate::log::{Log, LogError};
use bus::{Bus, streams};

/// Most messages that are looked at: more than a standby lacks that is of any use.
const MOST_LOOKED_AT: u64 = 100_000;

/// Whether there are such events could not be found out.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// The stream cannot be read.
    #[error("the stream of events cannot be read")]
    Stream(#[source] Box<dyn Error + Send + Sync>),
}

impl From<sqlx::Error> for LookError {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

/// Looks for them once after a promotion, among what was published after the checkpoint that the standby has. Each is logged, and
/// their number kept for operators: consumers may have applied them.
pub(super) async fn look(log: &Log, bus: &Bus, checkpoint: &Checkpoint) -> Result<(), LookError> {
    let due = "SELECT epoch FROM log_epochs JOIN log_epoch USING (epoch) WHERE promoted AND lost_events IS NULL";
    let Some(epoch) = sqlx::query_scalar::<_, i32>(due).fetch_optional(log.pool()).await? else { return Ok(()) };
    // The stream is another than the one that is remembered, or is filled anew.
    let Some(after) = checkpoint.acked_sequence.and_then(|sequence| u64::try_from(sequence).ok()) else {
        return Ok(());
    };
    let unreadable = |error: Box<dyn Error + Send + Sync>| LookError::Stream(error);
    let stream = bus.jetstream().get_stream(streams::EVENTS).await.map_err(|error| unreadable(error.into()))?;
    let last = stream.cached_info().state.last_sequence.min(after + MOST_LOOKED_AT);
    let mut lost = 0_i32;
    for sequence in after + 1..=last {
        let message = match stream.get_raw_message(sequence).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => continue,
            Err(error) => return Err(unreadable(error.into())),
        };
        let id = message.headers.get(NATS_MESSAGE_ID).and_then(|id| id.as_str().parse::<Uuid>().ok());
        if let Some(id) = id
            && log.event(id).await?.is_none()
        {
            lost += 1;
            tracing::error!(event.id = %id, subject = %message.subject, "event was published and lost by a promotion");
        }
    }
    counter!("lablet_log_lost_events_total").increment(u64::try_from(lost).unwrap_or_default());
    sqlx::query("UPDATE log_epochs SET lost_events = $2 WHERE epoch = $1")
        .bind(epoch)
        .bind(lost)
        .execute(log.pool())
        .await?;
    Ok(())
}
