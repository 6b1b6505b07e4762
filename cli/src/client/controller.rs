//! `lablet controller`.

use clap::Subcommand;

use super::Client;
use super::connection::Parameters;
use super::output::{Column, column, wide_column};

#[derive(Debug, Subcommand)]
pub(crate) enum ControllerCommand {
    /// List controllers, those that run first, as the gateway heard them.
    List,
}

pub(super) async fn run(client: &Client, command: ControllerCommand) -> anyhow::Result<()> {
    match command {
        ControllerCommand::List => client.items(COLUMNS, "/api/controllers", &Parameters::default()).await,
    }
}

pub(super) const COLUMNS: &[Column] = &[
    column("HOST", "/host"),
    column("STATE", "/state"),
    column("LAST SEEN AT", "/last_seen_at"),
    column("WORKERS", "/worker_count"),
    column("FAILING", "/failing_workers"),
    column("VERSION", "/version"),
    column("GATEWAY ERROR", "/gateway_error"),
    wide_column("HAS CREDENTIALS", "/has_credentials"),
    wide_column("STARTED AT", "/started_at"),
    wide_column("ID", "/id"),
];
