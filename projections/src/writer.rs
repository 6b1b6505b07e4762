//! Writes one read model, a batch of events at a time: rows, applied events, parked events and the checkpoint's move in one
//! statement.
//!
//! Rows are loaded and folded before it: a transaction id is held only while Postgres writes, as nobody who reads the log in
//! order passes an open one. The checkpoint tells whether the rows are still what was loaded, so rows stay in memory from
//! batch to batch and what is written often is read once.

use std::sync::Arc;
use std::time::Duration;

use app::database::{ConnectionGuard, DedicatedConnection};
use app::log::{LogError, Position};
use tokio::time::Instant;
use uuid::Uuid;

use crate::Projections;
use crate::checkpoint::{Checkpoint, Tables};
use crate::feed::Feed;
use crate::projector::Recorded;
use crate::read_models::ReadModel;
use crate::refused::Refused;
use crate::working_set::{FoldError, Outcome, WorkingSet};

/// Settings of a connection on which rows are written: what is lost in a crash of Postgres is lost with its checkpoint, and
/// every statement goes by a key, also where a table was empty when the statement was planned.
pub(crate) const SETTINGS: &str = "SET synchronous_commit = off; SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '30s'; SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

/// How long events may take to be folded, and a batch to be written.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);

/// From so many events on, rows that are new are written by `COPY`: several statements instead of one, each cheaper a row.
const COPIED_FROM: usize = 200;

/// A batch shrinks when its transaction takes longer: nobody who reads the log passes one that is open. It grows while it
/// takes less than half of it.
const LONG_TRANSACTION: Duration = Duration::from_millis(100);

/// How many events are written at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchSize {
    events: usize,
    most: usize,
}

impl BatchSize {
    /// So many at first, and at most.
    pub(crate) const fn new(first: usize, most: usize) -> Self {
        Self { events: if first < most { first } else { most }, most }
    }

    /// So many.
    pub(crate) fn events(self) -> usize {
        self.events
    }

    /// Bounds how long a transaction is open by how long the one before was.
    #[must_use]
    pub(crate) fn after(self, written_in: Duration) -> Self {
        let events = if written_in > LONG_TRANSACTION {
            (self.events / 2).max(1)
        } else if written_in < LONG_TRANSACTION / 2 {
            (self.events * 2).min(self.most)
        } else {
            self.events
        };
        Self { events, ..self }
    }
}

/// How a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// So many events were handled, so many of them parked, and whether rows changed. The longest transaction took so long.
    To { events: usize, parked: u64, changed: bool, written_in: Duration },
    /// Somebody else is moving the checkpoint, or has moved it since it was read.
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

/// What was folded since the checkpoint and is not written yet.
#[derive(Debug, Clone, Copy)]
struct Folded {
    until: Position,
    events: usize,
    parked: u64,
    changed: bool,
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

/// The writer of a read model's tables, over a connection of its own. Dropped half-way, whole transactions stay and nothing
/// else.
pub(crate) struct Writer {
    model: ReadModel,
    tables: Tables,
    connection: DedicatedConnection,
    /// Where the tables were when they were last read or written.
    checkpoint: Option<Checkpoint>,
    /// Rows as they are stored at the checkpoint, and with what was folded since.
    rows: Option<WorkingSet>,
    folded: Option<Folded>,
    /// Of events up to here one could not be applied with the others.
    fault_until: Option<Position>,
    /// The epoch of the log as the connection found it; 0 before the first.
    epoch: i32,
    /// What has to know it, too.
    feed: Arc<Feed>,
}

impl Writer {
    /// Opens its connection with the first use. The pool says where to.
    pub(crate) fn new(projections: &Projections, model: ReadModel, tables: Tables) -> Self {
        let connection = DedicatedConnection::new(projections.pool.connect_options().as_ref().clone(), SETTINGS);
        let feed = projections.feed.clone();
        let (checkpoint, rows, folded, fault_until) = (None, None, None, None);
        Self { model, tables, connection, checkpoint, rows, folded, fault_until, epoch: 0, feed }
    }

    /// Where the tables are, as far as is known here.
    pub(crate) async fn checkpoint(&mut self) -> sqlx::Result<Checkpoint> {
        if let Some(checkpoint) = self.checkpoint {
            return Ok(checkpoint);
        }
        let mut connection = self.connection.acquire().await?;
        enter_epoch(&mut connection, &mut self.epoch, &self.feed).await?;
        let checkpoint = Checkpoint::read(&mut *connection, &self.tables.schema(self.model)).await?;
        connection.release();
        self.checkpoint = Some(checkpoint);
        Ok(checkpoint)
    }

    /// Whether the next use takes the checkpoint from memory.
    pub(crate) fn knows_checkpoint(&self) -> bool {
        self.checkpoint.is_some()
    }

    /// Reads the checkpoint and every row again next time.
    pub(crate) fn forget(&mut self) {
        (self.checkpoint, self.rows, self.folded) = (None, None, None);
    }

    /// What is in memory to be written, in bytes, about.
    pub(crate) fn unwritten_bytes(&mut self) -> usize {
        self.rows.as_mut().map_or(0, WorkingSet::unwritten_bytes)
    }

    /// Whether one of the events after the checkpoint is known not to be applied: [`Writer::apply`] finds it.
    pub(crate) fn is_before_fault(&self) -> bool {
        let Some(until) = self.fault_until else { return false };
        self.checkpoint.is_none_or(|checkpoint| checkpoint.position < until)
    }

    /// Folds events that follow the checkpoint, or what was folded since; [`Writer::write`] writes the rows. `false`: one of
    /// them cannot be applied, and all that was folded is forgotten.
    pub(crate) async fn fold(&mut self, events: &[Arc<Recorded>]) -> Result<bool, BatchError> {
        let refused = self.fold_within_timeout(events, None).await?;
        if refused.is_some() {
            self.fault_until = events.last().map(|event| event.position());
            self.forget();
        }
        Ok(refused.is_none())
    }

    /// Writes what was folded, in one transaction. `None`: the database does not take it, and it is forgotten.
    pub(crate) async fn write(&mut self) -> Result<Option<Moved>, BatchError> {
        let until = self.folded.map(|folded| folded.until);
        match self.write_within_timeout().await? {
            Attempt::Moved(moved) => Ok(Some(moved)),
            Attempt::Faulty(_) => {
                self.fault_until = until;
                Ok(None)
            }
        }
    }

    /// Applies `events`, which follow the checkpoint, in one transaction; where that fails through one of them, one by one,
    /// each in a transaction of its own.
    pub(crate) async fn apply(&mut self, events: &[Arc<Recorded>]) -> Result<Moved, BatchError> {
        if let Attempt::Moved(moved) = self.attempt(events, None).await? {
            return Ok(moved);
        }
        tracing::debug!(projection = self.model.name(), events = events.len(), "applying events one by one");
        let mut moved = Moved::Elsewhere;
        let (mut handled, mut all_parked, mut any_changed, mut all_written_in) = (0, 0, false, Duration::ZERO);
        for event in events {
            let one = std::slice::from_ref(event);
            let attempted = match self.attempt(one, None).await? {
                Attempt::Faulty(refused) => match self.attempt(one, Some(&refused)).await? {
                    Attempt::Faulty(refused) => return Err(BatchError::CannotBeParked(event.event_id(), refused)),
                    Attempt::Moved(moved) => moved,
                },
                Attempt::Moved(moved) => moved,
            };
            let Moved::To { events, parked, changed, written_in } = attempted else { break };
            handled += events;
            all_parked += parked;
            any_changed |= changed;
            all_written_in = all_written_in.max(written_in);
            moved = Moved::To { events: handled, parked: all_parked, changed: any_changed, written_in: all_written_in };
        }
        Ok(moved)
    }

    async fn attempt(&mut self, events: &[Arc<Recorded>], refused: Option<&Refused>) -> Result<Attempt, BatchError> {
        match self.fold_within_timeout(events, refused).await? {
            Some(refused) => {
                self.forget();
                Ok(Attempt::Faulty(refused))
            }
            None => self.write_within_timeout().await,
        }
    }

    async fn fold_within_timeout(
        &mut self,
        events: &[Arc<Recorded>],
        refused: Option<&Refused>,
    ) -> Result<Option<Refused>, BatchError> {
        let folded = tokio::time::timeout(BATCH_TIMEOUT, self.fold_once(events, refused)).await;
        let folded = folded.unwrap_or_else(|_| Err(timed_out()));
        if folded.is_err() {
            self.forget();
        }
        folded
    }

    async fn write_within_timeout(&mut self) -> Result<Attempt, BatchError> {
        let written = tokio::time::timeout(BATCH_TIMEOUT, self.write_once()).await;
        let written = written.unwrap_or_else(|_| Err(timed_out()));
        if !matches!(written, Ok(Attempt::Moved(Moved::To { .. }))) {
            self.forget();
        }
        written
    }

    /// Why an event could not be folded, if one could not.
    async fn fold_once(
        &mut self,
        events: &[Arc<Recorded>],
        refused: Option<&Refused>,
    ) -> Result<Option<Refused>, BatchError> {
        let Some(last) = events.last() else { return Ok(None) };
        // Rows are as they were at the checkpoint, so that is read first. Before the first event there are none.
        let nothing_stored = self.checkpoint().await?.position == Position::START;
        let mut connection = self.connection.acquire().await?;
        enter_epoch(&mut connection, &mut self.epoch, &self.feed).await?;
        let rows = self.rows.get_or_insert_with(|| WorkingSet::new(self.model, self.tables));
        rows.load(&mut connection, events, nothing_stored).await?;
        let outcome = match rows.fold(&mut connection, events, refused).await {
            Ok(outcome) => outcome,
            Err(FoldError::Database(error)) => return Err(error.into()),
            Err(FoldError::HalfFolded(refused)) => {
                connection.release();
                return Ok(Some(refused));
            }
        };
        connection.release();
        let Outcome { parked, changed, .. } = outcome;
        let before = self.folded.take();
        self.folded = Some(Folded {
            until: last.position(),
            events: events.len() + before.map_or(0, |before| before.events),
            parked: parked + before.map_or(0, |before| before.parked),
            changed: changed || before.is_some_and(|before| before.changed),
        });
        Ok(None)
    }

    async fn write_once(&mut self) -> Result<Attempt, BatchError> {
        let (Some(folded), Some(from), Some(rows)) = (self.folded.take(), self.checkpoint, &mut self.rows) else {
            return Ok(Attempt::Moved(Moved::Elsewhere));
        };
        let mut connection = self.connection.acquire().await?;
        enter_epoch(&mut connection, &mut self.epoch, &self.feed).await?;
        let started = Instant::now();
        let written = if folded.events < COPIED_FROM {
            rows.write(&mut connection, from, folded.until).await
        } else {
            rows.copy(&mut connection, from, folded.until).await
        };
        let moved = match written {
            Ok(moved) => moved,
            Err(error) => {
                let refused = refusal(&error).ok_or(BatchError::Database(error))?;
                connection.release();
                return Ok(Attempt::Faulty(refused));
            }
        };
        connection.release();
        let Some(moved) = moved else { return Ok(Attempt::Moved(Moved::Elsewhere)) };
        self.checkpoint = Some(moved);
        let Folded { until: _, events, parked, changed } = folded;
        Ok(Attempt::Moved(Moved::To { events, parked, changed, written_in: started.elapsed() }))
    }
}

/// Asks on a new connection in which epoch the log is. It may lead to a standby that was promoted: what is in memory then rests on
/// events that may have been lost, and is forgotten by the error.
async fn enter_epoch(connection: &mut ConnectionGuard<'_>, known: &mut i32, feed: &Feed) -> sqlx::Result<()> {
    if !connection.is_new() {
        return Ok(());
    }
    let epoch = app::log::current_epoch(&mut **connection).await?;
    feed.enter_epoch(epoch);
    let before = std::mem::replace(known, epoch);
    if before == 0 || before == epoch {
        return Ok(());
    }
    Err(sqlx::Error::Protocol(format!(
        "epoch {epoch} of the log has begun, what was read in epoch {before} is read again"
    )))
}

fn timed_out() -> BatchError {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_halves_after_a_long_transaction_and_grows_after_a_short_one_within_its_bounds() {
        let next = |size, factor: f64| BatchSize::new(size, 256).after(LONG_TRANSACTION.mul_f64(factor)).events();
        assert_eq!([64, 3, 1].map(|size| next(size, 1.01)), [32, 1, 1]);
        assert_eq!([64, 200, 256].map(|size| next(size, 0.49)), [128, 256, 256]);
        assert_eq!(next(64, 0.75), 64);
        // From the largest batch to one event takes eight long transactions.
        let smallest = (0..8).fold(BatchSize::new(256, 256), |size, _| size.after(2 * LONG_TRANSACTION));
        assert_eq!(smallest.events(), 1);
    }
}
