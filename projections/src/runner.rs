//! Follows the log, one task per read model.
//!
//! A bell (an append of this process, a nudge of another) only says that it is worth looking; a slow poll looks in any
//! case. What is there is read from the log in order, after the checkpoint, so a lost bell costs time and nothing else.

pub(crate) mod batch;

use std::time::Duration;

use app::log::{Position, RecordedEvent};
use bus::{Backoff, Bus, subjects};
use futures_util::future::join_all;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::batch::{BatchError, Care, Moved, Tables};
use crate::projector::ReadModel;
use crate::rebuild::RebuildOptions;
use crate::{Projections, parse_position};

/// Settings of the runner.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Which read models it keeps.
    pub models: Vec<ReadModel>,
    /// Most events of one batch.
    pub batch: i64,
    /// How long it sleeps at most without a bell.
    pub poll: Duration,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self { models: ReadModel::ALL.to_vec(), batch: 500, poll: Duration::from_secs(1) }
    }
}

/// Events of the first batch, and after one that was large in bytes.
const SMALL_BATCH: i64 = 32;
/// A batch grows while it is below this many bytes of payload, and shrinks when it is above four times as many.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// A batch of more bytes of payload is heavy.
const HEAVY_BYTES: usize = 512 * 1024;
/// The first look after a bell that found nothing yet: the event may wait for an older transaction to end.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// Keeps read models up to date. Any number of runners may run: a checkpoint is moved by one at a time.
#[derive(Debug)]
pub struct Runner {
    projections: Projections,
    bus: Option<Bus>,
    options: RunnerOptions,
}

impl Runner {
    /// A runner that hears of other processes' appends by the bus, where there is one.
    pub fn new(projections: Projections, bus: Option<Bus>, options: RunnerOptions) -> Self {
        describe_gauge!(
            "lablet_projection_lag_seconds",
            Unit::Seconds,
            "Age of the newest applied event when it was applied"
        );
        describe_histogram!("lablet_projection_batch_events", Unit::Count, "Events of one batch");
        describe_histogram!("lablet_projection_batch_seconds", Unit::Seconds, "Duration of one batch");
        describe_counter!("lablet_projection_failures_total", Unit::Count, "Batches that have to be tried again");
        describe_counter!("lablet_projection_parked_events_total", Unit::Count, "Events put into the dead letters");
        describe_counter!("lablet_projection_parked_aggregates_total", Unit::Count, "Aggregates that were parked");
        Self { projections, bus, options }
    }

    /// Runs until the token is cancelled. A batch that is under way then is rolled back, and begun again next time.
    pub async fn run(self, token: CancellationToken) {
        let bell = watch::Sender::new(0_u64);
        let follow = join_all(self.options.models.iter().map(|model| self.follow(*model, bell.subscribe(), &token)));
        let work = async {
            tokio::join!(follow, self.pass_on_appends(&bell), self.pass_on_nudges(&bell), self.listen(&token));
        };
        if token.run_until_cancelled(work).await.is_none() {
            tracing::info!("the projections have stopped");
        }
    }

    async fn pass_on_appends(&self, bell: &watch::Sender<u64>) {
        let mut appended = self.projections.log.appended();
        while appended.changed().await.is_ok() {
            bell.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    async fn pass_on_nudges(&self, bell: &watch::Sender<u64>) {
        if let Some(bus) = &self.bus {
            crate::forward(bus, subjects::NUDGE_LOG, bell).await;
        }
    }

    async fn listen(&self, token: &CancellationToken) {
        if let Some(bus) = &self.bus {
            self.projections.listen(bus, token.clone()).await;
        }
    }

    async fn follow(&self, model: ReadModel, mut bell: watch::Receiver<u64>, token: &CancellationToken) {
        let mut failures = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut looks = Backoff::new(FIRST_LOOK, self.options.poll);
        let mut size = SMALL_BATCH.min(self.options.batch);
        loop {
            bell.mark_unchanged();
            match self.projections.step(model, &mut size, self.options.batch, token).await {
                Ok(Step::Moved) => {
                    failures.reset();
                    looks.reset();
                    self.projections.ring();
                    if let Some(bus) = &self.bus {
                        bus.nudge(subjects::NUDGE_PROJECTIONS).await;
                    }
                }
                Ok(Step::Idle | Step::Elsewhere) => {
                    failures.reset();
                    let rung = tokio::time::timeout(looks.next_wait(), bell.changed()).await;
                    if rung.is_ok() {
                        looks.reset();
                    }
                }
                Err(error) => {
                    counter!("lablet_projection_failures_total", "projection" => model.name()).increment(1);
                    let wait = failures.next_wait();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        projection = model.name(),
                        wait_ms = wait.as_millis(),
                        "a batch has to be tried again"
                    );
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// How one look at the log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The checkpoint moved; there may be more.
    Moved,
    /// There is nothing after the checkpoint.
    Idle,
    /// Somebody else keeps the read model, or is moving it now.
    Elsewhere,
}

impl Projections {
    /// Moves a read model by all that is in the log now. For tests and for tools; a [`Runner`] does it all the time.
    ///
    /// # Errors
    /// The database or the log does not answer.
    pub async fn catch_up(&self, model: ReadModel) -> Result<(), CatchUpError> {
        let mut size = SMALL_BATCH;
        let token = CancellationToken::new();
        while self.step(model, &mut size, RunnerOptions::default().batch, &token).await.map_err(CatchUpError)?
            == Step::Moved
        {
            self.ring();
        }
        Ok(())
    }

    /// One look at the log, and one batch.
    pub(crate) async fn step(
        &self,
        model: ReadModel,
        size: &mut i64,
        most: i64,
        token: &CancellationToken,
    ) -> Result<Step, StepError> {
        let statement = format!("SELECT position, revision FROM {}.checkpoint", model.schema());
        let (position, revision): (String, i32) =
            sqlx::query_as(sqlx::AssertSqlSafe(statement)).fetch_one(&self.pool).await.map_err(BatchError::Database)?;
        let from = parse_position(&position).map_err(BatchError::Database)?;
        match revision.cmp(&model.projector().revision()) {
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => {
                tracing::debug!(projection = model.name(), revision, "a newer release keeps this read model");
                return Ok(Step::Elsewhere);
            }
            std::cmp::Ordering::Less => {
                tracing::info!(
                    projection = model.name(),
                    revision,
                    "the read model is of an older revision; rebuilding"
                );
                self.rebuild(model, RebuildOptions::default(), token).await.map_err(StepError::Rebuild)?;
                return Ok(Step::Moved);
            }
        }
        let events = self.log.read(from, *size).await.map_err(BatchError::Log)?;
        if events.is_empty() {
            // Nothing to see is not yet nothing to do: an open transaction may keep events from every reader.
            let visibility = self.log.visibility().await.map_err(BatchError::Log)?;
            gauge!("lablet_projection_lag_seconds", "projection" => model.name()).set(visibility.lag_seconds());
            return Ok(Step::Idle);
        }
        let started = tokio::time::Instant::now();
        let moved = self.move_by(model, Tables::Live, from, &events).await?;
        adapt(size, most, &events);
        let Moved::To { events: handled, parked, .. } = moved else { return Ok(Step::Elsewhere) };
        self.record(model, &events[..handled], parked, started.elapsed());
        Ok(Step::Moved)
    }

    /// Applies events together, and where that fails through one of them, each for itself.
    pub(crate) async fn move_by(
        &self,
        model: ReadModel,
        tables: Tables,
        from: Position,
        events: &[RecordedEvent],
    ) -> Result<Moved, BatchError> {
        // Events in their types take several times their text: large ones are applied by a few read models at a time.
        let bytes: usize = events.iter().map(|event| event.payload.bytes()).sum();
        let _room = match bytes {
            0..HEAVY_BYTES => None,
            // The semaphore is never closed; were it, going on without it would be no harm.
            _ => self.heavy_batches.acquire().await.ok(),
        };
        match batch::apply(&self.pool, model, tables, from, events, Care::Together).await {
            Err(BatchError::Poisoned) => {
                batch::apply(&self.pool, model, tables, from, events, Care::EachForItself).await
            }
            other => other,
        }
    }

    fn record(&self, model: ReadModel, events: &[RecordedEvent], parked: usize, took: Duration) {
        let name = model.name();
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        histogram!("lablet_projection_batch_events", "projection" => name).record(count);
        histogram!("lablet_projection_batch_seconds", "projection" => name).record(took.as_secs_f64());
        counter!("lablet_projection_parked_events_total", "projection" => name).increment(parked as u64);
        if let Some(last) = events.last() {
            let age = (self.log.clock().now() - last.recorded_at).to_std().unwrap_or_default();
            gauge!("lablet_projection_lag_seconds", "projection" => name).set(age.as_secs_f64());
        }
    }
}

/// Bounds the memory of a batch by what the one before weighed.
pub(crate) fn adapt(size: &mut i64, most: i64, events: &[RecordedEvent]) {
    let bytes: usize = events.iter().map(|event| event.payload.bytes()).sum();
    if bytes > 4 * BATCH_BYTES {
        *size = (*size / 4).max(1);
    } else if bytes < BATCH_BYTES {
        *size = (*size * 2).min(most);
    }
}

/// Why a look at the log failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("the read model could not be rebuilt")]
    Rebuild(#[source] crate::rebuild::RebuildError),
}

/// A read model could not be moved.
#[derive(Debug, thiserror::Error)]
#[error("the read model cannot be moved")]
pub struct CatchUpError(#[source] StepError);
