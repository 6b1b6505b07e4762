//! A Postgres with a streaming replica, of one test's own: to lose the one and go on with the other.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;

use super::caretaker::{self, Caretaker};
use super::must;
use crate::ServerError;
use crate::folder::{DataFolder, write_private};
use crate::postgres::client_program;
use crate::{PostgresOptions, PostgresServer};

/// The replica's place in the primary's log.
const SLOT: &str = "replica";
/// How long the replica may take to follow, or to become a primary.
const WITHIN: Duration = Duration::from_secs(60);
/// Settings of both: what a server has to write so that another can follow it.
const SETTINGS: [&str; 3] = ["wal_level=replica", "max_wal_senders=4", "wal_sender_timeout=10s"];

/// A primary and its replica. They end with this process however that ends.
#[derive(Debug)]
pub struct ReplicatedPostgres {
    primary: PostgresServer,
    replica: Option<PostgresServer>,
    /// How many servers there were.
    made: usize,
    folder: TempDir,
    _caretaker: Caretaker,
}

/// Starts a primary, copies it and starts the copy as its replica, which follows asynchronously at first.
///
/// # Panics
/// One of them does not start.
pub async fn replicated_postgres() -> ReplicatedPostgres {
    let (folder, caretaker) = must("make a temporary folder", caretaker::temporary_folder());
    let primary = must("start a Postgres", PostgresServer::start(options(&folder, 1)).await);
    let mut servers = ReplicatedPostgres { primary, replica: None, made: 1, folder, _caretaker: caretaker };
    servers.add_replica().await;
    servers
}

fn options(folder: &TempDir, number: usize) -> PostgresOptions {
    PostgresOptions {
        data_dir: folder.path().join(format!("server-{number}")),
        port: None,
        fsync: false,
        settings: SETTINGS.map(str::to_owned).into(),
    }
}

/// A base copy of a running server, in the data folder of another.
async fn copy(primary: &PostgresServer, replica: &PostgresOptions) -> Result<(), ServerError> {
    let folder = DataFolder::open(&replica.data_dir).await?;
    write_private(&folder.join("password"), primary.password())?;
    let program = client_program("pg_basebackup", primary.version())?;
    let cluster = folder.join("cluster");
    let log = folder.join("basebackup.log");
    let output = std::fs::File::create(&log).map_err(ServerError::io("create", &log))?;
    let status = Command::new(&program)
        .args(["--wal-method=stream", "--checkpoint=fast", "--no-sync", "--create-slot", "--write-recovery-conf"])
        .arg(format!("--slot={SLOT}"))
        .arg("-D")
        .arg(&cluster)
        .args(["-h", "127.0.0.1", "-p", &primary.port().to_string(), "-U", crate::SUPERUSER])
        .env("PGPASSWORD", primary.password())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .status()
        .map_err(ServerError::io("run", &program))?;
    if !status.success() {
        return Err(ServerError::EndedEarly {
            program: "pg_basebackup",
            status: status.to_string(),
            tail: crate::process::tail(&log, 0),
            log,
        });
    }
    Ok(())
}

impl ReplicatedPostgres {
    /// The address of the primary's database, as superuser; its port is where a proxy has to lead at first.
    pub fn url(&self, database: &str) -> String {
        self.primary.url(database)
    }

    /// The primary's port.
    pub fn primary_port(&self) -> u16 {
        self.primary.port()
    }

    /// The replica's port.
    ///
    /// # Panics
    /// There is no replica.
    pub fn replica_port(&self) -> u16 {
        self.replica.as_ref().expect("a replica").port()
    }

    /// Copies the primary, and starts the copy as its replica, which follows asynchronously.
    ///
    /// # Panics
    /// There is a replica, or it does not start.
    pub async fn add_replica(&mut self) {
        assert!(self.replica.is_none(), "there is a replica already");
        self.made += 1;
        let options = options(&self.folder, self.made);
        must("copy a Postgres", copy(&self.primary, &options).await);
        self.replica = Some(must("start a replica", PostgresServer::start(options).await));
        self.replica_follows("async").await;
    }

    async fn connect_to_replica(&self) -> PgConnection {
        connect(self.replica.as_ref().expect("a replica")).await
    }

    /// Whether a commit is answered only when the replica has it.
    ///
    /// # Panics
    /// The primary does not answer, or the replica does not follow.
    pub async fn set_synchronous(&self, synchronous: bool) {
        let names = if synchronous { "*" } else { "" };
        let mut connection = connect(&self.primary).await;
        for statement in
            [format!("alter system set synchronous_standby_names = '{names}'"), "select pg_reload_conf()".to_owned()]
        {
            connection.execute(AssertSqlSafe(statement)).await.expect("the primary's settings changed");
        }
        self.replica_follows(if synchronous { "sync" } else { "async" }).await;
    }

    /// Waits until the replica follows the primary in this way.
    async fn replica_follows(&self, state: &str) {
        let mut connection = connect(&self.primary).await;
        let statement = format!(
            "select exists (select from pg_stat_replication where state = 'streaming' and sync_state = '{state}')"
        );
        wait_for("replica that follows", &mut connection, &statement).await;
    }

    /// Takes the primary away from the replica: it has what was committed before, and what is committed from here on does not
    /// reach it.
    ///
    /// # Panics
    /// The replica does not answer, or goes on to follow.
    pub async fn cut_replication(&self) {
        let committed: String = sqlx::query_scalar("select pg_current_wal_flush_lsn()::text")
            .fetch_one(&mut connect(&self.primary).await)
            .await
            .expect("the primary answers");
        let mut connection = self.connect_to_replica().await;
        let statement = format!("select pg_last_wal_replay_lsn() >= '{committed}'::pg_lsn");
        wait_for("replica that has everything", &mut connection, &statement).await;
        for statement in ["alter system set primary_conninfo = ''", "select pg_reload_conf()"] {
            connection.execute(statement).await.expect("the replica's settings changed");
        }
        let statement = "select not exists (select from pg_stat_wal_receiver)";
        wait_for("replica that does not follow", &mut connection, statement).await;
    }

    /// SIGKILL of the primary, and promotion of the replica in its place.
    ///
    /// # Panics
    /// The replica cannot be promoted.
    pub async fn fail_over(&mut self) {
        must("kill the primary", self.primary.kill_now().await);
        let mut connection = self.connect_to_replica().await;
        let promoted: bool =
            sqlx::query_scalar("select pg_promote(true, 60)").fetch_one(&mut connection).await.expect("a promotion");
        assert!(promoted, "the replica is not promoted");
        self.primary = self.replica.take().expect("a replica");
    }
}

async fn connect(server: &PostgresServer) -> PgConnection {
    PgConnection::connect(&server.url("postgres")).await.expect("a Postgres that answers")
}

async fn wait_for(what: &str, connection: &mut PgConnection, statement: &str) {
    let begun = Instant::now();
    loop {
        let is_so: bool = sqlx::query_scalar(AssertSqlSafe(statement.to_owned()))
            .fetch_one(&mut *connection)
            .await
            .expect("the server answers");
        if is_so {
            return;
        }
        assert!(begun.elapsed() < WITHIN, "there is no {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
