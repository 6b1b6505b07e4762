//! A private Postgres cluster.
//!
//! ```text
//! <data folder>/cluster/       the cluster itself; as root it belongs to an unprivileged user
//!               new/           a cluster in the making, removed when a start finds it
//!               password       of the superuser; password.<role> of the roles that were let in
//!               port           of the last run
//!               server.log
//!               lock           held by the process that runs the server
//! ```

mod cluster;
mod programs;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::ServerError;
use crate::folder::{DataFolder, read_if_there};
use crate::process::{Launch, ServerProcess, Signal};

use self::cluster::Cluster;
pub use self::programs::client_program;

/// The superuser of a private cluster.
pub const SUPERUSER: &str = "postgres";

/// Recovery after a crash is part of a start.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Tries with another port when the chosen one was taken meanwhile.
const PORT_ATTEMPTS: u32 = 5;

/// How a private Postgres is run.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Made if it is missing; kept between runs.
    pub data_dir: PathBuf,
    /// `None`: the port of the last run if it is free, else any free one.
    pub port: Option<u16>,
    /// Off, a crash of the machine (not of the server) can destroy the cluster: for tests only.
    pub fsync: bool,
    /// More of the server's settings, `name=value`; the last one of a name counts.
    pub settings: Vec<String>,
}

/// A private Postgres, running. It listens on 127.0.0.1 alone, with passwords (SCRAM), and ends with this
/// process however that ends.
#[derive(Debug)]
pub struct PostgresServer {
    process: ServerProcess,
    folder: DataFolder,
    port: u16,
    password: String,
    version: u32,
}

impl PostgresServer {
    /// Makes the cluster on first use, ends what an earlier run left behind, starts the server and waits until
    /// it answers.
    ///
    /// # Errors
    /// Postgres is missing or too old, the folder is in use or not usable, or the server does not come up; the
    /// error then holds the end of its log.
    pub async fn start(options: PostgresOptions) -> Result<Self, ServerError> {
        let folder = DataFolder::open(&options.data_dir).await?;
        let password = folder.secret("password")?;
        let cluster = Cluster::prepare(&folder, &password, options.fsync).await?;
        let mut attempt = 1;
        loop {
            let port = folder.choose_port(options.port)?;
            let started = Self::launch(&cluster, &folder, port, &password, &options).await;
            match started {
                Ok(process) => {
                    folder.store_port(port)?;
                    tracing::info!(port, folder = %folder.path().display(), "Postgres is ready");
                    return Ok(Self { process, folder, port, password, version: cluster.version() });
                }
                Err(ServerError::EndedEarly { tail, .. })
                    if attempt < PORT_ATTEMPTS && options.port.is_none() && taken(port, &tail) =>
                {
                    tracing::info!(port, "the port was taken in between; trying another one");
                    attempt += 1;
                }
                // Backends of a postmaster that was killed end as soon as they notice.
                Err(ServerError::EndedEarly { tail, .. })
                    if attempt < 50 && tail.contains("pre-existing shared memory block") =>
                {
                    tracing::info!("backends of an earlier run are still ending");
                    attempt += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn launch(
        cluster: &Cluster,
        folder: &DataFolder,
        port: u16,
        password: &str,
        options: &PostgresOptions,
    ) -> Result<ServerProcess, ServerError> {
        let log = folder.join("server.log");
        let mut arguments = vec!["-D".into(), cluster.path_for_server()];
        let fsync = options.fsync;
        let settings = cluster::settings(cluster.version(), port, fsync);
        for setting in settings.iter().chain(&options.settings) {
            arguments.push("-c".into());
            arguments.push(setting.into());
        }
        let mut process = Launch {
            name: "postgres",
            program: &cluster.program("postgres"),
            arguments,
            log: &log,
            // A cluster without fsync is thrown away: nothing is worth waiting for.
            ends_on: if fsync { Signal::Interrupt } else { Signal::Quit },
            user: cluster.user(),
            held_folder: cluster.held_folder(),
        }
        .start()?;
        let sign_in = connect_options(port, SUPERUSER, password, "postgres");
        let begun = Instant::now();
        loop {
            let answer = tokio::time::timeout(Duration::from_secs(5), async {
                let mut connection = PgConnection::connect_with(&sign_in).await?;
                connection.execute("select 1").await?;
                connection.close().await
            })
            .await;
            let last_answer = match answer {
                Ok(Ok(())) => return Ok(process),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer within 5 s".to_owned(),
            };
            if let Some(status) = process.status()? {
                return Err(ServerError::EndedEarly {
                    program: "postgres",
                    status: status.to_string(),
                    tail: process.log_tail(),
                    log,
                });
            }
            if begun.elapsed() > READY_WITHIN {
                let tail = process.log_tail();
                process.stop().await?;
                return Err(ServerError::NotReady {
                    program: "postgres",
                    waited: begun.elapsed(),
                    last_answer,
                    log,
                    tail,
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `postgresql://` URL of a database, as superuser with password.
    pub fn url(&self, database: &str) -> String {
        url(SUPERUSER, &self.password, self.port, database)
    }

    /// The same URL, where the server runs in another process: with port and password as the data folder has them. `None`:
    /// no server was ever started there.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn url_of_running(data_dir: &Path, database: &str) -> Result<Option<String>, ServerError> {
        let read = |name: &str| read_if_there(&data_dir.join(name)).map(|text| text.map(|text| text.trim().to_owned()));
        let (Some(password), Some(port)) = (read("password")?, read("port")?) else { return Ok(None) };
        Ok(port.parse().ok().map(|port| url(SUPERUSER, &password, port, database)))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's password.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// The server's major version.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// The server's process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Makes an empty database unless there is one of this name, and closes the cluster's other databases to everybody
    /// but their owner: what is taken away from a role in this one, it would have there. Answers whether it was made.
    ///
    /// # Errors
    /// The name is not made of `[a-z0-9_]`, or Postgres refuses.
    pub async fn ensure_database(&self, name: &str) -> Result<bool, ServerError> {
        check_name(name)?;
        let action = "make the database";
        let mut connection = self.connect().await?;
        let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .map_err(ServerError::database(action))?;
        if !there {
            connection
                .execute(AssertSqlSafe(format!("create database {name}")))
                .await
                .map_err(ServerError::database(action))?;
        }
        connection
            .execute("revoke connect, temporary on database postgres, template1 from public")
            .await
            .map_err(ServerError::database("close the other databases"))?;
        close(connection).await?;
        Ok(!there)
    }

    /// Lets an existing role sign in, with a password made once and kept in the data folder, and gives the
    /// URL of a database for it.
    ///
    /// # Errors
    /// The role's name is not made of `[a-z0-9_]`, there is no such role, or Postgres does not answer.
    pub async fn role_url(&self, role: &str, database: &str) -> Result<String, ServerError> {
        check_name(role)?;
        let password = self.folder.secret(&format!("password.{role}"))?;
        let mut connection = self.connect().await?;
        connection
            .execute(AssertSqlSafe(format!("alter role {role} login password '{password}'")))
            .await
            .map_err(ServerError::database("let the role sign in"))?;
        close(connection).await?;
        Ok(url(role, &password, self.port, database))
    }

    async fn connect(&self) -> Result<PgConnection, ServerError> {
        // A statement that is slow would be logged, and one of them holds a password.
        connect_options(self.port, SUPERUSER, &self.password, "postgres")
            .disable_statement_logging()
            .connect()
            .await
            .map_err(ServerError::database("connect to the private Postgres"))
    }

    /// How the server ended, if it has: a supervisor asks this.
    ///
    /// # Errors
    /// The system does not answer for the process.
    pub fn status(&mut self) -> Result<Option<ExitStatus>, ServerError> {
        self.process.status()
    }

    /// Ends the server in order: fast shutdown, or an immediate one where fsync is off.
    ///
    /// # Errors
    /// It had to be killed.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.process.stop().await?;
        tracing::info!(port = self.port, "Postgres has ended");
        Ok(())
    }

    /// SIGKILL, as a crash would. [`PostgresServer::start`] with the same folder brings it back.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn kill_now(&mut self) -> Result<(), ServerError> {
        self.process.kill().await
    }
}

pub(crate) fn url(user: &str, password: &str, port: u16, database: &str) -> String {
    format!("postgresql://{user}:{password}@127.0.0.1:{port}/{database}")
}

pub(crate) fn check_name(name: &str) -> Result<(), ServerError> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    let rest = bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if first && rest && name.len() <= 63 { Ok(()) } else { Err(ServerError::BadName(name.to_owned())) }
}

fn connect_options(port: u16, user: &str, password: &str, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(user)
        .password(password)
        .database(database)
}

async fn close(connection: PgConnection) -> Result<(), ServerError> {
    connection.close().await.map_err(ServerError::database("close the connection"))
}

fn taken(port: u16, tail: &str) -> bool {
    tail.contains("could not bind") || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_need_quoting_are_refused() {
        assert!(check_name("lablet_app").is_ok());
        for bad in ["", "1st", "a b", "a;drop", "\"a\"", "Ab", &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
