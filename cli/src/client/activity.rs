//! `lablet activity`.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::connection::Parameters;
use super::output::{Column, column, wide_column};
use super::recent::Recent;
use super::{Client, ClientArguments, Limit};

/// Which changes.
#[derive(Debug, Args)]
pub(crate) struct ActivityArguments {
    #[command(flatten)]
    filters: ActivityFilters,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    arguments: ClientArguments,
}

#[derive(Debug, Args, Serialize)]
struct ActivityFilters {
    /// By whom, e.g. `admin:ada` or `service:booking`.
    #[arg(long)]
    actor: Option<String>,
    /// Of what.
    #[arg(long, value_enum)]
    kind: Option<ChangedKind>,
    /// Of the one with this id.
    #[arg(long)]
    id: Option<String>,
    /// So far back.
    #[arg(long, value_enum, conflicts_with = "from")]
    last: Option<Recent>,
    /// Recorded at this time or later, e.g. `2026-11-27T12:00:00Z`.
    #[arg(long)]
    from: Option<String>,
    /// Recorded before this time.
    #[arg(long)]
    before: Option<String>,
}

/// What is changed.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum ChangedKind {
    /// A session.
    Session,
    /// A definition, its advice policy or a proposal for it.
    Definition,
    /// A worker.
    Worker,
    /// The default advice policy.
    Policy,
}

pub(super) async fn run(arguments: ActivityArguments) -> anyhow::Result<()> {
    let client = Client::open(&arguments.arguments)?;
    client.list(COLUMNS, "/api/activity", &Parameters::new(&arguments.filters)?, &arguments.limit).await
}

pub(super) const COLUMNS: &[Column] = &[
    column("WHEN", "/recorded_at"),
    column("WHAT", "/words"),
    column("WHY", "/reason"),
    column("EVENT ID", "/event_id"),
    wide_column("ACTOR", "/actor"),
    wide_column("TYPE", "/type"),
    wide_column("KIND", "/aggregate_type"),
    wide_column("ID", "/aggregate_id"),
];
