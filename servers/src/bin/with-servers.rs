//! `with-servers COMMAND ...`: runs a command with a Postgres and a nats-server for its tests, named in its
//! environment (see `servers::testing`), and ends with the command's exit code.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Instant;

use anyhow::{Context, bail};
use servers::testing::Run;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        bail!("usage: with-servers COMMAND [ARGUMENT ...]");
    };
    let mut interrupts = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminations = signal(SignalKind::terminate()).context("listen for SIGTERM")?;

    let begun = Instant::now();
    let run = tokio::select! {
        run = Run::start() => run.context("the servers for the tests did not start")?,
        _ = interrupts.recv() => return Ok(ExitCode::from(130)),
        _ = terminations.recv() => return Ok(ExitCode::from(143)),
    };
    eprintln!("with-servers: Postgres and nats-server are ready after {:.1} s", begun.elapsed().as_secs_f32());

    let mut command = Command::new(&program)
        .args(arguments)
        .envs(run.environment())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {}", program.to_string_lossy()))?;
    let pid = command.id();
    let status = loop {
        tokio::select! {
            status = command.wait() => break status.context("wait for the command")?,
            // A terminal sends it to the command as well, which ends in its own way.
            _ = interrupts.recv() => eprintln!("with-servers: interrupted; waiting for the command to end"),
            _ = terminations.recv() => terminate(pid).await?,
        }
    };
    run.stop().await.context("the servers did not stop in order")?;
    Ok(exit_code(status))
}

async fn terminate(pid: Option<u32>) -> anyhow::Result<()> {
    let Some(pid) = pid else {
        return Ok(());
    };
    Command::new("/bin/sh")
        .args(["-c", "kill -s TERM \"$1\"", "kill", &pid.to_string()])
        .status()
        .await
        .context("pass SIGTERM on")?;
    Ok(())
}

/// As in a shell: 128 + n for a command that signal n ended.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    ExitCode::from(code)
}
