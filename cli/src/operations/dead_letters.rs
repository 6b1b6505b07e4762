//! `lablet dead-letters`: what could not be handled, through the gateway.

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;

use crate::client::connection::{Connection, ConnectionArguments, Parameters};
use crate::client::output::{Column, OutputFormat, column};
use crate::client::recent::Recent;

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List dead letters.
    List {
        #[command(flatten)]
        connection: ConnectionArguments,
        /// Of this kind; of all unless stated.
        #[arg(long, value_enum)]
        kind: Option<LetterKind>,
        /// Most of each place (commands, and each read model), 1 to 200.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// How to print them.
        #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
        output: OutputFormat,
    },
    /// Show one dead letter.
    Show {
        /// Which, as `list` shows it.
        id: String,
        #[command(flatten)]
        connection: ConnectionArguments,
        /// How to print it.
        #[arg(long, short, value_enum, default_value_t = OutputFormat::Json)]
        output: OutputFormat,
    },
    /// Handle dead letters again, in the order in which they are named.
    Retry {
        /// Which, as `list` shows them.
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        connection: ConnectionArguments,
    },
    /// List dead letters by their cause, the largest group first.
    Groups {
        #[command(flatten)]
        connection: ConnectionArguments,
        /// Of this kind; of all unless stated.
        #[arg(long, value_enum)]
        kind: Option<LetterKind>,
        /// How to print them.
        #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
        output: OutputFormat,
    },
    /// Handle every letter of a group again, at most 100 at once.
    RetryGroup {
        /// Which, as `groups` shows it.
        id: String,
        #[command(flatten)]
        connection: ConnectionArguments,
    },
    /// Do without every letter of a group, for one reason, at most 100 at once.
    DiscardGroup {
        /// Which, as `groups` shows it.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        connection: ConnectionArguments,
    },
    /// List what was done without: by whom, when and why, the last decision first.
    Discarded {
        #[command(flatten)]
        connection: ConnectionArguments,
        #[command(flatten)]
        filters: DiscardedFilters,
        /// Most of them, 1 to 200.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// How to print them.
        #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
        output: OutputFormat,
    },
    /// Do without what a dead letter says.
    Discard {
        /// Which, as `list` shows it.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        connection: ConnectionArguments,
    },
}

/// Which of what was done without.
#[derive(Debug, Args, Serialize)]
pub(crate) struct DiscardedFilters {
    /// Commands, events of webhooks, or events of read models; all unless stated.
    #[arg(long, value_enum)]
    kind: Option<LetterKind>,
    /// Of this subject, target or read model.
    #[arg(long)]
    source: Option<String>,
    /// By whom, e.g. `admin:ada`; `lablet` for those about which nobody decided in their time.
    #[arg(long)]
    discarded_by: Option<String>,
    /// Discarded so far back.
    #[arg(long, value_enum, conflicts_with = "from")]
    last: Option<Recent>,
    /// Discarded at this time or later, e.g. `2026-11-27T12:00:00Z`.
    #[arg(long)]
    from: Option<String>,
    /// Discarded before this time.
    #[arg(long)]
    before: Option<String>,
}

/// What could not be handled.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LetterKind {
    /// Messages that are no command that can work.
    Command,
    /// Events that the target of a webhook did not take.
    Webhook,
    /// Events that a read model does not take.
    Event,
}

pub(crate) const COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("KIND", "/kind"),
    column("SOURCE", "/source"),
    column("AGGREGATE", "/aggregate_id"),
    column("REASON", "/reason"),
    column("TRIED", "/attempts"),
    column("SINCE", "/since"),
];

pub(crate) const GROUP_COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("KIND", "/kind"),
    column("SOURCE", "/source"),
    column("LETTERS", "/count"),
    column("CAUSE", "/cause"),
    column("FIRST AT", "/first_at"),
    column("LAST AT", "/last_at"),
];
pub(crate) const DISCARDED_COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("SOURCE", "/source"),
    column("REASON", "/reason"),
    column("DISCARDED BY", "/discarded_by"),
    column("DISCARDED AT", "/discarded_at"),
    column("BECAUSE", "/discarded_because"),
];

pub(super) async fn run(command: DeadLettersCommand) -> anyhow::Result<()> {
    match command {
        DeadLettersCommand::List { connection, kind, limit, output } => {
            let asked = Parameters::new(&[("kind", kind)])?.and(&[("limit", limit)])?;
            let letters = Connection::open(&connection)?.get_with("/api/dead-letters", &asked).await?;
            output.rows(COLUMNS, letters["items"].as_array().context("the answer has no items")?)
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
        DeadLettersCommand::Groups { connection, kind, output } => {
            let asked = Parameters::new(&[("kind", kind)])?;
            let groups = Connection::open(&connection)?.get_with("/api/dead-letter-groups", &asked).await?;
            output.rows(GROUP_COLUMNS, groups["items"].as_array().context("the answer has no items")?)
        }
        DeadLettersCommand::RetryGroup { id, connection } => {
            let path = format!("/api/dead-letter-groups/{id}/retry");
            OutputFormat::Json.one(&Connection::open(&connection)?.post(&path, &json!({})).await?)
        }
        DeadLettersCommand::DiscardGroup { id, reason, connection } => {
            let path = format!("/api/dead-letter-groups/{id}/discard");
            OutputFormat::Json.one(&Connection::open(&connection)?.post(&path, &json!({ "reason": reason })).await?)
        }
        DeadLettersCommand::Discarded { connection, filters, limit, output } => {
            let asked = Parameters::new(&filters)?.and(&[("limit", limit)])?;
            let letters = Connection::open(&connection)?.get_with("/api/discarded-letters", &asked).await?;
            output.rows(DISCARDED_COLUMNS, letters["items"].as_array().context("the answer has no items")?)
        }
        DeadLettersCommand::Discard { id, reason, connection } => {
            let path = format!("/api/dead-letters/{id}/discard");
            OutputFormat::Json.one(&Connection::open(&connection)?.post(&path, &json!({ "reason": reason })).await?)
        }
    }
}
