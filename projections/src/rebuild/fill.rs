//! Fills the tables of the next one from the log.

use std::sync::Arc;

use app::log::{Log, LogError, Position};
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::RebuildError;
use crate::Projections;
use crate::checkpoint::{Checkpoint, Tables};
use crate::feed;
use crate::projector::Recorded;
use crate::read_models::ReadModel;
use crate::working_set::{FoldError, WorkingSet};
use crate::writer::{BatchSize, Moved, Writer};

/// Events read at once.
const PAGE: usize = 1_000;
/// Rows in memory are written after so many events at first, and at most.
const WRITTEN: BatchSize = BatchSize::new(1_000, 8_000);
/// Bytes of rows, about, at which they are written in any case.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Most events that are applied while others wait: to go from nearly there to where the live rows are.
const LAST_EVENTS: usize = 500;

/// How reading and folding ended.
enum Filled {
    /// There is no more to read.
    ToTheEnd { events: u64 },
    /// One event cannot be applied with the others: the next attempt finds it. What was not written is read again.
    Faulty { events: u64 },
}

impl Projections {
    /// Brings the next one to where the live one is now, or for a new revision, to the log's end. How many events that
    /// took.
    pub(super) async fn fill(&self, model: ReadModel, token: &CancellationToken) -> Result<u64, RebuildError> {
        let mut all = 0;
        // Its connection is closed with it: a `COPY` that is dropped half-way would leave one of the pool with answers that
        // its next user takes for theirs.
        let mut writer = Writer::new(self, model, Tables::Next);
        loop {
            if token.is_cancelled() {
                return Err(RebuildError::Stopped);
            }
            let live = Checkpoint::read(&self.pool, &Tables::Live.schema(model)).await?;
            let from = writer.checkpoint().await?.position;
            let up_to = (live.revision == model.projector().revision).then_some(live.position);
            if up_to.is_some_and(|up_to| from >= up_to) {
                return Ok(all);
            }
            match self.fill_from(&mut writer, from, up_to, token).await? {
                Filled::ToTheEnd { events: 0 } => return Ok(all),
                Filled::ToTheEnd { events } | Filled::Faulty { events } => all += events,
            }
        }
    }

    /// Reads and folds, and writes what is in memory now and then.
    async fn fill_from(
        &self,
        writer: &mut Writer,
        from: Position,
        up_to: Option<Position>,
        token: &CancellationToken,
    ) -> Result<Filled, RebuildError> {
        let (pages, mut read) = mpsc::channel(1);
        // Reading and decoding go on while rows are folded and written; the task ends with this set.
        let mut reading = JoinSet::new();
        reading.spawn(read_pages(self.log.clone(), from, up_to, pages));
        let (mut written, mut pending, mut size) = (0, 0, WRITTEN);
        loop {
            let page = read.recv().await.transpose()?;
            let is_last = page.is_none();
            if let Some(events) = page {
                if writer.is_before_fault() {
                    match writer.apply(&events).await? {
                        Moved::To { events, .. } => written += events as u64,
                        Moved::Elsewhere => return Err(another_is_under_way()),
                    }
                } else if writer.fold(&events).await? {
                    pending += events.len();
                } else {
                    return Ok(Filled::Faulty { events: written });
                }
            }
            if pending > 0 && (is_last || pending >= size.events() || writer.unwritten_bytes() >= MOST_BYTES) {
                match writer.write().await? {
                    Some(Moved::To { events, written_in, .. }) => {
                        size = size.after(written_in);
                        written += events as u64;
                        pending = 0;
                    }
                    Some(Moved::Elsewhere) => return Err(another_is_under_way()),
                    None => return Ok(Filled::Faulty { events: written }),
                }
            }
            if is_last {
                return Ok(Filled::ToTheEnd { events: written });
            }
            if token.is_cancelled() {
                return Err(RebuildError::Stopped);
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
