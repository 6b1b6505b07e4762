//! Follows the log, one task per read model, all of which share one [`Feed`](crate::feed::Feed). Which read models a process
//! keeps it agrees upon with the other processes ([`sharing`](crate::sharing)).
//!
//! A wake-up signal (an append of this process, a nudge of another, events that were added to the feed) only says that it
//! is worth looking; a slow poll looks in any case. What is there is taken in order, after the checkpoint, so a lost signal
//! costs time and nothing else.

mod records;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use app::log::Position;
use bus::{Backoff, Bus, subjects};
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::Projections;
use crate::checkpoint::Tables;
use crate::feed::Limits;
use crate::projector::Recorded;
use crate::read_models::ReadModel;
use crate::rebuild::RebuildOptions;
use crate::sharing::{Share, Task};
use crate::writer::{BatchError, BatchSize, Moved, Writer};

/// Settings of the runner.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Which read models it keeps, where no other runner does.
    pub models: Vec<ReadModel>,
    /// Most events of one batch.
    pub batch: usize,
    /// How long it sleeps at most without a wake-up signal.
    pub poll: Duration,
    /// Where events come from while read models are up to date.
    pub source: FeedSource,
}

/// Where events come from while read models are up to date. What is missing is read from the log in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeedSource {
    /// The stream of records.
    #[default]
    Bus,
    /// The log alone.
    Log,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self { models: ReadModel::ALL.to_vec(), batch: 8_000, poll: Duration::from_secs(1), source: FeedSource::Bus }
    }
}

/// Events of the first batch.
const FIRST_BATCH: usize = 64;
/// Events that are taken from the feed at once, of a batch.
const PAGE: Limits = Limits { events: 1_000, bytes: 2 * 1024 * 1024 };
/// Behind a page of so many bytes, about what one read of the log gives, there is hardly nothing.
const FULL_BYTES: usize = 1024 * 1024;
/// Bytes of rows, about, at which a batch is written.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The first look after a wake-up signal that found nothing yet: the event may wait for an older transaction to end.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// A read model that is up to date rests after a batch as long as the batch took, and no longer than this: what comes
/// meanwhile shares the next one, so that a machine that is busy writes fewer and larger batches.
const LONGEST_PAUSE: Duration = Duration::from_millis(30);
/// After a batch that changed no row it rests so long: most events mean nothing to a read model of something else, and
/// each batch of them costs a transaction that moves the checkpoint.
const PAUSE_WITHOUT_CHANGE: Duration = Duration::from_millis(50);

/// Records of an event are waited for so long after a signal that it was appended, before the log is read.
const RECORDS_WITHIN: Duration = Duration::from_millis(100);

/// The read models of a process, and what it does for each.
type KeptModels = BTreeMap<ReadModel, Task>;

/// Keeps read models up to date. Any number of runners may run: they divide the read models among themselves, and a
/// checkpoint is moved by one at a time in any case.
#[derive(Debug)]
pub struct Runner {
    projections: Projections,
    bus: Option<Bus>,
    options: RunnerOptions,
}

impl Runner {
    /// A runner that hears of other processes' appends by the bus, where there is one.
    pub fn new(projections: Projections, bus: Option<Bus>, options: RunnerOptions) -> Self {
        describe_histogram!("lablet_projection_batch_events", Unit::Count, "Events of one batch");
        describe_histogram!("lablet_projection_batch_seconds", Unit::Seconds, "Duration of one batch");
        describe_counter!("lablet_projection_failures_total", Unit::Count, "Batches that have to be tried again");
        describe_counter!("lablet_projection_parked_events_total", Unit::Count, "Events put into the dead letters");
        describe_counter!("lablet_projection_parked_aggregates_total", Unit::Count, "Aggregates that were parked");
        describe_counter!(
            "lablet_projection_repeated_events_total",
            Unit::Count,
            "Events that came again and were not applied again"
        );
        describe_counter!(
            "lablet_projection_record_holes_total",
            Unit::Count,
            "Holes in the stream of records that were read from the log"
        );
        Self { projections, bus, options }
    }

    /// Runs until the token is cancelled. A batch that is under way then is rolled back, and begun again next time.
    pub async fn run(self, token: CancellationToken) {
        let wake = watch::Sender::new(0_u64);
        let is_fed = watch::Sender::new(false);
        let mut share = Share::new(&self.projections.pool, &self.projections.log, &self.options.models);
        let kept = share.kept();
        let runner = Arc::new(self);
        // A task each: folding several uses several cores.
        let mut keepers = JoinSet::new();
        for model in runner.options.models.iter().copied() {
            let (runner, wake, is_fed, token) = (runner.clone(), wake.clone(), is_fed.clone(), token.clone());
            let kept = kept.clone();
            keepers.spawn(async move { runner.keep(model, &wake, &is_fed, kept, &token).await });
        }
        let work = async {
            tokio::join!(
                share.take_part(),
                pass_on_panics(&mut keepers),
                runner.pass_on_appends(&wake),
                runner.pass_on_nudges(&wake),
                runner.listen(&token),
                runner.feed_from_bus(&is_fed, kept.clone()),
                runner.projections.carry_out_retries(&runner.options.models),
            );
        };
        if token.run_until_cancelled(work).await.is_none() {
            tracing::info!("projections stopped");
        }
        keepers.shutdown().await;
        share.leave().await;
    }

    async fn pass_on_appends(&self, wake: &watch::Sender<u64>) {
        let mut appended = self.projections.log.appended();
        while appended.changed().await.is_ok() {
            wake.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    async fn pass_on_nudges(&self, wake: &watch::Sender<u64>) {
        if let Some(bus) = &self.bus {
            crate::forward(bus, subjects::NUDGE_LOG, wake).await;
        }
    }

    /// What nobody here folds is not read from the bus.
    async fn feed_from_bus(&self, is_fed: &watch::Sender<bool>, mut kept: watch::Receiver<KeptModels>) {
        let Some(bus) = self.bus.as_ref().filter(|_| self.options.source == FeedSource::Bus) else { return };
        loop {
            until(&mut kept, |kept| !kept.is_empty()).await;
            tokio::select! {
                () = self.projections.follow_records(bus, &self.options.models, is_fed) => {}
                () = until(&mut kept, BTreeMap::is_empty) => {}
            }
            is_fed.send_replace(false);
        }
    }

    async fn listen(&self, token: &CancellationToken) {
        if let Some(bus) = &self.bus {
            self.projections.listen(bus, token.clone()).await;
        }
    }

    /// Follows the log for a read model while this process is the one that keeps it. A batch that is under way when another
    /// is to go on is rolled back, or was written whole.
    async fn keep(
        &self,
        model: ReadModel,
        wake: &watch::Sender<u64>,
        is_fed: &watch::Sender<bool>,
        mut kept: watch::Receiver<KeptModels>,
        token: &CancellationToken,
    ) {
        loop {
            until(&mut kept, |kept| kept.contains_key(&model)).await;
            let Some(task) = kept.borrow().get(&model).copied() else { continue };
            tokio::select! {
                () = self.follow(model, task, wake.subscribe(), is_fed.subscribe(), token) => {}
                () = until(&mut kept, |kept| kept.get(&model) != Some(&task)) => {}
            }
        }
    }

    async fn follow(
        &self,
        model: ReadModel,
        task: Task,
        mut wake: watch::Receiver<u64>,
        mut is_fed: watch::Receiver<bool>,
        token: &CancellationToken,
    ) {
        let mut failures = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut looks = Backoff::new(FIRST_LOOK, self.options.poll);
        let mut writer = Writer::new(&self.projections, model, Tables::Live);
        let mut size = BatchSize::new(FIRST_BATCH, self.options.batch);
        let mut fed = self.projections.feed.end();
        // Until the log was found to end somewhere, it is read.
        let mut reads_log = true;
        loop {
            wake.mark_unchanged();
            fed.mark_unchanged();
            let goes_by_bus = *is_fed.borrow_and_update();
            let started = tokio::time::Instant::now();
            let knew_checkpoint = writer.knows_checkpoint();
            match self.projections.step(model, task, &mut writer, &mut size, reads_log, token).await {
                Ok(Step::Moved { is_full, changed }) => {
                    failures.reset();
                    looks.reset();
                    self.projections.announce_move();
                    if let Some(bus) = &self.bus {
                        bus.nudge(subjects::NUDGE_PROJECTIONS);
                    }
                    if !is_full {
                        let pause = if changed { started.elapsed().min(LONGEST_PAUSE) } else { PAUSE_WITHOUT_CHANGE };
                        tokio::time::sleep(pause).await;
                    }
                }
                Ok(Step::Again) => {}
                // It was the one of the last batch, and somebody has moved it since: it is read again.
                Ok(Step::Elsewhere) if knew_checkpoint => {}
                Ok(Step::Idle | Step::Elsewhere) => {
                    failures.reset();
                    if goes_by_bus {
                        reads_log = !is_fed_within(self.options.poll, &mut wake, &mut fed, &mut is_fed).await;
                        continue;
                    }
                    reads_log = true;
                    if is_woken(looks.next_wait(), &mut wake, &mut fed).await {
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
                        "projection batch failed, retrying"
                    );
                    // What is added to the feed can be applied although the log cannot be read.
                    let is_of_log = matches!(error, StepError::Batch(BatchError::Log(_)));
                    reads_log = tokio::select! {
                        () = tokio::time::sleep(wait) => true,
                        Ok(()) = fed.changed(), if is_of_log => false,
                    };
                }
            }
        }
    }
}

/// Waits for tasks that end with their runner; one that panics takes the runner with it.
async fn pass_on_panics(keepers: &mut JoinSet<()>) {
    while let Some(ended) = keepers.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Waits until the read models that are kept here are such. Without anybody who divides them they stay as they are.
async fn until(kept: &mut watch::Receiver<KeptModels>, such: impl Fn(&KeptModels) -> bool) {
    if kept.wait_for(such).await.is_err() {
        std::future::pending().await
    }
}

/// Waits for a signal or until the time is over; whether there was one.
async fn is_woken(most: Duration, wake: &mut watch::Receiver<u64>, fed: &mut watch::Receiver<Position>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(most) => false,
        Ok(()) = wake.changed() => true,
        Ok(()) = fed.changed() => true,
    }
}

/// Waits until something is added to the feed; `false`: nothing was, or it would leave a hole, and the log has to be read. A
/// signal alone says that an event was appended, which the records bring too.
async fn is_fed_within(
    most: Duration,
    wake: &mut watch::Receiver<u64>,
    fed: &mut watch::Receiver<Position>,
    is_fed: &mut watch::Receiver<bool>,
) -> bool {
    let woken = async {
        match wake.changed().await {
            Ok(()) => tokio::time::sleep(RECORDS_WITHIN).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = tokio::time::sleep(most) => false,
        () = woken => false,
        Ok(()) = fed.changed() => true,
        Ok(()) = is_fed.changed() => false,
    }
}

/// How one look at the log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The checkpoint moved, with rows or alone; there may be more, and there is where the batch was full.
    Moved { is_full: bool, changed: bool },
    /// There is nothing after the checkpoint.
    Idle,
    /// One of many events cannot be applied, and none was: fewer of them are applied at once.
    Again,
    /// Somebody else keeps the read model, or is moving it now.
    Elsewhere,
}

impl Projections {
    /// Moves a read model by all that is in the log now. For tests and for tools; a [`Runner`] does it all the time.
    ///
    /// # Errors
    /// The database or the log does not answer.
    pub async fn catch_up(&self, model: ReadModel) -> Result<(), CatchUpError> {
        let mut writer = Writer::new(self, model, Tables::Live);
        let mut size = BatchSize::new(FIRST_BATCH, RunnerOptions::default().batch);
        let token = CancellationToken::new();
        loop {
            let knew_checkpoint = writer.knows_checkpoint();
            match self.step(model, Task::Follow, &mut writer, &mut size, true, &token).await.map_err(CatchUpError)? {
                Step::Moved { .. } => self.announce_move(),
                Step::Again => {}
                Step::Elsewhere if knew_checkpoint => {}
                Step::Idle | Step::Elsewhere => return Ok(()),
            }
        }
    }

    /// One look at what comes after the checkpoint, and one batch. Only with `reads_log` the log is asked for more where the
    /// feed ends; events that the feed has left behind are read from it in any case.
    async fn step(
        &self,
        model: ReadModel,
        task: Task,
        writer: &mut Writer,
        size: &mut BatchSize,
        reads_log: bool,
        token: &CancellationToken,
    ) -> Result<Step, StepError> {
        let from = writer.checkpoint().await.map_err(BatchError::Database)?;
        let revision = from.revision;
        match revision.cmp(&model.projector().revision) {
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater if task == Task::Follow => {
                tracing::debug!(projection = model.name(), revision, "read model is of a newer revision");
                writer.forget();
                return Ok(Step::Elsewhere);
            }
            // An older one, or a newer one whose build was rolled back.
            std::cmp::Ordering::Less | std::cmp::Ordering::Greater => {
                tracing::info!(projection = model.name(), revision, "read model is of another revision, rebuilding");
                writer.forget();
                self.rebuild(model, RebuildOptions::default(), token).await.map_err(StepError::Rebuild)?;
                return Ok(Step::Moved { is_full: true, changed: true });
            }
        }
        if !reads_log && self.feed.end_position() <= from.position {
            return Ok(Step::Idle);
        }
        let first = self.feed.after(&self.log, model, from.position, PAGE.at_most(size.events())).await;
        let first = first.map_err(BatchError::Log)?;
        if first.is_empty() {
            return Ok(Step::Idle);
        }
        let started = tokio::time::Instant::now();
        let span = batch_span(model);
        let mut batch = Batch::default();
        let applied = self.apply(model, writer, size.events(), reads_log, first, &mut batch);
        let moved = applied.instrument(span.clone()).await?;
        let Some(moved) = moved else { return Ok(Step::Again) };
        let Moved::To { events: handled, parked, changed, written_in } = moved else { return Ok(Step::Elsewhere) };
        batch.record(&span, handled);
        *size = size.after(written_in);
        record(model, handled, parked, started.elapsed());
        Ok(Step::Moved { is_full: batch.is_full || handled < batch.events, changed })
    }

    /// Applies the events of a page, and of those after it while they are full, up to `size` events: what is written again
    /// and again while a read model is behind is written once. `None`: one of them cannot be applied, and none was.
    async fn apply(
        &self,
        model: ReadModel,
        writer: &mut Writer,
        size: usize,
        reads_log: bool,
        mut page: Vec<Arc<Recorded>>,
        batch: &mut Batch,
    ) -> Result<Option<Moved>, BatchError> {
        if writer.is_before_fault() {
            batch.add(model, &page, size);
            return writer.apply(&page).await.map(Some);
        }
        loop {
            batch.add(model, &page, size);
            if !writer.fold(&page).await? {
                return Ok(None);
            }
            let Some(position) = batch.position.filter(|_| batch.is_full) else { break };
            let left = size.saturating_sub(batch.events);
            let is_at_end = !reads_log && self.feed.end_position() <= position;
            if left == 0 || is_at_end || writer.unwritten_bytes() >= BATCH_BYTES {
                break;
            }
            match self.feed.after(&self.log, model, position, PAGE.at_most(left)).await {
                Ok(next) if next.is_empty() => {
                    batch.is_full = false;
                    break;
                }
                Ok(next) => page = next,
                Err(error) => {
                    // What was folded is good all the same; the next look meets the error again, where it lasts.
                    tracing::debug!(error = &error as &dyn std::error::Error, "batch ends before its time");
                    break;
                }
            }
        }
        writer.write().await
    }
}

fn record(model: ReadModel, events: usize, parked: u64, took: Duration) {
    let name = model.name();
    let count = u32::try_from(events).unwrap_or(u32::MAX);
    histogram!("lablet_projection_batch_events", "projection" => name).record(count);
    histogram!("lablet_projection_batch_seconds", "projection" => name).record(took.as_secs_f64());
    counter!("lablet_projection_parked_events_total", "projection" => name).increment(parked);
}

/// Events of one write, of one page or more.
#[derive(Debug, Default)]
struct Batch {
    events: usize,
    /// Whether there are hardly no more behind it.
    is_full: bool,
    position: Option<Position>,
    /// The trace of its events. `Some(None)`: they have none, or are of several.
    trace: Option<Option<String>>,
    /// A span for each of its events, in the event's trace; they end with the batch.
    spans: Vec<tracing::Span>,
}

/// Most events of a batch that show in their traces: a read model that is far behind does not flood the collector.
const MOST_TRACED: usize = 256;

impl Batch {
    /// Adds a page of a batch of at most `size` events.
    fn add(&mut self, model: ReadModel, page: &[Arc<Recorded>], size: usize) {
        let bytes: usize = page.iter().map(|event| event.bytes).sum();
        let asked = PAGE.events.min(size.saturating_sub(self.events));
        self.is_full = page.len() >= asked || bytes >= FULL_BYTES;
        self.events += page.len();
        for event in page {
            let trace = &event.log.metadata.traceparent;
            match &self.trace {
                None => self.trace = Some(trace.clone()),
                Some(Some(known)) if trace.as_ref() != Some(known) => self.trace = Some(None),
                Some(_) => {}
            }
        }
        if let Some(last) = page.last() {
            self.position = Some(last.position());
        }
        let traced = page.iter().filter(|event| event.log.metadata.traceparent.is_some());
        let followed = traced.filter(|event| model.projector().follows(event));
        let spans = followed.take(MOST_TRACED.saturating_sub(self.spans.len())).map(|event| event_span(model, event));
        self.spans.extend(spans.filter(|span| !span.is_disabled()));
    }

    /// Tells a span what was in it. It belongs to the trace of its events where they are all of one.
    fn record(&self, span: &tracing::Span, handled: usize) {
        span.record("events", self.events).record("handled", handled);
        if let Some(position) = self.position {
            span.record("position", tracing::field::display(position));
        }
        if let Some(Some(trace)) = &self.trace {
            span.record("traceparent", trace);
        }
        for span in &self.spans {
            span.record("outcome", "written");
        }
    }
}

/// The span of one event of a batch, from when it was read to when the rows that it changed are written.
fn event_span(model: ReadModel, event: &Recorded) -> tracing::Span {
    tracing::debug_span!(
        "projection.event",
        otel.name = %format_args!("project {}", model.name()),
        otel.kind = "consumer",
        db.system.name = "postgresql",
        projection = model.name(),
        event.id = %event.event_id(),
        event.r#type = event.log.event_type,
        position = %event.position(),
        outcome = tracing::field::Empty,
        traceparent = event.log.metadata.traceparent,
    )
}

/// The span of a batch.
fn batch_span(model: ReadModel) -> tracing::Span {
    tracing::info_span!(
        "projection.batch",
        projection = model.name(),
        events = tracing::field::Empty,
        position = tracing::field::Empty,
        handled = tracing::field::Empty,
        traceparent = tracing::field::Empty,
    )
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
