//! Indexes over all partitions, built while others append.
//!
//! A migration says `CREATE INDEX … ON ONLY events (…)`, which takes a moment. Until each partition has the index, too, it is
//! not valid, and [`complete`] gives it to them one after another by `CREATE INDEX CONCURRENTLY`, which no transaction can hold.

use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Row as _};

use super::list;

/// Builds what indexes of the log lack in its partitions. As owner. Gives the names of the indexes that are whole now.
/// Interrupted, it goes on where it was; what was half built is built anew.
///
/// # Errors
/// sqlx's error.
pub async fn complete(pool: &PgPool) -> sqlx::Result<Vec<String>> {
    let lacking = sqlx::query(
        "SELECT c.relname::text AS name, pg_get_indexdef(c.oid) AS definition
           FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
          WHERE i.indrelid = to_regclass('public.events') AND c.relkind = 'I' AND NOT i.indisvalid ORDER BY c.oid",
    )
    .fetch_all(pool)
    .await?;
    let mut completed = Vec::new();
    for index in lacking {
        let (name, definition): (String, String) = (index.try_get("name")?, index.try_get("definition")?);
        for partition in list(pool).await? {
            complete_in(pool, &name, &definition, &partition.name).await?;
        }
        completed.push(name);
    }
    Ok(completed)
}

/// Builds an index in one partition, unless it is there.
async fn complete_in(pool: &PgPool, index: &str, definition: &str, table: &str) -> sqlx::Result<()> {
    let of_table = format!("{table}_{index}");
    let state = sqlx::query(
        "SELECT i.indisvalid, EXISTS (SELECT FROM pg_inherits WHERE inhrelid = i.indexrelid) AS is_attached
           FROM pg_index i WHERE i.indexrelid = to_regclass(format('public.%I', $1))",
    )
    .bind(&of_table)
    .fetch_optional(pool)
    .await?;
    let (is_valid, is_attached) = match &state {
        Some(row) => (Some(row.try_get::<bool, _>("indisvalid")?), row.try_get("is_attached")?),
        None => (None, false),
    };
    if is_attached {
        return Ok(());
    }
    // Waits for transactions that are open, as long as it takes: it keeps nobody out meanwhile.
    let mut connection = pool.acquire().await?.detach();
    sqlx::raw_sql("SET statement_timeout = 0; SET lock_timeout = 0").execute(&mut connection).await?;
    if is_valid == Some(false) {
        let dropped = format!("DROP INDEX CONCURRENTLY public.\"{of_table}\"");
        sqlx::query(AssertSqlSafe(dropped)).execute(&mut connection).await?;
    }
    if is_valid != Some(true) {
        let (kind, rest) =
            definition.split_once(&format!(" INDEX {index} ON ONLY public.events ")).ok_or_else(|| {
                sqlx::Error::Decode(format!("the definition of the index {index} cannot be understood").into())
            })?;
        let built = format!("{kind} INDEX CONCURRENTLY \"{of_table}\" ON public.{table} {rest}");
        sqlx::query(AssertSqlSafe(built)).execute(&mut connection).await?;
    }
    let attached = format!("ALTER INDEX public.\"{index}\" ATTACH PARTITION public.\"{of_table}\"");
    sqlx::query(AssertSqlSafe(attached)).execute(&mut connection).await?;
    sqlx::Connection::close(connection).await
}
