//! How far a node has come: its states, and the run that decides them.

use chrono::{DateTime, Utc};

/// States as the API names them. A lab knows the first, second and fifth; only nodes boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    DefinedOnCore,
    Stopped,
    Queued,
    /// Its machine is being made; from 2.10.
    Starting,
    Started,
    Booted,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DefinedOnCore => "DEFINED_ON_CORE",
            Self::Stopped => "STOPPED",
            Self::Queued => "QUEUED",
            Self::Starting => "STARTING",
            Self::Started => "STARTED",
            Self::Booted => "BOOTED",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Never started, or wiped since.
    Defined,
    Stopped,
    Running(Run),
}

/// What a machine was given when it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) cpus: u64,
    /// Percent of each vCPU.
    pub(crate) cpu_limit: u64,
    /// MB.
    pub(crate) ram: u64,
}

/// One run of a node, planned in full when it is started, so that its state is a function of the time alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) queued_at: DateTime<Utc>,
    /// Equal to `starts_at` where the API has no state between queue and start.
    pub(crate) launches_at: DateTime<Utc>,
    pub(crate) starts_at: DateTime<Utc>,
    pub(crate) boots_at: DateTime<Utc>,
    /// When somebody will restart it, if anybody does.
    pub(crate) restarts_at: Option<DateTime<Utc>>,
    pub(crate) given: Given,
    /// What its disk held when it was started, in MB.
    pub(crate) disk_mb: u64,
}

impl State {
    /// Of the interfaces of a node in this state, which know neither a queue nor a boot.
    pub(crate) fn of_interfaces(self) -> Self {
        match self {
            Self::Started | Self::Booted => Self::Started,
            Self::Queued | Self::Starting | Self::Stopped => Self::Stopped,
            Self::DefinedOnCore => Self::DefinedOnCore,
        }
    }
}

impl Run {
    /// Every state that it has reached, in order; one that it skips is left out.
    pub(crate) fn states_until(self, now: DateTime<Utc>) -> Vec<State> {
        let steps = [
            (self.queued_at, State::Queued),
            (self.launches_at, State::Starting),
            (self.starts_at, State::Started),
            (self.boots_at, State::Booted),
        ];
        let reached = steps
            .into_iter()
            .filter(|(at, state)| *at <= now && !(*state == State::Starting && self.launches_at == self.starts_at));
        reached.map(|(_, state)| state).collect()
    }

    pub(crate) fn state(self, now: DateTime<Utc>) -> State {
        if now < self.launches_at {
            State::Queued
        } else if now < self.starts_at {
            State::Starting
        } else if now < self.boots_at {
            State::Started
        } else {
            State::Booted
        }
    }
}

/// A run that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PastRun {
    pub(crate) run: Run,
    pub(crate) ended_at: DateTime<Utc>,
}
