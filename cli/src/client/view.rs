//! `lablet view`: filters of the console's lists under a name.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Client;
use super::connection::Parameters;
use super::output::{Column, column, wide_column};

#[derive(Debug, Subcommand)]
pub(crate) enum ViewCommand {
    /// List the saved views that you see: your own ones and those that are shared.
    List {
        /// Of this list alone, e.g. `sessions`.
        #[arg(long)]
        list: Option<String>,
    },
    /// Save filters of a list under a name; a view of yours with the same name is replaced.
    Save(NewView),
    /// Remove a view: your own, or as an admin one that is shared.
    Remove {
        /// Which, as `list` shows it.
        id: uuid::Uuid,
    },
}

/// A view that is to be saved.
#[derive(Debug, Args)]
pub(crate) struct NewView {
    /// What it is called.
    name: String,
    /// Of which list: `sessions`, `definitions`, `drift`, `requests`, `proposals`, `dead_letters`, `activity` or `search`.
    #[arg(long, default_value = "sessions")]
    list: String,
    /// What it asks for, as the page's address has it after its `?`, e.g. `status=failed&last=day`.
    #[arg(long)]
    query: String,
    /// Show it to everybody, which needs an admin.
    #[arg(long)]
    shared: bool,
}

pub(super) async fn run(client: &Client, command: ViewCommand) -> anyhow::Result<()> {
    match command {
        ViewCommand::List { list } => {
            client.items(COLUMNS, "/api/saved-views", &Parameters::new(&[("list", list)])?).await
        }
        ViewCommand::Save(NewView { name, list, query, shared }) => {
            let view = json!({ "list": list, "name": name, "query": query, "shared": shared });
            client.output.one(&client.connection.post("/api/saved-views", &view).await?)
        }
        ViewCommand::Remove { id } => {
            client.output.one(&client.connection.delete(&format!("/api/saved-views/{id}")).await?)
        }
    }
}

pub(super) const COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("LIST", "/list"),
    column("NAME", "/name"),
    column("QUERY", "/query"),
    column("OWNER", "/owner"),
    column("SHARED", "/shared"),
    wide_column("CREATED AT", "/created_at"),
];
