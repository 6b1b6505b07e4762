//! The log: the only truth, and the only way to it.
//!
//! [`Log::execute`] decides and appends; [`Log::read`] follows all events in their order. Everything else is derived
//! from the log and can be lost.

mod append;
mod audit;
mod cache;
mod changes;
mod cqrs;
mod epoch;
mod execute;
mod history;
mod page;
pub mod partitions;
mod position;
mod record;
mod snapshot;
mod striped_locks;
mod transaction;
mod visibility;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram};
use sqlx::postgres::{PgConnectOptions, PgExecutor, PgPool, PgPoolOptions};
use tokio::sync::watch;
use uuid::Uuid;

pub use self::audit::{AggregateSummary, fingerprint};
pub use self::changes::ChangeFilter;
pub use self::epoch::{EpochBeginning, RestoreState, begin_epoch, current_epoch};
pub use self::execute::{ExecuteError, ExecutedCommand, Expected, Outcome};
pub use self::history::HistoryPage;
pub use self::page::{EventPage, PAGE_BYTES};
pub use self::position::{NoPosition, Position};
pub use self::record::{DedupeKey, Metadata, Origin, RecordedEvent};
pub use self::transaction::begin;
pub use self::visibility::{TOLERATED_LAG, Visibility, newest};
use bus::clock::{Clock, IdGenerator};

/// What has been committed together with everything before it. Transactions of earlier epochs ended in another cluster.
macro_rules! settled {
    () => {
        "(written_by < pg_snapshot_xmin(pg_current_snapshot()) OR epoch < (SELECT log_epoch.epoch FROM log_epoch))"
    };
}

use settled;

/// What readers see after a position.
macro_rules! settled_after {
    () => {
        concat!(
            "(epoch, written_by, position) > ($1, $2::text::xid8, $3)
              AND position >= first_position_after($1, $2::text::xid8, $3) AND ",
            settled!()
        )
    };
}

const PAGE_AFTER: &str = page::page_statement!(settled_after!(), "", "epoch", "written_by", "position");
const WITHOUT_PAYLOADS_AFTER: &str = concat!(
    "SELECT ",
    record::columns_without_payload!(),
    " FROM events WHERE ",
    settled_after!(),
    " ORDER BY events.epoch, events.written_by, events.position LIMIT $4"
);
const HEAD: &str = concat!(
    "SELECT epoch, written_by::text AS written_by, position FROM events WHERE ",
    settled!(),
    " ORDER BY events.epoch DESC, events.written_by DESC, events.position DESC LIMIT 1"
);
const EVENT: &str = concat!("SELECT ", record::columns!(), " FROM events WHERE event_id = $1");

/// The schema of the database, in order.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// How long a question to the database may take.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Settings of the log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Connections that append. Two use a small Postgres fully.
    pub writers: usize,
    /// Aggregates kept in memory with their sequence.
    pub cached_aggregates: usize,
    /// Most bytes of their states, as [`domain::Decide::weight`] counts them.
    pub cached_bytes: u64,
    /// An aggregate's state is kept in the database each time it has this many events more.
    pub snapshot_every: i64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { writers: 2, cached_aggregates: 10_000, cached_bytes: 32 * 1024 * 1024, snapshot_every: 100 }
    }
}

/// Reading failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database does not answer.
    #[error("the log cannot be read")]
    Unavailable(#[source] sqlx::Error),
    /// An event is there and cannot be understood.
    #[error("event {sequence} of {aggregate_type} {aggregate_id} cannot be understood")]
    Corrupt {
        /// Whose event.
        aggregate_type: String,
        /// Whose event.
        aggregate_id: String,
        /// Which event.
        sequence: i64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl From<sqlx::Error> for LogError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error)
    }
}

/// The log. Cheap to clone; clones share the writers and the cache.
#[derive(Clone)]
pub struct Log {
    pool: PgPool,
    clock: Clock,
    id_generator: IdGenerator,
    options: LogOptions,
    appender: append::Appender,
    epoch: epoch::KnownEpoch,
    cache: Arc<cache::Cache>,
    /// Locked by commands that met a conflict, one lock for many aggregates.
    conflict_locks: Arc<striped_locks::StripedLocks>,
    appended: watch::Sender<u64>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Log").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A pool of connections to the database, opened as they are needed. What is streamed to Postgres (`COPY`) needs a
/// connection of its own: dropped half-way it would answer its next user with what belongs to the last.
///
/// # Errors
/// The address cannot be understood; it is not repeated in the error, as it may hold a password.
pub fn pool(database_url: &str, most_connections: u32) -> Result<PgPool, sqlx::Error> {
    let options: PgConnectOptions = database_url.parse().map_err(|_| {
        sqlx::Error::Configuration(
            "the database's address is not of the form postgresql://user:password@host/database".into(),
        )
    })?;
    Ok(PgPoolOptions::new()
        .max_connections(most_connections)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_secs(300))
        // One that leads to a server which is the primary no more ends within this time.
        .max_lifetime(Duration::from_secs(600))
        // Costs a round trip for each use. Without it, a connection that Postgres ended while it was idle would fail the
        // command that takes it.
        .test_before_acquire(true)
        .connect_lazy_with(options.application_name("lablet")))
}

impl Log {
    /// The log in this database, which has been migrated. Has to be called within a tokio runtime.
    pub fn new(pool: PgPool, clock: Clock, id_generator: IdGenerator, options: LogOptions) -> Self {
        describe_histogram!("lablet_log_append_seconds", Unit::Seconds, "Duration of one appending statement");
        describe_histogram!("lablet_log_append_batch_commands", Unit::Count, "Commands that shared one statement");
        describe_counter!("lablet_log_conflicts_total", Unit::Count, "Commands that met somebody else's events");
        describe_counter!(
            "lablet_log_append_failures_total",
            Unit::Count,
            "Commands that could not be appended, by the reason: the database was unavailable, or refused the data"
        );
        // There from the start: of a counter that begins at 1, nobody sees the increase.
        for reason in ["unavailable", "refused"] {
            counter!("lablet_log_append_failures_total", "reason" => reason).increment(0);
        }
        describe_gauge!(
            "lablet_log_visibility_lag_seconds",
            Unit::Seconds,
            "Age of the oldest committed event that an open transaction keeps from readers"
        );
        describe_gauge!("lablet_log_held_back_seconds", Unit::Seconds, "The same; kept for older dashboards");
        describe_gauge!(
            "lablet_log_held_back_events",
            Unit::Count,
            "Committed events that an open transaction keeps from readers"
        );
        let appended = watch::Sender::new(0);
        let epoch = epoch::KnownEpoch::default();
        let appender = append::Appender::new(&pool, options.writers, &appended, &epoch);
        let cache = Arc::new(cache::Cache::new(options.cached_aggregates, options.cached_bytes));
        Self { pool, clock, id_generator, options, appender, epoch, cache, conflict_locks: Arc::default(), appended }
    }

    /// The connections that it uses.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The time by which it decides.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Where its ids come from.
    pub fn id_generator(&self) -> &IdGenerator {
        &self.id_generator
    }

    /// The epoch under which what is read from here on was there.
    async fn known_epoch(&self) -> Result<i32, LogError> {
        if self.epoch.get() == 0 {
            let stored = sqlx::query_scalar("SELECT epoch FROM log_epoch");
            self.epoch.learn(in_time(stored.fetch_one(&self.pool)).await?);
        }
        Ok(self.epoch.get())
    }

    /// Changes with every append of this process. Appends of other processes are announced on the bus.
    pub fn appended(&self) -> watch::Receiver<u64> {
        self.appended.subscribe()
    }

    /// Up to `limit` events after a position, in the order of all events, and no more than [`PAGE_BYTES`] of them, save
    /// for the last one: a page may be shorter than `limit` where more events follow. Only an empty one is the end.
    ///
    /// One statement, so one snapshot: what a transaction that is still open wrote is left out together with all that
    /// comes after it, and is found by a later read.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn read(&self, after: Position, limit: i64) -> Result<Vec<RecordedEvent>, LogError> {
        Ok(self.read_page(after, limit).await?.events)
    }

    /// As [`Log::read`], with whether more events may follow.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn read_page(&self, after: Position, limit: i64) -> Result<EventPage, LogError> {
        let query =
            sqlx::query(PAGE_AFTER).bind(after.epoch).bind(after.written_by_text()).bind(after.position).bind(limit);
        Ok(in_time(page::fetch(query, &self.pool, limit)).await?)
    }

    /// As [`Log::read`], without the payloads, which are null then: only `limit` bounds the answer.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn read_without_payloads(&self, after: Position, limit: i64) -> Result<Vec<RecordedEvent>, LogError> {
        let rows = sqlx::query(WITHOUT_PAYLOADS_AFTER)
            .bind(after.epoch)
            .bind(after.written_by_text())
            .bind(after.position)
            .bind(limit)
            .fetch_all(&self.pool);
        let rows = in_time(rows).await?;
        Ok(rows.iter().map(RecordedEvent::from_row).collect::<sqlx::Result<_>>()?)
    }

    /// The position of the last event that [`Log::read`] would give, [`Position::START`] for an empty log.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn head(&self) -> Result<Position, LogError> {
        let row = in_time(sqlx::query(HEAD).fetch_optional(&self.pool)).await?;
        Ok(row.as_ref().map(Position::from_row).transpose()?.unwrap_or(Position::START))
    }

    /// One event by its id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn event(&self, event_id: Uuid) -> Result<Option<RecordedEvent>, LogError> {
        self.event_over(&self.pool, event_id).await
    }

    /// The same, over the caller's connection: taking one from the pool costs a round trip.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn event_over<'c>(
        &self,
        connection: impl PgExecutor<'c>,
        event_id: Uuid,
    ) -> Result<Option<RecordedEvent>, LogError> {
        let row = in_time(sqlx::query(EVENT).bind(event_id).fetch_optional(connection)).await?;
        Ok(row.as_ref().map(RecordedEvent::from_row).transpose()?)
    }

    /// The newest migration that the database has, and the newest that this build knows.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn schema_versions(&self) -> Result<(i64, i64), LogError> {
        let newest = sqlx::query_scalar!(
            r#"SELECT coalesce(max(version), 0) AS "version!" FROM _sqlx_migrations WHERE success"#
        );
        let applied = in_time(newest.fetch_one(&self.pool)).await?;
        Ok((applied, MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default()))
    }
}

/// The answer, or the failure to give one in time.
async fn in_time<T>(question: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(READ_TIMEOUT, question).await.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database did not answer in time"))
}
