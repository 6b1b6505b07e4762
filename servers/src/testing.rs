//! Servers for tests: one Postgres and one nats-server for a whole run, and in them a database and a NATS
//! account for each test.
//!
//! The program `with-servers` starts the pair, names it in the environment and runs a command. Without it,
//! each test process starts what its tests ask for, in a temporary folder that goes with the process.
//!
//! Every function here panics when a server cannot be had, with the reason: a test has no other use for it.

mod caretaker;
mod configured;
mod database;
mod nats_cluster;
mod replicated_postgres;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU16, Ordering};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{NatsAccounts, NatsOptions, NatsServer, PostgresOptions, PostgresServer, ServerError};

use self::caretaker::Caretaker;
pub use self::configured::{ConfiguredNats, configured_nats, nats_of_file};
pub use self::database::{TestDatabase, database};
pub use self::nats_cluster::{NatsCluster, nats_cluster};
pub use self::replicated_postgres::{ReplicatedPostgres, replicated_postgres};

/// URL of the run's Postgres, as superuser, database `postgres`.
pub const DATABASE_VARIABLE: &str = "LABLET_TEST_DATABASE_URL";
/// URL of account 1 of the run's nats-server; account n has user `t{n}` and the same password.
pub const NATS_VARIABLE: &str = "LABLET_TEST_NATS_URL";
/// How many accounts the run's nats-server has.
pub const NATS_ACCOUNTS_VARIABLE: &str = "LABLET_TEST_NATS_ACCOUNTS";

/// Each test that asks takes one, and none is given back during a run.
const ACCOUNTS: u16 = 1024;

/// Hands the accounts of a shared nats-server to the processes that share it.
const ACCOUNT_SEQUENCE: &str = "lablet_test_accounts";

/// The pair of servers of one run.
#[derive(Debug)]
pub struct Run {
    postgres: PostgresServer,
    nats: NatsServer,
    folder: TempDir,
    caretaker: Caretaker,
}

impl Run {
    /// Starts both in a temporary folder.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start() -> Result<Self, ServerError> {
        let (folder, caretaker) = caretaker::temporary_folder()?;
        let (postgres, nats) = tokio::try_join!(
            PostgresServer::start(postgres_options(&folder)),
            NatsServer::start(nats_options(&folder)),
        )?;
        let action = "make the sequence of NATS accounts";
        let mut connection =
            PgConnection::connect(&postgres.url("postgres")).await.map_err(ServerError::database(action))?;
        connection
            .execute(sqlx::AssertSqlSafe(format!("create sequence {ACCOUNT_SEQUENCE}")))
            .await
            .map_err(ServerError::database(action))?;
        connection.close().await.map_err(ServerError::database(action))?;
        Ok(Self { postgres, nats, folder, caretaker })
    }

    /// What the tests' processes have to find in their environment.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            (DATABASE_VARIABLE, self.postgres.url("postgres")),
            (NATS_VARIABLE, self.nats.url()),
            (NATS_ACCOUNTS_VARIABLE, ACCOUNTS.to_string()),
        ]
    }

    /// Ends both and removes their folder.
    ///
    /// # Errors
    /// One of them had to be killed, or the folder could not be removed.
    pub async fn stop(self) -> Result<(), ServerError> {
        let path = self.folder.path().to_path_buf();
        self.nats.stop().await?;
        self.postgres.stop().await?;
        self.folder.close().map_err(ServerError::io("remove", &path))?;
        self.caretaker.dismiss();
        Ok(())
    }
}

/// A NATS account of one test, with JetStream.
#[derive(Debug, Clone)]
pub struct TestNats {
    url: String,
}

impl TestNats {
    /// `nats://user:password@127.0.0.1:port`. `async_nats::connect` does not use the user and password of a
    /// URL: see [`TestNats::connect`].
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client that is signed in.
    ///
    /// # Panics
    /// The server does not answer.
    pub async fn connect(&self) -> async_nats::Client {
        connect(&self.url).await
    }
}

/// An account of this test's own on the run's nats-server.
///
/// # Panics
/// nats-server cannot be had, or all accounts of the run are taken.
pub async fn nats() -> TestNats {
    let server = SHARED_NATS.get_or_init(shared_nats).await;
    let number = match &server.numbers {
        Numbers::Here(next) => next.fetch_add(1, Ordering::Relaxed),
        Numbers::Sequence(database_url) => next_account(database_url)
            .await
            .unwrap_or_else(|error| panic!("a NATS account was not given: {}", chain(&error))),
    };
    assert!(number <= server.accounts, "all {} NATS accounts of this run are taken", server.accounts);
    TestNats { url: server.url.replacen("//t1:", &format!("//t{number}:"), 1) }
}

async fn next_account(database_url: &str) -> Result<u16, sqlx::Error> {
    let mut connection = PgConnection::connect(database_url).await?;
    let number: i64 =
        sqlx::query_scalar("select nextval($1::regclass)").bind(ACCOUNT_SEQUENCE).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(u16::try_from(number).unwrap_or(u16::MAX))
}

/// A nats-server of one test's own, for tests that kill, wipe or stop it.
#[derive(Debug)]
pub struct PrivateNats {
    server: Option<NatsServer>,
    url: String,
    jetstream_dir: PathBuf,
    folder: TempDir,
    _caretaker: Caretaker,
}

/// Starts a nats-server in a temporary folder.
///
/// # Panics
/// It does not start.
pub async fn private_nats() -> PrivateNats {
    let (folder, caretaker) = must("make a temporary folder", caretaker::temporary_folder());
    let server = must("start a nats-server", NatsServer::start(one_account(&folder)).await);
    PrivateNats {
        url: server.url(),
        jetstream_dir: server.jetstream_dir(),
        server: Some(server),
        folder,
        _caretaker: caretaker,
    }
}

impl PrivateNats {
    /// The same after each start.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client that is signed in.
    ///
    /// # Panics
    /// The server does not answer.
    pub async fn connect(&self) -> async_nats::Client {
        connect(&self.url).await
    }

    pub fn jetstream_dir(&self) -> &std::path::Path {
        &self.jetstream_dir
    }

    /// Ends it in order; clients see the connection close.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            must("stop the nats-server", server.stop().await);
        }
    }

    /// SIGKILL.
    pub async fn kill_now(&mut self) {
        if let Some(mut server) = self.server.take() {
            must("kill the nats-server", server.kill_now().await);
        }
    }

    /// Starts it again where it stopped, with the same URL.
    pub async fn start_again(&mut self) {
        self.stop().await;
        let server = must(
            "start the nats-server again",
            NatsServer::start(NatsOptions {
                port: self.url.rsplit(':').next().and_then(|port| port.parse().ok()),
                ..one_account(&self.folder)
            })
            .await,
        );
        self.server = Some(server);
    }

    /// Kills it, deletes everything that JetStream kept, and starts it again.
    pub async fn lose_everything(&mut self) {
        self.kill_now().await;
        must("delete the JetStream folder", crate::folder::remove_folder(&self.jetstream_dir));
        self.start_again().await;
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        let server = self.server.as_mut()?;
        must("look after the nats-server", server.status())
    }
}

#[derive(Debug)]
struct SharedNats {
    url: String,
    accounts: u16,
    numbers: Numbers,
    _own: Option<(NatsServer, TempDir, Caretaker)>,
}

#[derive(Debug)]
enum Numbers {
    /// This server belongs to one test.
    Here(AtomicU16),
    /// The URL of the database with the sequence.
    Sequence(String),
}

static SHARED_NATS: OnceCell<SharedNats> = OnceCell::const_new();

async fn shared_nats() -> SharedNats {
    let given = |name| std::env::var(name).ok();
    if let (Some(url), Some(database_url), Some(accounts)) = (
        given(NATS_VARIABLE),
        given(DATABASE_VARIABLE),
        given(NATS_ACCOUNTS_VARIABLE).and_then(|count| count.parse().ok()),
    ) {
        return SharedNats { url, accounts, numbers: Numbers::Sequence(database_url), _own: None };
    }
    let (folder, caretaker) = must("make a temporary folder", caretaker::temporary_folder());
    let server = must("start a nats-server", NatsServer::start(nats_options(&folder)).await);
    SharedNats {
        url: server.url(),
        accounts: ACCOUNTS,
        numbers: Numbers::Here(AtomicU16::new(1)),
        _own: Some((server, folder, caretaker)),
    }
}

fn postgres_options(folder: &TempDir) -> PostgresOptions {
    PostgresOptions { data_dir: folder.path().join("postgres"), port: None, fsync: false, settings: Vec::new() }
}

fn nats_options(folder: &TempDir) -> NatsOptions {
    NatsOptions { accounts: NatsAccounts::Numbered(ACCOUNTS), ..one_account(folder) }
}

fn one_account(folder: &TempDir) -> NatsOptions {
    NatsOptions { data_dir: folder.path().join("nats"), port: None, accounts: NatsAccounts::One }
}

async fn connect(url: &str) -> async_nats::Client {
    crate::nats::connect(url).await.unwrap_or_else(|error| panic!("could not connect to NATS: {}", chain(&error)))
}

fn must<T>(what: &str, result: Result<T, ServerError>) -> T {
    result.unwrap_or_else(|error| panic!("could not {what}: {}", chain(&error)))
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
