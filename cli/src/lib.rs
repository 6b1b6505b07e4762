//! `lablet`: the composition root. The one place that knows every crate, reads the configuration and starts the roles.

mod arguments;
mod client;
mod configuration;
mod demo;
mod operations;
mod roles;
mod secret;
mod shutdown;
mod simulate;
mod telemetry;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use self::arguments::{Arguments, Command};

/// Runs the executable: parses the command line and carries the command out.
pub fn main() -> ExitCode {
    let command = match configuration::secrets::prepare(Arguments::command(), |name| std::env::var(name).ok()) {
        Ok(command) => command,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    let matches = command.clone().get_matches();
    let shown = configuration::secrets::in_arguments(&command, &matches);
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let default_filter = match &arguments.command {
        // The output of these is the answer; only what goes wrong is said beside it.
        Command::Client(_) | Command::Operation(_) => "warn",
        _ => "info,sqlx=warn,async_nats=warn",
    };
    let filter = arguments.log.as_deref().unwrap_or(default_filter);
    if let Err(error) = telemetry::start_logging(filter, arguments.log_format) {
        complain(&error);
        return ExitCode::FAILURE;
    }
    for name in shown {
        tracing::warn!(
            setting = name,
            "a secret in the arguments can be read by everybody on this machine; set it in the environment or by a file"
        );
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&anyhow::Error::new(error).context("no runtime can be started"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(carry_out(arguments.command)) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(arguments) => up::run(arguments).await?,
        Command::Serve(arguments) => roles::serve(arguments).await?,
        Command::Project(arguments) => roles::project(arguments).await?,
        Command::Control(arguments) => roles::control(arguments).await?,
        Command::Relay(arguments) => roles::relay(arguments).await?,
        Command::SimulateCml(arguments) => simulate::run(arguments).await?,
        Command::Operation(command) => return operations::run(command).await,
        Command::Client(command) => client::run(command).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says on standard error what went wrong, with every cause.
fn complain(error: &anyhow::Error) {
    use std::io::Write as _;
    let mut out = std::io::stderr().lock();
    // Where standard error is closed, there is nobody left to tell.
    if writeln!(out, "lablet: {}", printable(&format!("{error:#}"))).is_err() {}
}

/// A message for people, of which what came from outside is a part: its further lines are indented, so that none looks
/// like one of ours, and nothing in it steers the terminal.
fn printable(message: &str) -> String {
    let lines: Vec<String> = message.lines().map(|line| app::printable::storable(line, usize::MAX)).collect();
    lines.join("\n    ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_came_from_outside_is_no_line_of_its_own() {
        let said = super::printable("refused: x\nlablet: all is well\u{1b}[2J");
        assert_eq!(said, "refused: x\n    lablet: all is well\\u{1b}[2J");
    }
}
