//! How much of a lab an observation saw.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MOST_SMALL, NodeCount};
use crate::list::List;
use crate::number::Share;
use crate::text::Explanation;
use crate::worker::Shortage;

/// How much of the lab an observation saw.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Nodes of the lab. Null is unknown.
    pub nodes_total: Option<NodeCount>,
    /// Nodes in state BOOTED (nodes without a machine count once started). Null is unknown.
    pub nodes_booted: Option<NodeCount>,
    /// What the lab was doing.
    #[serde(default)]
    pub phase: Phase,
    /// Reads that failed, with the reason.
    #[serde(default)]
    pub failed_reads: List<FailedRead, MOST_SMALL>,
    /// Entries of CML's answers that could not be read, by place and reason.
    #[serde(default)]
    pub unreadable_entries: List<FailedRead, MOST_SMALL>,
    /// Share of the session's running time that was sampled, 0 to 1. Null or absent is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled_share: Option<Share>,
    /// Whether the worker was short of CPU, memory, storage or launches at any known moment since the session runs: what
    /// was measured may then be too low. `false`: it was known throughout not to be. Null or absent is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_short: Option<bool>,
    /// What the worker was short of.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub worker_short_of: List<Shortage, { Shortage::ALL.len() }>,
}

impl Coverage {
    /// Whether nothing of the lab is known by it. What could not be read says nothing, nor does its worker.
    pub(crate) fn says_nothing(&self) -> bool {
        let Self {
            nodes_total,
            nodes_booted,
            phase,
            failed_reads: _,
            unreadable_entries: _,
            sampled_share: _,
            worker_short: _,
            worker_short_of: _,
        } = self;
        nodes_total.is_none() && nodes_booted.is_none() && *phase == Phase::Unknown
    }

    /// Every read answered, every entry was readable and every node had booted.
    pub fn is_complete(&self) -> bool {
        self.failed_reads.is_empty()
            && self.unreadable_entries.is_empty()
            && self.nodes_total.is_some()
            && self.nodes_total == self.nodes_booted
    }
}

/// What a lab was doing when it was observed. Devices burn CPU while they boot, then calm down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// At least one node had not booted, or only just had.
    Boot,
    /// All nodes had booted a while ago.
    Steady,
    /// The lab was not running.
    Stopped,
    /// Cannot be told.
    #[default]
    Unknown,
}

/// A read of the controller that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedRead {
    /// Which read or entry, e.g. `simulation_stats`.
    pub read: Explanation,
    /// Why, e.g. `timed out after 30 s`.
    pub reason: Explanation,
}

impl FailedRead {
    /// That this read failed, for this reason; what no text may hold is replaced.
    pub fn new(read: &str, reason: &str) -> Self {
        Self { read: Explanation::clean(read), reason: Explanation::clean(reason) }
    }
}
