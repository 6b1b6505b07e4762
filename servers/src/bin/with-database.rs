//! `with-database MIGRATIONS COMMAND ...`: runs a command with `DATABASE_URL` of a database to which the migrations of
//! a folder were applied, and ends with the command's exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use servers::testing::database;
use sqlx::migrate::Migrator;
use tokio::process::Command;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(migrations), Some(program)) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        bail!("usage: with-database MIGRATIONS COMMAND [ARGUMENT ...]");
    };
    let migrator = Migrator::new(migrations.as_path()).await.context("the migrations cannot be read")?;
    let database = database(&migrator).await;
    let status = Command::new(&program)
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("start {}", program.to_string_lossy()))?;
    database.finish().await;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
