//! `lablet event`.

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::connection::Parameters;
use super::output::{Column, OutputFormat, column, wide_column};
use super::stream::{EventStream, Printed};
use super::{Client, Limit, Since};
use crate::export::{ColumnType, ExportFolder, FileArguments, Part, ViewColumn};
use crate::progress::{Progress, Unit};
use crate::terminal::say;

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// List events in the order of the log, as their notices.
    List {
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        limit: Limit,
    },
    /// Write notices with what they say to files: what is new since the last time.
    Export(FileArguments),
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
        EventCommand::Export(files) => export_notices(client, files).await,
        EventCommand::Show { id } => client.show(&of(&id, ""), &Parameters::default()).await,
        EventCommand::Data { id } => client.show(&of(&id, "/data"), &Parameters::default()).await,
        EventCommand::Relations { id, since } => client.show(&of(&id, "/relations"), &Parameters::new(&since)?).await,
        EventCommand::Watch(filters) => follow(client, filters, client.output).await,
        EventCommand::Follow(filters) => follow(client, filters, OutputFormat::Jsonl).await,
    }
}

/// Notices as they are on the bus, those whose data is too large for it with their data.
async fn export_notices(client: &Client, files: FileArguments) -> anyhow::Result<()> {
    let mut folder = ExportFolder::open(&files, "notices")?;
    let columns: Vec<ViewColumn> = NOTICE.iter().map(|(name, kind)| ViewColumn::plain(name, *kind)).collect();
    let progress = Progress::begin("exporting notices", Unit::Things("events"), None);
    let mut part = Part::new(&columns);
    let mut after = folder.position().to_owned();
    loop {
        let batch = client.connection.notices(&Parameters::new(&[("after", &after)])?, FETCHED).await?;
        for mut notice in batch.rows {
            if notice.get("data").is_none()
                && let Some(id) = notice["id"].as_str()
            {
                notice["data"] = client.connection.get(&format!("/api/events/{id}/data")).await?;
            }
            after = notice["position"].as_str().context("a notice has no position")?.to_owned();
            part.push_json(&notice)?;
            if part.is_full(files.rows_per_file) {
                folder.write(&part)?;
                part = Part::new(&columns);
            }
        }
        progress.reach(folder.rows() + part.rows as u64);
        if !batch.has_more {
            break;
        }
    }
    folder.write(&part)?;
    say(&folder.summary())
}

async fn follow(client: &Client, filters: StreamFilters, output: OutputFormat) -> anyhow::Result<()> {
    let mut events = EventStream::new(&client.connection, Parameters::new(&filters)?, filters.after);
    let mut printed = Printed::new(output, COLUMNS);
    loop {
        printed.row(&events.next().await?.notice)?;
    }
}

/// Notices fetched at once.
const FETCHED: usize = 200;

/// What a file has of a notice.
const NOTICE: &[(&str, ColumnType)] = &[
    ("id", ColumnType::Text),
    ("source", ColumnType::Text),
    ("type", ColumnType::Text),
    ("subject", ColumnType::Text),
    ("time", ColumnType::Time),
    ("recordedtime", ColumnType::Time),
    ("actor", ColumnType::Text),
    ("correlationid", ColumnType::Text),
    ("causationid", ColumnType::Text),
    ("traceparent", ColumnType::Text),
    ("aggregatesequence", ColumnType::Text),
    ("position", ColumnType::Text),
    ("data", ColumnType::Text),
];

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
