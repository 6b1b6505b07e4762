//! What a controller knows of one session that is sampled, by itself or by another controller.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{LabId, WorkerId};
use tokio::time::Instant;
use uuid::Uuid;

use super::live::{LiveSample, Outcome};
use crate::profile::Summary;

/// For how long live samples of another controller are kept: longer than two writes of its summary are apart.
const KEPT_FOR: Duration = Duration::from_secs(180);
/// Most samples of nodes that are kept of one session.
const MOST_NODE_SAMPLES: usize = 20_000;

/// A session that runs.
#[derive(Debug)]
pub(super) struct SampledSession {
    pub(super) worker: WorkerId,
    pub(super) lab: LabId,
    pub(super) running_since: DateTime<Utc>,
    pub(super) role: Role,
    /// Whether a call to the store about it is under way.
    pub(super) in_store: bool,
    /// When to ask whether it can still be observed. `None`: it is listed as running.
    pub(super) ended: Option<Instant>,
}

/// Who samples a session.
#[derive(Debug)]
pub(super) enum Role {
    /// Another controller, or nobody yet.
    Standby(Standby),
    /// This one.
    Sampling(Box<Sampled>),
}

/// What is heard of the controller that samples the session.
#[derive(Debug)]
pub(super) struct Standby {
    /// When to take the session over, unless that controller is heard of.
    pub(super) take_over_at: Instant,
    /// The controller that samples it, where it is known.
    pub(super) holder: Option<Uuid>,
    term: u64,
    recent: VecDeque<(Instant, LiveSample)>,
}

/// What this controller gathered.
#[derive(Debug)]
pub(super) struct Sampled {
    pub(super) summary: Summary,
    /// Revision of its entry in the store. `None`: the store could not be used so far.
    pub(super) revision: Option<u64>,
    pub(super) term: u64,
    pub(super) is_written: bool,
    pub(super) write_at: Instant,
    pub(super) poll_at: Instant,
    pub(super) in_poll: bool,
    /// When a socket last brought a sample.
    pub(super) pushed_at: Option<Instant>,
    /// When others were last told of it.
    pub(super) told_at: Option<Instant>,
}

impl Standby {
    /// Nobody is known to sample the session; it may be taken over at `take_over_at`.
    pub(super) fn new(take_over_at: Instant) -> Self {
        Self { take_over_at, holder: None, term: 0, recent: VecDeque::new() }
    }

    /// Keeps what another controller tells, unless that one was replaced meanwhile. Whether it was kept.
    pub(super) fn hear(&mut self, message: LiveSample, now: Instant) -> bool {
        if message.term < self.term {
            return false;
        }
        self.term = message.term;
        self.holder = Some(message.controller).filter(|_| message.outcome != Outcome::Released);
        self.recent.push_back((now, message));
        let size = |message: &LiveSample| match &message.outcome {
            Outcome::Sampled { sample } => sample.nodes.len(),
            Outcome::Missed { .. } | Outcome::Released => 1,
        };
        let mut total: usize = self.recent.iter().map(|(_, message)| size(message)).sum();
        while let Some((heard_at, first)) = self.recent.front()
            && (total > MOST_NODE_SAMPLES || now.duration_since(*heard_at) > KEPT_FOR)
        {
            total -= size(first);
            self.recent.pop_front();
        }
        true
    }

    /// What was heard, in order.
    pub(super) fn recent(&self) -> impl Iterator<Item = &LiveSample> {
        self.recent.iter().map(|(_, message)| message)
    }
}

/// Adds to a summary what was heard since it was stored. What it has already is late, and changes nothing.
pub(super) fn catch_up<'a>(summary: &mut Summary, heard: impl IntoIterator<Item = &'a LiveSample>) {
    for message in heard {
        match &message.outcome {
            Outcome::Sampled { sample } => {
                summary.fold(sample);
            }
            Outcome::Missed { reason } => summary.miss(*reason),
            Outcome::Released => {}
        }
    }
}
