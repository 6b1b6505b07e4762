//! `lablet session`.

mod service;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::connection::Parameters;
use super::output::{Column, column, wide_column};
use super::recent::Recent;
use super::watch::{Noun, WatchArguments};
use super::{Client, Limit, Paging, Since, example, observation};
use crate::exit::{ExitStatus, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// List sessions, newest first.
    List(SessionList),
    /// Count sessions by their states, exactly up to 10,000 of a state.
    Counts {
        #[command(flatten)]
        filters: CountFilters,
        #[command(flatten)]
        since: Since,
    },
    /// Show one session.
    Show {
        /// The session.
        id: String,
        #[command(flatten)]
        since: Since,
    },
    /// Print sessions as they change, a row a change, until interrupted.
    Watch {
        /// Which; all unless stated.
        id: Option<String>,
        /// Sessions of this definition.
        #[arg(long = "definition")]
        definition_id: Option<String>,
        #[command(flatten)]
        watch: WatchArguments,
    },
    /// Show what happened to a session.
    Events {
        /// The session.
        id: String,
        #[command(flatten)]
        history: HistoryFilters,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show the steps of a session's life.
    Life {
        /// The session.
        id: String,
    },
    /// List the observations of a session, the newest first.
    Observations {
        /// The session.
        id: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// List the nodes of a session's newest observation, or of the one named.
    Nodes {
        /// The session.
        id: String,
        #[command(flatten)]
        filters: NodeFilters,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show one node with its interfaces.
    Node {
        /// The session.
        id: String,
        /// The node, by CML's id.
        node_id: String,
        /// Of the observation with this event; of the newest unless stated.
        #[arg(long)]
        observation: Option<uuid::Uuid>,
        #[command(flatten)]
        since: Since,
    },
    /// Show what a session used over its life, as it was sampled; with `--node`, what one node used.
    Profile {
        /// The session.
        id: String,
        /// The node, by CML's id.
        #[arg(long)]
        node: Option<String>,
        #[command(flatten)]
        since: Since,
    },
    /// Create a session, pending, as services do. The same again with the same id changes nothing.
    #[command(after_long_help = service::CREATE_EXAMPLE)]
    Create(service::NewSessionArguments),
    /// Move a session on in its life, as services do, by one step or by several. A step that was taken is no error.
    #[command(after_long_help = service::TRANSITION_EXAMPLE)]
    Transition(service::TransitionArguments),
    /// Record what was seen of a session's lab, as services do.
    #[command(after_long_help = example::help(&example::OBSERVATION))]
    RecordObservation(service::ObservationArguments),
    /// Ask for an observation of a running session.
    Observe {
        /// The session.
        id: String,
        /// Wait until the request has its outcome; exit code 7 where that is not `recorded`.
        #[arg(long)]
        wait: bool,
    },
    /// Count what was measured in a session no longer as evidence of what its definition needs.
    ExcludeEvidence {
        /// The session.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Count it again.
    IncludeEvidence {
        /// The session.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
}

/// Which sessions, in which order.
#[derive(Debug, Args)]
pub(crate) struct SessionList {
    #[command(flatten)]
    filters: SessionFilters,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args, Serialize)]
struct SessionFilters {
    /// In one of these states, separated by commas, e.g. `running,collecting`.
    #[arg(long)]
    status: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    others: CountFilters,
    /// In this order; newest first unless stated.
    #[arg(long, value_enum)]
    sort: Option<SessionOrder>,
}

/// Which sessions, whatever their state.
#[derive(Debug, Args, Serialize)]
pub(crate) struct CountFilters {
    /// Of this definition, by its name or its id.
    #[arg(long)]
    definition: Option<String>,
    /// Of the definition with this id alone.
    #[arg(long)]
    definition_id: Option<String>,
    /// On this worker, by its name or its id.
    #[arg(long)]
    worker: Option<String>,
    /// On the worker with this id alone.
    #[arg(long)]
    worker_id: Option<String>,
    /// For this owner.
    #[arg(long = "owner")]
    owner_id: Option<String>,
    /// Whose ports stand so.
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "true")]
    drift: Option<PortsDrifted>,
    /// Of which all of this is unknown, separated by commas: `worker`, `owner`, `timeslot`, `ports`, `observation`.
    #[arg(long)]
    unknown: Option<String>,
    /// Whose id, definition, owner, worker or lab contains this, in whatever case.
    #[arg(long)]
    text: Option<String>,
    /// Whose timeslot ended before this time, e.g. `2026-11-27T12:00:00Z`.
    #[arg(long)]
    timeslot_ended_before: Option<String>,
    /// Of which time `--last`, `--from` and `--before` speak.
    #[arg(long, value_enum)]
    time: Option<SessionMoment>,
    /// So far back.
    #[arg(long, value_enum, conflicts_with = "from")]
    last: Option<Recent>,
    /// From this time on, e.g. `2026-11-27T12:00:00Z`.
    #[arg(long)]
    from: Option<String>,
    /// Before this time.
    #[arg(long)]
    before: Option<String>,
}

/// A time of a session.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum SessionMoment {
    /// When it was created.
    Created,
    /// When its last event happened.
    Changed,
    /// Its timeslot, which overlaps the range.
    Timeslot,
}

/// How the ports of sessions stand.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum PortsDrifted {
    /// They drifted.
    True,
    /// They are known not to have drifted.
    False,
    /// They drifted, and nobody has said that it may stay so.
    Open,
    /// They drifted, and somebody knows of it.
    Acknowledged,
    /// No observation could read the ports yet.
    Unknown,
}

/// The order of a list of sessions.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum SessionOrder {
    /// The one created last comes first.
    Newest,
    /// The one created first comes first.
    Oldest,
    /// The one whose last event is newest comes first.
    Changed,
    /// By definition; of one definition the one created last comes first.
    Definition,
    /// The one whose timeslot ends first comes first; those without a timeslot come last.
    TimeslotEnd,
    /// The most recently observed one comes first; those never observed come last.
    Observed,
}

/// Which part of a history.
#[derive(Debug, Args, Serialize)]
pub(crate) struct HistoryFilters {
    /// From which end; the oldest first unless stated.
    #[arg(long, value_enum)]
    order: Option<HistoryOrder>,
    /// False: without what happened, which may be much.
    #[arg(long)]
    data: Option<bool>,
}

/// From which end a history is read.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum HistoryOrder {
    /// The first event first.
    Oldest,
    /// The last event first.
    Newest,
}

/// Which nodes.
#[derive(Debug, Args, Serialize)]
pub(crate) struct NodeFilters {
    /// Of the observation with this event; of the newest unless stated.
    #[arg(long)]
    observation: Option<uuid::Uuid>,
    /// Whose id, label, definition, image or state contains this, in whatever case.
    #[arg(long)]
    text: Option<String>,
}

pub(super) async fn run(client: &Client, command: SessionCommand) -> anyhow::Result<()> {
    let of = |id: &str, part: &str| format!("/api/lablet-sessions/{id}{part}");
    match command {
        SessionCommand::List(SessionList { filters, paging }) => {
            client.list(COLUMNS, "/api/lablet-sessions", &paging.with(&filters)?, &paging.limit).await
        }
        SessionCommand::Counts { filters, since } => {
            let asked = Parameters::new(&since)?.and(&filters)?;
            let answer = client.connection.get_with("/api/lablet-session-counts", &asked).await?;
            client.output.rows(COUNT_COLUMNS, answer["items"].as_array().context("the answer has no items")?)
        }
        SessionCommand::Show { id, since } => client.show(&of(&id, ""), &Parameters::new(&since)?).await,
        SessionCommand::Watch { id, definition_id, watch } => {
            let only = Parameters::new(&[("session_id", id.clone()), ("definition_id", definition_id)])?;
            watch.run(client, &NOUN, id.as_deref(), only).await
        }
        SessionCommand::Events { id, history, limit } => {
            client.list(HISTORY_COLUMNS, &of(&id, "/events"), &Parameters::new(&history)?, &limit).await
        }
        SessionCommand::Life { id } => {
            let answer = client.connection.get(&of(&id, "/life")).await?;
            client.output.rows(LIFE_COLUMNS, answer["steps"].as_array().context("the answer has no steps")?)
        }
        SessionCommand::Observations { id, paging } => {
            let asked = Parameters::new(&paging.since)?;
            client.list(observation::COLUMNS, &of(&id, "/resource-observations"), &asked, &paging.limit).await
        }
        SessionCommand::Nodes { id, filters, paging } => {
            client.list(NODE_COLUMNS, &of(&id, "/nodes"), &paging.with(&filters)?, &paging.limit).await
        }
        SessionCommand::Node { id, node_id, observation, since } => {
            let asked = Parameters::new(&since)?.and(&[("observation", observation.map(|event| event.to_string()))])?;
            client.show(&of(&id, &format!("/nodes/{node_id}")), &asked).await
        }
        SessionCommand::Profile { id, node, since } => {
            let part = node.map_or_else(|| "/profile".to_owned(), |node| format!("/nodes/{node}/profile"));
            client.show(&of(&id, &part), &Parameters::new(&since)?).await
        }
        SessionCommand::Create(arguments) => service::create(client, arguments).await,
        SessionCommand::Transition(arguments) => service::transition(client, arguments).await,
        SessionCommand::RecordObservation(arguments) => service::record_observation(client, arguments).await,
        SessionCommand::ExcludeEvidence { id, reason } => {
            let path = of(&id, "/evidence-exclusion");
            client.output.one(&client.connection.post(&path, &json!({ "reason": reason })).await?)
        }
        SessionCommand::IncludeEvidence { id, reason } => {
            let path = of(&id, "/evidence-inclusion");
            client.output.one(&client.connection.post(&path, &json!({ "reason": reason })).await?)
        }
        SessionCommand::Observe { id, wait } => observe(client, &id, wait).await,
    }
}

async fn observe(client: &Client, id: &str, wait: bool) -> anyhow::Result<()> {
    let path = format!("/api/lablet-sessions/{id}/observe-resources");
    let accepted = client.connection.post(&path, &json!({})).await?;
    if !wait {
        return client.output.one(&accepted);
    }
    let request_id = accepted["request_id"].as_str().context("the answer names no request")?;
    let request = client.connection.outcome(id, request_id).await?;
    client.output.one(&request)?;
    if request["outcome"] == "recorded" {
        return Ok(());
    }
    let part = |name: &str| request[name].as_str().unwrap_or("unknown").to_owned();
    let text = format!("the outcome of request {request_id} is {}: {}", part("outcome"), part("reason"));
    Err(Failure::new(ExitStatus::NotAchieved, text).into())
}

const NOUN: Noun = Noun { path: "/api/lablet-sessions", aggregate: "lablet_session", columns: COLUMNS };

pub(super) const COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("DEFINITION", "/definition_id"),
    column("VERSION", "/definition_version"),
    column("STATUS", "/status"),
    column("WORKER", "/worker_id"),
    column("OBSERVATIONS", "/observation_count"),
    column("DRIFT", "/port_drift_detected"),
    column("UPDATED AT", "/updated_at"),
    wide_column("DEFINITION NAME", "/definition_name"),
    wide_column("WORKER NAME", "/worker_name"),
    wide_column("REVISION", "/definition_revision"),
    wide_column("OWNER", "/owner_id"),
    wide_column("LAB", "/cml_lab_id"),
    wide_column("LAB TITLE", "/lab_title"),
    wide_column("STATUS SINCE", "/status_since"),
    wide_column("STATUS REASON", "/status_reason"),
    wide_column("TIMESLOT END", "/timeslot/end"),
    wide_column("OPEN REQUESTS", "/open_requests"),
    wide_column("CREATED AT", "/created_at"),
    wide_column("DRIFT ACKNOWLEDGED UNTIL", "/port_drift_acknowledgement/until"),
    wide_column("CORES ALLOCATED", "/nominal_cpu_cores"),
    wide_column("CORES USED", "/used/cpu_cores"),
    wide_column("MEMORY MB ALLOCATED", "/nominal_memory_mb"),
    wide_column("MEMORY MB USED", "/used/memory_mb"),
];
pub(super) const HISTORY_COLUMNS: &[Column] = &[
    column("SEQUENCE", "/sequence"),
    column("TYPE", "/type"),
    column("RECORDED AT", "/recorded_at"),
    column("ACTOR", "/metadata/actor"),
    column("EVENT ID", "/event_id"),
    wide_column("CORRELATION", "/metadata/correlation_id"),
    wide_column("CAUSATION", "/metadata/causation_id"),
    wide_column("POSITION", "/position"),
];
pub(super) const COUNT_COLUMNS: &[Column] =
    &[column("STATUS", "/status"), column("SESSIONS", "/sessions"), column("MORE", "/is_more")];
const LIFE_COLUMNS: &[Column] = &[
    column("STATUS", "/status"),
    column("AT", "/at"),
    column("ACTOR", "/actor"),
    column("REASON", "/reason"),
    column("WORKER", "/worker_id"),
    wide_column("LAB", "/cml_lab_id"),
    wide_column("EVENT ID", "/event_id"),
];
pub(super) const NODE_COLUMNS: &[Column] = &[
    column("NODE", "/node_id"),
    column("LABEL", "/label"),
    column("DEFINITION", "/node_definition"),
    column("STATE", "/state"),
    column("NOMINAL CORES", "/nominal_cpu_cores"),
    column("USED CORES", "/used_cpu_cores"),
    column("NOMINAL MEMORY MB", "/nominal_memory_mb"),
    column("USED MEMORY MB", "/used_memory_mb"),
    column("USED STORAGE MB", "/used_storage_mb"),
    wide_column("IMAGE", "/image_definition"),
    wide_column("CPU LIMIT %", "/cpu_limit_percent"),
    wide_column("BOOTED FOR S", "/booted_seconds"),
];
