//! Makes a read model anew from the log, beside the one that is read, and swaps the two.
//!
//! The tables of the next one are copies of the structure of the live ones, in `read_NAME_next`. Its checkpoint lies
//! among them, so a rebuild that was interrupted goes on where it was. The swap moves the tables from schema to schema
//! and points the analysts' views to the new ones in one transaction; readers see the old rows or the new.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use app::log::{LogError, Position};
use bus::Backoff;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio_util::sync::CancellationToken;

use crate::projector::ReadModel;
use crate::runner::adapt;
use crate::runner::batch::{self, BatchError, Care, Moved, Tables};
use crate::{Projections, parse_position};

/// How a rebuild is done.
#[derive(Debug, Clone, Default)]
pub struct RebuildOptions {
    /// Compare the new rows with the live ones, table by table, right before the swap. It reads both in full, and the
    /// live ones stand still meanwhile.
    pub compare: bool,
    /// Stop before the swap, and drop the new tables: the comparison was all that was wanted.
    pub keep_live: bool,
}

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebuildReport {
    /// Which read model.
    pub read_model: ReadModel,
    /// Events that this run read; fewer than the log has where it went on with an interrupted one.
    pub events: u64,
    /// Where both are now.
    pub position: Position,
    /// Whether the new tables are the live ones now.
    pub swapped: bool,
    /// Tables whose rows differed. Null: not compared, because nobody asked or because the live ones are of another
    /// revision.
    pub differing_tables: Option<Vec<TableDifference>>,
}

/// A table whose rebuilt rows are not the live ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableDifference {
    /// The table.
    pub table: String,
    /// Live rows.
    pub live_rows: i64,
    /// Rebuilt rows.
    pub rebuilt_rows: i64,
    /// Live rows that the rebuilt table does not hold, at most ten, as JSON.
    pub only_live: Vec<String>,
    /// Rebuilt rows that the live table does not hold, at most ten, as JSON.
    pub only_rebuilt: Vec<String>,
}

/// A rebuild did not end. It goes on where it was when it is begun again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The database does not answer, or is not as it should be.
    #[error("the database did not take the rebuilt rows")]
    Database(#[from] sqlx::Error),
    /// The log does not answer.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// It was told to stop.
    #[error("the rebuild was stopped")]
    Stopped,
    /// Somebody uses the tables, for longer than a moment.
    #[error("the tables are in use")]
    Busy,
    /// The tables stayed in use.
    #[error("the tables of {model} could not be had in {attempts} attempts; in use by {holders}")]
    InUse {
        /// Whose tables.
        model: ReadModel,
        /// How often it was tried.
        attempts: u32,
        /// Who uses them: process and role of each.
        holders: String,
    },
}

impl From<BatchError> for RebuildError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Database(error) => Self::Database(error),
            BatchError::Log(error) => Self::Log(error),
            BatchError::Poisoned => {
                Self::Database(sqlx::Error::Protocol("an event failed outside its savepoint".into()))
            }
        }
    }
}

/// How often a rebuild tries a swap, or a batch, that the database refused.
const ATTEMPTS: u32 = 10;
/// Most events of one batch.
const BATCH: i64 = 1_000;
/// How often a change of structure asks for its locks, with a few seconds between: some minutes in all.
const LOCK_ATTEMPTS: u32 = 60;
/// How often a rebuild that is done asks for the locks on the tables that it replaced. The next one drops them too.
const DROP_ATTEMPTS: u32 = 3;
/// Who uses the tables now and still does after this time uses them for long. A batch of a runner is over before.
const SHORT_USE: Duration = Duration::from_millis(400);
/// How long a change of structure waits for the locks on the tables: whoever reads them stands in line behind it.
const LOCKS_WITHIN: Duration = Duration::from_millis(300);

impl Projections {
    /// Rebuilds a read model and swaps it in. Live reads go on; live rows go on moving until the swap. Goes on with an
    /// interrupted rebuild of the same revision.
    ///
    /// # Errors
    /// The database or the log does not answer for long, or the token is cancelled.
    pub async fn rebuild(
        &self,
        model: ReadModel,
        options: RebuildOptions,
        token: &CancellationToken,
    ) -> Result<RebuildReport, RebuildError> {
        self.with_locks(model, LOCK_ATTEMPTS, token, || self.prepare(model)).await?;
        let mut events = 0;
        let mut size = 64;
        let mut failures = 0;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            if token.is_cancelled() {
                return Err(RebuildError::Stopped);
            }
            let attempt = match self.fill(model, &mut size).await {
                Ok(0) => self.with_locks(model, LOCK_ATTEMPTS, token, || self.swap(model, &options)).await,
                Ok(handled) => {
                    events += handled;
                    failures = 0;
                    backoff.reset();
                    continue;
                }
                Err(error) => Err(error),
            };
            match attempt {
                Ok((position, swapped, differing_tables)) => {
                    self.ring();
                    self.drop_retired(model, token).await?;
                    tracing::info!(projection = model.name(), %position, events, swapped, "the read model is rebuilt");
                    return Ok(RebuildReport { read_model: model, events, position, swapped, differing_tables });
                }
                Err(error @ (RebuildError::InUse { .. } | RebuildError::Stopped)) => return Err(error),
                Err(error) if failures < ATTEMPTS => {
                    failures += 1;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        projection = model.name(),
                        failures,
                        "a step of a rebuild has to be tried again"
                    );
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the tables of the next one, unless an interrupted rebuild of this revision left them.
    async fn prepare(&self, model: ReadModel) -> Result<(), RebuildError> {
        let (live, next) = (Tables::Live.schema(model), Tables::Next.schema(model));
        let mut transaction = app::log::begin(&self.pool).await?;
        begin_change(&mut transaction, model).await?;
        drop_tables(&mut transaction, &retired(model)).await?;
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(format!("{next}.checkpoint"))
            .fetch_one(&mut *transaction)
            .await?;
        if exists {
            let statement = format!("SELECT revision FROM {next}.checkpoint");
            let revision: i32 = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut *transaction).await?;
            if revision == model.projector().revision() {
                tracing::info!(projection = model.name(), "going on with an interrupted rebuild");
                transaction.commit().await?;
                return Ok(());
            }
        }
        drop_tables(&mut transaction, &next).await?;
        for table in tables(&mut transaction, &live).await? {
            execute(&mut transaction, format!("CREATE TABLE {next}.{table} (LIKE {live}.{table} INCLUDING ALL)"))
                .await?;
        }
        sqlx::query(AssertSqlSafe(format!("INSERT INTO {next}.checkpoint (position, revision) VALUES ($1, $2)")))
            .bind(Position::START.to_string())
            .bind(model.projector().revision())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Applies one batch to the next one. 0: it is where the live one is, or for a new revision, at the log's end.
    async fn fill(&self, model: ReadModel, size: &mut i64) -> Result<u64, RebuildError> {
        let (live, live_revision) = self.checkpoint(model, Tables::Live).await?;
        let (from, _) = self.checkpoint(model, Tables::Next).await?;
        let same_revision = live_revision == model.projector().revision();
        if same_revision && from >= live {
            return Ok(0);
        }
        let mut events = self.log.read(from, *size).await?;
        if same_revision {
            events.retain(|event| event.position <= live);
        }
        if events.is_empty() {
            return Ok(0);
        }
        let moved = self.move_by(model, Tables::Next, from, &events).await?;
        adapt(size, BATCH, &events);
        match moved {
            Moved::To { events, .. } => Ok(events as u64),
            Moved::Elsewhere => {
                Err(RebuildError::Database(sqlx::Error::Protocol("another rebuild is under way".into())))
            }
        }
    }

    async fn checkpoint(&self, model: ReadModel, tables: Tables) -> sqlx::Result<(Position, i32)> {
        let statement = format!("SELECT position, revision FROM {}.checkpoint", tables.schema(model));
        let (position, revision): (String, i32) =
            sqlx::query_as(AssertSqlSafe(statement)).fetch_one(&self.pool).await?;
        Ok((parse_position(&position)?, revision))
    }

    /// Brings the next one to where the live one stands still, compares the two, and lets them change places.
    async fn swap(
        &self,
        model: ReadModel,
        options: &RebuildOptions,
    ) -> Result<(Position, bool, Option<Vec<TableDifference>>), RebuildError> {
        let (live, next) = (Tables::Live.schema(model), Tables::Next.schema(model));
        if !options.keep_live {
            self.check_unused(model).await?;
        }
        let mut transaction = app::log::begin(&self.pool).await?;
        begin_change(&mut transaction, model).await?;
        let lock = |schema: &str| format!("SELECT position, revision FROM {schema}.checkpoint FOR UPDATE");
        let (live_at, live_revision): (String, i32) =
            sqlx::query_as(AssertSqlSafe(lock(&live))).fetch_one(&mut *transaction).await?;
        let (next_at, _): (String, i32) =
            sqlx::query_as(AssertSqlSafe(lock(&next))).fetch_one(&mut *transaction).await?;
        let (live_at, mut next_at) = (parse_position(&live_at)?, parse_position(&next_at)?);
        execute(&mut transaction, format!("SET LOCAL search_path = {next}")).await?;
        while next_at < live_at {
            let mut events = self.log.read(next_at, BATCH / 4).await?;
            events.retain(|event| event.position <= live_at);
            if events.is_empty() {
                return Err(RebuildError::Database(sqlx::Error::Protocol("the live rows are ahead of the log".into())));
            }
            let moved =
                batch::apply_locked(&mut transaction, model, next_at, &events, Care::EachForItself, None).await?;
            if let Moved::To { position, .. } = moved {
                next_at = position;
            }
        }
        let comparable = options.compare && next_at == live_at && live_revision == model.projector().revision();
        let differences = if comparable { Some(compare(&mut transaction, &live, &next).await?) } else { None };
        if options.keep_live {
            drop_tables(&mut transaction, &next).await?;
            transaction.commit().await?;
            return Ok((live_at, false, differences));
        }
        execute(&mut transaction, "SET LOCAL search_path = pg_catalog".to_owned()).await?;
        let views = dependent_views(&mut transaction, &live).await?;
        lock_all(&mut transaction, &live, &next, &views).await?;
        for table in tables(&mut transaction, &live).await? {
            execute(&mut transaction, format!("ALTER TABLE {live}.{table} SET SCHEMA {}", retired(model))).await?;
            execute(&mut transaction, format!("ALTER TABLE {next}.{table} SET SCHEMA {live}")).await?;
        }
        for (view, definition) in views {
            execute(&mut transaction, format!("CREATE OR REPLACE VIEW {view} AS {definition}")).await?;
        }
        transaction.commit().await?;
        Ok((next_at, true, differences))
    }

    /// Drops the tables that were replaced. Whoever began to read them before may still do so: then they stay until the
    /// next rebuild, and are in nobody's way.
    async fn drop_retired(&self, model: ReadModel, token: &CancellationToken) -> Result<(), RebuildError> {
        let drop = || async {
            let mut transaction = app::log::begin(&self.pool).await?;
            begin_change(&mut transaction, model).await?;
            drop_tables(&mut transaction, &retired(model)).await?;
            transaction.commit().await?;
            Ok(())
        };
        match self.with_locks(model, DROP_ATTEMPTS, token, drop).await {
            Err(RebuildError::InUse { holders, .. }) => {
                tracing::warn!(projection = model.name(), holders, "replaced tables are still read, not dropped yet");
                Ok(())
            }
            dropped => dropped,
        }
    }

    /// Does a step, and does it again when it could not have its locks: each time it waits a moment for them, and between
    /// the attempts nobody stands in line.
    async fn with_locks<T, F>(
        &self,
        model: ReadModel,
        most: u32,
        token: &CancellationToken,
        step: impl Fn() -> F,
    ) -> Result<T, RebuildError>
    where
        F: Future<Output = Result<T, RebuildError>>,
    {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut attempts = 0;
        loop {
            match step().await {
                Err(RebuildError::Busy) => attempts += 1,
                Err(RebuildError::Database(error)) if app::database::is_lock_timeout(&error) => attempts += 1,
                done => return done,
            }
            let holders = self.holders(model).await?;
            let holders = holders.iter().map(|holder| holder.to_string()).collect::<Vec<_>>().join(", ");
            if attempts >= most {
                return Err(RebuildError::InUse { model, attempts, holders });
            }
            let wait = jittered(backoff.next_wait());
            tracing::info!(
                projection = model.name(),
                attempts,
                most,
                holders,
                wait_ms = wait.as_millis(),
                "tables are in use, waiting to change them"
            );
            if token.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Err(RebuildError::Stopped);
            }
        }
    }

    /// That nobody uses the tables for long. Asking for a lock that is not to be had would make every reader wait.
    async fn check_unused(&self, model: ReadModel) -> Result<(), RebuildError> {
        let before = self.holders(model).await?;
        if before.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(SHORT_USE).await;
        let after = self.holders(model).await?;
        if before.iter().any(|holder| after.contains(holder)) {
            return Err(RebuildError::Busy);
        }
        Ok(())
    }

    /// The transactions that use the live tables or those that were replaced.
    async fn holders(&self, model: ReadModel) -> sqlx::Result<Vec<Holder>> {
        let statement = "SELECT DISTINCT l.pid, coalesce(a.usename::text, 'unknown'), l.virtualtransaction
               FROM pg_catalog.pg_locks l
               JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind = 'r'
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
              WHERE l.granted AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
                AND n.nspname = ANY($1) AND l.pid <> pg_backend_pid() ORDER BY 1 LIMIT 20";
        let found: Vec<(i32, String, String)> = sqlx::query_as(statement)
            .bind(vec![Tables::Live.schema(model), retired(model)])
            .fetch_all(&self.pool)
            .await?;
        Ok(found.into_iter().map(|(pid, role, transaction)| Holder { pid, role, transaction }).collect())
    }
}

/// A transaction that uses tables.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    pid: i32,
    role: String,
    transaction: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "process {} of {}", self.pid, self.role)
    }
}

/// A wait of half its length to all of it, so that several do not come at the same moment again.
fn jittered(wait: Duration) -> Duration {
    // Every new state of the standard hasher is a random one.
    let random = RandomState::new().build_hasher().finish();
    wait / 2 + wait / 2 * u32::try_from(random % 1_000).unwrap_or(0) / 1_000
}

/// Takes every lock that a swap needs, or none: each within a moment, all within two. A view is locked for itself, as
/// locking it by name would take along every table that it reads, the log among them.
async fn lock_all(
    connection: &mut PgConnection,
    live: &str,
    next: &str,
    views: &[(String, String)],
) -> Result<(), RebuildError> {
    let within = |moments: u32| (LOCKS_WITHIN * moments).as_millis();
    execute(connection, format!("SET LOCAL lock_timeout = '{}ms'", within(1))).await?;
    for (view, _) in views {
        execute(connection, format!("ALTER VIEW {view} OWNER TO CURRENT_USER")).await?;
    }
    // Whoever has looked up the live checkpoint by its name and waits for it finds the new one under that name.
    let mut names: Vec<String> =
        tables(connection, live).await?.into_iter().map(|table| format!("{live}.{table}")).collect();
    names.push(format!("{next}.checkpoint"));
    execute(connection, format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "))).await?;
    Ok(())
}

async fn drop_tables(connection: &mut PgConnection, schema: &str) -> sqlx::Result<()> {
    execute(connection, format!("SET LOCAL lock_timeout = '{}ms'", LOCKS_WITHIN.as_millis())).await?;
    for table in tables(connection, schema).await? {
        execute(connection, format!("DROP TABLE {schema}.{table}")).await?;
    }
    Ok(())
}

fn retired(model: ReadModel) -> String {
    format!("{}_retired", model.schema())
}

/// One change of structure at a time per read model, done by the role that owns the tables.
async fn begin_change(connection: &mut PgConnection, model: ReadModel) -> sqlx::Result<()> {
    // A row that nobody else can lock; everybody may take an advisory lock where a superuser did not forbid it.
    sqlx::query("SELECT FROM structure_locks WHERE read_model = $1 FOR UPDATE")
        .bind(model.name())
        .execute(&mut *connection)
        .await?;
    execute(connection, "SET LOCAL ROLE lablet_app".to_owned()).await?;
    // Rows and other changes of structure: nobody who reads waits behind these.
    execute(connection, "SET LOCAL lock_timeout = '5s'".to_owned()).await?;
    execute(connection, "SET LOCAL idle_in_transaction_session_timeout = '60s'".to_owned()).await
}

/// Executes a statement made of names of this crate's own.
async fn execute(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}

async fn tables(connection: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = $1 ORDER BY tablename")
        .bind(schema)
        .fetch_all(connection)
        .await
}

/// Views over tables of a schema, with their definitions as Postgres writes them when no name is in reach without its
/// schema. Views are bound to tables, not to their names.
async fn dependent_views(connection: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<(String, String)>> {
    sqlx::query_as(
        "SELECT DISTINCT format('%I.%I', vn.nspname, v.relname), pg_catalog.pg_get_viewdef(v.oid)
           FROM pg_catalog.pg_depend d
           JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_catalog.pg_rewrite'::regclass
           JOIN pg_catalog.pg_class v ON v.oid = r.ev_class AND v.relkind = 'v'
           JOIN pg_catalog.pg_namespace vn ON vn.oid = v.relnamespace
           JOIN pg_catalog.pg_class t ON t.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_class'::regclass
           JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
          WHERE tn.nspname = $1",
    )
    .bind(schema)
    .fetch_all(connection)
    .await
}

/// The tables whose rows differ. When a row was moved or parked is no part of it.
async fn compare(connection: &mut PgConnection, live: &str, next: &str) -> sqlx::Result<Vec<TableDifference>> {
    execute(connection, "SET LOCAL statement_timeout = 0".to_owned()).await?;
    let mut differences = Vec::new();
    for table in tables(connection, live).await? {
        let row = "(to_jsonb(r) - 'moved_at' - 'parked_at' - 'attempts')";
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
