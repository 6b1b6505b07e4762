//! Fills the tables of the next one from the log.

use std::sync::Arc;
use std::time::Duration;

use app::database::DedicatedConnection;
use app::log::{Log, LogError, Position};
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::RebuildError;
use crate::Projections;
use crate::checkpoint::{Checkpoint, Tables};
use crate::feed;
use crate::projector::Recorded;
use crate::read_models::ReadModel;
use crate::working_set::{FoldError, WorkingSet};
use crate::writer::{Moved, SETTINGS, Writer, refusal};

/// Events read at once.
const PAGE: usize = 1_000;
/// Rows in memory are written after so many events,
const FIRST_WRITE: usize = 1_000;
/// at most so many,
const MOST_WRITTEN: usize = 8_000;
/// or so many bytes of their payloads.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// A write takes fewer events the next time when its transaction takes longer, and more when it takes less than half.
const LONG_TRANSACTION: Duration = Duration::from_millis(120);
/// Most events that are applied while others wait: to go from nearly there to where the live rows are.
const LAST_EVENTS: usize = 500;

/// How reading and folding ended.
enum Filled {
    /// There is no more to read.
    ToTheEnd { events: u64 },
    /// An event up to here cannot be applied. Nothing after the checkpoint was kept.
    Faulty { events: u64, until: Position },
}

impl Projections {
    /// Brings the next one to where the live one is now, or for a new revision, to the log's end. How many events that
    /// took.
    pub(super) async fn fill(&self, model: ReadModel, token: &CancellationToken) -> Result<u64, RebuildError> {
        let mut all = 0;
        loop {
            if token.is_cancelled() {
                return Err(RebuildError::Stopped);
            }
            let live = Checkpoint::read(&self.pool, &Tables::Live.schema(model)).await?;
            let from = Checkpoint::read(&self.pool, &Tables::Next.schema(model)).await?;
            let up_to = (live.revision == model.projector().revision).then_some(live.position);
            if up_to.is_some_and(|up_to| from.position >= up_to) {
                return Ok(all);
            }
            match self.fill_from(model, from, up_to, token).await? {
                Filled::ToTheEnd { events: 0 } => return Ok(all),
                Filled::ToTheEnd { events } => all += events,
                Filled::Faulty { events, until } => {
                    all += events + self.apply_carefully(model, until, token).await?;
                }
            }
        }
    }

    /// Reads and folds, and writes what is in memory now and then, by `COPY` where rows are new.
    async fn fill_from(
        &self,
        model: ReadModel,
        from: Checkpoint,
        up_to: Option<Position>,
        token: &CancellationToken,
    ) -> Result<Filled, RebuildError> {
        let (pages, mut read) = mpsc::channel(1);
        // Reading and decoding go on while rows are folded and written; the task ends with this set.
        let mut reading = JoinSet::new();
        reading.spawn(read_pages(self.log.clone(), from.position, up_to, pages));
        let mut checkpoint = from;
        let mut nothing_stored = from.position == Position::START;
        let mut set = WorkingSet::new(model, Tables::Next);
        // Closed with this future: a `COPY` that is dropped half-way would leave one of the pool with answers that its next
        // user takes for theirs.
        let mut dedicated = DedicatedConnection::new(self.pool.connect_options().as_ref().clone(), SETTINGS);
        let mut connection = dedicated.acquire().await?;
        let (mut written, mut size) = (0, FIRST_WRITE);
        let (mut pending, mut bytes, mut reached) = (0, 0, from.position);
        loop {
            let page = read.recv().await.transpose()?;
            let is_last = page.is_none();
            if let Some(events) = page {
                set.load(&mut connection, &events, nothing_stored).await?;
                reached = events.last().map_or(reached, |event| event.position());
                match set.fold(&mut connection, &events, None).await {
                    Ok(_) => {}
                    Err(FoldError::Database(error)) => return Err(error.into()),
                    Err(FoldError::HalfFolded(_)) => return Ok(Filled::Faulty { events: written, until: reached }),
                }
                pending += events.len();
                bytes += events.iter().map(|event| event.bytes).sum::<usize>();
            }
            if pending > 0 && (is_last || pending >= size || bytes >= MOST_BYTES) {
                let started = Instant::now();
                let moved = match set.copy(&mut connection, checkpoint, reached).await {
                    Ok(moved) => moved.ok_or_else(another_is_under_way)?,
                    Err(error) => {
                        return match refusal(&error) {
                            Some(_) => Ok(Filled::Faulty { events: written, until: reached }),
                            None => Err(error.into()),
                        };
                    }
                };
                size = next_size(size, started.elapsed());
                written += pending as u64;
                (checkpoint, nothing_stored, pending, bytes) = (moved, false, 0, 0);
            }
            if is_last {
                return Ok(Filled::ToTheEnd { events: written });
            }
            if token.is_cancelled() {
                return Err(RebuildError::Stopped);
            }
        }
    }

    /// Applies events as a runner does, which finds the one that cannot be applied.
    async fn apply_carefully(
        &self,
        model: ReadModel,
        until: Position,
        token: &CancellationToken,
    ) -> Result<u64, RebuildError> {
        let mut applied = 0;
        let mut writer = Writer::new(&self.pool, model, Tables::Next);
        loop {
            if token.is_cancelled() {
                return Err(RebuildError::Stopped);
            }
            let from = writer.checkpoint().await?;
            let mut events = feed::read(&self.log, from.position, PAGE).await?;
            events.retain(|event| event.position() <= until);
            if events.is_empty() {
                return Ok(applied);
            }
            match writer.apply(&events).await? {
                Moved::To { events, .. } => applied += events as u64,
                Moved::Elsewhere => return Err(another_is_under_way()),
            }
        }
    }

    /// Brings the next one, which is nearly there, to a position, in the connection's transaction; where it is then.
    pub(super) async fn catch_up_next(
        &self,
        connection: &mut PgConnection,
        model: ReadModel,
        up_to: Position,
    ) -> Result<Position, RebuildError> {
        let from = Checkpoint::read(&mut *connection, &Tables::Next.schema(model)).await?;
        if from.position >= up_to {
            return Ok(from.position);
        }
        let mut events = feed::read(&self.log, from.position, LAST_EVENTS).await?;
        events.retain(|event| event.position() <= up_to);
        let Some(last) = events.last() else { return Ok(from.position) };
        let mut set = WorkingSet::new(model, Tables::Next);
        set.load(connection, &events, false).await?;
        set.fold(connection, &events, None).await.map_err(|error| match error {
            FoldError::Database(error) => error,
            FoldError::HalfFolded(_) => sqlx::Error::Protocol(error.to_string()),
        })?;
        let moved = set.write(connection, from, last.position()).await?;
        Ok(moved.ok_or_else(another_is_under_way)?.position)
    }
}

fn another_is_under_way() -> RebuildError {
    RebuildError::Database(sqlx::Error::Protocol("another rebuild is under way".into()))
}

fn next_size(size: usize, took: Duration) -> usize {
    if took > LONG_TRANSACTION {
        (size / 2).max(1)
    } else if took < LONG_TRANSACTION / 2 {
        (size * 2).min(MOST_WRITTEN)
    } else {
        size
    }
}

/// Reads and decodes the log after a position, to its end or to another position, as long as somebody takes it.
async fn read_pages(
    log: Log,
    mut position: Position,
    up_to: Option<Position>,
    pages: mpsc::Sender<Result<Vec<Arc<Recorded>>, LogError>>,
) {
    loop {
        let page = feed::read(&log, position, PAGE).await.map(|mut events| {
            events.retain(|event| up_to.is_none_or(|up_to| event.position() <= up_to));
            events
        });
        match &page {
            Ok(events) => match events.last() {
                Some(last) => position = last.position(),
                None => return,
            },
            Err(_) => {
                // Whoever takes it tries again; nobody does who has gone.
                if pages.send(page).await.is_err() {
                    tracing::debug!("nobody waits for the log any more");
                }
                return;
            }
        }
        if pages.send(page).await.is_err() {
            return;
        }
    }
}
