//! One thing that was looked at, how bad it is, and what mends it.

use std::process::ExitCode;

use serde::Serialize;

use crate::exit::ExitStatus;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// It works, and will not for ever, or could be safer.
    Warning,
    /// It could not be looked at.
    Unknown,
    /// Something does not work.
    Error,
}

impl Severity {
    /// The exit code where this is the worst that was found.
    pub(super) fn exit_code(self) -> ExitCode {
        match self {
            Self::Ok => ExitCode::SUCCESS,
            Self::Warning => ExitStatus::Warned.into(),
            Self::Error => ExitStatus::Failed.into(),
            Self::Unknown => ExitStatus::Unknown.into(),
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Unknown => 2,
            Self::Error => 3,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Error => "error",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at, e.g. `relay`.
    pub(super) name: &'static str,
    pub(super) severity: Severity,
    /// What was found, in numbers.
    pub(super) found: String,
    /// The command that mends it, or what to do; null: nothing has to be done.
    pub(super) mend: Option<String>,
}

impl Check {
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, severity: Severity::Ok, found: found.into(), mend: None }
    }

    pub(super) fn warning(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, severity: Severity::Warning, found: found.into(), mend: Some(mend.into()) }
    }

    pub(super) fn error(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, severity: Severity::Error, found: found.into(), mend: Some(mend.into()) }
    }

    /// It could not be looked at.
    pub(super) fn unknown(name: &'static str, error: &anyhow::Error) -> Self {
        Self { name, severity: Severity::Unknown, found: format!("{error:#}"), mend: None }
    }

    /// As a line for people.
    pub(super) fn line(&self) -> String {
        let mend = self.mend.as_ref().map_or_else(String::new, |mend| format!("  → {mend}"));
        format!("{:<8} {:<18} {}{mend}", self.severity.word(), self.name, self.found)
    }
}

/// The worst of them.
pub(super) fn worst(checks: &[Check]) -> Severity {
    let severities = checks.iter().map(|check| check.severity);
    severities.max_by_key(|severity| severity.rank()).unwrap_or(Severity::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_what_could_not_be_looked_at_is_not_fine() {
        let ok = Check::ok("log", "fine");
        let warning = Check::warning("last verify", "8 days ago", "lablet verify");
        let unknown = Check::unknown("workers", &anyhow::anyhow!("permission denied"));
        let error = Check::error("relay", "no relay runs", "lablet relay");
        let of = |checks: &[&Check]| worst(&checks.iter().copied().cloned().collect::<Vec<_>>());
        assert_eq!(of(&[]), Severity::Ok);
        assert_eq!(of(&[&ok]), Severity::Ok);
        assert_eq!(of(&[&warning, &ok]), Severity::Warning);
        assert_eq!(of(&[&unknown, &warning]), Severity::Unknown);
        assert_eq!(of(&[&unknown, &error, &warning]), Severity::Error);
        assert_eq!(error.line(), "error    relay              no relay runs  → lablet relay");
    }
}
