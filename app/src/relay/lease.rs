//! Who may publish, and how far the log was published. Every write names the lease's epoch.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde::Serialize;
use sqlx::{PgPool, Row as _};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::audit::StreamState;
use crate::log::Position;

/// The name of the one relay there is.
const NAME: &str = "events";

/// How far the log was published, and what is remembered of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Every event up to here was acknowledged.
    pub position: Position,
    /// The event at `acked_sequence`.
    pub event_id: Option<Uuid>,
    /// When the stream was created, in nanoseconds since 1970; `None` before the first look at it.
    pub stream_created: Option<String>,
    /// The greatest sequence that the stream acknowledged.
    pub acked_sequence: Option<i64>,
}

/// Postgres did not answer, or the lease is another's.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Postgres did not answer.
    #[error("Postgres did not answer")]
    Unavailable(#[from] sqlx::Error),
    /// Another relay took over.
    #[error("the lease of epoch {epoch} is over")]
    Lost {
        /// The epoch of the lost lease.
        epoch: i64,
    },
}

/// A checkpoint on its way to Postgres; answers it with the number of rows that took it.
pub(super) type Saving = BoxFuture<'static, Result<(Checkpoint, u64), LeaseError>>;

/// The right to publish, for a while.
#[derive(Debug)]
pub(super) struct Lease {
    pool: PgPool,
    epoch: i64,
    time: Duration,
    renew_at: Instant,
    checkpoint: Checkpoint,
}

impl Lease {
    /// Takes the lease where nobody holds it.
    pub(super) async fn acquire(pool: &PgPool, holder: &str, time: Duration) -> Result<Option<Self>, LeaseError> {
        let row = sqlx::query(
            "update relays set lease_epoch = lease_epoch + 1, holder = $2, \
             leased_until = clock_timestamp() + make_interval(secs => $3), updated_at = clock_timestamp() \
             where name = $1 and (leased_until is null or leased_until < clock_timestamp()) \
             returning lease_epoch, position, event_id, stream_created, acked_sequence",
        )
        .bind(NAME)
        .bind(holder)
        .bind(time.as_secs_f64())
        .fetch_optional(pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Self {
            pool: pool.clone(),
            epoch: row.try_get("lease_epoch")?,
            time,
            renew_at: Instant::now() + time / 3,
            checkpoint: Checkpoint {
                position: position(row.try_get("position")?)?,
                event_id: row.try_get("event_id")?,
                stream_created: row.try_get("stream_created")?,
                acked_sequence: row.try_get("acked_sequence")?,
            },
        }))
    }

    pub(super) fn epoch(&self) -> i64 {
        self.epoch
    }

    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Moves the checkpoint, and renews the lease by it.
    pub(super) async fn save(&mut self, checkpoint: Checkpoint) -> Result<(), LeaseError> {
        let saved = self.saving(checkpoint).await;
        self.saved(saved)
    }

    /// A save that runs beside other work. Its outcome goes to [`Lease::saved`].
    pub(super) fn saving(&self, checkpoint: Checkpoint) -> Saving {
        let (pool, epoch, time) = (self.pool.clone(), self.epoch, self.time);
        Box::pin(async move {
            let query = sqlx::query(
                "update relays set position = $3, event_id = $4, stream_created = $5, acked_sequence = $6, \
                 leased_until = clock_timestamp() + make_interval(secs => $7), updated_at = clock_timestamp() \
                 where name = $1 and lease_epoch = $2",
            )
            .bind(NAME)
            .bind(epoch)
            .bind(checkpoint.position.to_string())
            .bind(checkpoint.event_id)
            .bind(&checkpoint.stream_created)
            .bind(checkpoint.acked_sequence)
            .bind(time.as_secs_f64());
            // Past the lease's time the outcome means nothing.
            let saved = timeout(time, query.execute(&pool)).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            Ok((checkpoint, saved.rows_affected()))
        })
    }

    /// Takes the outcome of a save.
    pub(super) fn saved(&mut self, outcome: Result<(Checkpoint, u64), LeaseError>) -> Result<(), LeaseError> {
        let (checkpoint, rows) = outcome?;
        self.held(rows)?;
        self.checkpoint = checkpoint;
        Ok(())
    }

    /// When the lease has to be renewed.
    pub(super) fn renew_at(&self) -> Instant {
        self.renew_at
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
        let noted = sqlx::query(
            "update relays set stream_first_sequence = $3, losses = losses + $4 where name = $1 and lease_epoch = $2",
        )
        .bind(NAME)
        .bind(self.epoch)
        .bind(state.first)
        .bind(i64::from(is_loss))
        .execute(&self.pool)
        .await?
        .rows_affected();
        self.held(noted)
    }

    /// Renews the lease, when a third of it is over.
    pub(super) async fn renew_when_due(&mut self) -> Result<(), LeaseError> {
        if Instant::now() < self.renew_at { Ok(()) } else { self.renew().await }
    }

    /// Renews the lease.
    pub(super) async fn renew(&mut self) -> Result<(), LeaseError> {
        let renewed = sqlx::query(
            "update relays set leased_until = clock_timestamp() + make_interval(secs => $3) \
             where name = $1 and lease_epoch = $2",
        )
        .bind(NAME)
        .bind(self.epoch)
        .bind(self.time.as_secs_f64())
        .execute(&self.pool)
        .await?
        .rows_affected();
        self.held(renewed)
    }

    /// Gives the lease back, so that another need not wait for it to run out.
    pub(super) async fn release(self) -> Result<(), LeaseError> {
        sqlx::query("update relays set leased_until = null, holder = null where name = $1 and lease_epoch = $2")
            .bind(NAME)
            .bind(self.epoch)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Asks for leave to replace the stream, which is given once an hour, to whichever relay.
    pub(super) async fn may_replace_the_stream(&mut self) -> Result<bool, LeaseError> {
        let given = sqlx::query(
            "update relays set stream_replaced_at = clock_timestamp() where name = $1 and lease_epoch = $2 \
             and (stream_replaced_at is null or stream_replaced_at < clock_timestamp() - interval '1 hour')",
        )
        .bind(NAME)
        .bind(self.epoch)
        .execute(&self.pool)
        .await?;
        Ok(given.rows_affected() > 0)
    }

    /// Notes why nothing can be published, or that nothing hinders any more.
    pub(super) async fn note_hindrance(&mut self, hindrance: Option<&str>) -> Result<(), LeaseError> {
        let noted = sqlx::query(
            "update relays set hindrance = $3, hindered_since = \
             case when $3::text is null then null else coalesce(hindered_since, clock_timestamp()) end \
             where name = $1 and lease_epoch = $2",
        )
        .bind(NAME)
        .bind(self.epoch)
        .bind(hindrance)
        .execute(&self.pool)
        .await?
        .rows_affected();
        self.held(noted)
    }

    fn held(&mut self, rows: u64) -> Result<(), LeaseError> {
        if rows == 0 {
            return Err(LeaseError::Lost { epoch: self.epoch });
        }
        self.renew_at = Instant::now() + self.time / 3;
        Ok(())
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
    let row = sqlx::query(
        "select position, holder, leased_until, acked_sequence, losses, updated_at, hindrance, hindered_since, \
         stream_replaced_at from relays where name = $1",
    )
    .bind(NAME)
    .fetch_one(pool)
    .await?;
    Ok(Progress {
        position: position(row.try_get("position")?)?,
        holder: row.try_get("holder")?,
        leased_until: row.try_get("leased_until")?,
        acked_sequence: row.try_get("acked_sequence")?,
        losses: row.try_get("losses")?,
        updated_at: row.try_get("updated_at")?,
        hindrance: row.try_get("hindrance")?,
        hindered_since: row.try_get("hindered_since")?,
        stream_replaced_at: row.try_get("stream_replaced_at")?,
    })
}
