//! Moving an old partition into another tablespace while everybody goes on reading it.
//!
//! `ALTER TABLE … SET TABLESPACE` would keep every reader of the partition out for as long as it copies, and with them all who
//! load an aggregate. So a copy is made in small transactions, compared, and put into the partition's place in one moment.

use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::watch;

use super::{
    BATCH, IMMUTABLE_PREFIX, IMMUTABLE_SUFFIX, Partition, PartitionError, exists, first_position, in_a_moment, list,
    name, once_free,
};
use crate::log::begin;

/// Moves a partition that was cut off. `copied` says how many events have been copied. As owner, who may use the tablespace.
///
/// # Errors
/// See [`PartitionError`]. Interrupted or failed, the partition is where it was, and the same call goes on with the copy.
pub async fn move_to_tablespace(
    pool: &PgPool,
    number: i32,
    tablespace: &str,
    copied: &watch::Sender<u64>,
) -> Result<(), PartitionError> {
    let partitions = list(pool).await?;
    let partition = partitions.iter().find(|partition| partition.number == number);
    let partition = partition.ok_or(PartitionError::Unknown(number))?;
    if partition.cut_at.is_none() {
        return Err(PartitionError::Current(number));
    }
    if partition.tablespace == tablespace {
        return Ok(());
    }
    begin_copy(pool, partition, tablespace).await?;
    copy(pool, number, copied).await?;
    if !is_same(pool, number).await? {
        return Err(PartitionError::Differs(number));
    }
    once_free(|| swap(pool, partition)).await
}

fn copy_of(number: i32) -> String {
    format!("{}_copy", name(number))
}

/// An empty copy, or the one with which to go on.
async fn begin_copy(pool: &PgPool, partition: &Partition, tablespace: &str) -> sqlx::Result<()> {
    let (table, copy) = (&partition.name, copy_of(partition.number));
    let lies_in: Option<String> = sqlx::query_scalar(
        "SELECT coalesce(t.spcname, 'pg_default')::text FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
          WHERE c.oid = to_regclass('public.' || $1)",
    )
    .bind(&copy)
    .fetch_optional(pool)
    .await?;
    if lies_in.as_deref() == Some(tablespace) {
        return Ok(());
    }
    let (from, before) = (first_position(partition.number), first_position(partition.number + 1));
    let quoted = tablespace.replace('"', "\"\"");
    // With its range as a check, so that it need not be looked through when it takes the partition's place.
    let made = format!(
        "DROP TABLE IF EXISTS {copy};
         SET LOCAL default_tablespace = \"{quoted}\";
         CREATE TABLE {copy} (
             LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMPRESSION INCLUDING INDEXES,
             CONSTRAINT {copy}_range CHECK (position >= {from} AND position < {before}))"
    );
    in_a_moment(pool, &made).await
}

/// Copies what the copy lacks, in the order of all events.
async fn copy(pool: &PgPool, number: i32, copied: &watch::Sender<u64>) -> sqlx::Result<()> {
    let (table, copy) = (name(number), copy_of(number));
    let statement = format!(
        "WITH last AS (
             SELECT epoch, written_by, position FROM {copy} ORDER BY epoch DESC, written_by DESC, position DESC LIMIT 1
         ), copied AS (
             INSERT INTO {copy} SELECT next.* FROM (
                 SELECT coalesce((SELECT epoch FROM last), 0) AS epoch,
                        coalesce((SELECT written_by FROM last), '0') AS written_by,
                        coalesce((SELECT position FROM last), 0) AS position) AS after
              CROSS JOIN LATERAL (
                 SELECT * FROM {table} AS events
                  WHERE (epoch, written_by, position) > (after.epoch, after.written_by, after.position)
                  ORDER BY epoch, written_by, position LIMIT $1) AS next
             RETURNING 1)
         SELECT count(*) FROM copied"
    );
    loop {
        let row = sqlx::query(AssertSqlSafe(statement.clone())).bind(BATCH).fetch_one(pool).await?;
        let events = row.try_get::<i64, _>(0)?.unsigned_abs();
        copied.send_modify(|copied| *copied += events);
        if events == 0 {
            return Ok(());
        }
    }
}

/// Whether the copy has the same rows: their number, and a sum of hashes over every column.
async fn is_same(pool: &PgPool, number: i32) -> sqlx::Result<bool> {
    let mut transaction = begin(pool).await?;
    sqlx::raw_sql("SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = 0").execute(&mut *transaction).await?;
    let mut sums = Vec::new();
    for table in [name(number), copy_of(number)] {
        let statement = format!(
            "SELECT count(*) AS events, coalesce(bit_xor(hashtextextended(events::text, 0)), 0) AS sum FROM {table} AS events"
        );
        let row = sqlx::query(AssertSqlSafe(statement)).fetch_one(&mut *transaction).await?;
        sums.push((row.try_get::<i64, _>("events")?, row.try_get::<i64, _>("sum")?));
    }
    transaction.rollback().await?;
    Ok(sums[0] == sums[1])
}

/// The copy takes the partition's place and name.
async fn swap(pool: &PgPool, partition: &Partition) -> sqlx::Result<()> {
    let (table, copy) = (&partition.name, copy_of(partition.number));
    let from = match partition.number {
        1 => "MINVALUE".to_owned(),
        number => first_position(number).to_string(),
    };
    let before = first_position(partition.number + 1);
    let swapped = format!(
        "LOCK TABLE ONLY events IN ACCESS EXCLUSIVE MODE;
         ALTER TABLE events DETACH PARTITION {table};
         DROP TABLE {table};
         ALTER TABLE {copy} RENAME TO {table};
         {IMMUTABLE_PREFIX} {table} {IMMUTABLE_SUFFIX};
         ALTER TABLE {table} ENABLE ALWAYS TRIGGER events_are_immutable;
         ALTER TABLE events ATTACH PARTITION {table} FOR VALUES FROM ({from}) TO ({before});
         ALTER TABLE {table} DROP CONSTRAINT {copy}_range"
    );
    if !exists(pool, &copy).await? {
        return Ok(());
    }
    in_a_moment(pool, &swapped).await
}
