//! One batch: rows, applied-events table, parked events and checkpoint move in one transaction.
//!
//! Rows are loaded and folded before the transaction begins: it holds a transaction id only while it writes, as nobody
//! who reads the log in order passes an open one. The checkpoint tells whether the rows are still what was loaded.

use std::sync::Arc;
use std::time::Duration;

use app::log::LogError;
use sqlx::postgres::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::checkpoint::{Checkpoint, Tables};
use crate::projector::{Recorded, Refused};
use crate::read_models::ReadModel;
use crate::table::WriteMode;
use crate::working_set::{FoldError, Outcome, WorkingSet};

/// How a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// The checkpoint is now here; so many events were handled, so many of them parked. The longest transaction took so
    /// long.
    To { checkpoint: Checkpoint, events: usize, parked: u64, written_in: Duration },
    /// Somebody else is moving it, or has moved it since it was read.
    Elsewhere,
}

/// Why a batch failed as a whole; nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    /// The database does not answer, or is not as it should be.
    #[error("the database did not take a batch of events")]
    Database(#[from] sqlx::Error),
    /// The log does not answer.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// An event that is refused cannot be parked either.
    #[error("event {0} cannot be parked")]
    CannotBeParked(Uuid, #[source] Refused),
}

/// How an attempt to apply events ended.
enum Attempt {
    Moved(Moved),
    /// One of them cannot be applied, and nothing was.
    Faulty(Refused),
}

/// The refusal of an event by the database: data exceptions and violated constraints, which come again however often it is
/// tried. All else is the state of the database or of the connection.
pub(crate) fn refusal(error: &sqlx::Error) -> Option<Refused> {
    match error {
        sqlx::Error::Database(refused)
            if refused.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23")) =>
        {
            Some(Refused::new(format!("the database did not take it: {error}")))
        }
        _ => None,
    }
}

/// Applies `events`, which follow the checkpoint, in one transaction; where that fails through one of them, one by one,
/// each in a transaction of its own. Dropped half-way, whole transactions stay and nothing else.
pub(crate) async fn apply(
    pool: &PgPool,
    model: ReadModel,
    tables: Tables,
    from: Checkpoint,
    events: &[Arc<Recorded>],
) -> Result<Moved, BatchError> {
    if let Attempt::Moved(moved) = attempt(pool, model, tables, from, events, None).await? {
        return Ok(moved);
    }
    tracing::debug!(projection = model.name(), events = events.len(), "applying events one by one");
    let mut moved = Moved::Elsewhere;
    let (mut at, mut handled, mut all_parked, mut all_written_in) = (from, 0, 0, Duration::ZERO);
    for event in events {
        let one = std::slice::from_ref(event);
        let attempted = match attempt(pool, model, tables, at, one, None).await? {
            Attempt::Faulty(refused) => match attempt(pool, model, tables, at, one, Some(&refused)).await? {
                Attempt::Faulty(refused) => return Err(BatchError::CannotBeParked(event.event_id(), refused)),
                Attempt::Moved(moved) => moved,
            },
            Attempt::Moved(moved) => moved,
        };
        let Moved::To { checkpoint, events, parked, written_in } = attempted else { break };
        at = checkpoint;
        handled += events;
        all_parked += parked;
        all_written_in = all_written_in.max(written_in);
        moved = Moved::To { checkpoint, events: handled, parked: all_parked, written_in: all_written_in };
    }
    Ok(moved)
}

async fn attempt(
    pool: &PgPool,
    model: ReadModel,
    tables: Tables,
    from: Checkpoint,
    events: &[Arc<Recorded>],
    refused: Option<&Refused>,
) -> Result<Attempt, BatchError> {
    let Some(last) = events.last() else { return Ok(Attempt::Moved(Moved::Elsewhere)) };
    let to = last.position();
    let schema = tables.schema(model);
    let mut connection = pool.acquire().await?;
    if !events.iter().any(|event| model.projector().follows(event)) {
        let started = Instant::now();
        let moved = from.advance(&mut *connection, &schema, to).await?;
        return Ok(Attempt::Moved(moved_to(moved, events.len(), 0, started)));
    }
    let mut set = WorkingSet::new(model, tables);
    set.load(&mut connection, events, false).await?;
    let Outcome { parked, .. } = match set.fold(&mut connection, events, refused).await {
        Ok(outcome) => outcome,
        Err(FoldError::Database(error)) => return Err(error.into()),
        Err(FoldError::HalfFolded(refused)) => return Ok(Attempt::Faulty(refused)),
    };
    drop(connection);
    let mut transaction = app::log::begin(pool).await?;
    let started = Instant::now();
    let moved = from.advance(&mut *transaction, &schema, to).await?;
    if moved.is_some() {
        if let Err(error) = set.write(&mut transaction, WriteMode::Insert).await {
            return refusal(&error).map(Attempt::Faulty).ok_or(BatchError::Database(error));
        }
        transaction.commit().await?;
    }
    Ok(Attempt::Moved(moved_to(moved, events.len(), parked, started)))
}

fn moved_to(moved: Option<Checkpoint>, events: usize, parked: u64, started: Instant) -> Moved {
    match moved {
        Some(checkpoint) => Moved::To { checkpoint, events, parked, written_in: started.elapsed() },
        None => Moved::Elsewhere,
    }
}
