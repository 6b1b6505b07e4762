//! `lablet dead-letters`: what could not be handled, through the gateway.

use clap::Subcommand;
use serde_json::json;

use crate::client::connection::{Connection, ConnectionArguments};
use crate::client::output::{Column, OutputFormat, column};

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List dead letters.
    List {
        #[command(flatten)]
        connection: ConnectionArguments,
        /// Most rows.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// How to print them.
        #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
        output: OutputFormat,
    },
    /// Show one dead letter.
    Show {
        id: String,
        #[command(flatten)]
        connection: ConnectionArguments,
        /// How to print it.
        #[arg(long, short, value_enum, default_value_t = OutputFormat::Json)]
        output: OutputFormat,
    },
    /// Handle dead letters again, in the order in which they are named.
    Retry {
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        connection: ConnectionArguments,
    },
    /// Do without what a dead letter says.
    Discard {
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        connection: ConnectionArguments,
    },
}

const COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("KIND", "/kind"),
    column("SOURCE", "/source"),
    column("AGGREGATE", "/aggregate_id"),
    column("REASON", "/reason"),
    column("TRIED", "/attempts"),
    column("SINCE", "/since"),
];

pub(super) async fn run(command: DeadLettersCommand) -> anyhow::Result<()> {
    match command {
        DeadLettersCommand::List { connection, limit, output } => {
            output.rows(COLUMNS, &Connection::open(&connection)?.list("/api/dead-letters", &[], limit).await?)
        }
        DeadLettersCommand::Show { id, connection, output } => {
            output.one(&Connection::open(&connection)?.get(&format!("/api/dead-letters/{id}")).await?)
        }
        DeadLettersCommand::Retry { ids, connection } => {
            let connection = Connection::open(&connection)?;
            for id in ids {
                OutputFormat::Json
                    .one(&connection.post(&format!("/api/dead-letters/{id}/retry"), &json!({})).await?)?;
            }
            Ok(())
        }
        DeadLettersCommand::Discard { id, reason, connection } => {
            let path = format!("/api/dead-letters/{id}/discard");
            OutputFormat::Json.one(&Connection::open(&connection)?.post(&path, &json!({ "reason": reason })).await?)
        }
    }
}
