//! One batch: read from the log, fold, and move the checkpoint, in one transaction.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use app::log::{Log, LogError, Position, RecordedEvent};
use sqlx::postgres::PgTransaction;
use sqlx::{Acquire as _, PgConnection};

use crate::checkpoint::Checkpoint;
use crate::dead_letters;
use crate::{ApplyError, ReadModel};

/// A batch takes no more events after this time: readers of the log cannot see past a transaction that is open.
const LONGEST_BATCH: Duration = Duration::from_millis(100);
/// A batch that takes longer than this is given up: the connection may be dead.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the live tables are.
pub(crate) const LIVE: &str = "read_models";

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It folded events and moved the checkpoint.
    Moved {
        /// To the position of the last of them.
        to: Position,
        /// How many.
        events: usize,
    },
    /// There was nothing to fold.
    Idle {
        /// Where the checkpoint is.
        at: Position,
    },
    /// The checkpoint is not where it was thought to be: another runner moved it, or it is gone.
    Elsewhere,
}

/// A batch failed as a whole; nothing of it took effect, unless it was the answer to the commit that was lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    #[error("an event cannot be applied now")]
    Apply(#[from] ApplyError),
    #[error("the batch took longer than {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the read model is of revision {found}, this program's of {own}")]
    Revision { found: i32, own: i32 },
}

/// Folds the log into the tables of one schema, at the pace of one checkpoint.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) log: Log,
    pub(crate) model: ReadModel,
    /// Name of the checkpoint, and of the dead letters.
    pub(crate) name: String,
    /// Where the tables are.
    pub(crate) schema: &'static str,
    /// Most events of a batch.
    pub(crate) batch: i64,
}

impl Fold {
    /// Folds into the live tables.
    pub(crate) fn live(log: Log, model: ReadModel, batch: i64) -> Self {
        Self { log, name: model.name.to_owned(), model, schema: LIVE, batch }
    }

    /// One batch after `from`, where the checkpoint is thought to be.
    pub(crate) async fn step(&self, from: Position) -> Result<Step, StepError> {
        tokio::time::timeout(TIMEOUT, self.step_in_time(from)).await.map_err(|_| StepError::Timeout)?
    }

    async fn step_in_time(&self, from: Position) -> Result<Step, StepError> {
        let events = self.log.read(from, self.batch).await?;
        if events.is_empty() {
            return Ok(Step::Idle { at: from });
        }
        // Savepoints cost two round trips an event, so they are taken only once something has failed.
        match self.fold(from, &events, Care::Whole).await {
            Err(StepError::Apply(error)) if !error.is_transient() => {
                tracing::warn!(
                    projection = self.name,
                    error = &error as &dyn std::error::Error,
                    "an event cannot be applied; the batch is folded again, event by event"
                );
                self.fold(from, &events, Care::EventByEvent).await
            }
            other => other,
        }
    }

    async fn fold(&self, from: Position, events: &[RecordedEvent], care: Care) -> Result<Step, StepError> {
        let mut transaction = self.log.pool().begin().await?;
        match Checkpoint::lock(&mut transaction, &self.name, self.schema).await? {
            Some(checkpoint) if checkpoint.position == from && checkpoint.revision == self.model.revision => {}
            Some(_) | None => return Ok(Step::Elsewhere),
        }
        let (to, count) = self.fold_in(&mut transaction, events, care, Some(LONGEST_BATCH)).await?;
        let checkpoint = Checkpoint { position: to, revision: self.model.revision };
        checkpoint.store(&mut transaction, &self.name).await?;
        transaction.commit().await?;
        Ok(Step::Moved { to, events: count })
    }

    /// Folds events within a transaction, of which some may be left over when the time is up. Gives the position of
    /// the last one that was folded and how many were.
    pub(crate) async fn fold_in(
        &self,
        transaction: &mut PgTransaction<'_>,
        events: &[RecordedEvent],
        care: Care,
        longest: Option<Duration>,
    ) -> Result<(Position, usize), StepError> {
        let began = Instant::now();
        let mut parked = dead_letters::parked_of(transaction, &self.name, events).await?;
        let (mut to, mut count) = (Position::START, 0);
        for event in events {
            if count > 0 && longest.is_some_and(|longest| began.elapsed() > longest) {
                break;
            }
            self.fold_one(transaction, event, care, &mut parked).await?;
            to = event.position;
            count += 1;
        }
        Ok((to, count))
    }

    async fn fold_one(
        &self,
        transaction: &mut PgConnection,
        event: &RecordedEvent,
        care: Care,
        parked: &mut HashSet<(String, String)>,
    ) -> Result<(), StepError> {
        let aggregate = (event.aggregate_type.clone(), event.aggregate_id.clone());
        if parked.contains(&aggregate) {
            let reason = "an earlier event of the same aggregate is parked";
            dead_letters::park(transaction, &self.name, event, reason).await?;
            return Ok(());
        }
        match care {
            Care::Whole => {
                self.model.apply(transaction, event).await?;
            }
            Care::EventByEvent => {
                let mut savepoint = transaction.begin().await?;
                match self.model.apply(&mut savepoint, event).await {
                    Ok(_) => savepoint.commit().await?,
                    Err(error) if error.is_transient() => return Err(error.into()),
                    Err(error) => {
                        savepoint.rollback().await?;
                        let reason = dead_letters::reason(&error);
                        tracing::error!(
                            projection = self.name,
                            event.id = %event.event_id,
                            aggregate.id = event.aggregate_id,
                            position = %event.position,
                            reason,
                            "an event is parked, and with it the later ones of its aggregate"
                        );
                        dead_letters::park(transaction, &self.name, event, &reason).await?;
                        parked.insert(aggregate);
                    }
                }
            }
        }
        Ok(())
    }
}

/// How carefully events are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// All or none.
    Whole,
    /// One that cannot be applied is parked.
    EventByEvent,
}
