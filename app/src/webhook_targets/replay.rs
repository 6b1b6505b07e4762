//! Events that a target gets once more.

use super::{WebhookTargets, position};
use crate::log::{LogError, Position};

/// A part of the log that is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// Everything up to here was sent again.
    pub at: Position,
    /// The last position that is.
    pub until: Position,
}

/// Why nothing is sent again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no such target.
    #[error("there is no target {0:?}")]
    NoTarget(String),
    /// The log has no such position.
    #[error("the position {0} is beyond the end of the log")]
    Beyond(Position),
    /// Nothing lies between.
    #[error("nothing lies after {after} and up to {until}: what the target did not get yet comes by itself")]
    Empty {
        /// Where it would begin.
        after: Position,
        /// Where it would end.
        until: Position,
    },
    /// The database does not answer.
    #[error("the targets cannot be read or written")]
    Unavailable(#[from] LogError),
}

impl WebhookTargets {
    /// Has a target sent again what lies after a position, up to another one or up to where it is. A replay that is under
    /// way is replaced.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub async fn replay(&self, name: &str, after: Position, until: Option<Position>) -> Result<Replay, ReplayError> {
        for named in [Some(after), until].into_iter().flatten() {
            if self.log.issued(named).await?.is_none() {
                return Err(ReplayError::Beyond(named));
            }
        }
        let row = sqlx::query_scalar!("SELECT position FROM webhook_targets WHERE name = $1", name)
            .fetch_optional(&self.pool)
            .await
            .map_err(LogError::from)?;
        let reached = row.ok_or_else(|| ReplayError::NoTarget(name.to_owned()))?;
        let reached = position("position", &reached).map_err(LogError::from)?;
        let until = until.map_or(reached, |until| until.min(reached));
        if after >= until {
            return Err(ReplayError::Empty { after, until });
        }
        let replay = Replay { at: after, until };
        sqlx::query!(
            "UPDATE webhook_targets
                SET replay_position = $2, replay_until = $3, decisions = decisions + 1, failing_event = NULL,
                    failed_attempts = 0, failing_since = NULL, retry_at = NULL
              WHERE name = $1",
            name,
            replay.at.to_string(),
            replay.until.to_string()
        )
        .execute(&self.pool)
        .await
        .map_err(LogError::from)?;
        Ok(replay)
    }
}

/// The replay in two columns, of which both or none are null.
pub(super) fn stored(at: Option<&str>, until: Option<&str>) -> sqlx::Result<Option<Replay>> {
    let Some((at, until)) = at.zip(until) else { return Ok(None) };
    Ok(Some(Replay { at: position("replay_position", at)?, until: position("replay_until", until)? }))
}
