//! A replica of the database, for reads that cost much and may be a little behind.
//!
//! How far behind it is, is measured by what the primary had written: the age of the oldest end of the primary's log that the
//! replica has not replayed. A time that the replica tells would grow while nothing is written. One that is away, behind by
//! more than a bound, or no replica of this database is not read.

mod lag;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::{Unit, describe_gauge, gauge};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::lag::UnreplayedHeads;
use crate::{Projections, reading_pool};

/// How often primary and replica are asked how far they are.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long they may take to answer.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// A look that is older tells nothing: reads go to the primary.
const LOOK_SERVES: Duration = Duration::from_secs(5);

/// Whether a replica is read, and how far behind it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaState {
    /// Whether reads go there: lists, searches and files.
    pub is_read: bool,
    /// Seconds that it is behind the primary; null: unknown.
    pub lag_seconds: Option<f64>,
    /// Seconds that it may be behind and still is read.
    pub longest_lag_seconds: f64,
    /// Why it is not read, and reads go to the primary; null: it is.
    pub not_read_because: Option<String>,
    /// Since when it is read, or is not.
    pub since: DateTime<Utc>,
}

/// A replica, and how it is. Cheap to clone; clones share what is known.
#[derive(Debug, Clone)]
pub struct Replica(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    primary: Projections,
    reads: Projections,
    pool: PgPool,
    longest_lag: Duration,
    known: watch::Sender<Known>,
}

#[derive(Debug, Clone)]
struct Known {
    at: Instant,
    state: ReplicaState,
}

/// What a look at both found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// Where the primary's log ends, in bytes.
    head: i64,
    /// Up to where the replica has replayed it.
    replayed: i64,
}

/// Why the replica cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// How far it is cannot be said.
    #[error("the primary does not answer")]
    Primary(#[source] sqlx::Error),
    /// It is away.
    #[error("the replica does not answer")]
    Replica(#[source] sqlx::Error),
    /// Its address is another's.
    #[error("it is no replica of this database")]
    AnotherDatabase,
    /// It was promoted, or is the primary.
    #[error("it replays nothing: it is a primary itself")]
    Promoted,
    /// One of them takes too long.
    #[error("no answer within {} s", LOOK_WITHIN.as_secs())]
    TimedOut,
}

impl Replica {
    /// The replica of these read models' database behind this pool, read as long as it is behind by no more than this. Nobody
    /// reads it before [`Replica::watch`] has found it.
    pub fn new(primary: &Projections, pool: PgPool, longest_lag: Duration) -> Self {
        describe_gauge!("lablet_replica_lag_seconds", Unit::Seconds, "How far the replica is behind the primary");
        describe_gauge!(
            "lablet_replica_read",
            Unit::Count,
            "Whether the replica is read: 1, or 0 where the primary is"
        );
        let state = ReplicaState {
            is_read: false,
            lag_seconds: None,
            longest_lag_seconds: longest_lag.as_secs_f64(),
            not_read_because: Some("it was not looked at yet".to_owned()),
            since: primary.log.clock().now(),
        };
        gauge!("lablet_replica_read").set(0.0);
        let reads = Projections { reads: reading_pool(&pool), ..primary.clone() };
        let known = watch::Sender::new(Known { at: Instant::now(), state });
        Self(Arc::new(Inner { primary: primary.clone(), reads, pool, longest_lag, known }))
    }

    /// Whether it is read, and how far behind it is.
    pub fn state(&self) -> ReplicaState {
        self.0.known.borrow().state.clone()
    }

    /// The read models as the replica has them, with how far it is behind; `None`: it is not to be read now.
    pub fn reads(&self) -> Option<(Projections, Duration)> {
        let known = self.0.known.borrow();
        let lag = known.state.lag_seconds.filter(|_| known.state.is_read && known.at.elapsed() < LOOK_SERVES)?;
        Some((self.0.reads.clone(), Duration::try_from_secs_f64(lag).ok()?))
    }

    /// How many bytes of the primary's log it has not replayed.
    ///
    /// # Errors
    /// [`ReplicaError`].
    pub async fn unreplayed_bytes(&self) -> Result<u64, ReplicaError> {
        let found = tokio::time::timeout(LOOK_WITHIN, self.look()).await.unwrap_or(Err(ReplicaError::TimedOut))?;
        Ok(found.head.saturating_sub(found.replayed).max(0).unsigned_abs())
    }

    /// Has nobody read it until it was looked at again: a read of it failed.
    pub fn distrust(&self, reason: &str) {
        self.keep(None, Some(reason.to_owned()));
    }

    /// Looks at it until the token is cancelled.
    pub async fn watch(&self, token: CancellationToken) {
        let mut heads = UnreplayedHeads::default();
        let watch = async {
            loop {
                let looked =
                    tokio::time::timeout(LOOK_WITHIN, self.look()).await.unwrap_or(Err(ReplicaError::TimedOut));
                match looked {
                    Ok(found) => {
                        let lag = heads.lag(Instant::now(), found.head, found.replayed);
                        let late = lag > self.0.longest_lag;
                        let reason = late.then(|| {
                            format!("it is {} s behind, at most {}", lag.as_secs(), self.0.longest_lag.as_secs())
                        });
                        self.keep(Some(lag), reason);
                    }
                    Err(error) => {
                        tracing::debug!(error = &error as &dyn Error, "replica not looked at");
                        self.keep(None, Some(error.to_string()));
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        token.run_until_cancelled(watch).await;
    }

    fn keep(&self, lag: Option<Duration>, not_read_because: Option<String>) {
        let now = self.0.primary.log.clock().now();
        let is_read = not_read_because.is_none();
        self.0.known.send_modify(|known| {
            let changed = known.state.is_read != is_read;
            if changed {
                let lag_ms = lag.map(|lag| lag.as_millis());
                match &not_read_because {
                    None => tracing::info!(lag_ms, "replica is read"),
                    Some(reason) => tracing::warn!(reason, lag_ms, "replica not read, reads go to the primary"),
                }
            }
            let since = if changed { now } else { known.state.since };
            let lag_seconds = lag.map(|lag| lag.as_secs_f64());
            let longest_lag_seconds = self.0.longest_lag.as_secs_f64();
            let state = ReplicaState { is_read, lag_seconds, longest_lag_seconds, not_read_because, since };
            *known = Known { at: Instant::now(), state };
        });
        gauge!("lablet_replica_read").set(if is_read { 1.0 } else { 0.0 });
        // Unknown is no lag of none.
        gauge!("lablet_replica_lag_seconds").set(lag.map_or(f64::NAN, |lag| lag.as_secs_f64()));
    }

    async fn look(&self) -> Result<Found, ReplicaError> {
        let replica = sqlx::query(
            "SELECT log_place() AS place, pg_is_in_recovery() AS replays,
                    pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint AS replayed",
        )
        .fetch_one(&self.0.pool)
        .await
        .map_err(ReplicaError::Replica)?;
        // Asked after it, so that what was replayed since counts as lag.
        let primary =
            sqlx::query("SELECT log_place() AS place, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS head")
                .fetch_one(&self.0.primary.pool)
                .await
                .map_err(ReplicaError::Primary)?;
        let place = |row: &sqlx::postgres::PgRow| row.try_get::<Option<String>, _>("place");
        if place(&replica).map_err(ReplicaError::Replica)? != place(&primary).map_err(ReplicaError::Primary)? {
            return Err(ReplicaError::AnotherDatabase);
        }
        let replays: bool = replica.try_get("replays").map_err(ReplicaError::Replica)?;
        let replayed: Option<i64> = replica.try_get("replayed").map_err(ReplicaError::Replica)?;
        let replayed = replayed.filter(|_| replays).ok_or(ReplicaError::Promoted)?;
        Ok(Found { head: primary.try_get("head").map_err(ReplicaError::Primary)?, replayed })
    }
}
