//! `lablet worker`.

use clap::Subcommand;

use super::connection::Parameters;
use super::output::{Column, column, wide_column};
use super::watch::{Noun, WatchArguments};
use super::{Client, Paging, Since, example, read_json};

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// List workers, newest first.
    List(Paging),
    /// Show one worker.
    Show {
        /// The worker.
        id: String,
        #[command(flatten)]
        since: Since,
    },
    /// Print workers as they change, a row a change, until interrupted.
    Watch {
        /// Which; all unless stated.
        id: Option<String>,
        #[command(flatten)]
        watch: WatchArguments,
    },
    /// Register a worker.
    #[command(after_long_help = example::help(&example::WORKER))]
    Register {
        /// A JSON file with the worker, `-` for standard input.
        file: String,
    },
    /// Change a worker.
    #[command(after_long_help = example::help(&example::WORKER_CHANGE))]
    Change {
        /// The worker.
        id: String,
        /// A JSON file with what changes, `-` for standard input.
        file: String,
    },
    /// What the sessions of each worker take of it now.
    Loads(Paging),
    /// What the sessions of one worker take of it now.
    Load {
        /// The worker.
        id: String,
        #[command(flatten)]
        since: Since,
    },
    /// Which ports of a worker lead where.
    PortMap {
        /// The worker.
        id: String,
        #[command(flatten)]
        since: Since,
    },
    /// When a worker was short, and of what, newest first.
    Pressure {
        /// The worker.
        id: String,
        #[command(flatten)]
        paging: Paging,
    },
}

pub(super) async fn run(client: &Client, command: WorkerCommand) -> anyhow::Result<()> {
    let of = |id: &str, part: &str| format!("/api/workers/{id}{part}");
    match command {
        WorkerCommand::List(paging) => {
            client.list(COLUMNS, "/api/workers", &Parameters::new(&paging.since)?, &paging.limit).await
        }
        WorkerCommand::Show { id, since } => client.show(&of(&id, ""), &Parameters::new(&since)?).await,
        WorkerCommand::Watch { id, watch } => watch.run(client, &NOUN, id.as_deref(), Parameters::default()).await,
        WorkerCommand::Register { file } => {
            client.output.one(&client.connection.post("/api/workers", &read_json(&file)?).await?)
        }
        WorkerCommand::Change { id, file } => {
            client.output.one(&client.connection.patch_newest(&of(&id, ""), &read_json(&file)?).await?)
        }
        WorkerCommand::Loads(paging) => {
            client.list(LOAD_COLUMNS, "/api/worker-loads", &Parameters::new(&paging.since)?, &paging.limit).await
        }
        WorkerCommand::Load { id, since } => client.show(&of(&id, "/load"), &Parameters::new(&since)?).await,
        WorkerCommand::PortMap { id, since } => client.show(&of(&id, "/port-map"), &Parameters::new(&since)?).await,
        WorkerCommand::Pressure { id, paging } => {
            let asked = Parameters::new(&paging.since)?;
            client.list(PRESSURE_COLUMNS, &of(&id, "/pressure"), &asked, &paging.limit).await
        }
    }
}

const NOUN: Noun = Noun { path: "/api/workers", aggregate: "worker", columns: COLUMNS };

pub(super) const COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("ADDRESS", "/address"),
    column("CORES", "/capacity/cpu_cores"),
    column("MEMORY GB", "/capacity/memory_gb"),
    column("NODES", "/capacity/max_nodes"),
    column("CONTACT", "/contact/state"),
    wide_column("LAST ANSWER AT", "/contact/last_answer_at"),
    wide_column("LAST ERROR", "/contact/last_error/words"),
    wide_column("STORAGE GB", "/capacity/storage_gb"),
    wide_column("FIRST PORT", "/port_range/first"),
    wide_column("LAST PORT", "/port_range/last"),
    wide_column("REGISTERED AT", "/registered_at"),
    wide_column("UPDATED AT", "/updated_at"),
];
pub(super) const LOAD_COLUMNS: &[Column] = &[
    column("WORKER", "/worker_id"),
    column("SESSIONS UP", "/up_sessions"),
    column("BOOKED", "/booked_sessions"),
    column("DRIFTED", "/drifted_sessions"),
    column("CORES", "/cpu_cores/known"),
    column("MEMORY MB", "/memory_mb/known"),
    column("STORAGE MB", "/storage_mb/known"),
    column("NODES", "/nodes/known"),
    column("CORES USED", "/used_cpu_cores/known"),
    column("MEMORY MB USED", "/used_memory_mb/known"),
    wide_column("CORES AT PEAKS", "/peak_cpu_cores/known"),
    wide_column("MEMORY MB AT PEAKS", "/peak_memory_mb/known"),
];
pub(super) const PRESSURE_COLUMNS: &[Column] = &[
    column("CONDITION", "/condition"),
    column("SHORT OF", "/short_of"),
    column("BEGAN AT", "/began_at"),
    column("ENDED AT", "/ended_at"),
    column("LEAST FREE CORES", "/least_free_cpu_cores"),
    column("LEAST FREE MEMORY MB", "/least_free_memory_mb"),
    column("LEAST FREE STORAGE MB", "/least_free_storage_mb"),
    wide_column("MOST QUEUED NODES", "/most_queued_nodes"),
    wide_column("LONGEST WAIT S", "/longest_wait_seconds"),
    wide_column("EVENT ID", "/event_id"),
];
