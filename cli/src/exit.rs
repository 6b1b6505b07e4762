//! What the executable ends with: one table of exit codes, and the errors that carry one.

use std::fmt;
use std::process::ExitCode;

use reqwest::StatusCode;

/// How a command ended. The numbers never change: scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// It failed in a way that has no code of its own.
    Failed = 1,
    /// The command line cannot be read. Also what clap ends with.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// Nobody is signed in, or the role does not suffice.
    Refused = 4,
    /// It is not as the command expects: somebody else changed it, or it exists already.
    Conflict = 5,
    /// The gateway cannot be reached, is busy or answers with an error of its own. Worth another try later.
    Unavailable = 6,
    /// What was waited for did not happen: the outcome is another, or the time ran out.
    NotAchieved = 7,
    /// The gateway does not accept what was sent.
    Invalid = 8,
    /// Everything works, and something needs care.
    Warned = 9,
    /// Something could not be looked at.
    Unknown = 10,
}

impl ExitStatus {
    /// All of them, in the order of their numbers, but for success.
    pub(crate) const ALL: [Self; 10] = [
        Self::Failed,
        Self::Usage,
        Self::NotFound,
        Self::Refused,
        Self::Conflict,
        Self::Unavailable,
        Self::NotAchieved,
        Self::Invalid,
        Self::Warned,
        Self::Unknown,
    ];

    /// When a command ends so, as the reference says it.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Failed => {
                "Failed, or something differs or does not work that should (`verify`, `doctor`, `attention`)"
            }
            Self::Usage => "The command line cannot be read",
            Self::NotFound => "What was named does not exist",
            Self::Refused => "Nobody is signed in, or the role does not suffice",
            Self::Conflict => "Somebody else changed it meanwhile, it exists already, or its state does not allow it",
            Self::Unavailable => "The gateway cannot be reached, is busy or failed; worth another try later",
            Self::NotAchieved => "What was waited for did not happen (`observe --wait`, `watch --until`)",
            Self::Invalid => "What was sent is not accepted; the fields are named",
            Self::Warned => "Everything works, with warnings (`doctor`, `attention`)",
            Self::Unknown => "Something could not be looked at, and nothing is known to be broken (`doctor`)",
        }
    }

    /// The number.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// How a command ends to which the gateway answered so.
    pub(crate) fn from_answer(status: StatusCode) -> Self {
        match status.as_u16() {
            401 | 403 => Self::Refused,
            404 | 410 => Self::NotFound,
            409 | 412 | 428 => Self::Conflict,
            408 | 429 | 500.. => Self::Unavailable,
            400..=499 => Self::Invalid,
            _ => Self::Failed,
        }
    }

    /// How a command ends that failed with this error.
    pub(crate) fn from_error(error: &anyhow::Error) -> Self {
        error.downcast_ref::<Failure>().map_or(Self::Failed, |failure| failure.status)
    }
}

/// The table of exit codes for the help of the executable.
pub(crate) fn help() -> String {
    let mut help = "Exit codes:\n  0  Done; a reader who closed standard output is no error".to_owned();
    for status in ExitStatus::ALL {
        help.push_str(&format!("\n  {}  {}", status.code(), status.meaning()));
    }
    help
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

/// What failed, with how the command ends because of it. It is an error, or the context of one.
#[derive(Debug)]
pub(crate) struct Failure {
    status: ExitStatus,
    text: String,
}

impl Failure {
    /// A failure with this exit status.
    pub(crate) fn new(status: ExitStatus, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_status_is_found_below_whatever_was_said_about_the_error() {
        let plain = anyhow::anyhow!("no idea");
        assert_eq!(ExitStatus::from_error(&plain), ExitStatus::Failed);
        let failure = anyhow::Error::new(Failure::new(ExitStatus::NotFound, "no session")).context("cannot be shown");
        assert_eq!(ExitStatus::from_error(&failure), ExitStatus::NotFound);
        let caused: anyhow::Result<()> = Err(std::io::Error::other("refused"))
            .context(Failure::new(ExitStatus::Unavailable, "the gateway cannot be reached"))
            .context("cannot be listed");
        let caused = caused.unwrap_err();
        assert_eq!(ExitStatus::from_error(&caused), ExitStatus::Unavailable);
        assert_eq!(format!("{caused:#}"), "cannot be listed: the gateway cannot be reached: refused");
    }

    #[test]
    fn what_the_gateway_answers_has_a_status() {
        for (answer, status) in [
            (400, ExitStatus::Invalid),
            (401, ExitStatus::Refused),
            (403, ExitStatus::Refused),
            (404, ExitStatus::NotFound),
            (412, ExitStatus::Conflict),
            (413, ExitStatus::Invalid),
            (429, ExitStatus::Unavailable),
            (503, ExitStatus::Unavailable),
            (302, ExitStatus::Failed),
        ] {
            assert_eq!(ExitStatus::from_answer(StatusCode::from_u16(answer).unwrap()), status, "{answer}");
        }
    }

    #[test]
    fn each_number_is_given_once() {
        let codes = ExitStatus::ALL.map(ExitStatus::code);
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
