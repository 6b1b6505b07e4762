//! Probes the workers: signs in, learns their version, and reports how much of each is free and what it is short of.
//!
//! An observation then finds sign-in and version done, and a worker that cannot be reached shows before anybody asks for
//! an observation. A worker on which sessions run is probed every minute, any other every five.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bus::Backoff;
use bus::clock::Clock;
use domain::WorkerId;
use domain::actor::Actor;
use domain::time::BoundedTime;
use domain::worker::PressureReport;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gateway::Worker;
use crate::pressure::{self, PressureReports};
use crate::workers::Workers;

/// Workers that are probed at a time.
const CONCURRENCY: usize = 8;
/// Longest time of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time until a worker that was registered, or on which a session began to run, is noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// Failures in a row before a worker is reported as unknown: one may be chance.
const FAILURES_BEFORE_UNKNOWN: u32 = 2;
/// The share of an interval by which probes are spread.
const JITTER: u32 = 10;

/// How often workers are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeIntervals {
    /// Those on which sessions run.
    pub busy: Duration,
    /// All others.
    pub idle: Duration,
}

impl Default for ProbeIntervals {
    fn default() -> Self {
        Self { busy: Duration::from_secs(60), idle: Duration::from_secs(300) }
    }
}

/// Probes the workers.
#[derive(Debug)]
pub(crate) struct Probe {
    workers: Workers,
    reports: PressureReports,
    clock: Clock,
    intervals: ProbeIntervals,
    permits: Arc<Semaphore>,
    probed: BTreeMap<WorkerId, ProbedWorker>,
}

/// What is known of a worker's probes.
#[derive(Debug)]
struct ProbedWorker {
    last: Option<Instant>,
    /// Added to each interval, so that workers, and controllers, do not keep step.
    jitter: Duration,
    is_probed_now: bool,
    failures: u32,
}

impl ProbedWorker {
    /// When it is to be probed, at the earliest `now`. `None`: it is being probed.
    fn due_at(&self, interval: Duration, now: Instant) -> Option<Instant> {
        let due_at = self.last.map_or(now, |last| last + interval + self.jitter);
        (!self.is_probed_now).then(|| due_at.max(now))
    }
}

/// What came of a probe.
struct ProbeOutcome {
    worker: WorkerId,
    has_failed: bool,
}

impl Probe {
    pub(crate) fn new(workers: Workers, reports: PressureReports, clock: Clock, intervals: ProbeIntervals) -> Self {
        Self {
            workers,
            reports,
            clock,
            intervals,
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
            probed: BTreeMap::new(),
        }
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut tasks: JoinSet<ProbeOutcome> = JoinSet::new();
        loop {
            let again_at = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                again_at = self.start_due(&mut tasks) => again_at,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(ended) = tasks.join_next() => match ended {
                    Ok(outcome) => self.ended(&outcome),
                    // The whole controller ends: a worker whose probe panicked would never be probed again.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = tokio::time::sleep_until(again_at) => {}
            }
        }
    }

    /// Starts the probes that are due, and says when to look again.
    async fn start_due(&mut self, tasks: &mut JoinSet<ProbeOutcome>) -> Instant {
        let again_at = Instant::now() + NOTICED_WITHIN;
        let listed = match self.workers.all().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(%error, "workers could not be listed");
                return again_at;
            }
        };
        let ids: BTreeSet<WorkerId> = listed.keys().cloned().collect();
        self.probed.retain(|worker, probed| ids.contains(worker) || probed.is_probed_now);
        self.reports.keep_only(&ids);
        let now = Instant::now();
        let mut next = again_at;
        for worker in listed.values() {
            let interval = if self.workers.is_busy(&worker.id) { self.intervals.busy } else { self.intervals.idle };
            let probed = self.probed.entry(worker.id.clone()).or_insert_with(|| ProbedWorker {
                last: None,
                jitter: Duration::ZERO,
                is_probed_now: false,
                failures: 0,
            });
            let Some(due_at) = probed.due_at(interval, now) else { continue };
            if due_at > now {
                next = next.min(due_at);
                continue;
            }
            probed.is_probed_now = true;
            probed.last = Some(now);
            let spread = interval / JITTER;
            probed.jitter = Backoff::new(spread, spread).next_wait();
            let failures = probed.failures;
            tasks.spawn(self.probe(worker.clone(), failures));
        }
        next
    }

    fn ended(&mut self, outcome: &ProbeOutcome) {
        if let Some(probed) = self.probed.get_mut(&outcome.worker) {
            probed.is_probed_now = false;
            probed.failures = if outcome.has_failed { probed.failures.saturating_add(1) } else { 0 };
        }
    }

    fn probe(&self, worker: Worker, failures: u32) -> impl Future<Output = ProbeOutcome> + use<> {
        let (workers, reports) = (self.workers.clone(), self.reports.clone());
        let (clock, permits) = (self.clock.clone(), self.permits.clone());
        async move {
            let _permit = permits.acquire_owned().await;
            let has_failed = probe(&workers, &reports, &clock, &worker, failures).await;
            ProbeOutcome { worker: worker.id, has_failed }
        }
    }
}

/// Probes one worker, after so many failures in a row. Whether it failed.
async fn probe(workers: &Workers, reports: &PressureReports, clock: &Clock, worker: &Worker, failures: u32) -> bool {
    let reader = match workers.reader(worker, PROBE_TIMEOUT) {
        Ok(reader) => reader,
        Err(refused) => {
            unusable(worker, &refused.to_string());
            return false;
        }
    };
    let is_reached = match tokio::join!(reader.sign_in(), reader.version()) {
        (Ok(()), Ok(version)) => {
            tracing::debug!(worker.id = %worker.id, version, "worker reachable");
            metrics::gauge!("lablet_worker_reachable", "worker" => worker.id.to_string()).set(1.0);
            true
        }
        (Err(error), _) | (_, Err(error)) => {
            unusable(worker, &error.to_string());
            false
        }
    };
    let pressure = if is_reached { pressure::read(&reader).await } else { pressure::unreached() };
    let has_failed = pressure::has_failed(&pressure);
    if !has_failed || failures + 1 >= FAILURES_BEFORE_UNKNOWN {
        // By this clock alone: a worker's may be far off.
        let observed_at = Some(BoundedTime::nearest(clock.now()));
        let report = PressureReport { observed_at, observer: Actor::parse("controller").ok(), pressure };
        reports.send(&worker.id, report).await;
    }
    has_failed
}

fn unusable(worker: &Worker, reason: &str) {
    tracing::warn!(worker.id = %worker.id, reason, "worker cannot be used");
    metrics::gauge!("lablet_worker_reachable", "worker" => worker.id.to_string()).set(0.0);
}
