//! The targets of webhooks, as a file in TOML configures them: a table a target.
//!
//! ```toml
//! [booking]
//! url = "https://booking.example.com/hooks/lablet"
//! secret_files = ["booking.secret"]
//! types = ["io.lablet.lablet_session.*"]
//! ```
//!
//! Secrets stand in files of their own: signing secrets always, an address where it is one, as those of Slack and Teams are.
//! No error, log line or table repeats them.

mod file;
mod filter;

use std::path::Path;
use std::time::Duration;

use app::log::Position;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::address::AllowedNetworks;
use crate::signature::SigningSecret;

pub use self::file::TargetsError;
pub use self::filter::EventFilter;

/// What a target gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A CloudEvent whose attributes and data are the body.
    Structured,
    /// A CloudEvent whose attributes are headers and whose data is the body.
    Binary,
    /// A message for an incoming webhook of Slack.
    Slack,
    /// A card for a workflow of Teams.
    Teams,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Structured, Self::Binary, Self::Slack, Self::Teams];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Structured => "structured",
            Self::Binary => "binary",
            Self::Slack => "slack",
            Self::Teams => "teams",
        }
    }

    /// Whether it is a CloudEvent, for a program of somebody's; else it is a message for people.
    pub fn is_cloud_event(self) -> bool {
        match self {
            Self::Structured | Self::Binary => true,
            Self::Slack | Self::Teams => false,
        }
    }
}

/// How long an event is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryLimits {
    /// Most attempts, those not counted after which the target said when to come again.
    pub attempts: u32,
    /// Longest time from the first attempt that failed to the last.
    pub time: Duration,
}

/// A target.
#[derive(Clone)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it gets.
    pub format: Format,
    /// Which events it gets.
    pub filter: EventFilter,
    /// Whether it is asked first if it wants to be delivered to.
    pub handshake: bool,
    /// How long it is tried.
    pub limits: RetryLimits,
    /// Where it begins when it is new; `None`: after what the log holds then.
    pub start: Option<Position>,
    /// Most requests a minute; `None`: any number.
    pub rate_per_minute: Option<u32>,
    pub(crate) url: Url,
    pub(crate) secrets: Vec<SigningSecret>,
    pub(crate) allowed: AllowedNetworks,
    pub(crate) certificates: Option<Vec<reqwest::Certificate>>,
    pub(crate) timeout: Duration,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Target")
            .field("name", &self.name)
            .field("host", &self.host())
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Reads the targets of a file. Files that it names are looked up beside it.
    ///
    /// # Errors
    /// [`TargetsError`] names the target and the field.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, TargetsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| TargetsError::new(format!("{} cannot be read: {error}", path.display())))?;
        Self::parse_all(&text, path.parent().unwrap_or(Path::new(".")))
            .map_err(|error| error.in_file(&path.display().to_string()))
    }

    /// Reads targets; files that they name are looked up in `folder`.
    ///
    /// # Errors
    /// [`TargetsError`] names the target and the field.
    pub fn parse_all(text: &str, folder: &Path) -> Result<Vec<Self>, TargetsError> {
        file::parse(text, folder)
    }

    /// Its host and port, which may be shown; its address may be a secret.
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// A hash of its address and of the origin that it is asked for: an agreement holds for these.
    pub(crate) fn agreement_with(&self, origin: &str) -> Vec<u8> {
        let mut hasher = Sha256::new();
        hasher.update(self.url.as_str());
        hasher.update([0]);
        hasher.update(origin);
        hasher.finalize().to_vec()
    }
}
