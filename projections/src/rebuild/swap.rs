//! The structure of the tables: making those of the next one, and letting them take the place of the live ones.

use std::time::Duration;

use app::log::Position;
use bus::Backoff;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;

use super::{DROP_ATTEMPTS, RebuildError, execute, tables};
use crate::Projections;
use crate::checkpoint::{Checkpoint, Tables};
use crate::read_models::ReadModel;
use crate::rights::DatabaseRole;

/// Who uses the tables now and still does after this time uses them for long. A batch of a runner is over before.
const SHORT_USE: Duration = Duration::from_millis(400);
/// How long a change of structure waits for a lock on tables: whoever reads them stands in line behind it, and the change
/// has a transaction id.
const LOCKS_WITHIN: Duration = Duration::from_millis(100);

impl Projections {
    /// Makes the tables of the next one, unless an interrupted rebuild of this revision left them.
    pub(super) async fn prepare(&self, model: ReadModel) -> Result<(), RebuildError> {
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
            if revision == model.projector().revision {
                tracing::info!(projection = model.name(), "interrupted rebuild goes on");
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
            .bind(model.projector().revision)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Brings the next one to where the live one is, and lets the two change places.
    pub(super) async fn swap(&self, model: ReadModel) -> Result<Position, RebuildError> {
        let (live, next) = (Tables::Live.schema(model), Tables::Next.schema(model));
        self.check_unused(model).await?;
        let mut transaction = app::log::begin(&self.pool).await?;
        Checkpoint::bound_transaction(&mut transaction).await?;
        begin_change(&mut transaction, model).await?;
        let live_at = Checkpoint::lock(&mut transaction, &live).await?;
        let next_at = self.catch_up_next(&mut transaction, model, live_at.position).await?;
        if next_at < live_at.position {
            return Err(RebuildError::Behind);
        }
        execute(&mut transaction, "SET LOCAL search_path = pg_catalog".to_owned()).await?;
        let views = dependent_views(&mut transaction, &live).await?;
        lock_all(&mut transaction, &live, &next, &views).await?;
        // Whoever loaded live rows before does not take the new ones for them.
        let statement = format!("UPDATE {next}.checkpoint SET changes = $1");
        sqlx::query(AssertSqlSafe(statement)).bind(live_at.changes + 1).execute(&mut *transaction).await?;
        for table in tables(&mut transaction, &live).await? {
            execute(&mut transaction, format!("ALTER TABLE {live}.{table} SET SCHEMA {}", retired(model))).await?;
            execute(&mut transaction, format!("ALTER TABLE {next}.{table} SET SCHEMA {live}")).await?;
        }
        for (view, definition) in views {
            execute(&mut transaction, format!("CREATE OR REPLACE VIEW {view} AS {definition}")).await?;
        }
        transaction.commit().await?;
        Ok(next_at)
    }

    /// Drops the next one; where the live one is.
    pub(super) async fn abandon(&self, model: ReadModel) -> Result<Position, RebuildError> {
        let mut transaction = app::log::begin(&self.pool).await?;
        begin_change(&mut transaction, model).await?;
        drop_tables(&mut transaction, &Tables::Next.schema(model)).await?;
        transaction.commit().await?;
        Ok(Checkpoint::read(&self.pool, model.schema()).await?.position)
    }

    /// Drops the tables that were replaced. Whoever began to read them before may still do so: then they stay until the
    /// next rebuild, and are in nobody's way.
    pub(super) async fn drop_retired(&self, model: ReadModel, token: &CancellationToken) -> Result<(), RebuildError> {
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
    pub(super) async fn with_locks<T, F>(
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
            let wait = backoff.next_wait();
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
    execute(connection, format!("SET LOCAL ROLE {}", DatabaseRole::Projector.name())).await?;
    // Rows and other changes of structure: nobody who reads waits behind these.
    execute(connection, "SET LOCAL lock_timeout = '5s'".to_owned()).await?;
    execute(connection, "SET LOCAL idle_in_transaction_session_timeout = '60s'".to_owned()).await
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
