//! What is committed and not yet shown to the readers of the log, because an older transaction is still open.

use std::time::Duration;

use metrics::gauge;
use sqlx::PgExecutor;

use super::{Log, LogError, Position, in_time};

/// The greatest number to which events are counted that readers do not see.
pub(crate) const MOST_HELD_BACK: i64 = 10_000;

/// A greater lag is reported as a problem, as it holds up every reader.
pub const TOLERATED_LAG: Duration = Duration::from_secs(5);

/// How far the log's readers are behind what is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Visibility {
    /// Committed events that no reader sees yet, counted up to [`MOST_HELD_BACK`].
    pub held_back_events: u64,
    /// Age of the first of them; `None`: readers see everything.
    pub lag: Option<Duration>,
}

impl Visibility {
    /// The lag in seconds, 0 where readers see everything.
    pub fn lag_seconds(&self) -> f64 {
        self.lag.unwrap_or_default().as_secs_f64()
    }

    /// Whether a transaction hangs, instead of ending in a moment.
    pub fn is_late(&self) -> bool {
        self.lag.is_some_and(|lag| lag > TOLERATED_LAG)
    }

    /// As seen by this connection.
    ///
    /// # Errors
    /// sqlx's error.
    pub(crate) async fn seen_by(database: impl PgExecutor<'_>) -> sqlx::Result<Self> {
        // The opposite of what readers take, and so of the same snapshot and the same index.
        let held = sqlx::query!(
            r#"WITH held AS (
                SELECT recorded_at FROM events
                 WHERE epoch = (SELECT log_epoch.epoch FROM log_epoch)
                   AND written_by >= pg_snapshot_xmin(pg_current_snapshot())
                 ORDER BY events.epoch, events.written_by, events.position LIMIT $1)
            SELECT count(*) AS "events!", extract(epoch FROM clock_timestamp() - min(recorded_at))::float8 AS age
              FROM held"#,
            MOST_HELD_BACK
        )
        .fetch_one(database)
        .await?;
        let lag = held.age.map(|seconds| Duration::from_secs_f64(seconds.max(0.0)));
        Ok(Self { held_back_events: held.events.unsigned_abs(), lag })
    }
}

impl Log {
    /// What is committed and not yet shown to readers. A lag of more than seconds means that somebody's transaction
    /// hangs, and is worth an alarm. The metrics of it are set, too.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn visibility(&self) -> Result<Visibility, LogError> {
        let visibility = in_time(Visibility::seen_by(&self.pool)).await?;
        gauge!("lablet_log_visibility_lag_seconds").set(visibility.lag_seconds());
        gauge!("lablet_log_held_back_seconds").set(visibility.lag_seconds());
        gauge!("lablet_log_held_back_events").set(u32::try_from(visibility.held_back_events).unwrap_or(u32::MAX));
        Ok(visibility)
    }

    /// The position to wait for where somebody names this one: itself, once the log has reached it, whether readers see it
    /// yet or not. A position of an earlier epoch may have been lost when a dump was restored: then the newest one.
    /// `None`: the log has not reached it, so that nobody was ever given it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn issued(&self, named: Position) -> Result<Option<Position>, LogError> {
        let newest = self.newest().await?;
        if named <= newest {
            return Ok(Some(named));
        }
        let epoch = in_time(sqlx::query_scalar!("SELECT epoch FROM log_epoch").fetch_one(&self.pool)).await?;
        Ok((named.epoch < epoch).then_some(newest))
    }

    /// The position of the last event that is committed, whether readers see it yet or not; [`Position::START`] for an
    /// empty log. No position beyond it was ever given to anybody.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn newest(&self) -> Result<Position, LogError> {
        Ok(in_time(newest(&self.pool)).await?.unwrap_or(Position::START))
    }
}

/// The position of the last event that is committed; `None`: there is none.
///
/// # Errors
/// sqlx's error.
pub async fn newest(database: impl PgExecutor<'_>) -> sqlx::Result<Option<Position>> {
    let newest = sqlx::query!(
        r#"SELECT epoch, written_by::text AS "written_by!", position FROM events
            ORDER BY events.epoch DESC, events.written_by DESC, events.position DESC LIMIT 1"#
    );
    let newest = newest.fetch_optional(database).await?;
    newest.map(|newest| Position::from_columns(newest.epoch, &newest.written_by, newest.position)).transpose()
}
