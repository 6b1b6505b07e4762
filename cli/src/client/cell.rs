//! `lablet cell`: the cells of a console.

use clap::Subcommand;

use super::Client;
use super::connection::Parameters;
use super::output::{Column, column, wide_column};

#[derive(Debug, Subcommand)]
pub(crate) enum CellCommand {
    /// List the cells that the gateway knows, with what runs in each and what needs somebody.
    List,
    /// What people hold, as `lablet search`, in every cell.
    Search {
        /// What to search for.
        text: String,
        /// Most hits of each kind and cell, 1 to 50.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=50))]
        limit: u32,
    },
}

pub(super) async fn run(client: &Client, command: CellCommand) -> anyhow::Result<()> {
    match command {
        CellCommand::List => client.items(COLUMNS, "/api/cells", &Parameters::default()).await,
        CellCommand::Search { text, limit } => {
            let asked = Parameters::new(&[("text", text), ("limit", limit.to_string())])?;
            client.show("/api/cell-hits", &asked).await
        }
    }
}

pub(super) const COLUMNS: &[Column] = &[
    column("CELL", "/name"),
    column("REGION", "/region"),
    column("RUNNING", "/numbers/running_sessions"),
    column("DRIFTED", "/numbers/drifted_sessions"),
    column("BAD", "/numbers/attention_bad"),
    column("WARN", "/numbers/attention_warn"),
    column("PROBLEM", "/problem"),
    wide_column("SESSIONS", "/numbers/sessions"),
    wide_column("OPEN REQUESTS", "/numbers/open_requests"),
    wide_column("FAILED IN 24 H", "/numbers/failed_requests_last_24_hours"),
    wide_column("EVENTS BEHIND", "/numbers/events_behind"),
    wide_column("GATEWAY", "/gateway"),
];
