//! `lablet sign-in`: browsers that are signed in.

use clap::Subcommand;

use super::Client;
use super::connection::Parameters;
use super::output::{Column, column};

#[derive(Debug, Subcommand)]
pub(crate) enum SignInCommand {
    /// List browsers that are signed in, those that were used last first.
    List,
    /// Sign a browser out, at once.
    End {
        /// Which, as `list` shows it.
        id: uuid::Uuid,
    },
}

pub(super) async fn run(client: &Client, command: SignInCommand) -> anyhow::Result<()> {
    match command {
        SignInCommand::List => client.items(COLUMNS, "/api/sign-ins", &Parameters::default()).await,
        SignInCommand::End { id } => {
            client.output.one(&client.connection.delete(&format!("/api/sign-ins/{id}")).await?)
        }
    }
}

pub(super) const COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("ROLE", "/role"),
    column("SIGNED IN BY", "/signed_in_by"),
    column("FROM", "/address"),
    column("SIGNED IN AT", "/signed_in_at"),
    column("LAST USED AT", "/last_used_at"),
];
