//! The table of webhooks' targets: how far each has the log, how deliveries go, and what operators decided.
//!
//! Two write here. The process that delivers holds the lease and moves cursors; a write names the lease's epoch and the
//! cursors that it found. Operators pause, resume and replay, whether that process runs or not.

mod metrics;
mod replay;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

pub use self::replay::{Replay, ReplayError};
use crate::database::StoredTime;
use crate::lease::{Lease, LeaseError};
use crate::log::{Log, LogError, Position};
use crate::printable::storable;
use bus::clock::Clock;

/// The name of the lease under which webhooks are delivered.
pub const LEASE: &str = "webhooks";
/// Longest text of an answer or a reason that is stored, in bytes.
const LONGEST_TEXT: usize = 1_000;

/// Whether a target is delivered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// It is.
    Active,
    /// An operator paused it.
    Paused,
    /// It answered 410 Gone: it is not delivered to until an operator resumes it.
    Gone,
}

/// An event that could not be delivered so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which event.
    pub event_id: Uuid,
    /// Attempts that failed and count.
    pub attempts: i64,
    /// When the first of them failed.
    pub since: DateTime<Utc>,
    /// When it is tried again.
    pub retry_at: DateTime<Utc>,
}

/// What a target agreed to when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// A hash of the address that was asked, and of the origin that it was asked for.
    pub with: Vec<u8>,
    /// Requests a minute that it allows; `None`: any number.
    pub rate: Option<i64>,
}

/// Where a target is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursors {
    /// Everything up to here is done.
    pub position: Position,
    /// A replay that is under way, which comes first.
    pub replay: Option<Replay>,
}

impl Cursors {
    /// Where the log is read on from.
    pub fn at(self) -> Position {
        self.replay.map_or(self.position, |replay| replay.at)
    }

    /// The cursors behind the event at this position.
    #[must_use]
    pub fn moved_to(self, position: Position) -> Self {
        match self.replay {
            None => Self { position, replay: None },
            Some(replay) if position >= replay.until => Self { replay: None, ..self },
            Some(replay) => Self { replay: Some(Replay { at: position, ..replay }), ..self },
        }
    }
}

/// A target as the process that delivers to it knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRecord {
    /// Its name.
    pub name: String,
    /// Where it is in the log.
    pub cursors: Cursors,
    /// Whether it is delivered to.
    pub state: TargetState,
    /// How often operators decided something about it.
    pub decisions: i64,
    /// The event that could not be delivered so far.
    pub failure: Option<Failure>,
    /// What it agreed to; `None`: it was not asked, or did not agree.
    pub agreement: Option<Agreement>,
}

/// A target that is configured.
#[derive(Debug, Clone, Copy)]
pub struct ConfiguredTarget<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it is, without what may be secret.
    pub host: &'a str,
    /// The format that it gets.
    pub format: &'a str,
    /// Where it begins when it is new; `None`: after what the log holds now.
    pub start: Option<Position>,
}

/// What is stored after an attempt, or after events that the target does not want.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The answer to an attempt.
    pub answer: Option<String>,
    /// Whether there was an attempt.
    pub attempted: bool,
    /// Whether the event was delivered.
    pub delivered: bool,
    /// Whether the event went to the dead letters.
    pub dead_lettered: bool,
    /// What fails from now on.
    pub failure: Option<Failure>,
    /// Whether the target said that it is gone.
    pub gone: bool,
}

/// Outcome of a write of the process that delivers.
#[derive(Debug)]
pub enum Saved {
    /// It is stored.
    Stored,
    /// An operator moved the cursors meanwhile; this is the target now.
    Moved(Box<TargetRecord>),
}

/// A target for operators.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TargetStatus {
    /// Its name.
    pub name: String,
    /// The host that it is on.
    pub host: String,
    /// The format that it gets: `structured`, `binary`, `slack` or `teams`.
    pub format: String,
    /// Whether it was configured when the process that delivers started last.
    pub configured: bool,
    /// Whether it is delivered to.
    pub state: TargetState,
    /// Why it is not.
    pub state_reason: Option<String>,
    /// Who paused or resumed it last.
    pub state_by: Option<String>,
    /// Since when it is in this state.
    pub state_since: DateTime<Utc>,
    /// Every event up to here was delivered, is none that it wants, or lies in the dead letters.
    pub position: Position,
    /// How far a replay is; null: none is under way.
    pub replay_position: Option<Position>,
    /// Where the replay ends.
    pub replay_until: Option<Position>,
    /// Age in seconds of the oldest event that it was not looked at for; 0: there is none.
    pub lag_seconds: f64,
    /// The event that could not be delivered so far; null: nothing fails.
    pub failing_event: Option<Uuid>,
    /// How often it was tried, attempts that a target asked to wait after not counted.
    pub failed_attempts: i64,
    /// Since when it fails.
    pub failing_since: Option<DateTime<Utc>>,
    /// When it is tried again.
    pub retry_at: Option<DateTime<Utc>>,
    /// The last answer: its status, and the beginning of what an answer that was no success said.
    pub last_answer: Option<String>,
    /// When it came.
    pub last_answer_at: Option<DateTime<Utc>>,
    /// Requests that were sent so far.
    pub attempts: i64,
    /// Events that were delivered so far.
    pub delivered: i64,
    /// Events that went to the dead letters so far.
    pub dead_lettered: i64,
}

/// The targets' table. Cloning shares the pool.
#[derive(Debug, Clone)]
pub struct WebhookTargets {
    log: Log,
    pool: PgPool,
    clock: Clock,
}

impl WebhookTargets {
    /// The targets in this log's database.
    pub fn new(log: &Log) -> Self {
        Self { log: log.clone(), pool: log.pool().clone(), clock: log.clock().clone() }
    }

    /// Puts the configured targets under a lease, those that are new with the place where they begin, and marks all others
    /// as not configured.
    ///
    /// # Errors
    /// The database does not answer, or another process took over.
    pub async fn adopt(
        &self,
        lease: &Lease,
        configured: &[ConfiguredTarget<'_>],
    ) -> Result<Vec<TargetRecord>, AdoptError> {
        let head = self.log.head().await?;
        let names: Vec<String> = configured.iter().map(|target| target.name.to_owned()).collect();
        let hosts: Vec<String> = configured.iter().map(|target| target.host.to_owned()).collect();
        let formats: Vec<String> = configured.iter().map(|target| target.format.to_owned()).collect();
        let starts: Vec<String> = configured.iter().map(|target| target.start.unwrap_or(head).to_string()).collect();
        let adopted = sqlx::query!(
            "WITH lease AS (SELECT lease_epoch FROM relays WHERE name = $1 AND lease_epoch = $2 FOR UPDATE),
             others AS (
                 UPDATE webhook_targets SET configured = false, lease_epoch = $2
                  WHERE name <> ALL ($3) AND EXISTS (SELECT FROM lease))
             INSERT INTO webhook_targets (name, lease_epoch, host, format, position)
             SELECT target.name, lease.lease_epoch, target.host, target.format, target.start
               FROM lease, unnest($3::text[], $4::text[], $5::text[], $6::text[]) AS target (name, host, format, start)
             ON CONFLICT (name) DO UPDATE
                SET lease_epoch = excluded.lease_epoch, host = excluded.host, format = excluded.format, configured = true,
                    updated_at = clock_timestamp()",
            LEASE,
            lease.epoch(),
            &names,
            &hosts,
            &formats,
            &starts
        )
        .execute(&self.pool)
        .await
        .map_err(LeaseError::from)?;
        if !configured.is_empty() {
            lease.written(adopted.rows_affected())?;
        }
        let mut records = Vec::with_capacity(names.len());
        for name in &names {
            records.push(self.record(lease.epoch(), name).await?);
        }
        Ok(records)
    }

    /// A target as it is stored now.
    ///
    /// # Errors
    /// The database does not answer, or the target is under another lease.
    pub async fn record(&self, epoch: i64, name: &str) -> Result<TargetRecord, LeaseError> {
        let row = sqlx::query!(
            r#"SELECT position, replay_position, replay_until, state AS "state: TargetState", decisions, failing_event,
                      failed_attempts, failing_since AS "failing_since: StoredTime", retry_at AS "retry_at: StoredTime",
                      handshake_with, handshake_rate
                 FROM webhook_targets WHERE name = $1 AND lease_epoch = $2"#,
            name,
            epoch
        )
        .fetch_optional(&self.pool)
        .await?;
        let row = row.ok_or(LeaseError::Lost { epoch })?;
        let failure = (|| {
            Some(Failure {
                event_id: row.failing_event?,
                attempts: row.failed_attempts,
                since: row.failing_since?.into(),
                retry_at: row.retry_at?.into(),
            })
        })();
        Ok(TargetRecord {
            name: name.to_owned(),
            cursors: Cursors {
                position: position("position", &row.position)?,
                replay: replay::stored(row.replay_position.as_deref(), row.replay_until.as_deref())?,
            },
            state: row.state,
            decisions: row.decisions,
            failure,
            agreement: row.handshake_with.map(|with| Agreement { with, rate: row.handshake_rate }),
        })
    }

    /// Stores the outcome of an attempt, or moves the cursors, if they are where `from` says.
    ///
    /// # Errors
    /// The database does not answer, or another process took over.
    pub async fn save(
        &self,
        epoch: i64,
        name: &str,
        from: Cursors,
        to: Cursors,
        progress: &Progress,
    ) -> Result<Saved, LeaseError> {
        let answer = progress.answer.as_deref().map(|answer| storable(answer, LONGEST_TEXT));
        let failure = progress.failure.as_ref();
        let stored = sqlx::query!(
            "UPDATE webhook_targets
                SET position = $5, replay_position = $6, replay_until = $7, failing_event = $8, failed_attempts = $9,
                    failing_since = $10, retry_at = $11, last_answer = coalesce($12, last_answer),
                    last_answer_at = CASE WHEN $12::text IS NULL THEN last_answer_at ELSE $13 END,
                    attempts = attempts + $14, delivered = delivered + $15, dead_lettered = dead_lettered + $16,
                    state = CASE WHEN $17 THEN 'gone' ELSE state END,
                    state_reason = CASE WHEN $17 THEN 'it answered 410 Gone' ELSE state_reason END,
                    state_by = CASE WHEN $17 THEN NULL ELSE state_by END,
                    state_since = CASE WHEN $17 THEN $13 ELSE state_since END, updated_at = clock_timestamp()
              WHERE name = $1 AND lease_epoch = $2 AND position = $3 AND replay_position IS NOT DISTINCT FROM $4",
            name,
            epoch,
            from.position.to_string(),
            from.replay.map(|replay| replay.at.to_string()),
            to.position.to_string(),
            to.replay.map(|replay| replay.at.to_string()),
            to.replay.map(|replay| replay.until.to_string()),
            failure.map(|failure| failure.event_id),
            failure.map_or(0, |failure| failure.attempts),
            failure.map(|failure| failure.since),
            failure.map(|failure| failure.retry_at),
            answer,
            self.clock.now(),
            i64::from(progress.attempted),
            i64::from(progress.delivered),
            i64::from(progress.dead_lettered),
            progress.gone
        )
        .execute(&self.pool)
        .await?;
        if stored.rows_affected() > 0 {
            return Ok(Saved::Stored);
        }
        Ok(Saved::Moved(Box::new(self.record(epoch, name).await?)))
    }

    /// Stores what a target agreed to.
    ///
    /// # Errors
    /// The database does not answer, or another process took over.
    pub async fn agreed(&self, epoch: i64, name: &str, agreement: &Agreement) -> Result<(), LeaseError> {
        let stored = sqlx::query!(
            "UPDATE webhook_targets SET handshake_with = $3, handshake_rate = $4 WHERE name = $1 AND lease_epoch = $2",
            name,
            epoch,
            agreement.with,
            agreement.rate
        )
        .execute(&self.pool)
        .await?;
        if stored.rows_affected() == 0 { Err(LeaseError::Lost { epoch }) } else { Ok(()) }
    }

    /// How often operators decided something about each target, by its name.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn decisions(&self) -> sqlx::Result<Vec<(String, i64)>> {
        let rows = sqlx::query!("SELECT name, decisions FROM webhook_targets").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|row| (row.name, row.decisions)).collect())
    }

    /// Stops deliveries to a target, or begins them again; `None`: there is no such target. Where they begin again, what
    /// failed so far is tried at once.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn set_state(
        &self,
        name: &str,
        state: TargetState,
        by: &str,
        reason: Option<&str>,
    ) -> sqlx::Result<Option<()>> {
        let changed = sqlx::query!(
            "UPDATE webhook_targets
                SET state = $2, state_by = $3, state_reason = $4, state_since = $5, decisions = decisions + 1,
                    failing_event = NULL, failed_attempts = 0, failing_since = NULL, retry_at = NULL
              WHERE name = $1",
            name,
            state as _,
            storable(by, LONGEST_TEXT),
            reason.map(|reason| storable(reason, LONGEST_TEXT)),
            self.clock.now()
        );
        Ok((changed.execute(&self.pool).await?.rows_affected() > 0).then_some(()))
    }

    /// Moves a target past everything that the log holds; `None`: there is no such target.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn skip(&self, name: &str) -> Result<Option<Position>, LogError> {
        let head = self.log.head().await?;
        let moved = sqlx::query!(
            "UPDATE webhook_targets
                SET position = $2, replay_position = NULL, replay_until = NULL, decisions = decisions + 1,
                    failing_event = NULL, failed_attempts = 0, failing_since = NULL, retry_at = NULL
              WHERE name = $1",
            name,
            head.to_string()
        );
        Ok((moved.execute(&self.pool).await?.rows_affected() > 0).then_some(head))
    }

    /// All targets, by name.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn list(&self) -> sqlx::Result<Vec<TargetStatus>> {
        // The next event after each cursor is found by the index of the log's order.
        let rows = sqlx::query!(
            r#"SELECT name, host, format, configured, target.position, replay_position, replay_until,
                      state AS "state: TargetState", state_reason, state_by, state_since AS "state_since: StoredTime",
                      failing_event, failed_attempts, failing_since AS "failing_since: StoredTime",
                      retry_at AS "retry_at: StoredTime", last_answer, last_answer_at AS "last_answer_at: StoredTime",
                      attempts, delivered, dead_lettered,
                      extract(epoch FROM clock_timestamp() - next.recorded_at)::float8 AS "lag?"
                 FROM webhook_targets target
                 LEFT JOIN LATERAL (
                     SELECT recorded_at FROM events
                      WHERE (epoch, written_by, position)
                            > (split_part(target.position, '-', 1)::int,
                               split_part(target.position, '-', 2)::numeric::text::xid8,
                               split_part(target.position, '-', 3)::bigint)
                      ORDER BY events.epoch, events.written_by, events.position LIMIT 1) next ON true
                ORDER BY name"#
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let replay = replay::stored(row.replay_position.as_deref(), row.replay_until.as_deref())?;
                Ok(TargetStatus {
                    host: row.host,
                    format: row.format,
                    configured: row.configured,
                    state: row.state,
                    state_reason: row.state_reason,
                    state_by: row.state_by,
                    state_since: row.state_since.into(),
                    position: position("position", &row.position)?,
                    replay_position: replay.map(|replay| replay.at),
                    replay_until: replay.map(|replay| replay.until),
                    lag_seconds: row.lag.unwrap_or_default().max(0.0),
                    failing_event: row.failing_event,
                    failed_attempts: row.failed_attempts,
                    failing_since: row.failing_since.map(DateTime::from),
                    retry_at: row.retry_at.map(DateTime::from),
                    last_answer: row.last_answer,
                    last_answer_at: row.last_answer_at.map(DateTime::from),
                    attempts: row.attempts,
                    delivered: row.delivered,
                    dead_lettered: row.dead_lettered,
                    name: row.name,
                })
            })
            .collect()
    }
}

/// Why targets were not put under a lease.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// The lease is lost, or Postgres did not answer.
    #[error("the lease cannot be held")]
    Lease(#[from] LeaseError),
}

/// The position in a column.
fn position(column: &str, text: &str) -> sqlx::Result<Position> {
    text.parse().map_err(|error| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) })
}
