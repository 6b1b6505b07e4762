//! Epochs: what came before a backup was restored, and what comes after.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgExecutor, PgPool};

use super::Position;

/// Whether the log may be written, as far as backups are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreState {
    /// It is where its epoch began.
    None,
    /// It was restored from a backup, and no new epoch has begun: nothing can be appended.
    EpochDue,
    /// It is being restored, or that was interrupted: nothing can be appended.
    Unfinished,
}

impl RestoreState {
    /// As the database says it, by the function `log_restore` that also keeps writers out.
    ///
    /// # Errors
    /// sqlx's error; the database has not been brought to this version.
    pub async fn read(database: impl PgExecutor<'_>) -> sqlx::Result<Self> {
        let state = sqlx::query_scalar!(r#"SELECT log_restore() AS "state!""#).fetch_one(database).await?;
        match state.as_str() {
            "none" => Ok(Self::None),
            "epoch_due" => Ok(Self::EpochDue),
            "unfinished" => Ok(Self::Unfinished),
            _ => Err(sqlx::Error::Decode(format!("{state:?} is no state of a restore").into())),
        }
    }
}

/// The epoch in which events are appended. A new one begins with this where the server is a standby that was promoted since:
/// what it lacks was lost, and nothing that rests on it may be written. Every connection that writes asks first.
///
/// # Errors
/// The database does not answer, is a standby, or was restored and waits for an operator.
pub async fn current_epoch(database: impl PgExecutor<'_>) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT current_log_epoch()").fetch_one(database).await
}

/// The epoch as this process knows it. What was read under an earlier one may rest on events that were lost.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownEpoch(Arc<AtomicI32>);

impl KnownEpoch {
    /// The newest one that was heard of; 0 before the first.
    pub(super) fn get(&self) -> i32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Takes note of one.
    pub(super) fn learn(&self, epoch: i32) {
        let before = self.0.fetch_max(epoch, Ordering::SeqCst);
        if before != 0 && before < epoch {
            tracing::warn!(before, epoch, "epoch of the log has changed, what was in memory is read again");
        }
    }
}

/// The beginning of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochBeginning {
    /// Its number.
    pub epoch: i32,
    /// The last event of the epochs before; what somebody was told of beyond it was lost. `None`: there is no event.
    pub after: Option<Position>,
}

/// Begins a new epoch. To be called as owner, once, after a backup was restored: the server counts its transactions anew,
/// and without a new epoch its events would stand before the restored ones, and the restored ones could not be read. The
/// mark of an unfinished restore is taken away in the same transaction. When the backup was made is kept, where it is known.
///
/// # Errors
/// The database does not answer, the caller does not own the log, or another transaction holds on to the log for longer
/// than 5 seconds.
pub async fn begin_epoch(pool: &PgPool, backup_made_at: Option<DateTime<Utc>>) -> sqlx::Result<EpochBeginning> {
    let mut transaction = super::begin(pool).await?;
    // Everybody who writes or reads the log queues up behind this lock: rather than wait for an open transaction for
    // long, it fails and is tried again.
    sqlx::query("SET LOCAL lock_timeout = '5s'").execute(&mut *transaction).await?;
    // Waits for whoever is still writing, so that every event of the epochs before is committed.
    sqlx::query("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let after = super::visibility::newest(&mut *transaction).await?;
    let epoch = sqlx::query_scalar!(
        "UPDATE log_epoch
            SET epoch = greatest(epoch, (SELECT max(events.epoch) FROM events)) + 1, place = log_place(),
                timeline = (SELECT timeline_id FROM pg_control_checkpoint())
          RETURNING epoch"
    )
    .fetch_one(&mut *transaction)
    .await?;
    sqlx::query!(
        "INSERT INTO log_epochs (epoch, after_position, backup_made_at) VALUES ($1, $2, $3)",
        epoch,
        after.map(|position| position.to_string()),
        backup_made_at
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query(AssertSqlSafe(format!("ALTER TABLE events ALTER COLUMN epoch SET DEFAULT {epoch}")))
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DROP TABLE IF EXISTS public.unfinished_restore").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(EpochBeginning { epoch, after })
}
