//! `lablet event`.

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::connection::Parameters;
use super::output::{Column, OutputFormat, column, wide_column};
use super::stream::{EventStream, Printed};
use super::{Client, Limit, Since};

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// List events in the order of the log, as their notices.
    List {
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one event in full.
    Show {
        /// The event.
        id: String,
    },
    /// Print the data of an event's notice, as a consumer of the bus has it.
    Data {
        /// The event.
        id: String,
    },
    /// Show what led to an event and what came of it.
    Relations {
        /// The event.
        id: String,
        #[command(flatten)]
        since: Since,
    },
    /// Print events as they are recorded, a row each, until interrupted.
    Watch(StreamFilters),
    /// Print events as they are recorded, one JSON document a line, until interrupted.
    Follow(StreamFilters),
}

/// Which part of the log.
#[derive(Debug, Args, Serialize)]
pub(crate) struct Range {
    /// Those after this position; from the first one on unless stated.
    #[arg(long)]
    after: Option<String>,
    /// Those before this position; up to the newest one unless stated.
    #[arg(long)]
    before: Option<String>,
}

/// Which events of those to come.
#[derive(Debug, Args, Serialize)]
pub(crate) struct StreamFilters {
    /// Begin after this position instead of now.
    #[arg(long)]
    #[serde(skip)]
    after: Option<String>,
    /// Events of this kind of aggregate alone.
    #[arg(long, value_enum)]
    aggregate: Option<Aggregate>,
    /// Events of this definition and of its sessions alone.
    #[arg(long = "definition")]
    definition_id: Option<String>,
    /// Events of this session alone.
    #[arg(long = "session")]
    session_id: Option<String>,
}

/// A kind of aggregate.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
enum Aggregate {
    /// Sessions.
    LabletSession,
    /// Definitions.
    LabletDefinition,
    /// Workers.
    Worker,
}

pub(super) async fn run(client: &Client, command: EventCommand) -> anyhow::Result<()> {
    let of = |id: &str, part: &str| format!("/api/events/{id}{part}");
    match command {
        EventCommand::List { range, limit } => {
            client.rows(COLUMNS, &client.connection.notices(&Parameters::new(&range)?, limit.count()).await?)
        }
        EventCommand::Show { id } => client.show(&of(&id, ""), &Parameters::default()).await,
        EventCommand::Data { id } => client.show(&of(&id, "/data"), &Parameters::default()).await,
        EventCommand::Relations { id, since } => client.show(&of(&id, "/relations"), &Parameters::new(&since)?).await,
        EventCommand::Watch(filters) => follow(client, filters, client.output).await,
        EventCommand::Follow(filters) => follow(client, filters, OutputFormat::Jsonl).await,
    }
}

async fn follow(client: &Client, filters: StreamFilters, output: OutputFormat) -> anyhow::Result<()> {
    let mut events = EventStream::new(&client.connection, Parameters::new(&filters)?, filters.after);
    let mut printed = Printed::new(output, COLUMNS);
    loop {
        printed.row(&events.next().await?.notice)?;
    }
}

pub(super) const COLUMNS: &[Column] = &[
    column("RECORDED AT", "/recordedtime"),
    column("TYPE", "/type"),
    column("SUBJECT", "/subject"),
    column("SEQUENCE", "/aggregatesequence"),
    column("ACTOR", "/actor"),
    column("EVENT ID", "/id"),
    wide_column("CORRELATION", "/correlationid"),
    wide_column("CAUSATION", "/causationid"),
    wide_column("POSITION", "/position"),
];
