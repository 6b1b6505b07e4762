//! Compares live with rebuilt rows, in one snapshot.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::{RebuildError, TableDifference, execute, tables};
use crate::Projections;
use crate::checkpoint::{Checkpoint, Tables};
use crate::read_models::ReadModel;

impl Projections {
    /// The tables whose rebuilt rows are not the live ones; `None`: the live ones are of another revision.
    ///
    /// Both have to be at the same event. The live checkpoint is held for a moment, in which the new rows come to where it
    /// is and a snapshot is taken that has both; in that snapshot they are compared, by a transaction that only reads and
    /// so has no transaction id, while the live rows go on.
    pub(super) async fn compare(&self, model: ReadModel) -> Result<Option<Vec<TableDifference>>, RebuildError> {
        let (live, next) = (Tables::Live.schema(model), Tables::Next.schema(model));
        let mut holding = app::log::begin(&self.pool).await?;
        execute(&mut holding, "SET LOCAL lock_timeout = '5s'".to_owned()).await?;
        let live_at = Checkpoint::lock(&mut holding, &live).await?;
        if live_at.revision != model.projector().revision {
            return Ok(None);
        }
        let mut catching_up = app::log::begin(&self.pool).await?;
        Checkpoint::bound_transaction(&mut catching_up).await?;
        let next_at = self.catch_up_next(&mut catching_up, model, live_at.position).await?;
        catching_up.commit().await?;
        if next_at != live_at.position {
            return Err(RebuildError::Behind);
        }
        let mut snapshot = app::log::begin(&self.pool).await?;
        let settings = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
        execute(&mut snapshot, settings.to_owned()).await?;
        let seen_live = Checkpoint::read(&mut *snapshot, &live).await?;
        let seen_next = Checkpoint::read(&mut *snapshot, &next).await?;
        holding.rollback().await?;
        if seen_live.position != seen_next.position {
            return Err(RebuildError::Behind);
        }
        let differences = differences(&mut snapshot, &live, &next).await?;
        snapshot.rollback().await?;
        Ok(Some(differences))
    }
}

/// The tables whose rows differ. When, and in how many steps, rows were moved or parked is no part of it.
async fn differences(connection: &mut PgConnection, live: &str, next: &str) -> sqlx::Result<Vec<TableDifference>> {
    execute(connection, "SET LOCAL statement_timeout = 0".to_owned()).await?;
    let mut differences = Vec::new();
    for table in tables(connection, live).await? {
        let row = "(to_jsonb(r) - 'moved_at' - 'changes' - 'parked_at' - 'attempts')";
        let statement = format!(
            "SELECT l.rows, n.rows, (l.rows, l.sum) IS NOT DISTINCT FROM (n.rows, n.sum)
               FROM (SELECT count(*) AS rows, sum(hashtextextended({row}::text, 0)::numeric) AS sum FROM {live}.{table} r) l,
                    (SELECT count(*) AS rows, sum(hashtextextended({row}::text, 0)::numeric) AS sum FROM {next}.{table} r) n"
        );
        let (live_rows, rebuilt_rows, equal): (i64, i64, bool) =
            sqlx::query_as(AssertSqlSafe(statement)).fetch_one(&mut *connection).await?;
        if equal {
            continue;
        }
        let only = |ours: &str, theirs: &str| {
            format!(
                "SELECT row::text FROM (SELECT {row} AS row FROM {ours}.{table} r
                 EXCEPT SELECT {row} FROM {theirs}.{table} r) differing LIMIT 10"
            )
        };
        let only_live = sqlx::query_scalar(AssertSqlSafe(only(live, next))).fetch_all(&mut *connection).await?;
        let only_rebuilt = sqlx::query_scalar(AssertSqlSafe(only(next, live))).fetch_all(&mut *connection).await?;
        differences.push(TableDifference { table, live_rows, rebuilt_rows, only_live, only_rebuilt });
    }
    Ok(differences)
}
