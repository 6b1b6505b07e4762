//! A private nats-server with JetStream.
//!
//! ```text
//! <data folder>/jetstream/     the store
//!               nats.conf      0600, written at each start: it holds the passwords
//!               password       made once
//!               port           of the last run
//!               server.log  nats.pid  lock
//! ```

use std::fmt::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::ServerError;
use crate::folder::{DataFolder, read_if_there, remove_file, write_private};
use crate::process::{Launch, ServerProcess, Signal, end_left_over, running};

/// Streams are read back from the store before the server answers.
const READY_WITHIN: Duration = Duration::from_secs(60);

const PORT_ATTEMPTS: u32 = 5;

const HOW_TO_INSTALL: &str = "Install nats-server 2.9.10 or later (Debian and Ubuntu: apt-get install nats-server; \
     macOS: brew install nats-server; otherwise from https://nats.io/download), \
     or set LABLET_NATS_URL to a server of your own";

/// Who may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatsAccounts {
    /// One account with JetStream, one user.
    One,
    /// Users `t1` to `tN`, each in an account of its own with JetStream: for tests, which so share a server
    /// without sharing a stream.
    Numbered(u16),
}

/// How a private nats-server is run.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Made if it is missing; kept between runs.
    pub data_dir: PathBuf,
    /// `None`: the port of the last run if it is free, else any free one.
    pub port: Option<u16>,
    pub accounts: NatsAccounts,
}

/// A private nats-server, running. It listens on 127.0.0.1 alone, with a password, and ends with this process
/// however that ends.
#[derive(Debug)]
pub struct NatsServer {
    process: ServerProcess,
    folder: DataFolder,
    port: u16,
    password: String,
    accounts: NatsAccounts,
}

impl NatsServer {
    /// Ends what an earlier run left behind, starts the server and waits until JetStream answers.
    ///
    /// # Errors
    /// nats-server is missing, the folder is in use or not usable, or the server does not come up; the error
    /// then holds the end of its log.
    pub async fn start(options: NatsOptions) -> Result<Self, ServerError> {
        let folder = DataFolder::open(&options.data_dir).await?;
        let program = find_program()?;
        let password = folder.secret("password")?;
        clear_left_over(&folder).await?;
        tracing::info!(program = %program.display(), "starting nats-server");
        let mut attempt = 1;
        loop {
            let port = folder.choose_port(options.port)?;
            let started = launch(&program, &folder, port, &password, options.accounts).await;
            match started {
                Ok(process) => {
                    folder.store_port(port)?;
                    tracing::info!(port, folder = %folder.path().display(), "nats-server is ready");
                    return Ok(Self { process, folder, port, password, accounts: options.accounts });
                }
                Err(ServerError::EndedEarly { .. })
                    if attempt < PORT_ATTEMPTS
                        && options.port.is_none()
                        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() =>
                {
                    tracing::info!(port, "the port was taken in between; trying another one");
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// `nats://` URL with user and password; of account 1 where accounts are numbered.
    pub fn url(&self) -> String {
        self.url_of(1)
    }

    /// The URL of a numbered account, from 1.
    pub fn url_of(&self, account: u16) -> String {
        url(&user(self.accounts, account), &self.password, self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where JetStream keeps its files: a test deletes this to lose the bus.
    pub fn jetstream_dir(&self) -> PathBuf {
        self.folder.join("jetstream")
    }

    /// How the server ended, if it has: a supervisor asks this.
    ///
    /// # Errors
    /// The system does not answer for the process.
    pub fn status(&mut self) -> Result<Option<ExitStatus>, ServerError> {
        self.process.status()
    }

    /// Ends the server in order.
    ///
    /// # Errors
    /// It had to be killed.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.process.stop().await?;
        tracing::info!(port = self.port, "nats-server has ended");
        Ok(())
    }

    /// SIGKILL, as a crash would. [`NatsServer::start`] with the same folder brings it back.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn kill_now(&mut self) -> Result<(), ServerError> {
        self.process.kill().await
    }
}

async fn launch(
    program: &Path,
    folder: &DataFolder,
    port: u16,
    password: &str,
    accounts: NatsAccounts,
) -> Result<ServerProcess, ServerError> {
    let configuration = folder.join("nats.conf");
    write_private(&configuration, &configure(folder, port, password, accounts))?;
    let log = folder.join("server.log");
    let mut process = Launch {
        name: "nats-server",
        program,
        arguments: vec!["-c".into(), configuration.into()],
        log: &log,
        ends_on: Signal::Terminate,
        user: None,
        held_folder: None,
    }
    .start()?;
    let url = url(&user(accounts, 1), password, port);
    let begun = Instant::now();
    loop {
        let last_answer = match probe(&url).await {
            Ok(()) => return Ok(process),
            Err(answer) => answer,
        };
        if let Some(status) = process.status()? {
            return Err(ServerError::EndedEarly {
                program: "nats-server",
                status: status.to_string(),
                tail: process.log_tail(),
                log,
            });
        }
        if begun.elapsed() > READY_WITHIN {
            let tail = process.log_tail();
            process.stop().await?;
            return Err(ServerError::NotReady {
                program: "nats-server",
                waited: begun.elapsed(),
                last_answer,
                log,
                tail,
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Signs in and asks JetStream for the account's state.
pub(crate) async fn probe(url: &str) -> Result<(), String> {
    let answer = tokio::time::timeout(Duration::from_secs(5), async {
        let client = connect(url).await.map_err(|error| error.to_string())?;
        let answer = client.request("$JS.API.INFO", "".into()).await.map_err(|error| error.to_string())?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).map_err(|error| error.to_string())?;
        match answer.get("error") {
            None => Ok(()),
            Some(error) => Err(error.to_string()),
        }
    })
    .await;
    answer.unwrap_or_else(|_| Err("no answer within 5 s".to_owned()))
}

/// Connects with the user and password of the URL, which async-nats reads but does not use.
pub(crate) async fn connect(url: &str) -> Result<async_nats::Client, async_nats::ConnectError> {
    let address: async_nats::ServerAddr = url.parse().map_err(|error: std::io::Error| {
        async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::ServerParse, error)
    })?;
    let user = address.username().unwrap_or_default().to_owned();
    let password = address.password().unwrap_or_default().to_owned();
    async_nats::ConnectOptions::with_user_and_password(user, password).connect(address).await
}

/// Only settings that 2.9.10 knows too: it refuses to start with others.
fn configure(folder: &DataFolder, port: u16, password: &str, accounts: NatsAccounts) -> String {
    let mut text = format!(
        "host: 127.0.0.1\n\
         port: {port}\n\
         pid_file: {}\n\
         jetstream {{ store_dir: {} }}\n\
         accounts {{\n",
        quoted(&folder.join("nats.pid")),
        quoted(&folder.join("jetstream")),
    );
    let count = match accounts {
        NatsAccounts::One => 1,
        NatsAccounts::Numbered(count) => count,
    };
    for number in 1..=count {
        let user = user(accounts, number);
        // Writing into a String cannot fail.
        writeln!(text, "  {user} {{ jetstream: enabled, users: [ {{ user: {user}, password: \"{password}\" }} ] }}",)
            .unwrap_or_default();
    }
    text.push_str("}\n");
    text
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

fn user(accounts: NatsAccounts, number: u16) -> String {
    match accounts {
        NatsAccounts::One => "lablet".to_owned(),
        NatsAccounts::Numbered(_) => format!("t{number}"),
    }
}

pub(crate) fn url(user: &str, password: &str, port: u16) -> String {
    format!("nats://{user}:{password}@127.0.0.1:{port}")
}

pub(crate) fn find_program() -> Result<PathBuf, ServerError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(
            [
                // Debian's package; not on an ordinary user's PATH.
                "/usr/sbin",
                "/usr/local/bin",
                "/opt/homebrew/bin",
                "/home/linuxbrew/.linuxbrew/bin",
            ]
            .map(PathBuf::from),
        )
        .map(|folder| folder.join("nats-server"))
        .find(|program| program.is_file())
        .ok_or_else(|| ServerError::NotInstalled { program: "nats-server", advice: HOW_TO_INSTALL.to_owned() })
}

/// A server of this very folder that outlived its parent is ended, or its end awaited.
async fn clear_left_over(folder: &DataFolder) -> Result<(), ServerError> {
    let pid_file = folder.join("nats.pid");
    let Some(text) = read_if_there(&pid_file)? else {
        return Ok(());
    };
    let configuration = folder.join("nats.conf");
    let is_ours = |pid: u32| {
        running(pid).is_some_and(|found| {
            found.command.contains("nats-server") && found.command.contains(configuration.to_string_lossy().as_ref())
        })
    };
    if let Ok(pid) = text.trim().parse()
        && is_ours(pid)
    {
        tracing::info!(pid, "ending the nats-server that an earlier run left behind");
        end_left_over(pid, folder.path(), Signal::Terminate, is_ours).await?;
    }
    remove_file(&pid_file)
}
