//! Real servers, and Lablet's roles as processes of their own beside them.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use app::log::MIGRATOR;
use harness::{Lablet, LabletOptions};
use servers::{NatsAccounts, NatsOptions, NatsServer, PostgresOptions, PostgresServer};
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How long a role may take to answer, or to end.
const ROLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long read models and relay may take to reach the end of the log.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(900);
/// How often that is checked.
const SETTLE_POLL: Duration = Duration::from_millis(100);

/// The key with which load is put on a gateway of its own, and its SHA-256.
pub(crate) const INTERNAL_KEY: &str = "bench-internal-key";
const INTERNAL_KEY_HASH: &str = "1842efa43eae5897bc2347043c1d8a8ce62b2d32a9744f0f70be4c62c1317e81";

/// A Postgres with fsync and two nats-servers, in a folder that goes with them.
pub(crate) struct Surroundings {
    postgres: PostgresServer,
    /// For the process that has all roles.
    nats: NatsServer,
    /// For roles that are processes of their own: streams are those of one log.
    other_nats: NatsServer,
    other_nats_url: String,
    folder: TempDir,
}

impl Surroundings {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let data_dir = |name: &str| folder.path().join(name);
        let nats = |name| NatsOptions { data_dir: data_dir(name), port: None, accounts: NatsAccounts::One };
        let postgres =
            PostgresOptions { data_dir: data_dir("postgres"), port: None, fsync: true, settings: Vec::new() };
        let (postgres, nats, other_nats) = tokio::try_join!(
            PostgresServer::start(postgres),
            NatsServer::start(nats("nats")),
            NatsServer::start(nats("other-nats"))
        )?;
        let other_nats_url = other_nats.url();
        Ok(Self { postgres, nats, other_nats, other_nats_url, folder })
    }

    /// A database of this name at the newest migration.
    pub(crate) async fn database(&self, name: &str) -> anyhow::Result<Database> {
        self.postgres.ensure_database(name).await?;
        let url = self.postgres.url(name);
        let pool = app::log::pool(&url, 4)?;
        MIGRATOR.run(&pool).await?;
        Ok(Database { url, pool })
    }

    /// A database and a copy of it. Nobody else may be connected to it.
    pub(crate) async fn copied(&self, database: Database, copy: &str) -> anyhow::Result<(Database, Database)> {
        database.pool.close().await;
        let pool = app::log::pool(&self.postgres.url("postgres"), 1)?;
        let name = database.url.rsplit('/').next().unwrap_or_default();
        let statement = format!("CREATE DATABASE {copy} TEMPLATE {name}");
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await?;
        pool.close().await;
        Ok((self.database(name).await?, self.database(copy).await?))
    }

    /// `lablet up` on a database of these servers.
    pub(crate) async fn all_roles(&self, database: &Database) -> anyhow::Result<Lablet> {
        // This very executable is `lablet` too, so that what is measured was built like what measures.
        let program = std::env::current_exe()?;
        let environment = vec![
            ("LABLET_DATABASE_URL".to_owned(), database.url.clone()),
            ("LABLET_NATS_URL".to_owned(), self.nats.url()),
        ];
        Lablet::start(LabletOptions { program, environment, ..LabletOptions::default() }).await
    }

    /// `lablet serve` and nothing else.
    pub(crate) async fn gateway_alone(&self, database: &Database) -> anyhow::Result<(Role, String)> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let http = format!("127.0.0.1:{port}");
        let hash = format!("bench:{INTERNAL_KEY_HASH}");
        let key = ("LABLET_INTERNAL_API_KEY_HASHES", hash.as_str());
        let mut role = self.role(database, self.nats_of_roles(), &["serve", "--http", &http], &[key])?;
        let url = format!("http://{http}");
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let give_up = Instant::now() + ROLE_TIMEOUT;
        while client.get(format!("{url}/livez")).send().await.is_err() {
            ensure!(role.process.try_wait()?.is_none(), "lablet serve ended: {}", role.log()?);
            ensure!(Instant::now() < give_up, "lablet serve does not answer: {}", role.log()?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok((role, url))
    }

    /// A process of `lablet` with these arguments, on this database and this nats-server.
    pub(crate) fn role(
        &self,
        database: &Database,
        nats_url: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Role> {
        let name = arguments.first().copied().unwrap_or("lablet");
        let of_all = [("LABLET_DATABASE_URL", database.url.as_str()), ("LABLET_NATS_URL", nats_url)];
        Role::start(self.folder.path(), name, arguments, &[&of_all, environment].concat())
    }

    /// The address of the nats-server for single roles.
    pub(crate) fn nats_of_roles(&self) -> &str {
        &self.other_nats_url
    }

    /// Where Postgres logs.
    pub(crate) fn postgres_log(&self) -> PathBuf {
        self.folder.path().join("postgres/server.log")
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.nats.stop().await?;
        self.other_nats.stop().await?;
        self.postgres.stop().await?;
        Ok(())
    }
}

/// A migrated database.
pub(crate) struct Database {
    /// As superuser.
    pub(crate) url: String,
    pub(crate) pool: PgPool,
}

/// A process with one role.
pub(crate) struct Role {
    process: Child,
    log: PathBuf,
}

impl Role {
    /// Starts it; its log is `name.log` in the folder.
    pub(crate) fn start(
        folder: &Path,
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .env("LABLET_DATA_DIR", folder.join("data"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("lablet {name} cannot be started"))?;
        Ok(Self { process, log })
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().context("the process is gone")
    }

    /// Waits for its end, which has to be a success.
    pub(crate) async fn ended(mut self, within: Duration) -> anyhow::Result<()> {
        let status = tokio::time::timeout(within, self.process.wait()).await;
        let status = status.with_context(|| format!("it does not end: {}", self.log().unwrap_or_default()))??;
        ensure!(status.success(), "it ended with {status}: {}", self.log()?);
        Ok(())
    }

    /// Ends it with SIGTERM.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let sent = Command::new("kill").args(["-TERM", &self.pid()?.to_string()]).status().await?;
        ensure!(sent.success(), "SIGTERM cannot be sent");
        self.ended(ROLE_TIMEOUT).await
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        let log = std::fs::read_to_string(&self.log)?;
        let lines: Vec<&str> = log.lines().collect();
        Ok(lines[lines.len().saturating_sub(20)..].join("\n"))
    }
}

/// Waits until every read model and the relay are at the end of the log.
pub(crate) async fn settled(lablet: &Lablet) -> anyhow::Result<()> {
    let settled = async {
        loop {
            let operations = lablet.get("/api/operations").await?;
            let models = operations["read_models"].as_array().context("the operations name no read models")?;
            let behind = models.iter().any(|model| model["events_behind"] != 0);
            let failed = models.iter().find(|model| model["dead_letters"] != 0);
            ensure!(failed.is_none(), "a read model could not apply an event: {failed:?}");
            if !behind && operations["relay"]["caught_up"] == true {
                return anyhow::Ok(());
            }
            tokio::time::sleep(SETTLE_POLL).await;
        }
    };
    tokio::time::timeout(SETTLE_TIMEOUT, settled).await.context("it does not catch up")?
}
