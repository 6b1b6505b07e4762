//! `lablet attention`.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;

use super::connection::Parameters;
use super::output::{Column, column, wide_column};
use super::{Client, ClientArguments};
use crate::exit::ExitStatus;

/// What the exit code says, for scripts.
pub(super) const EXIT_CODES: &str = "\
Exit code: 0 nothing needs anybody, 9 something waits for somebody, 1 something does not work.";

/// Prints what needs somebody, and says by the exit code how bad the worst of it is.
pub(super) async fn run(arguments: &ClientArguments) -> anyhow::Result<ExitCode> {
    let client = Client::open(arguments)?;
    let answer = client.connection.get_with("/api/attention", &Parameters::default()).await?;
    let items = answer["items"].as_array().context("the answer has no items")?;
    client.output.rows(COLUMNS, items)?;
    Ok(exit_code(&answer))
}

fn exit_code(answer: &Value) -> ExitCode {
    match (answer["bad"].as_u64(), answer["warn"].as_u64()) {
        (Some(0), Some(0)) => ExitCode::SUCCESS,
        (Some(0), _) => ExitStatus::Warned.into(),
        (_, _) => ExitStatus::Failed.into(),
    }
}

pub(super) const COLUMNS: &[Column] = &[
    column("SEVERITY", "/severity"),
    column("COUNT", "/count"),
    column("WHAT", "/words"),
    column("SINCE", "/since"),
    column("NEXT STEP", "/next_step/words"),
    column("COMMAND", "/next_step/command"),
    column("PAGE", "/next_step/path"),
    wide_column("KIND", "/kind"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_exit_code_says_how_bad_the_worst_is() {
        let code = |bad: u64, warn: u64| format!("{:?}", exit_code(&json!({"bad": bad, "warn": warn})));
        assert_eq!(code(0, 0), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(0, 2), format!("{:?}", ExitCode::from(ExitStatus::Warned)));
        assert_eq!(code(1, 2), format!("{:?}", ExitCode::from(ExitStatus::Failed)));
    }
}
