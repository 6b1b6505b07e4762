//! The partitions of the log, each a range of positions: cutting the current one off, and moving an old one elsewhere.
//!
//! An old partition never changes. What of it must not be appended again, the last sequence of each aggregate and the keys of
//! commands, is noted in tables beside it, so that an append asks no old partition, wherever it lies. Noting is done ahead of
//! the cut, in small transactions while others append; the cut itself notes what little came since, under a lock that keeps
//! writers out for milliseconds, and lets the positions go on in the next partition. Whatever is interrupted, the same command
//! goes on with it.

pub mod indexes;
mod moving;

use std::time::Duration;

use bus::Backoff;
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::watch;

pub use self::moving::move_to_tablespace;
use super::{Position, begin};
use crate::database::is_lock_timeout;

/// The schema from which on the log has partitions.
pub const SCHEMA: i64 = 39;
/// Positions of one partition; migration `0039_log_partitions.sql` has it, too.
const POSITIONS: i64 = 1_000_000_000_000;
/// Events that one transaction notes or copies ahead of the cut: as long as it lasts, no reader sees what came after it.
const BATCH: i64 = 5_000;
/// So few events may be left to be noted under the lock.
const FEW: u64 = 500;
/// How long a lock is waited for: who comes after waits, too.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '100ms'";
/// How often a lock is tried for.
const LOCK_ATTEMPTS: u32 = 60;

/// A partition of the log.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Partition {
    /// Its place among them, from 1.
    pub number: i32,
    /// The name of its table.
    pub name: String,
    /// Its positions begin here.
    pub from_position: i64,
    /// They end before this one; `None`: no end is set yet.
    pub before_position: Option<i64>,
    /// Since when events are appended to it; `None`: since before there were partitions, or it has not begun.
    pub began_at: Option<DateTime<Utc>>,
    /// When the next one took its place; `None`: it is the current one, or has not begun.
    pub cut_at: Option<DateTime<Utc>>,
    /// How many events it holds; of one that is not cut as Postgres estimates it.
    pub events: i64,
    /// Bytes of its rows.
    pub bytes: i64,
    /// Bytes of its indexes.
    pub index_bytes: i64,
    /// Where it lies.
    pub tablespace: String,
    /// Whether it is the one to which events are appended.
    pub is_current: bool,
}

/// Why a partition was not cut off or moved.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// There is no such partition.
    #[error("the log has no partition {0}; lablet log partitions lists them")]
    Unknown(i32),
    /// Events are still appended to it.
    #[error("events are appended to partition {0}; lablet log cut begins the next one")]
    Current(i32),
    /// Nothing to cut off.
    #[error("partition {0} is empty; there is nothing to cut off")]
    Empty(i32),
    /// The copy is not what was copied.
    #[error("the copy of partition {0} is not the same as the partition; it was left as it is, and may be dropped")]
    Differs(i32),
    /// Others held on to the log.
    #[error("others hold on to the log; lablet doctor names transactions that are open for long")]
    Busy(#[source] sqlx::Error),
    /// The database refuses, or does not answer.
    #[error("the database refuses it, or does not answer; that needs the owner of the database")]
    Database(#[from] sqlx::Error),
}

/// What a cut did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The partition that is old now.
    pub old: i32,
    /// How many events it holds.
    pub events: i64,
    /// For how long nothing could be appended.
    pub locked_for: Duration,
}

/// The name of a partition's table.
pub(super) fn name(number: i32) -> String {
    format!("events_{number}")
}

/// Its first position.
fn first_position(number: i32) -> i64 {
    i64::from(number - 1) * POSITIONS
}

/// The partitions, the oldest first.
///
/// # Errors
/// sqlx's error.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<Partition>> {
    let rows = sqlx::query!(
        r#"SELECT substr(c.relname, 8)::integer AS "number!", c.relname::text AS "name!", p.began_at, p.cut_at,
                  coalesce(p.cut_at IS NULL AND p.number IS NOT NULL, false) AS "is_current!",
                  CASE WHEN p.cut_at IS NULL THEN greatest(c.reltuples, 0)::bigint ELSE p.noted_events END AS "events!",
                  pg_table_size(c.oid) AS "bytes!", pg_indexes_size(c.oid) AS "index_bytes!",
                  pg_get_expr(c.relpartbound, c.oid) LIKE '%TO (MAXVALUE)' AS "is_unbounded!",
                  coalesce(t.spcname, 'pg_default')::text AS "tablespace!"
             FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
             LEFT JOIN log_partitions p ON p.number = substr(c.relname, 8)::integer
            WHERE i.inhparent = 'public.events'::regclass ORDER BY 1"#
    );
    let rows = rows.fetch_all(pool).await?;
    Ok(rows
        .into_iter()
        .map(|row| Partition {
            from_position: first_position(row.number),
            before_position: (!row.is_unbounded).then(|| first_position(row.number + 1)),
            number: row.number,
            name: row.name,
            began_at: row.began_at,
            cut_at: row.cut_at,
            events: row.events,
            bytes: row.bytes,
            index_bytes: row.index_bytes,
            tablespace: row.tablespace,
            is_current: row.is_current,
        })
        .collect())
}

/// Cuts the current partition off, so that events go into a new one. As owner. `noted` says how many events have been noted.
///
/// # Errors
/// See [`PartitionError`]. Interrupted or failed, it goes on where it was.
pub async fn cut(pool: &PgPool, noted: &watch::Sender<u64>) -> Result<Cut, PartitionError> {
    let old = current(pool).await?;
    make(pool, old + 1).await?;
    // What is left for the lock has to be little.
    loop {
        let mut transaction = begin(pool).await?;
        let events = note(&mut transaction, old, Noting::Settled).await?;
        transaction.commit().await?;
        noted.send_modify(|noted| *noted += events);
        if events <= FEW {
            break;
        }
    }
    let mut backoff = lock_backoff();
    for _ in 0..LOCK_ATTEMPTS {
        match try_cut(pool, old).await {
            Err(PartitionError::Database(error)) if is_lock_timeout(&error) => tracing::debug!("the log is in use"),
            Ok(None) => {}
            Ok(Some(cut)) => return Ok(cut),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(backoff.next_wait()).await;
        let mut transaction = begin(pool).await?;
        note(&mut transaction, old, Noting::Settled).await?;
        transaction.commit().await?;
    }
    Err(PartitionError::Busy(sqlx::Error::PoolTimedOut))
}

fn lock_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(2))
}

async fn current(pool: &PgPool) -> sqlx::Result<i32> {
    sqlx::query_scalar!("SELECT number FROM log_partitions WHERE cut_at IS NULL").fetch_one(pool).await
}

/// Makes the partition with this number, unless it is there, for positions that nothing has yet. The first one gets its end
/// for that, which is the only time that its rows are looked through.
///
/// # Errors
/// See [`PartitionError`].
pub async fn make(pool: &PgPool, number: i32) -> Result<(), PartitionError> {
    once_free(|| try_to_make(pool, number)).await
}

/// Does what needs a lock on the log, again as long as others hold on to it, for some minutes at most.
async fn once_free<F>(work: impl Fn() -> F) -> Result<(), PartitionError>
where
    F: Future<Output = sqlx::Result<()>>,
{
    let mut backoff = lock_backoff();
    for _ in 1..LOCK_ATTEMPTS {
        match work().await {
            Err(error) if is_lock_timeout(&error) => tokio::time::sleep(backoff.next_wait()).await,
            done => return Ok(done?),
        }
    }
    work().await.map_err(|error| match is_lock_timeout(&error) {
        true => PartitionError::Busy(error),
        false => error.into(),
    })
}

async fn try_to_make(pool: &PgPool, number: i32) -> sqlx::Result<()> {
    let (before, table) = (name(number - 1), name(number));
    if exists(pool, &table).await? {
        return Ok(());
    }
    let end = first_position(number);
    let is_unbounded = list(pool).await?.iter().any(|partition| partition.before_position.is_none());
    if is_unbounded {
        let is_checked: Option<bool> = sqlx::query_scalar(
            "SELECT convalidated FROM pg_constraint WHERE conrelid = 'events_1'::regclass AND conname = 'events_1_end'",
        )
        .fetch_optional(pool)
        .await?;
        if is_checked.is_none() {
            let check = format!("ALTER TABLE events_1 ADD CONSTRAINT events_1_end CHECK (position < {end}) NOT VALID");
            in_a_moment(pool, &check).await?;
        }
        if is_checked != Some(true) {
            let mut connection = pool.acquire().await?;
            sqlx::query("SET statement_timeout = 0").execute(&mut *connection).await?;
            sqlx::query("ALTER TABLE events_1 VALIDATE CONSTRAINT events_1_end").execute(&mut *connection).await?;
            sqlx::query("RESET statement_timeout").execute(&mut *connection).await?;
        }
    }
    let (start, next) = (first_position(number), first_position(number + 1));
    let bounded = if is_unbounded {
        format!(
            "LOCK TABLE ONLY events IN ACCESS EXCLUSIVE MODE;
             ALTER TABLE events DETACH PARTITION events_1;
             ALTER TABLE events ATTACH PARTITION events_1 FOR VALUES FROM (MINVALUE) TO ({end});
             ALTER TABLE events_1 DROP CONSTRAINT events_1_end;"
        )
    } else {
        String::new()
    };
    let made = format!(
        "{bounded}
         CREATE TABLE {table} (LIKE {before} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMPRESSION INCLUDING INDEXES);
         {IMMUTABLE_PREFIX} {table} {IMMUTABLE_SUFFIX};
         ALTER TABLE {table} ENABLE ALWAYS TRIGGER events_are_immutable;
         ALTER TABLE events ATTACH PARTITION {table} FOR VALUES FROM ({start}) TO ({next})"
    );
    in_a_moment(pool, &made).await
}

/// The trigger of every partition: statements may name it alone.
pub(super) const IMMUTABLE_PREFIX: &str = "CREATE TRIGGER events_are_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON";
pub(super) const IMMUTABLE_SUFFIX: &str = "FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_log()";

/// Statements in one transaction that waits only briefly for its locks.
pub(super) async fn in_a_moment(pool: &PgPool, statements: &str) -> sqlx::Result<()> {
    let mut transaction = begin(pool).await?;
    sqlx::query(LOCK_TIMEOUT).execute(&mut *transaction).await?;
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut *transaction).await?;
    transaction.commit().await
}

pub(super) async fn exists(pool: &PgPool, table: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT to_regclass('public.' || $1) IS NOT NULL").bind(table).fetch_one(pool).await
}

/// Has the current partition refuse what the old ones hold, where its rows were put back otherwise than by commands.
///
/// # Errors
/// sqlx's error.
pub async fn guard_current(pool: &PgPool) -> sqlx::Result<()> {
    let number = current(pool).await?;
    guard(&mut *pool.acquire().await?, number).await
}

async fn guard(connection: &mut PgConnection, number: i32) -> sqlx::Result<()> {
    if number == 1 {
        return Ok(());
    }
    let guarded = "CREATE OR REPLACE TRIGGER the_past_is_not_repeated BEFORE INSERT ON";
    let guarded = format!("{guarded} {} FOR EACH ROW EXECUTE FUNCTION refuse_what_the_past_holds()", name(number));
    sqlx::raw_sql(AssertSqlSafe(guarded)).execute(connection).await?;
    Ok(())
}

/// Which events are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noting {
    /// Those that everybody has committed: what comes later stands after them.
    Settled,
    /// All: nobody writes.
    Rest,
}

/// Notes a batch of the next events of a partition, and how far it is. Gives how many. Bounded also where few are left: without
/// a limit, Postgres would read the whole partition for them.
async fn note(connection: &mut PgConnection, number: i32, which: Noting) -> sqlx::Result<u64> {
    let condition = match which {
        Noting::Settled => super::settled!(),
        Noting::Rest => "true",
    };
    let table = name(number);
    let statement = format!(
        "WITH batch AS MATERIALIZED (
             SELECT e.epoch, e.written_by, e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.command_key
               FROM (SELECT coalesce(noted_epoch, 0) AS epoch, coalesce(noted_written_by, '0') AS written_by,
                            coalesce(noted_position, 0) AS position
                       FROM log_partitions WHERE number = $1) AS noted
              CROSS JOIN LATERAL (
                    SELECT * FROM {table} AS events
                     WHERE (epoch, written_by, position) > (noted.epoch, noted.written_by, noted.position)
                       AND {condition}
                     ORDER BY epoch, written_by, position LIMIT $2) AS e
         ), aggregates AS (
             INSERT INTO past_aggregates AS past (aggregate_type, aggregate_id, last_sequence)
             SELECT aggregate_type, aggregate_id, max(sequence) FROM batch GROUP BY aggregate_type, aggregate_id
                 ON CONFLICT (aggregate_type, aggregate_id)
                 DO UPDATE SET last_sequence = greatest(past.last_sequence, excluded.last_sequence)
         ), commands AS (
             INSERT INTO past_commands (command_key, position)
             SELECT command_key, position FROM batch WHERE command_key IS NOT NULL ON CONFLICT DO NOTHING
         )
         UPDATE log_partitions
            SET noted_epoch = last.epoch, noted_written_by = last.written_by, noted_position = last.position,
                noted_events = noted_events + last.events
           FROM (SELECT epoch, written_by, position, count(*) OVER () AS events FROM batch
                  ORDER BY epoch DESC, written_by DESC, position DESC LIMIT 1) AS last
          WHERE number = $1
         RETURNING last.events"
    );
    let noted = sqlx::query(AssertSqlSafe(statement)).bind(number).bind(BATCH).fetch_optional(connection).await?;
    Ok(noted.map(|row| row.try_get::<i64, _>(0)).transpose()?.unwrap_or_default().unsigned_abs())
}

/// Cuts, if little is left to be noted. The lock keeps writers out and lets readers pass; where it is held, nobody has drawn
/// a position and not committed or given up. Of `events` alone, which everybody names: the partitions may be vacuumed meanwhile.
async fn try_cut(pool: &PgPool, old: i32) -> Result<Option<Cut>, PartitionError> {
    let mut transaction = begin(pool).await?;
    sqlx::query(LOCK_TIMEOUT).execute(&mut *transaction).await?;
    let asked = tokio::time::Instant::now();
    sqlx::query("LOCK TABLE ONLY events IN SHARE ROW EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let still = sqlx::query!(
        "SELECT noted_events, noted_position FROM log_partitions WHERE number = $1 AND cut_at IS NULL FOR UPDATE",
        old
    );
    if still.fetch_optional(&mut *transaction).await?.is_none() {
        // Somebody else did it meanwhile.
        let events = sqlx::query_scalar!("SELECT noted_events FROM log_partitions WHERE number = $1", old);
        let events = events.fetch_one(&mut *transaction).await?;
        return Ok(Some(Cut { old, events, locked_for: Duration::ZERO }));
    }
    if note(&mut transaction, old, Noting::Rest).await? >= BATCH.unsigned_abs() {
        transaction.rollback().await?;
        return Ok(None);
    }
    let events = sqlx::query_scalar!("SELECT noted_events FROM log_partitions WHERE number = $1", old)
        .fetch_one(&mut *transaction)
        .await?;
    if events == 0 {
        return Err(PartitionError::Empty(old));
    }
    guard(&mut transaction, old + 1).await?;
    // With the transaction or not at all, other than setval.
    let restart = format!("ALTER SEQUENCE events_position_seq RESTART WITH {}", first_position(old + 1).max(1));
    sqlx::raw_sql(AssertSqlSafe(restart)).execute(&mut *transaction).await?;
    sqlx::query!("UPDATE log_partitions SET cut_at = clock_timestamp() WHERE number = $1", old)
        .execute(&mut *transaction)
        .await?;
    sqlx::query!("INSERT INTO log_partitions (number) VALUES ($1)", old + 1).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Some(Cut { old, events, locked_for: asked.elapsed() }))
}

/// Where the last event of the old partitions stands; `None`: there are none.
///
/// # Errors
/// sqlx's error.
pub async fn last_of_the_old(pool: &PgPool) -> sqlx::Result<Option<Position>> {
    let last = sqlx::query!(
        r#"SELECT noted_epoch AS "epoch!", noted_written_by::text AS "written_by!", noted_position AS "position!"
             FROM log_partitions WHERE cut_at IS NOT NULL AND noted_position IS NOT NULL
            ORDER BY noted_epoch DESC, noted_written_by DESC, noted_position DESC LIMIT 1"#
    );
    let last = last.fetch_optional(pool).await?;
    last.map(|last| Position::from_columns(last.epoch, &last.written_by, last.position)).transpose()
}
