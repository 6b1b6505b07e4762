//! Follows the log, one task for each read model, and folds it in batches.

mod batch;

use std::sync::Arc;
use std::time::Duration;

use app::bus::Backoff;
use app::log::{Log, Position};
use metrics::{Unit, describe_gauge, describe_histogram, gauge, histogram};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::batch::{Fold, Step, StepError};
use crate::checkpoint::Checkpoint;
use crate::{Projections, ReadModel, read_models};

/// Settings of the runner.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Most events of a batch.
    pub batch: i64,
    /// How often the log is asked when nobody rings.
    pub poll: Duration,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self { batch: 500, poll: Duration::from_secs(1) }
    }
}

/// Wakes the runner: the log has grown.
#[derive(Debug, Clone)]
pub struct Bell(Arc<watch::Sender<u64>>);

impl Bell {
    /// Rings. Cheap, and harmless when there is nothing to do.
    pub fn ring(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The runner cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A task ended in a panic, which is a defect.
    #[error("a projector stopped")]
    Stopped(#[source] tokio::task::JoinError),
}

/// Follows the log.
#[derive(Debug)]
pub struct Runner {
    log: Log,
    projections: Projections,
    options: RunnerOptions,
    models: Vec<ReadModel>,
    bell: Bell,
}

impl Runner {
    /// A runner of all read models.
    pub fn new(log: Log, projections: Projections, options: RunnerOptions) -> Self {
        Self::of(read_models(), log, projections, options)
    }

    /// A runner of these read models.
    pub fn of(models: Vec<ReadModel>, log: Log, projections: Projections, options: RunnerOptions) -> Self {
        describe_gauge!("lablet_projection_lag_events", Unit::Count, "Events that a read model has not seen");
        describe_gauge!("lablet_projection_lag_seconds", Unit::Seconds, "Age of the oldest event it has not seen");
        describe_gauge!("lablet_projection_parked", Unit::Count, "Events that wait in the dead letters");
        describe_histogram!("lablet_projection_batch_events", Unit::Count, "Events of one batch");
        Self { log, projections, options, models, bell: Bell(Arc::new(watch::Sender::new(0))) }
    }

    /// What wakes it, for whoever hears of events that other processes appended.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Runs until the token is cancelled. While the database is away it waits and tries again.
    ///
    /// # Errors
    /// [`RunError::Stopped`] on a defect.
    pub async fn run(self, stop: CancellationToken) -> Result<(), RunError> {
        let mut tasks = JoinSet::new();
        for model in self.models {
            let follower = Follower {
                fold: Fold::live(self.log.clone(), model, self.options.batch),
                projections: self.projections.clone(),
                poll: self.options.poll,
                appended: self.log.appended(),
                bell: self.bell.0.subscribe(),
            };
            tasks.spawn(follower.run(stop.clone()));
        }
        tasks.spawn(measure(self.projections, stop));
        while let Some(ended) = tasks.join_next().await {
            // The others are cancelled with the set.
            ended.map_err(RunError::Stopped)?;
        }
        Ok(())
    }
}

struct Follower {
    fold: Fold,
    projections: Projections,
    poll: Duration,
    appended: watch::Receiver<u64>,
    bell: watch::Receiver<u64>,
}

impl Follower {
    /// For ever: a database that is away is waited for, ever longer up to five seconds.
    async fn run(mut self, stop: CancellationToken) {
        let mut failures = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        // An event that was just committed is read once all earlier transactions have ended, which no bell tells.
        let mut idle = Backoff::new(Duration::from_millis(2), self.poll);
        let mut at: Option<Position> = None;
        while !stop.is_cancelled() {
            let wait = match self.step(at).await {
                Ok(Step::Moved { to, events }) => {
                    at = Some(to);
                    histogram!("lablet_projection_batch_events", "projection" => self.fold.model.name)
                        .record(f64::from(u32::try_from(events).unwrap_or(u32::MAX)));
                    self.projections.publish(self.fold.model.name, to);
                    failures.reset();
                    idle.reset();
                    continue;
                }
                Ok(Step::Idle { at: position }) => {
                    if at != Some(position) {
                        at = Some(position);
                        self.projections.publish(self.fold.model.name, position);
                    }
                    failures.reset();
                    idle.next_wait()
                }
                Ok(Step::Elsewhere) => {
                    at = None;
                    continue;
                }
                Err(error) => {
                    at = None;
                    let wait = failures.next_wait();
                    tracing::warn!(
                        projection = self.fold.model.name,
                        error = &error as &dyn std::error::Error,
                        wait_ms = wait.as_millis(),
                        "a batch has to be folded again"
                    );
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
                Ok(()) = self.appended.changed() => idle.reset(),
                Ok(()) = self.bell.changed() => idle.reset(),
            }
        }
    }

    async fn step(&self, at: Option<Position>) -> Result<Step, StepError> {
        let at = match at {
            Some(at) => at,
            None => {
                let mut connection = self.projections.pool().acquire().await?;
                let model = &self.fold.model;
                let Checkpoint { position, revision } =
                    Checkpoint::ensure(&mut connection, model.name, model.revision).await?;
                if revision != model.revision {
                    return Err(StepError::Revision { found: revision, own: model.revision });
                }
                position
            }
        };
        self.fold.step(at).await
    }
}

/// Tells the metrics how the read models stand, every five seconds.
async fn measure(projections: Projections, stop: CancellationToken) {
    let every = Duration::from_secs(5);
    while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        match tokio::time::timeout(every, projections.status()).await {
            Ok(Ok(statuses)) => {
                for status in statuses {
                    #[expect(
                        clippy::cast_precision_loss,
                        reason = "gauges are floating point; counts stay far below 2^52"
                    )]
                    for (gauge, value) in [
                        (
                            gauge!("lablet_projection_lag_events", "projection" => status.name.clone()),
                            status.lag_events as f64,
                        ),
                        (
                            gauge!("lablet_projection_lag_seconds", "projection" => status.name.clone()),
                            status.lag_seconds,
                        ),
                        (gauge!("lablet_projection_parked", "projection" => status.name.clone()), status.parked as f64),
                    ] {
                        gauge.set(value);
                    }
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the read models cannot be measured");
            }
            Err(_) => tracing::warn!("the read models cannot be measured: no answer within {every:?}"),
        }
    }
}
