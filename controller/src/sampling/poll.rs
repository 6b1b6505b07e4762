//! Samples from what a worker answers, and from what it pushes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::observation::GapReason;
use domain::{LabId, SessionId, WorkerId};
use tokio::sync::Semaphore;

use super::TaskOutcome;
use super::pace::{gap_reason, gap_reason_of_access};
use crate::Surroundings;
use crate::cml::answers::Reading;
use crate::profile::Sample;

/// Longest time of one read of a lab.
const POLL_TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two pushes of CML.
const PUSH_SECONDS: u32 = 3;
/// Shortest time between two samples that are counted.
const SHORTEST_PUSH_MILLISECONDS: u32 = 900;

/// What a poll brought.
#[derive(Debug)]
pub(super) enum PollReply {
    Sample(Sample),
    /// The ids of the lab's nodes.
    Nodes(BTreeSet<String>),
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
        TaskOutcome::Polled { session: self.session, worker: self.worker, result }
    }

    async fn ask(&self, surroundings: &Surroundings) -> Result<PollReply, GapReason> {
        // Whoever waits for longer than an interval has missed its sample.
        let _permit =
            tokio::time::timeout(self.interval, self.permits.acquire()).await.map_err(|_| GapReason::WorkerSlow)?;
        let access = surroundings.workers.access(&self.worker).await.map_err(|error| gap_reason_of_access(&error))?;
        let reader = surroundings.client.reader(&access, POLL_TIMEOUT.min(self.interval));
        if self.is_for_nodes {
            let states = reader.element_states(&self.lab).await.map_err(|error| gap_reason(&error))?;
            return Ok(PollReply::Nodes(states.value.nodes.into_keys().collect()));
        }
        let reading = reader.stats(&self.lab).await.map_err(|error| gap_reason(&error))?;
        let (at, seconds) = (surroundings.clock.now(), whole_seconds(self.interval));
        let sample = Sample::from_stats(&reading.value, unreadable(&reading), at, seconds);
        Ok(PollReply::Sample(sample))
    }
}

fn whole_seconds(interval: Duration) -> u32 {
    u32::try_from(interval.as_secs()).unwrap_or(u32::MAX).max(1)
}

/// The time for which a pushed sample stands: that since the last sample. `None`: it comes too soon to be counted.
pub(super) fn seconds_of_push(last: Option<DateTime<Utc>>, at: DateTime<Utc>, interval: Duration) -> Option<u32> {
    let longest = whole_seconds(interval);
    let Some(last) = last else { return Some(PUSH_SECONDS.min(longest)) };
    let milliseconds = u32::try_from((at - last).num_milliseconds()).ok()?;
    (milliseconds >= SHORTEST_PUSH_MILLISECONDS).then(|| ((milliseconds + 500) / 1_000).clamp(1, longest))
}

/// How many entries of an answer could not be read, and one of them.
pub(super) fn unreadable<T>(reading: &Reading<T>) -> Option<(u32, String)> {
    let first = reading.unreadable.first()?;
    let count = u32::try_from(reading.unreadable.len()).unwrap_or(u32::MAX);
    Some((count, format!("{}: {}", first.read.as_str(), first.reason.as_str()).chars().take(200).collect()))
}
