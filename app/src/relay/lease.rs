//! The relay's lease, with its checkpoint as it is stored. Every write names the lease's epoch.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::{Instant, timeout};

use super::audit::StreamState;
use super::checkpoint::Checkpoint;
use crate::database::StoredTime;
use crate::lease::{Lease, LeaseError};
use crate::log::Position;

/// The name of the one relay there is.
const NAME: &str = "events";

/// A save of a checkpoint.
pub(super) type Saving = BoxFuture<'static, Result<SavedCheckpoint, LeaseError>>;

/// A checkpoint that was sent to Postgres, the number of rows that were updated, and when that was begun.
#[derive(Debug)]
pub(super) struct SavedCheckpoint {
    checkpoint: Checkpoint,
    rows: u64,
    begun_at: Instant,
}

/// The right to publish, and how far that has come.
#[derive(Debug)]
pub(super) struct RelayLease {
    lease: Lease,
    pool: PgPool,
    checkpoint: Checkpoint,
}

impl Deref for RelayLease {
    type Target = Lease;
    fn deref(&self) -> &Lease {
        &self.lease
    }
}

impl DerefMut for RelayLease {
    fn deref_mut(&mut self) -> &mut Lease {
        &mut self.lease
    }
}

impl RelayLease {
    /// Takes the lease, unless another relay holds it.
    pub(super) async fn acquire(pool: &PgPool, holder: &str, time: Duration) -> Result<Option<Self>, LeaseError> {
        let Some(lease) = Lease::acquire(pool, NAME, holder, time).await? else { return Ok(None) };
        let row = sqlx::query!(
            "SELECT position, event_id, stream_created, acked_sequence FROM relays
              WHERE name = $1 AND lease_epoch = $2",
            NAME,
            lease.epoch()
        )
        .fetch_optional(pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let checkpoint = Checkpoint {
            position: position(row.position)?,
            event_id: row.event_id,
            stream_created: row.stream_created,
            acked_sequence: row.acked_sequence,
        };
        Ok(Some(Self { lease, pool: pool.clone(), checkpoint }))
    }

    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Moves the checkpoint, and renews the lease by it.
    pub(super) async fn save(&mut self, checkpoint: Checkpoint) -> Result<(), LeaseError> {
        let saved = self.saving(checkpoint).await;
        self.saved(saved)
    }

    /// Begins a save that runs concurrently with other work. Its outcome goes to [`RelayLease::saved`].
    pub(super) fn saving(&self, checkpoint: Checkpoint) -> Saving {
        let (pool, epoch, time) = (self.pool.clone(), self.epoch(), self.time());
        let begun_at = Instant::now();
        Box::pin(async move {
            let query = sqlx::query!(
                "UPDATE relays
                    SET position = $3, event_id = $4, stream_created = $5, acked_sequence = $6,
                        leased_until = clock_timestamp() + make_interval(secs => $7), updated_at = clock_timestamp()
                  WHERE name = $1 AND lease_epoch = $2",
                NAME,
                epoch,
                checkpoint.position.to_string(),
                checkpoint.event_id,
                checkpoint.stream_created,
                checkpoint.acked_sequence,
                time.as_secs_f64()
            );
            // Past the lease's time the outcome means nothing.
            let saved = timeout(time, query.execute(&pool)).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            Ok(SavedCheckpoint { checkpoint, rows: saved.rows_affected(), begun_at })
        })
    }

    /// Takes the outcome of a save.
    pub(super) fn saved(&mut self, outcome: Result<SavedCheckpoint, LeaseError>) -> Result<(), LeaseError> {
        let SavedCheckpoint { checkpoint, rows, begun_at } = outcome?;
        self.lease.written_and_renewed(rows, begun_at)?;
        self.checkpoint = checkpoint;
        Ok(())
    }

    /// Begins again from a position, on the stream as it is now.
    pub(super) async fn begin_again(
        &mut self,
        from: Position,
        state: &StreamState,
        is_loss: bool,
    ) -> Result<(), LeaseError> {
        self.save(Checkpoint {
            position: from,
            event_id: None,
            stream_created: Some(state.created.clone()),
            acked_sequence: None,
        })
        .await?;
        let noted = sqlx::query!(
            "UPDATE relays SET stream_first_sequence = $3, losses = losses + $4 WHERE name = $1 AND lease_epoch = $2",
            NAME,
            self.epoch(),
            state.first,
            i64::from(is_loss)
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        self.written(noted)
    }

    /// Whether the stream may be replaced: once an hour, counted over all relays.
    pub(super) async fn may_replace_the_stream(&mut self) -> Result<bool, LeaseError> {
        let given = sqlx::query!(
            "UPDATE relays SET stream_replaced_at = clock_timestamp()
              WHERE name = $1 AND lease_epoch = $2
                AND (stream_replaced_at IS NULL OR stream_replaced_at < clock_timestamp() - interval '1 hour')",
            NAME,
            self.epoch()
        )
        .execute(&self.pool)
        .await?;
        Ok(given.rows_affected() > 0)
    }

    /// Records why nothing can be published, or that publishing is possible again.
    pub(super) async fn note_hindrance(&mut self, hindrance: Option<&str>) -> Result<(), LeaseError> {
        let noted = sqlx::query!(
            "UPDATE relays
                SET hindrance = $3,
                    hindered_since = CASE WHEN $3::text IS NULL THEN NULL
                                          ELSE coalesce(hindered_since, clock_timestamp()) END
              WHERE name = $1 AND lease_epoch = $2",
            NAME,
            self.epoch(),
            hindrance
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        self.written(noted)
    }
}

fn position(text: Option<String>) -> Result<Position, sqlx::Error> {
    text.map_or(Ok(Position::START), |text| {
        text.parse()
            .map_err(|error| sqlx::Error::ColumnDecode { index: "position".to_owned(), source: Box::new(error) })
    })
}

/// How far the relay is, for operators and for `lablet verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Every event up to here is on the bus.
    pub position: Position,
    /// Which relay is active; `None` where none is.
    pub holder: Option<String>,
    /// Until when it may.
    pub leased_until: Option<DateTime<Utc>>,
    /// The greatest sequence that the stream acknowledged.
    pub acked_sequence: Option<i64>,
    /// How often the stream was found lost, wiped or rolled back.
    pub losses: i64,
    /// When the checkpoint moved last.
    pub updated_at: DateTime<Utc>,
    /// Why nothing can be published at present; `None` where nothing hinders.
    pub hindrance: Option<String>,
    /// Since when.
    pub hindered_since: Option<DateTime<Utc>>,
    /// When the stream was last replaced because its messages were lost.
    pub stream_replaced_at: Option<DateTime<Utc>>,
}

/// Reads how far the relay is.
///
/// # Errors
/// sqlx's error.
pub async fn progress(pool: &PgPool) -> sqlx::Result<Progress> {
    let row = sqlx::query!(
        r#"SELECT position, holder, leased_until AS "leased_until: StoredTime", acked_sequence, losses,
                  updated_at AS "updated_at: StoredTime", hindrance, hindered_since AS "hindered_since: StoredTime",
                  stream_replaced_at AS "stream_replaced_at: StoredTime"
             FROM relays WHERE name = $1"#,
        NAME
    )
    .fetch_one(pool)
    .await?;
    Ok(Progress {
        position: position(row.position)?,
        holder: row.holder,
        leased_until: row.leased_until.map(DateTime::from),
        acked_sequence: row.acked_sequence,
        losses: row.losses,
        updated_at: row.updated_at.into(),
        hindrance: row.hindrance,
        hindered_since: row.hindered_since.map(DateTime::from),
        stream_replaced_at: row.stream_replaced_at.map(DateTime::from),
    })
}
