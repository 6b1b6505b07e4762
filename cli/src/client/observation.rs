//! `lablet observation`.

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::connection::Parameters;
use super::output::{Column, column, wide_column};
use super::recent::Recent;
use super::{Client, Paging, Since};

#[derive(Debug, Subcommand)]
pub(crate) enum ObservationCommand {
    /// List the observations of a session, the newest first.
    List {
        /// The session.
        #[arg(long)]
        session: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show the event that recorded an observation, with everything that was seen.
    Show {
        /// The event, as `list` shows it.
        event_id: String,
    },
    /// Why observations failed, by what the reasons have in common, the most frequent first.
    Failures {
        #[command(flatten)]
        filters: FailureFilters,
        #[command(flatten)]
        since: Since,
    },
    /// Requests for an observation and their outcomes, newest first.
    Requests(RequestList),
}

/// Which failures.
#[derive(Debug, Args, Serialize)]
pub(crate) struct FailureFilters {
    /// Of sessions of this definition.
    #[arg(long = "definition")]
    definition_id: Option<String>,
    /// Of sessions on this worker.
    #[arg(long = "worker")]
    worker_id: Option<String>,
    /// Requested so far back.
    #[arg(long, value_enum, conflicts_with = "from")]
    last: Option<Recent>,
    /// Requested then or later, e.g. 2026-03-01T10:00:00Z.
    #[arg(long)]
    from: Option<String>,
    /// Requested before.
    #[arg(long)]
    before: Option<String>,
}

/// Which requests.
#[derive(Debug, Args)]
pub(crate) struct RequestList {
    #[command(flatten)]
    filters: RequestFilters,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args, Serialize)]
struct RequestFilters {
    /// Standing like this.
    #[arg(long, value_enum)]
    status: Option<Outcome>,
    /// Of this session.
    #[arg(long = "session")]
    session_id: Option<String>,
    /// Of sessions of this definition.
    #[arg(long = "definition")]
    definition_id: Option<String>,
    /// Of sessions on this worker.
    #[arg(long = "worker")]
    worker_id: Option<String>,
    /// Made then or later, e.g. 2026-03-01T10:00:00Z.
    #[arg(long)]
    from: Option<String>,
    /// Made before.
    #[arg(long)]
    before: Option<String>,
}

/// How a request stands.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// No outcome yet.
    Open,
    /// An observation was recorded.
    Recorded,
    /// It was tried and failed.
    Failed,
    /// It was not tried, as the session had moved on.
    Skipped,
}

pub(super) async fn run(client: &Client, command: ObservationCommand) -> anyhow::Result<()> {
    match command {
        ObservationCommand::List { session, paging } => {
            let path = format!("/api/lablet-sessions/{session}/resource-observations");
            client.list(COLUMNS, &path, &Parameters::new(&paging.since)?, &paging.limit).await
        }
        ObservationCommand::Show { event_id } => {
            client.show(&format!("/api/events/{event_id}"), &Parameters::default()).await
        }
        ObservationCommand::Failures { filters, since } => {
            let asked = Parameters::new(&filters)?.and(&since)?;
            client.items(FAILURE_COLUMNS, "/api/observation-failures", &asked).await
        }
        ObservationCommand::Requests(RequestList { filters, paging }) => {
            client.list(REQUEST_COLUMNS, "/api/observation-requests", &paging.with(&filters)?, &paging.limit).await
        }
    }
}

pub(super) const COLUMNS: &[Column] = &[
    column("EVENT ID", "/event_id"),
    column("OBSERVED AT", "/observed_at"),
    column("OBSERVER", "/observer"),
    column("PHASE", "/phase"),
    column("COMPLETE", "/complete"),
    column("NODES", "/node_count"),
    column("USED CORES", "/used/cpu_cores"),
    column("USED MEMORY MB", "/used/memory_mb"),
    column("USED STORAGE MB", "/used/storage_mb"),
    column("DRIFT", "/port_drift_detected"),
    wide_column("NOMINAL CORES", "/nominal/cpu_cores"),
    wide_column("NOMINAL MEMORY MB", "/nominal/memory_mb"),
    wide_column("WORKER", "/worker_id"),
    wide_column("LAB", "/cml_lab_id"),
    wide_column("CML VERSION", "/cml_version"),
    wide_column("REPORTED BY", "/reported_by"),
];
pub(super) const FAILURE_COLUMNS: &[Column] = &[
    column("REQUESTS", "/requests"),
    column("SESSIONS", "/sessions"),
    column("WORKERS", "/workers"),
    column("REASON OF THE NEWEST", "/newest/reason"),
    column("FIRST AT", "/first_at"),
    column("LAST AT", "/last_at"),
    column("NEWEST SESSION", "/newest/session_id"),
    wide_column("CAUSE", "/cause"),
    wide_column("NEWEST OUTCOME EVENT ID", "/newest/outcome_event_id"),
];
pub(super) const REQUEST_COLUMNS: &[Column] = &[
    column("REQUEST", "/request_id"),
    column("SESSION", "/session_id"),
    column("REQUESTED BY", "/requested_by"),
    column("REQUESTED AT", "/requested_at"),
    column("OUTCOME", "/outcome"),
    column("REASON", "/reason"),
    wide_column("DEFINITION NAME", "/definition_name"),
    wide_column("WORKER", "/worker_id"),
    wide_column("WORKER NAME", "/worker_name"),
    wide_column("FINISHED AT", "/finished_at"),
    wide_column("OUTCOME EVENT ID", "/outcome_event_id"),
];
