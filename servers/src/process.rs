//! A server as a child process that ends with its parent, and the proof that a process is ours.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{PipeWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::ServerError;

/// Where the server sees the folder given as [`Launch::held_folder`].
pub(crate) const HELD_FOLDER: &str = "/proc/self/fd/9";

/// How long a server may take to end before it is killed. Postgres writes a checkpoint in this time.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// A log larger than this is moved aside (one generation) when the server starts.
const LOG_LIMIT: u64 = 4 * 1024 * 1024;

const TAIL_BYTES: u64 = 4096;

/// The user a server runs as when its parent is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Postgres: fast shutdown.
    Interrupt,
    /// Postgres: immediate shutdown, recovery at the next start.
    Quit,
    Terminate,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "INT",
            Self::Quit => "QUIT",
            Self::Terminate => "TERM",
        }
    }
}

pub(crate) struct Launch<'a> {
    pub(crate) name: &'static str,
    pub(crate) program: &'a Path,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) log: &'a Path,
    pub(crate) ends_on: Signal,
    pub(crate) user: Option<User>,
    /// A folder opened with the parent's rights and handed down, so that a user without any right on
    /// the folders above it can work there, under the name [`HELD_FOLDER`].
    pub(crate) held_folder: Option<&'a Path>,
}

/// A running server. Dropping it ends the server too, without waiting for it.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    name: &'static str,
    child: Child,
    /// The watchdog ends the server when this closes without the word "ended".
    lifeline: Option<PipeWriter>,
    ends_on: Signal,
    log: PathBuf,
    /// Where this server's part of the log begins.
    log_begins: u64,
}

impl Launch<'_> {
    pub(crate) fn start(self) -> Result<ServerProcess, ServerError> {
        let (reader, lifeline) = std::io::pipe().map_err(ServerError::io("open a pipe for", self.program))?;
        let stdin = match self.held_folder {
            Some(folder) => Stdio::from(File::open(folder).map_err(ServerError::io("open", folder))?),
            None => Stdio::null(),
        };
        let log = open_log(self.log)?;
        let log_begins = log.metadata().map_err(ServerError::io("look at", self.log))?.len();
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(include_str!("watchdog.sh"))
            .arg(self.name)
            .arg(self.ends_on.name())
            .arg((END_TIMEOUT.as_millis() / 100).to_string())
            .arg(self.program)
            .args(&self.arguments)
            .stdin(stdin)
            .stdout(reader)
            .stderr(log)
            .current_dir("/")
            // A group of its own: Ctrl-C in a terminal is for the parent, which ends its servers in order.
            .process_group(0);
        neutral_environment(&mut command);
        if let Some(user) = self.user {
            // The standard library clears the supplementary groups as well when root sets a user.
            command.uid(user.uid).gid(user.gid);
        }
        let child = command.spawn().map_err(ServerError::io("start", self.program))?;
        Ok(ServerProcess {
            name: self.name,
            child,
            lifeline: Some(lifeline),
            ends_on: self.ends_on,
            log: self.log.to_path_buf(),
            log_begins,
        })
    }
}

impl ServerProcess {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log, self.log_begins)
    }

    /// How the server ended, if it has.
    pub(crate) fn status(&mut self) -> Result<Option<ExitStatus>, ServerError> {
        let status = self.child.try_wait().map_err(ServerError::io("look after", Path::new(self.name)))?;
        if status.is_some() {
            self.release_watchdog();
        }
        Ok(status)
    }

    /// Ends the server in its own orderly way.
    ///
    /// # Errors
    /// [`ServerError::Killed`] when it did not end in time; it has then been killed.
    pub(crate) async fn stop(mut self) -> Result<(), ServerError> {
        if self.status()?.is_some() {
            return Ok(());
        }
        // Not yet waited for, so its number cannot belong to anybody else.
        send(self.child.id(), self.ends_on.name())?;
        if self.ended_within(END_TIMEOUT).await? {
            return Ok(());
        }
        self.kill().await?;
        Err(ServerError::Killed { program: self.name, waited: END_TIMEOUT })
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) async fn kill(&mut self) -> Result<(), ServerError> {
        if self.status()?.is_some() {
            return Ok(());
        }
        self.child.kill().map_err(ServerError::io("kill", Path::new(self.name)))?;
        self.ended_within(END_TIMEOUT).await?;
        Ok(())
    }

    /// Polls, because a child of the standard library can be waited for from any runtime, also when the
    /// one it was started in has ended (every test has its own).
    async fn ended_within(&mut self, limit: Duration) -> Result<bool, ServerError> {
        let begun = Instant::now();
        loop {
            if self.status()?.is_some() {
                return Ok(true);
            }
            if begun.elapsed() > limit {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn release_watchdog(&mut self) {
        if let Some(mut lifeline) = self.lifeline.take()
            && let Err(error) = lifeline.write_all(b"ended\n")
        {
            // It can only be that the watchdog was killed; there is nothing left for it to end.
            tracing::debug!(server = self.name, %error, "the watchdog is gone already");
        }
    }
}

/// Whatever the caller's shell sets for Postgres's clients must not reach our servers.
pub(crate) fn neutral_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("PG") || name_text.starts_with("LC_") || name_text == "LANGUAGE" {
            command.env_remove(&name);
        }
    }
    command.env("LC_ALL", "C").env("TZ", "UTC");
}

fn open_log(path: &Path) -> Result<File, ServerError> {
    if fs::metadata(path).is_ok_and(|found| found.len() > LOG_LIMIT) {
        fs::rename(path, path.with_extension("log.old")).map_err(ServerError::io("move aside", path))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(ServerError::io("open the log", path))
}

/// The last lines of a log, none from before `begins`, for an error message.
pub(crate) fn tail(path: &Path, begins: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES).max(begins)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(20)..].join("\n")
        }
        Err(error) => format!("(the log could not be read: {error})"),
    }
}

/// Sends a signal through the shell's own `kill`, which every system has.
pub(crate) fn send(pid: u32, signal: &str) -> Result<(), ServerError> {
    let sh = Path::new("/bin/sh");
    let sent = Command::new(sh)
        .args(["-c", "kill -s \"$1\" \"$2\"", "kill", signal])
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(ServerError::io("run", sh))?;
    if !sent.success() {
        // It ended in between: what was wanted. The caller looks for the end in any case.
        tracing::debug!(pid, signal, "there was no process to signal");
    }
    Ok(())
}

/// What is known about a running process; `None` when there is none (a zombie counts as none).
pub(crate) struct Running {
    /// The command line, arguments separated by blanks.
    pub(crate) command: String,
    /// Linux only, and only for processes that we may look into.
    pub(crate) working_folder: Option<PathBuf>,
}

pub(crate) fn running(pid: u32) -> Option<Running> {
    if Path::new("/proc/self").exists() {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let state = state.rsplit(") ").next()?.chars().next()?;
        if state == 'Z' || state == 'X' {
            return None;
        }
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(Running {
            command: String::from_utf8_lossy(&command).replace('\0', " "),
            working_folder: fs::read_link(format!("/proc/{pid}/cwd")).ok(),
        })
    } else {
        let listed = Command::new("ps")
            .args(["-ww", "-o", "command=", "-p"])
            .arg(pid.to_string())
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let command = String::from_utf8_lossy(&listed.stdout).trim().to_owned();
        (listed.status.success() && !command.is_empty()).then_some(Running { command, working_folder: None })
    }
}

/// Ends a server that an earlier run left behind. `is_ours` is checked again before every signal.
pub(crate) async fn end_left_over(
    pid: u32,
    folder: &Path,
    signal: Signal,
    is_ours: impl Fn(u32) -> bool,
) -> Result<(), ServerError> {
    let begun = Instant::now();
    let mut killed = false;
    if is_ours(pid) {
        send(pid, signal.name())?;
    }
    while is_ours(pid) {
        if !killed && begun.elapsed() > END_TIMEOUT {
            send(pid, "KILL")?;
            killed = true;
        }
        if begun.elapsed() > END_TIMEOUT + Duration::from_secs(5) {
            return Err(ServerError::LeftOver { folder: folder.to_path_buf(), pid, waited: begun.elapsed() });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
