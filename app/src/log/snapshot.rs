//! States kept in the database, so that a long history is not read from its beginning.

use std::sync::Arc;

use domain::Decide;
use sqlx::postgres::PgPool;
use sqlx::types::Json;

use super::in_time;

/// The newest snapshot of an aggregate and the sequence at which it was taken. One of another shape does not count.
pub(super) async fn load<A: Decide>(pool: &PgPool, id: &str) -> sqlx::Result<Option<(A, i64)>> {
    let row = sqlx::query!(
        r#"SELECT last_sequence, payload::text AS "payload!" FROM snapshots
            WHERE aggregate_type = $1 AND aggregate_id = $2 AND shape = $3 ORDER BY last_sequence DESC LIMIT 1"#,
        A::TYPE,
        id,
        A::SNAPSHOT_SHAPE
    );
    let Some(row) = in_time(row.fetch_optional(pool)).await? else { return Ok(None) };
    match serde_json::from_str(&row.payload) {
        Ok(state) => Ok(Some((state, row.last_sequence))),
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

/// Keeps a state in place of older ones. A failure is only logged, as the history has it all.
pub(super) async fn keep<A: Decide>(pool: PgPool, id: String, state: Arc<A>, sequence: i64) {
    let kept = sqlx::query!(
        "WITH kept AS (
            INSERT INTO snapshots (aggregate_type, aggregate_id, last_sequence, current_snapshot, payload, shape)
            VALUES ($1, $2, $3, $3, $4, $5)
            ON CONFLICT (aggregate_type, aggregate_id, last_sequence)
                DO UPDATE SET payload = excluded.payload, shape = excluded.shape
        )
        DELETE FROM snapshots WHERE aggregate_type = $1 AND aggregate_id = $2 AND last_sequence < $3",
        A::TYPE,
        id,
        sequence,
        Json(&*state) as _,
        A::SNAPSHOT_SHAPE
    )
    .execute(&pool);
    if let Err(error) = in_time(kept).await {
        tracing::warn!(error = &error as &dyn std::error::Error, aggregate.id = id, "snapshot not stored");
    }
}
