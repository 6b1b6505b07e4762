//! What a controller knows of one session that is sampled, by itself or by another controller.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::live_sample::Outcome;
use domain::{LabId, WorkerId};
use tokio::time::Instant;
use uuid::Uuid;

use super::live::LiveSample;
use crate::profile::Summary;

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
    Sampling(Box<OwnSampling>),
}

/// What is heard of the controller that samples the session.
#[derive(Debug)]
pub(super) struct Standby {
    /// When to take the session over, unless that controller is heard of.
    pub(super) take_over_at: Instant,
    /// The controller that samples it, where it is known.
    pub(super) holder: Option<Uuid>,
    term: u64,
}

/// What this controller gathered.
#[derive(Debug)]
pub(super) struct OwnSampling {
    pub(super) summary: Summary,
    /// Revision of its entry in the store. `None`: the store could not be used so far.
    pub(super) revision: Option<u64>,
    pub(super) term: u64,
    pub(super) is_written: bool,
    pub(super) write_at: Instant,
    pub(super) poll_at: Instant,
    pub(super) in_poll: bool,
    /// Ids of the lab's nodes, once they were read, and when that was. Nothing else that a sample names is counted.
    pub(super) nodes: Option<(Instant, BTreeSet<String>)>,
    /// Whether the nodes are to be read before the next sample.
    pub(super) wants_nodes: bool,
    /// When they were last asked for.
    pub(super) nodes_asked_at: Option<Instant>,
    /// When a socket last brought a sample.
    pub(super) pushed_at: Option<Instant>,
    /// When others were last told of it.
    pub(super) told_at: Instant,
}

/// How long after others were last told of a session they are told that it is sampled all the same, in intervals.
const PENDING_INTERVALS: f64 = 1.1;

impl SampledSession {
    /// Notes where it runs. Where it moved, the new lab has other nodes, and is polled until a socket brings it.
    pub(super) fn move_to(&mut self, worker: WorkerId, lab: LabId, now: Instant) {
        if (&self.worker, &self.lab) == (&worker, &lab) {
            return;
        }
        (self.worker, self.lab) = (worker, lab);
        if let Role::Sampling(sampled) = &mut self.role {
            (sampled.nodes, sampled.wants_nodes) = (None, true);
            (sampled.pushed_at, sampled.poll_at) = (None, now);
        }
    }

    /// When something is to be done about it next.
    pub(super) fn due_at(&self, interval: Duration) -> Option<Instant> {
        let sampled = match &self.role {
            Role::Standby(standby) => return (!self.in_store).then_some(standby.take_over_at),
            Role::Sampling(sampled) => sampled,
        };
        let write_at = (!self.in_store && !sampled.is_written).then_some(sampled.write_at);
        let others = match self.ended {
            Some(ask_at) => [(!self.in_store).then_some(ask_at), None],
            None => [(!sampled.in_poll).then_some(sampled.poll_at), Some(sampled.pending_at(interval))],
        };
        others.into_iter().chain([write_at]).flatten().min()
    }
}

impl OwnSampling {
    /// When others are told that it is sampled, unless they are told of something else before.
    pub(super) fn pending_at(&self, interval: Duration) -> Instant {
        self.told_at + interval.mul_f64(PENDING_INTERVALS)
    }
}

impl Standby {
    /// Nobody is known to sample the session; it may be taken over at `take_over_at`.
    pub(super) fn new(take_over_at: Instant) -> Self {
        Self { take_over_at, holder: None, term: 0 }
    }

    /// Notes who samples the session, unless that controller was replaced meanwhile. Whether it counts.
    pub(super) fn hear(&mut self, message: &LiveSample) -> bool {
        if message.term < self.term {
            return false;
        }
        self.term = message.term;
        self.holder = Some(message.controller).filter(|_| message.outcome != Outcome::Released);
        true
    }
}

/// Adds to a summary what was heard since it was stored. What it has already is late, and changes nothing.
pub(super) fn catch_up<'a>(summary: &mut Summary, heard: impl IntoIterator<Item = &'a LiveSample>) {
    for message in heard {
        match &message.outcome {
            Outcome::Sampled { sample, .. } => {
                summary.fold(sample);
            }
            Outcome::Missed { reason } => summary.miss(*reason),
            Outcome::Pending | Outcome::Released => {}
        }
    }
}
