//! Epochs: what came before a dump was restored, and what comes after.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;

/// Begins a new epoch and gives its number. To be called as owner, once, after a dump was restored into a new cluster:
/// that cluster counts its transactions anew, and without a new epoch its events would stand before the restored ones,
/// and the restored ones could not be read.
///
/// # Errors
/// The database does not answer, the caller does not own the log, or another transaction holds on to the log for longer
/// than 5 seconds.
pub async fn begin_epoch(pool: &PgPool) -> sqlx::Result<i32> {
    let mut transaction = super::begin(pool).await?;
    // Everybody who writes or reads the log queues up behind this lock: rather than wait for an open transaction for
    // long, it fails and is tried again.
    sqlx::query("SET LOCAL lock_timeout = '5s'").execute(&mut *transaction).await?;
    // Waits for whoever is still writing, so that every event of the epochs before is committed.
    sqlx::query("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let epoch = sqlx::query_scalar!(
        "UPDATE log_epoch SET epoch = greatest(epoch, (SELECT max(events.epoch) FROM events)) + 1 RETURNING epoch"
    )
    .fetch_one(&mut *transaction)
    .await?;
    sqlx::query(AssertSqlSafe(format!("ALTER TABLE events ALTER COLUMN epoch SET DEFAULT {epoch}")))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(epoch)
}
