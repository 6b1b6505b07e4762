//! The yardstick of read models: merely reading the log in its order and decoding each event.

use anyhow::Context as _;
use domain::lablet_definition::LabletDefinitionEvent;
use domain::lablet_session::LabletSessionEvent;
use domain::worker::WorkerEvent;
use sqlx::{PgPool, Row as _};
use tokio::time::Instant;

/// Events of one statement.
const PAGE: i64 = 1_000;

/// Events a second.
pub(crate) async fn measure(pool: &PgPool) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut after = (0_i32, "0".to_owned(), 0_i64);
    let mut read = 0_usize;
    loop {
        let rows = sqlx::query(
            "SELECT epoch, written_by::text AS written_by, position, aggregate_type, payload FROM events
              WHERE (epoch, written_by, position) > ($1, $2::text::xid8, $3)
              ORDER BY events.epoch, events.written_by, events.position LIMIT $4",
        )
        .bind(after.0)
        .bind(&after.1)
        .bind(after.2)
        .bind(PAGE)
        .fetch_all(pool)
        .await?;
        let Some(last) = rows.last() else { break };
        after = (last.try_get("epoch")?, last.try_get("written_by")?, last.try_get("position")?);
        for row in &rows {
            let payload = row.try_get_raw("payload")?.as_str().map_err(sqlx::Error::Decode)?;
            decode(row.try_get("aggregate_type")?, payload).context("an event of the log cannot be decoded")?;
        }
        read += rows.len();
    }
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousands")]
    Ok(read as f64 / started.elapsed().as_secs_f64())
}

fn decode(aggregate_type: &str, payload: &str) -> serde_json::Result<()> {
    match aggregate_type {
        "worker" => drop(serde_json::from_str::<WorkerEvent>(payload)?),
        "lablet_definition" => drop(serde_json::from_str::<LabletDefinitionEvent>(payload)?),
        _ => drop(serde_json::from_str::<LabletSessionEvent>(payload)?),
    }
    Ok(())
}
