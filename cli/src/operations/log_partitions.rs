//! `lablet log`: the partitions of the log, cutting the current one off, and moving an old one. As the database's owner.

use std::process::ExitCode;

use anyhow::Context as _;
use app::log::partitions::{self, PartitionError};
use clap::Subcommand;
use tokio::sync::watch;

use crate::client::output::{Column, OutputFormat, column};
use crate::configuration::DatabaseArguments;
use crate::exit::{ExitStatus, Failure};
use crate::progress::{Progress, Unit};
use crate::terminal::say;

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// List the partitions of the log: their positions, events and sizes, since when, and where they lie.
    Partitions {
        #[command(flatten)]
        database: DatabaseArguments,
        /// How to print them.
        #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
        output: OutputFormat,
    },
    /// Begin a new partition, so that the one until now never changes again. Others append and read meanwhile. Interrupted, the
    /// same command goes on.
    Cut {
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Move an old partition into another tablespace, while it is read. Interrupted, the same command goes on.
    Move {
        /// Its number, as `lablet log partitions` lists it.
        number: i32,
        /// The tablespace, which is there.
        #[arg(long)]
        tablespace: String,
        #[command(flatten)]
        database: DatabaseArguments,
    },
}

const COLUMNS: &[Column] = &[
    column("NUMBER", "/number"),
    column("TABLE", "/name"),
    column("FROM POSITION", "/from_position"),
    column("BEFORE POSITION", "/before_position"),
    column("EVENTS", "/events"),
    column("BYTES", "/bytes"),
    column("INDEX BYTES", "/index_bytes"),
    column("BEGAN AT", "/began_at"),
    column("CUT AT", "/cut_at"),
    column("TABLESPACE", "/tablespace"),
];

pub(super) async fn run(command: LogCommand) -> anyhow::Result<ExitCode> {
    match command {
        LogCommand::Partitions { database, output } => {
            let pool = app::log::pool(database.owner_url()?.reveal(), 2)?;
            let listed = partitions::list(&pool).await.context("the partitions cannot be read")?;
            let rows: Vec<_> = listed.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
            output.rows(COLUMNS, &rows)?;
        }
        LogCommand::Cut { database } => {
            let pool = app::log::pool(database.owner_url()?.reveal(), 2)?;
            let (noted, progress) = (watch::Sender::new(0), Progress::begin("noting", Unit::Things("events"), None));
            let cut = shown(&noted, &progress, partitions::cut(&pool, &noted)).await;
            drop(progress);
            let cut = cut.map_err(explained)?;
            say(&format!(
                "cut off     partition {} with {} events; nothing could be appended for {} ms",
                cut.old,
                cut.events,
                cut.locked_for.as_millis()
            ))?;
            say(&format!("begun       partition {}", cut.old + 1))?;
        }
        LogCommand::Move { number, tablespace, database } => {
            let pool = app::log::pool(database.owner_url()?.reveal(), 2)?;
            let (copied, progress) = (watch::Sender::new(0), Progress::begin("copying", Unit::Things("events"), None));
            let moving = partitions::move_to_tablespace(&pool, number, &tablespace, &copied);
            let moved = shown(&copied, &progress, moving).await;
            drop(progress);
            moved.map_err(explained)?;
            say(&format!("moved       partition {number} lies in the tablespace {tablespace}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The answer; how far it is shows meanwhile.
async fn shown<T>(done: &watch::Sender<u64>, progress: &Progress, work: impl Future<Output = T>) -> T {
    let mut reached = done.subscribe();
    tokio::pin!(work);
    loop {
        tokio::select! {
            answer = &mut work => return answer,
            Ok(()) = reached.changed() => progress.reach(*reached.borrow_and_update()),
        }
    }
}

/// What the caller asked for and cannot have is their error.
fn explained(error: PartitionError) -> anyhow::Error {
    match error {
        PartitionError::Unknown(_) => Failure::new(ExitStatus::NotFound, error.to_string()).into(),
        PartitionError::Current(_) | PartitionError::Empty(_) => {
            Failure::new(ExitStatus::Conflict, error.to_string()).into()
        }
        PartitionError::Differs(_) | PartitionError::Busy(_) | PartitionError::Database(_) => error.into(),
    }
}
