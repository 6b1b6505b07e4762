//! Samples from what a worker answers, and from what it pushes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::live_sample::Sample;
use domain::observation::GapReason;
use domain::{LabId, SessionId, WorkerId};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::TaskOutcome;
use super::pace::{gap_reason, gap_reason_of_access, is_of_worker};
use crate::Surroundings;
use crate::cml::answers::Reading;
use crate::profile::sample_from_stats;

/// Longest time of one read of a lab.
const POLL_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest time between two pushed samples that are counted: CML pushes about every three seconds.
const SHORTEST_PUSH: TimeDelta = TimeDelta::milliseconds(900);

/// What a poll brought.
#[derive(Debug)]
pub(super) enum PollReply {
    /// `is_late`: it took so long that it may leave a gap.
    Sample { sample: Sample, is_late: bool },
    /// The ids of the lab's nodes.
    Nodes(BTreeSet<String>),
    /// The worker answers, and does not tell them.
    NoNodes,
}

/// One request about a lab: for its statistics, or for the ids of its nodes.
pub(super) struct Poll {
    pub(super) session: SessionId,
    pub(super) worker: WorkerId,
    pub(super) lab: LabId,
    pub(super) permits: Arc<Semaphore>,
    pub(super) interval: Duration,
    pub(super) is_for_nodes: bool,
}

impl Poll {
    pub(super) async fn run(self, surroundings: Surroundings) -> TaskOutcome {
        let result = self.ask(&surroundings).await;
        TaskOutcome::Polled { session: self.session, worker: self.worker, lab: self.lab, result }
    }

    async fn ask(&self, surroundings: &Surroundings) -> Result<PollReply, GapReason> {
        // Whoever waits for longer than an interval has missed its sample.
        let _permit =
            tokio::time::timeout(self.interval, self.permits.acquire()).await.map_err(|_| GapReason::WorkerSlow)?;
        let access = surroundings.workers.access(&self.worker).await.map_err(|error| gap_reason_of_access(&error))?;
        let reader = surroundings.client.reader(&access, POLL_TIMEOUT.min(self.interval));
        if self.is_for_nodes {
            return match reader.element_states(&self.lab).await.map_err(|error| gap_reason(&error)) {
                Ok(states) => Ok(PollReply::Nodes(states.value.nodes.into_keys().collect())),
                Err(reason) if is_of_worker(reason) => Err(reason),
                Err(_) => Ok(PollReply::NoNodes),
            };
        }
        let began = Instant::now();
        let reading = reader.stats(&self.lab).await.map_err(|error| gap_reason(&error))?;
        let sample = sample_from_stats(&reading.value, unreadable(&reading), surroundings.clock.now());
        Ok(PollReply::Sample { sample, is_late: began.elapsed() > self.interval / 2 })
    }
}

/// Whether a pushed sample comes so soon after the last one that it is not counted.
pub(super) fn comes_too_soon(last: Option<DateTime<Utc>>, at: DateTime<Utc>) -> bool {
    last.is_some_and(|last| at - last < SHORTEST_PUSH)
}

/// How many entries of an answer could not be read, and one of them.
pub(super) fn unreadable<T>(reading: &Reading<T>) -> Option<(u32, String)> {
    let first = reading.unreadable.first()?;
    let count = u32::try_from(reading.unreadable.len()).unwrap_or(u32::MAX);
    Some((count, format!("{}: {}", first.read.as_str(), first.reason.as_str()).chars().take(200).collect()))
}
