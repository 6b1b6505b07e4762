//! `lablet definition|session|worker|observation|drift|event|topology|advice|proposal`: a client of the HTTP API.

mod advice;
pub(crate) mod connection;
pub(crate) mod output;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::advice::{AdviceArguments, AdviceCommand, BackTestArguments, ProposalCommand, TopologyCommand};
use self::connection::{Connection, ConnectionArguments};
use self::output::{Column, OutputFormat, column};

/// Where the API is, and how to print what it answers.
#[derive(Debug, Args)]
pub(crate) struct ClientArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// How to print the answer.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Table, global = true)]
    output: OutputFormat,
}

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Definitions: what labs are thought to need.
    Definition(ApiCommand<DefinitionCommand>),
    /// Sessions: runs of labs.
    Session(ApiCommand<SessionCommand>),
    /// Workers: CML controllers.
    Worker(ApiCommand<WorkerCommand>),
    /// Observations and the requests for them.
    Observation(ApiCommand<ObservationCommand>),
    /// Sessions whose ports are not the allocated ones.
    Drift(ApiCommand<DriftCommand>),
    /// Events.
    Event(ApiCommand<EventCommand>),
    /// Topologies: how large a lab that never ran must be.
    Topology(ApiCommand<TopologyCommand>),
    /// Whether advice held, and the policy by which it is given.
    Advice(ApiCommand<AdviceCommand>),
    /// Proposals of other sizes.
    Proposal(ApiCommand<ProposalCommand>),
    /// Browsers that are signed in. Needs the role admin.
    SignIn(ApiCommand<SignInCommand>),
}

/// A client command with where the API is and how to print.
#[derive(Debug, Args)]
pub(crate) struct ApiCommand<C: Subcommand> {
    #[command(flatten)]
    arguments: ClientArguments,
    #[command(subcommand)]
    command: C,
}

/// One page of a list.
#[derive(Debug, Args)]
pub(crate) struct Paging {
    /// Most rows to fetch; further pages are fetched as needed.
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DefinitionCommand {
    /// List definitions.
    List(Paging),
    /// Show one definition.
    Show { id: String },
    /// Create a definition from a JSON file (`-` for standard input).
    Create { file: String },
    /// Revise a definition from a JSON file with what changes, `reason` and `evidence`.
    Revise { id: String, file: String },
    /// What was observed of the newest sessions of a definition, and the aggregate over them.
    Observations {
        id: String,
        /// How many sessions to look at.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// How large a definition must be to keep its promise.
    Recommend(AdviceArguments),
    /// How a recommendation came about, with the readings that set it.
    Explain(AdviceArguments),
    /// What a size would have meant for the sessions of the past.
    BackTest(BackTestArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// List sessions, newest first.
    List {
        #[arg(long)]
        status: Option<String>,
        #[arg(long)]
        definition: Option<String>,
        #[arg(long)]
        worker: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show one session.
    Show { id: String },
    /// Show what happened to a session.
    Events {
        id: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Ask for an observation of a running session.
    Observe {
        id: String,
        /// Wait until the request has its outcome.
        #[arg(long)]
        wait: bool,
    },
    /// Count what was measured in a session no longer as evidence of what its definition needs.
    ExcludeEvidence {
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Count it again.
    IncludeEvidence {
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// List workers.
    List(Paging),
    /// Show one worker.
    Show { id: String },
    /// Register a worker from a JSON file (`-` for standard input).
    Register { file: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObservationCommand {
    /// Requests for an observation and their outcomes, newest first.
    Requests {
        /// open, recorded, failed or skipped.
        #[arg(long)]
        status: Option<String>,
        #[arg(long)]
        session: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DriftCommand {
    /// List sessions with drifted ports, newest first.
    List(Paging),
    /// Show what differs for one session.
    Show { id: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Show one event in full.
    Show { id: String },
    /// Print events as they are recorded, one JSON document a line, until interrupted.
    Follow {
        /// Begin after this position instead of now.
        #[arg(long)]
        after: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SignInCommand {
    /// List browsers that are signed in, those that were used last first.
    List,
    /// Sign a browser out, at once.
    End { id: uuid::Uuid },
}

/// Carries the command out and prints the answer to standard output.
pub(crate) async fn run(command: ClientCommand) -> anyhow::Result<()> {
    match command {
        ClientCommand::Definition(command) => {
            definition(&command.connect()?, command.command, command.arguments.output).await
        }
        ClientCommand::Session(command) => {
            session(&command.connect()?, command.command, command.arguments.output).await
        }
        ClientCommand::Worker(command) => worker(&command.connect()?, command.command, command.arguments.output).await,
        ClientCommand::Observation(command) => {
            observation(&command.connect()?, command.command, command.arguments.output).await
        }
        ClientCommand::Drift(command) => drift(&command.connect()?, command.command, command.arguments.output).await,
        ClientCommand::Event(command) => event(&command.connect()?, command.command, command.arguments.output).await,
        ClientCommand::Topology(command) => {
            advice::topology(&command.connect()?, command.command, command.arguments.output).await
        }
        ClientCommand::Advice(command) => {
            advice::advice(&command.connect()?, command.command, command.arguments.output).await
        }
        ClientCommand::Proposal(command) => {
            advice::proposal(&command.connect()?, command.command, command.arguments.output).await
        }
        ClientCommand::SignIn(command) => sign_in(&command.connect()?, command.command, command.arguments.output).await,
    }
}

impl<C: Subcommand> ApiCommand<C> {
    fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.arguments.connection)
    }
}

async fn observation(connection: &Connection, command: ObservationCommand, output: OutputFormat) -> anyhow::Result<()> {
    let ObservationCommand::Requests { status, session, paging } = command;
    let filters = filters(&[("status", status), ("session_id", session)]);
    output.rows(REQUEST_COLUMNS, &connection.list("/api/observation-requests", &filters, paging.limit).await?)
}

async fn drift(connection: &Connection, command: DriftCommand, output: OutputFormat) -> anyhow::Result<()> {
    match command {
        DriftCommand::List(paging) => {
            let filters = filters(&[("drift", Some("true".to_owned()))]);
            output.rows(DRIFT_COLUMNS, &connection.list("/api/lablet-sessions", &filters, paging.limit).await?)
        }
        DriftCommand::Show { id } => {
            let session = connection.get(&format!("/api/lablet-sessions/{id}")).await?;
            let shown = [
                "id",
                "status",
                "port_drift_detected",
                "allocated_ports",
                "observed_ports",
                "port_drift",
                "observed_at",
            ];
            output.one(&shown.iter().map(|name| ((*name).to_owned(), session[name].clone())).collect())
        }
    }
}

async fn event(connection: &Connection, command: EventCommand, output: OutputFormat) -> anyhow::Result<()> {
    match command {
        EventCommand::Show { id } => output.one(&connection.get(&format!("/api/events/{id}")).await?),
        EventCommand::Follow { after } => connection.follow(after.as_deref()).await,
    }
}

async fn sign_in(connection: &Connection, command: SignInCommand, output: OutputFormat) -> anyhow::Result<()> {
    match command {
        SignInCommand::List => {
            let answer = connection.get("/api/sign-ins").await?;
            output.rows(SIGN_IN_COLUMNS, answer["items"].as_array().map_or(&[], Vec::as_slice))
        }
        SignInCommand::End { id } => output.one(&connection.delete(&format!("/api/sign-ins/{id}")).await?),
    }
}

async fn definition(connection: &Connection, command: DefinitionCommand, output: OutputFormat) -> anyhow::Result<()> {
    match command {
        DefinitionCommand::List(paging) => {
            output.rows(DEFINITION_COLUMNS, &connection.list("/api/lablet-definitions", &[], paging.limit).await?)
        }
        DefinitionCommand::Show { id } => output.one(&connection.get(&format!("/api/lablet-definitions/{id}")).await?),
        DefinitionCommand::Create { file } => {
            output.one(&connection.post("/api/lablet-definitions", &read_json(&file)?).await?)
        }
        DefinitionCommand::Revise { id, file } => {
            let path = format!("/api/lablet-definitions/{id}");
            output.one(&connection.patch_newest(&path, &read_json(&file)?).await?)
        }
        DefinitionCommand::Recommend(arguments) => advice::recommend(connection, arguments, output).await,
        DefinitionCommand::Explain(arguments) => advice::explain(connection, arguments, output).await,
        DefinitionCommand::BackTest(arguments) => advice::back_test(connection, arguments, output).await,
        DefinitionCommand::Observations { id, limit } => {
            let path = format!("/api/lablet-definitions/{id}/resource-observations?limit={limit}");
            let answer = connection.get(&path).await?;
            match output {
                OutputFormat::Table => {
                    output.rows(AGGREGATE_COLUMNS, &aggregate_rows(&answer))?;
                    output.rows(SESSION_OBSERVATION_COLUMNS, answer["sessions"].as_array().map_or(&[], Vec::as_slice))
                }
                OutputFormat::Json => output.one(&answer),
                OutputFormat::Jsonl | OutputFormat::Csv => {
                    output.rows(SESSION_OBSERVATION_COLUMNS, answer["sessions"].as_array().map_or(&[], Vec::as_slice))
                }
            }
        }
    }
}

async fn session(connection: &Connection, command: SessionCommand, output: OutputFormat) -> anyhow::Result<()> {
    match command {
        SessionCommand::List { status, definition, worker, paging } => {
            let filters = filters(&[("status", status), ("definition_id", definition), ("worker_id", worker)]);
            output.rows(SESSION_COLUMNS, &connection.list("/api/lablet-sessions", &filters, paging.limit).await?)
        }
        SessionCommand::Show { id } => output.one(&connection.get(&format!("/api/lablet-sessions/{id}")).await?),
        SessionCommand::Events { id, paging } => {
            let rows = connection.list(&format!("/api/lablet-sessions/{id}/events"), &[], paging.limit).await?;
            output.rows(EVENT_COLUMNS, &rows)
        }
        SessionCommand::ExcludeEvidence { id, reason } => {
            let path = format!("/api/lablet-sessions/{id}/evidence-exclusion");
            output.one(&connection.post(&path, &json!({ "reason": reason })).await?)
        }
        SessionCommand::IncludeEvidence { id, reason } => {
            let path = format!("/api/lablet-sessions/{id}/evidence-inclusion");
            output.one(&connection.post(&path, &json!({ "reason": reason })).await?)
        }
        SessionCommand::Observe { id, wait } => {
            let accepted = connection.post(&format!("/api/lablet-sessions/{id}/observe-resources"), &json!({})).await?;
            if !wait {
                return output.one(&accepted);
            }
            let request_id = accepted["request_id"].as_str().context("the answer names no request")?;
            output.one(&connection.outcome(&id, request_id).await?)
        }
    }
}

async fn worker(connection: &Connection, command: WorkerCommand, output: OutputFormat) -> anyhow::Result<()> {
    match command {
        WorkerCommand::List(paging) => {
            output.rows(WORKER_COLUMNS, &connection.list("/api/workers", &[], paging.limit).await?)
        }
        WorkerCommand::Show { id } => output.one(&connection.get(&format!("/api/workers/{id}")).await?),
        WorkerCommand::Register { file } => output.one(&connection.post("/api/workers", &read_json(&file)?).await?),
    }
}

fn filters(given: &[(&'static str, Option<String>)]) -> Vec<(&'static str, String)> {
    given.iter().filter_map(|(name, value)| value.clone().map(|value| (*name, value))).collect()
}

fn read_json(file: &str) -> anyhow::Result<Value> {
    serde_json::from_str(&read_text(file)?).with_context(|| format!("{file} is no JSON document"))
}

fn read_text(file: &str) -> anyhow::Result<String> {
    if file == "-" {
        return std::io::read_to_string(std::io::stdin()).context("standard input cannot be read");
    }
    std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))
}

/// The aggregate of a definition as rows: one a quantity.
fn aggregate_rows(answer: &Value) -> Vec<Value> {
    ["cpu_cores", "memory_mb", "storage_mb", "node_count"]
        .iter()
        .map(|quantity| {
            let aggregate = &answer["aggregate"][quantity];
            json!({ "quantity": quantity, "max": aggregate["max"], "avg": aggregate["avg"], "latest": aggregate["latest"] })
        })
        .collect()
}

const SIGN_IN_COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("ROLE", "/role"),
    column("SIGNED IN BY", "/signed_in_by"),
    column("FROM", "/address"),
    column("SIGNED IN AT", "/signed_in_at"),
    column("LAST USED AT", "/last_used_at"),
];
const DEFINITION_COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("VERSION", "/version"),
    column("REVISION", "/revision"),
    column("CORES", "/resource_requirements/cpu_cores"),
    column("MEMORY GB", "/resource_requirements/memory_gb"),
    column("STORAGE GB", "/resource_requirements/storage_gb"),
    column("OBSERVATIONS", "/observations/observation_count"),
    column("DRIFTED SESSIONS", "/observations/drift_sessions"),
];
const AGGREGATE_COLUMNS: &[Column] =
    &[column("QUANTITY", "/quantity"), column("MAX", "/max"), column("AVERAGE", "/avg"), column("LATEST", "/latest")];
const SESSION_OBSERVATION_COLUMNS: &[Column] = &[
    column("SESSION", "/session_id"),
    column("OBSERVED AT", "/observed_at"),
    column("CORES", "/cpu_cores"),
    column("MEMORY MB", "/memory_mb"),
    column("STORAGE MB", "/storage_mb"),
    column("NODES", "/node_count"),
    column("DRIFT", "/port_drift_detected"),
];
const SESSION_COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("DEFINITION", "/definition_id"),
    column("VERSION", "/definition_version"),
    column("STATUS", "/status"),
    column("WORKER", "/worker_id"),
    column("OBSERVATIONS", "/observation_count"),
    column("DRIFT", "/port_drift_detected"),
    column("UPDATED AT", "/updated_at"),
];
const DRIFT_COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("DEFINITION", "/definition_id"),
    column("STATUS", "/status"),
    column("ADDED", "/port_drift/added"),
    column("REMOVED", "/port_drift/removed"),
    column("CHANGED", "/port_drift/changed"),
    column("OBSERVED AT", "/observed_at"),
];
const EVENT_COLUMNS: &[Column] = &[
    column("SEQUENCE", "/sequence"),
    column("TYPE", "/type"),
    column("RECORDED AT", "/recorded_at"),
    column("ACTOR", "/actor"),
    column("EVENT ID", "/event_id"),
];
const REQUEST_COLUMNS: &[Column] = &[
    column("REQUEST", "/request_id"),
    column("SESSION", "/session_id"),
    column("REQUESTED BY", "/requested_by"),
    column("REQUESTED AT", "/requested_at"),
    column("OUTCOME", "/outcome"),
    column("REASON", "/reason"),
];
const WORKER_COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("ADDRESS", "/address"),
    column("CORES", "/capacity/cpu_cores"),
    column("MEMORY GB", "/capacity/memory_gb"),
    column("NODES", "/capacity/max_nodes"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aggregate_becomes_a_row_a_quantity() {
        let answer =
            json!({"aggregate": {"cpu_cores": {"max": 2.0, "avg": 1.5, "latest": 2.0}, "memory_mb": {"max": null}}});
        let rows = aggregate_rows(&answer);
        assert_eq!(rows[0], json!({"quantity": "cpu_cores", "max": 2.0, "avg": 1.5, "latest": 2.0}));
        assert_eq!(rows[1]["max"], Value::Null);
    }
}
