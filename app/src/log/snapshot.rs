//! States kept in the database, so that a long history is not read from its beginning.

use std::sync::Arc;

use domain::Decide;
use sqlx::Row as _;
use sqlx::postgres::PgPool;
use sqlx::types::Json;

use super::in_time;

/// The newest snapshot of an aggregate and the sequence at which it was taken. One of another shape does not count.
pub(super) async fn load<A: Decide>(pool: &PgPool, id: &str) -> sqlx::Result<Option<(A, i64)>> {
    let statement = "SELECT last_sequence, payload FROM snapshots WHERE aggregate_type = $1 AND aggregate_id = $2 \
                     AND shape = $3 ORDER BY last_sequence DESC LIMIT 1";
    let row = sqlx::query(statement).bind(A::TYPE).bind(id).bind(A::SNAPSHOT_SHAPE).fetch_optional(pool);
    let row = in_time(row).await?;
    let Some(row) = row else { return Ok(None) };
    let sequence = row.try_get("last_sequence")?;
    match row.try_get::<Json<A>, _>("payload") {
        Ok(Json(state)) => Ok(Some((state, sequence))),
        Err(error) => {
            // The history has it all: a snapshot that cannot be read only costs time.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                aggregate.id = id,
                "snapshot unreadable, history read instead"
            );
            Ok(None)
        }
    }
}

/// Keeps a state in place of older ones. Failing to is harmless, so it is logged and no more.
pub(super) async fn keep<A: Decide>(pool: PgPool, id: String, state: Arc<A>, sequence: i64) {
    let statement = "
        WITH kept AS (
            INSERT INTO snapshots (aggregate_type, aggregate_id, last_sequence, current_snapshot, payload, shape)
            VALUES ($1, $2, $3, $3, $4, $5)
            ON CONFLICT (aggregate_type, aggregate_id, last_sequence)
                DO UPDATE SET payload = excluded.payload, shape = excluded.shape
        )
        DELETE FROM snapshots WHERE aggregate_type = $1 AND aggregate_id = $2 AND last_sequence < $3";
    let kept = sqlx::query(statement)
        .bind(A::TYPE)
        .bind(&id)
        .bind(sequence)
        .bind(Json(&*state))
        .bind(A::SNAPSHOT_SHAPE)
        .execute(&pool);
    if let Err(error) = in_time(kept).await {
        tracing::warn!(error = &error as &dyn std::error::Error, aggregate.id = id, "snapshot not stored");
    }
}
