//! The right of one process to carry the log elsewhere, until it expires. Every write under it names its epoch, so that
//! what an earlier holder still writes is refused.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;

/// Postgres did not answer, or the lease is another's.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Postgres did not answer.
    #[error("Postgres did not answer")]
    Unavailable(#[from] sqlx::Error),
    /// Another process took over.
    #[error("the lease of epoch {epoch} is over")]
    Lost {
        /// The epoch of the lost lease.
        epoch: i64,
    },
}

/// A lease on a row of the table `relays`.
#[derive(Debug)]
pub struct Lease {
    pool: PgPool,
    name: &'static str,
    epoch: i64,
    time: Duration,
    renewed_at: Instant,
}

impl Lease {
    /// Takes the lease of this name, unless another process holds it.
    ///
    /// # Errors
    /// Postgres did not answer.
    pub async fn acquire(
        pool: &PgPool,
        name: &'static str,
        holder: &str,
        time: Duration,
    ) -> Result<Option<Self>, LeaseError> {
        let asked_at = Instant::now();
        let epoch = sqlx::query_scalar!(
            "UPDATE relays
                SET lease_epoch = lease_epoch + 1, holder = $2,
                    leased_until = clock_timestamp() + make_interval(secs => $3), updated_at = clock_timestamp()
              WHERE name = $1 AND (leased_until IS NULL OR leased_until < clock_timestamp())
              RETURNING lease_epoch",
            name,
            holder,
            time.as_secs_f64()
        )
        .fetch_optional(pool)
        .await?;
        Ok(epoch.map(|epoch| Self { pool: pool.clone(), name, epoch, time, renewed_at: asked_at }))
    }

    /// Its epoch, which rises whenever it changes hands.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// How long it holds without renewal.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// When it has to be renewed: a third of its time is over.
    pub fn renew_at(&self) -> Instant {
        self.renewed_at + self.time / 3
    }

    /// When it expires unless it is renewed.
    pub fn expires_at(&self) -> Instant {
        self.renewed_at + self.time
    }

    /// Renews the lease, when a third of it is over.
    ///
    /// # Errors
    /// Postgres did not answer, or the lease is another's.
    pub async fn renew_when_due(&mut self) -> Result<(), LeaseError> {
        if Instant::now() < self.renew_at() { Ok(()) } else { self.renew().await }
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// Postgres did not answer, or the lease is another's.
    pub async fn renew(&mut self) -> Result<(), LeaseError> {
        let asked_at = Instant::now();
        let renewed = sqlx::query!(
            "UPDATE relays SET leased_until = clock_timestamp() + make_interval(secs => $3)
              WHERE name = $1 AND lease_epoch = $2",
            self.name,
            self.epoch,
            self.time.as_secs_f64()
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        self.written(renewed)?;
        self.renewed_at = asked_at;
        Ok(())
    }

    /// Releases the lease, so that another process need not wait until it expires.
    ///
    /// # Errors
    /// Postgres did not answer; the lease expires.
    pub async fn release(&self) -> Result<(), LeaseError> {
        sqlx::query!(
            "UPDATE relays SET leased_until = NULL, holder = NULL WHERE name = $1 AND lease_epoch = $2",
            self.name,
            self.epoch
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Takes the number of rows that a write under this lease changed.
    ///
    /// # Errors
    /// None were: another process took over.
    pub(crate) fn written(&self, rows: u64) -> Result<(), LeaseError> {
        if rows == 0 { Err(LeaseError::Lost { epoch: self.epoch }) } else { Ok(()) }
    }

    /// Takes the number of rows that a write changed which renewed the lease as well; it was begun at `asked_at`.
    ///
    /// # Errors
    /// None were: another process took over.
    pub(crate) fn written_and_renewed(&mut self, rows: u64, asked_at: Instant) -> Result<(), LeaseError> {
        self.written(rows)?;
        self.renewed_at = asked_at;
        Ok(())
    }
}
