//! A database per test, cloned from a template that was migrated once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::folder::random_hex;
use crate::postgres::check_name;
use crate::{PostgresServer, SUPERUSER, ServerError};

use super::caretaker::{Caretaker, temporary_folder};
use super::{DATABASE_VARIABLE, must, postgres_options};

/// "lablet": processes that share a server make templates one after the other.
const TEMPLATE_LOCK: i64 = 0x6c61_626c_6574;

#[derive(Debug)]
struct SharedPostgres {
    /// As superuser, database `postgres`.
    url: String,
    _own: Option<(PostgresServer, TempDir, Caretaker)>,
}

static SHARED_POSTGRES: OnceCell<SharedPostgres> = OnceCell::const_new();

/// A migrated database of one test's own. Dropped in the background with this value, connections or not.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    pool: PgPool,
    dropped: bool,
}

impl TestDatabase {
    /// A pool of connections as owner.
    pub fn pool(&self) -> PgPool {
        self.pool.clone()
    }

    /// `postgres://` URL as owner (superuser).
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL for a role that the migrations made; it may sign in.
    ///
    /// # Panics
    /// The role's name is not made of `[a-z0-9_]`.
    pub fn url_as(&self, role: &str) -> String {
        must("name a role", check_name(role));
        // Every role of the test cluster has the superuser's password.
        self.url.replacen(&format!("//{SUPERUSER}:"), &format!("//{role}:"), 1)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until everything committed up to now is behind the oldest open transaction.
    ///
    /// Who reads below `pg_snapshot_xmin` sees a commit only once every older transaction *of the whole cluster* has
    /// ended: another test's, or the making of its database. A test that reads the log by position right after it
    /// wrote calls this in between.
    ///
    /// # Panics
    /// A transaction stays open for half a minute, or Postgres does not answer.
    pub async fn settle(&self) {
        let settled = tokio::time::timeout(Duration::from_secs(30), async {
            let mut connection = PgConnection::connect(&self.url).await?;
            let now: String =
                sqlx::query_scalar("select pg_current_xact_id()::text").fetch_one(&mut connection).await?;
            while !sqlx::query_scalar::<_, bool>("select pg_snapshot_xmin(pg_current_snapshot()) > $1::xid8")
                .bind(&now)
                .fetch_one(&mut connection)
                .await?
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            connection.close().await
        })
        .await;
        match settled {
            Ok(result) => must("wait for older transactions", result.map_err(ServerError::database("ask Postgres"))),
            Err(_) => panic!("a transaction of the test cluster has been open for half a minute"),
        }
    }

    /// Drops the database now, and waits until it is gone.
    ///
    /// # Panics
    /// Postgres refuses.
    pub async fn finish(mut self) {
        self.dropped = true;
        self.pool.close().await;
        must(
            "drop a database",
            drop_database(&admin_url(&self.url), &self.name).await.map_err(ServerError::database("drop the database")),
        );
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if !self.dropped {
            // Nobody listens only when the process is ending, and then the whole cluster may be.
            if dropper().send((admin_url(&self.url), self.name.clone())).is_err() {
                tracing::debug!(database = self.name, "left behind");
            }
        }
    }
}

/// A fresh database with these migrations applied.
///
/// # Panics
/// Postgres cannot be had, or a migration fails.
pub async fn database(migrator: &Migrator) -> TestDatabase {
    let server = SHARED_POSTGRES.get_or_init(shared_postgres).await;
    let made = make_database(&server.url, migrator).await;
    must("make a database for a test", made)
}

async fn shared_postgres() -> SharedPostgres {
    if let Ok(url) = std::env::var(DATABASE_VARIABLE) {
        return SharedPostgres { url, _own: None };
    }
    let (folder, caretaker) = must("make a temporary folder", temporary_folder());
    let server = must("start Postgres", PostgresServer::start(postgres_options(&folder)).await);
    SharedPostgres { url: server.url("postgres"), _own: Some((server, folder, caretaker)) }
}

async fn make_database(admin_url: &str, migrator: &Migrator) -> Result<TestDatabase, ServerError> {
    let failed = || ServerError::database("make a database for a test");
    let mut admin = PgConnection::connect(admin_url).await.map_err(failed())?;
    let template = template(&mut admin, admin_url, migrator).await?;
    // Without fsync, copying the files takes half as long as writing them to the WAL.
    let name = format!("test_{}", random_hex::<8>()?);
    admin
        .execute(AssertSqlSafe(format!("create database {name} template {template} strategy file_copy")))
        .await
        .map_err(failed())?;
    admin.close().await.map_err(failed())?;
    let url = in_database(admin_url, &name);
    let pool = PgPoolOptions::new()
        .max_connections(10)
        .acquire_timeout(Duration::from_secs(30))
        .connect_lazy(&url)
        .map_err(failed())?;
    Ok(TestDatabase { name, url, pool, dropped: false })
}

/// The template's name; the first process that needs it creates it. One whose creation was interrupted is not marked
/// as a template and is created again.
async fn template(admin: &mut PgConnection, admin_url: &str, migrator: &Migrator) -> Result<String, ServerError> {
    let failed = || ServerError::database("make the template of the test databases");
    let name = template_name(migrator);
    if is_template(admin, &name).await.map_err(failed())? {
        return Ok(name);
    }
    sqlx::query("select pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut *admin).await.map_err(failed())?;
    if !is_template(admin, &name).await.map_err(failed())? {
        for statement in [format!("drop database if exists {name} with (force)"), format!("create database {name}")] {
            admin.execute(AssertSqlSafe(statement)).await.map_err(failed())?;
        }
        let mut inside = PgConnection::connect(&in_database(admin_url, &name)).await.map_err(failed())?;
        migrator.run(&mut inside).await.map_err(|error| failed()(error.into()))?;
        inside.close().await.map_err(failed())?;
        let_roles_sign_in(admin, admin_url).await.map_err(failed())?;
        for statement in [
            // Nobody may be connected to a database that is being cloned.
            format!("alter database {name} allow_connections false"),
            format!("alter database {name} is_template true"),
        ] {
            admin.execute(AssertSqlSafe(statement)).await.map_err(failed())?;
        }
    }
    sqlx::query("select pg_advisory_unlock($1)").bind(TEMPLATE_LOCK).execute(&mut *admin).await.map_err(failed())?;
    Ok(name)
}

async fn is_template(admin: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("select exists (select from pg_database where datname = $1 and datistemplate)")
        .bind(name)
        .fetch_one(admin)
        .await
}

/// Roles belong to the whole cluster, and two sessions must not alter one at the same time: the caller holds
/// the lock.
async fn let_roles_sign_in(admin: &mut PgConnection, admin_url: &str) -> sqlx::Result<()> {
    let roles: Vec<String> = sqlx::query_scalar(
        "select rolname::text from pg_roles \
         where not rolcanlogin and not rolsuper and rolname !~ '^pg_'",
    )
    .fetch_all(&mut *admin)
    .await?;
    let password = password(admin_url);
    for role in roles {
        admin.execute(AssertSqlSafe(format!("alter role \"{role}\" login password '{password}'"))).await?;
    }
    Ok(())
}

fn template_name(migrator: &Migrator) -> String {
    let mut hasher = DefaultHasher::new();
    for migration in migrator.iter() {
        migration.version.hash(&mut hasher);
        migration.checksum.hash(&mut hasher);
    }
    format!("template_{:016x}", hasher.finish())
}

/// Drops one database after the other, so that no test waits for it.
fn dropper() -> &'static Sender<(String, String)> {
    static DROPPER: OnceLock<Sender<(String, String)>> = OnceLock::new();
    DROPPER.get_or_init(|| {
        let (sender, receiver) = channel::<(String, String)>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::warn!(%error, "test databases will not be dropped");
                    return;
                }
            };
            for (admin_url, name) in receiver {
                if let Err(error) = runtime.block_on(drop_database(&admin_url, &name)) {
                    tracing::warn!(%error, database = name, "a test database was not dropped");
                }
            }
        });
        sender
    })
}

async fn drop_database(admin_url: &str, name: &str) -> sqlx::Result<()> {
    let mut admin = PgConnection::connect(admin_url).await?;
    admin.execute(AssertSqlSafe(format!("drop database if exists {name} with (force)"))).await?;
    admin.close().await
}

fn admin_url(url: &str) -> String {
    in_database(url, "postgres")
}

/// The same URL with another database.
fn in_database(url: &str, database: &str) -> String {
    let server = url.rsplit_once('/').map_or(url, |(server, _)| server);
    format!("{server}/{database}")
}

fn password(url: &str) -> &str {
    url.split_once('@').and_then(|(before, _)| before.rsplit_once(':')).map_or("", |(_, password)| password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = "postgres://postgres:secret@127.0.0.1:5432/test_1";
        assert_eq!(password(url), "secret");
        assert_eq!(admin_url(url), "postgres://postgres:secret@127.0.0.1:5432/postgres");
    }
}
