use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

/// Why a server could not be started, reached or stopped.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The program is missing or too old; `advice` says what to install.
    #[error("{program} was not found. {advice}")]
    NotInstalled { program: &'static str, advice: String },

    /// The cluster in the data folder was made by a version of Postgres that is not installed.
    #[error(
        "the cluster in {folder} was made by Postgres {cluster}; installed: {installed}. \
         Install Postgres {cluster}, or choose another data folder"
    )]
    OtherVersion { folder: PathBuf, cluster: u32, installed: String },

    /// Another process holds the data folder.
    #[error("the data folder {folder} is in use by process {holder}")]
    InUse { folder: PathBuf, holder: String },

    /// A process left by an earlier run does not end.
    #[error("process {pid}, left in {folder} by an earlier run, did not end within {waited:?}")]
    LeftOver { folder: PathBuf, pid: u32, waited: Duration },

    #[error("could not {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },

    /// `initdb` ended with an error.
    #[error("initdb failed ({status}); its last words:\n{tail}")]
    Initdb { status: String, tail: String },

    /// The server ended while it was starting.
    #[error("{program} ended while it was starting ({status}); the end of {log}:\n{tail}")]
    EndedEarly { program: &'static str, status: String, log: PathBuf, tail: String },

    /// The server runs but does not answer.
    #[error("{program} did not answer within {waited:?} ({last_answer}); the end of {log}:\n{tail}")]
    NotReady { program: &'static str, waited: Duration, last_answer: String, log: PathBuf, tail: String },

    /// The server did not end in time and was killed.
    #[error("{program} did not end within {waited:?} and was killed")]
    Killed { program: &'static str, waited: Duration },

    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {reason}")]
    NoRandomness { reason: String },

    #[error("a role or database name may hold lower-case letters, digits and _ only: {0:?}")]
    BadName(String),

    #[error("could not {action}")]
    Database {
        action: &'static str,
        #[source]
        source: sqlx::Error,
    },
}

impl ServerError {
    /// For `map_err`: names what was tried on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn database(action: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { action, source }
    }
}
