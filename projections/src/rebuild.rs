//! Makes a read model anew from the log, beside the one that is read, and swaps the two.
//!
//! The tables of the next one are copies of the structure of the live ones, in `read_NAME_next`. They are filled by the
//! same fold, rows in memory that are written by `COPY` ([`fill`]). The checkpoint lies among them, so a rebuild that was
//! interrupted goes on where it was. Where it is asked for, the two are compared in one snapshot ([`compare`]). The swap
//! moves the tables from schema to schema and points the analysts' views to the new ones in one transaction ([`swap`]):
//! readers see the old rows or the new.
//!
//! None of its transactions has a transaction id for long, as nobody who reads the log passes one that is open.

mod compare;
mod fill;
mod swap;

use std::time::Duration;

use app::log::{LogError, Position};
use bus::Backoff;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio_util::sync::CancellationToken;

use crate::Projections;
use crate::checkpoint::{Checkpoint, Tables};
use crate::read_models::ReadModel;
use crate::writer::BatchError;

/// How a rebuild is done.
#[derive(Debug, Clone, Default)]
pub struct RebuildOptions {
    /// Compare the new rows with the live ones, table by table, before the swap. It reads both in full.
    pub compare: bool,
    /// Stop before the swap, and drop the new tables: the comparison was all that was wanted.
    pub keep_live: bool,
}

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebuildReport {
    /// Which read model.
    pub read_model: ReadModel,
    /// Events that this run read; fewer than the log has where it went on with an interrupted one.
    pub events: u64,
    /// Where both are now.
    pub position: Position,
    /// Whether the new tables are the live ones now.
    pub swapped: bool,
    /// Tables whose rows differed. Null: not compared, because nobody asked or because the live ones are of another
    /// revision.
    pub differing_tables: Option<Vec<TableDifference>>,
}

/// A table whose rebuilt rows are not the live ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableDifference {
    /// The table.
    pub table: String,
    /// Live rows.
    pub live_rows: i64,
    /// Rebuilt rows.
    pub rebuilt_rows: i64,
    /// Live rows that the rebuilt table does not hold, at most ten, as JSON.
    pub only_live: Vec<String>,
    /// Rebuilt rows that the live table does not hold, at most ten, as JSON.
    pub only_rebuilt: Vec<String>,
}

/// A rebuild did not end. It goes on where it was when it is begun again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The database does not answer, or is not as it should be.
    #[error("the database did not take the rebuilt rows")]
    Database(#[from] sqlx::Error),
    /// The log does not answer.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// Its token was cancelled.
    #[error("the rebuild was stopped")]
    Stopped,
    /// Somebody uses the tables, for longer than a moment.
    #[error("the tables are in use")]
    Busy,
    /// The live rows kept moving on while the new ones were to come to where they are.
    #[error("the rebuilt rows do not catch up with the live ones")]
    Behind,
    /// The tables stayed in use.
    #[error("the tables of {model} could not be had in {attempts} attempts; in use by {holders}")]
    InUse {
        /// Whose tables.
        model: ReadModel,
        /// How often it was tried.
        attempts: u32,
        /// Who uses them: process and role of each.
        holders: String,
    },
}

impl From<BatchError> for RebuildError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Database(error) => Self::Database(error),
            BatchError::Log(error) => Self::Log(error),
            BatchError::CannotBeParked(_, _) => Self::Database(sqlx::Error::Protocol(error.to_string())),
        }
    }
}

/// What a rebuild does once the new rows are where the live ones are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Compare,
    Swap,
    /// Drop the new rows.
    Abandon,
}

enum StepResult {
    Compared(Option<Vec<TableDifference>>),
    /// Where the live rows are.
    At(Position),
}

/// How often a rebuild tries a step that the database refused.
const ATTEMPTS: u32 = 10;
/// How often a change of structure asks for its locks, with a few seconds between: some minutes in all.
const LOCK_ATTEMPTS: u32 = 60;
/// How often a rebuild that is done asks for the locks on the tables that it replaced. The next one drops them too.
const DROP_ATTEMPTS: u32 = 3;

impl Projections {
    /// Rebuilds a read model and swaps it in. Live reads go on; live rows go on moving. Goes on with an interrupted
    /// rebuild of the same revision.
    ///
    /// # Errors
    /// The database or the log does not answer for long, or the token is cancelled.
    pub async fn rebuild(
        &self,
        model: ReadModel,
        options: RebuildOptions,
        token: &CancellationToken,
    ) -> Result<RebuildReport, RebuildError> {
        self.with_locks(model, LOCK_ATTEMPTS, token, || self.prepare(model)).await?;
        let mut events = 0;
        let mut differing_tables = None;
        if options.compare
            && let StepResult::Compared(tables) = self.with_attempts(model, Step::Compare, token, &mut events).await?
        {
            differing_tables = tables;
        }
        let swapped = !options.keep_live;
        let last = if swapped { Step::Swap } else { Step::Abandon };
        let position = match self.with_attempts(model, last, token, &mut events).await? {
            StepResult::At(position) => position,
            StepResult::Compared(_) => self.position(model).await?,
        };
        self.announce_move();
        self.drop_retired(model, token).await?;
        tracing::info!(projection = model.name(), %position, events, swapped, "read model rebuilt");
        Ok(RebuildReport { read_model: model, events, position, swapped, differing_tables })
    }

    /// How far the rebuild of a read model has come that is under way or was interrupted; none where there is none.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn rebuilt_to(&self, model: ReadModel) -> sqlx::Result<Option<Position>> {
        let schema = Tables::Next.schema(model);
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(format!("{schema}.checkpoint"))
            .fetch_one(&self.reads)
            .await?;
        if !exists {
            return Ok(None);
        }
        Ok(Some(Checkpoint::read(&self.reads, &schema).await?.position))
    }

    async fn step_of_rebuild(
        &self,
        model: ReadModel,
        step: Step,
        token: &CancellationToken,
        events: &mut u64,
    ) -> Result<StepResult, RebuildError> {
        if step != Step::Abandon {
            *events += self.fill(model, token).await?;
        }
        match step {
            Step::Compare => Ok(StepResult::Compared(self.compare(model).await?)),
            Step::Swap => self.with_locks(model, LOCK_ATTEMPTS, token, || self.swap(model)).await.map(StepResult::At),
            Step::Abandon => {
                self.with_locks(model, LOCK_ATTEMPTS, token, || self.abandon(model)).await.map(StepResult::At)
            }
        }
    }

    /// Does a step of a rebuild, again where it failed, as everything before it is kept.
    async fn with_attempts(
        &self,
        model: ReadModel,
        step: Step,
        token: &CancellationToken,
        events: &mut u64,
    ) -> Result<StepResult, RebuildError> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut failures = 0;
        loop {
            if token.is_cancelled() {
                return Err(RebuildError::Stopped);
            }
            match self.step_of_rebuild(model, step, token, events).await {
                Err(error @ (RebuildError::InUse { .. } | RebuildError::Stopped)) => return Err(error),
                Err(error) if failures < ATTEMPTS => {
                    failures += 1;
                    let wait = backoff.next_wait();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        projection = model.name(),
                        failures,
                        wait_ms = wait.as_millis(),
                        "step of a rebuild failed, retrying"
                    );
                    if token.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                        return Err(RebuildError::Stopped);
                    }
                }
                done => return done,
            }
        }
    }
}

/// Executes a statement made of names of this crate's own.
async fn execute(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}

async fn tables(connection: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = $1 ORDER BY tablename")
        .bind(schema)
        .fetch_all(connection)
        .await
}
