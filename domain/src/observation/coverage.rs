//! How much of a lab an observation saw.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MOST_NODES, MOST_SMALL, state_explanation};
use crate::invalid::{Checked, Checking};
use crate::text::EXPLANATION;

/// How much of the lab an observation saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Nodes of the lab. Null is unknown.
    #[schemars(range(min = 0, max = MOST_NODES))]
    pub nodes_total: Option<u32>,
    /// Nodes in state BOOTED (nodes without a machine count once started). Null is unknown.
    #[schemars(range(min = 0, max = MOST_NODES))]
    pub nodes_booted: Option<u32>,
    /// What the lab was doing.
    #[serde(default)]
    pub phase: Phase,
    /// Reads that failed, with the reason.
    #[serde(default)]
    #[schemars(length(max = MOST_SMALL))]
    pub failed_reads: Vec<FailedRead>,
    /// Entries of CML's answers that could not be read, by place and reason.
    #[serde(default)]
    #[schemars(length(max = MOST_SMALL))]
    pub unreadable_entries: Vec<FailedRead>,
}

impl Coverage {
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
    #[schemars(transform = state_explanation)]
    pub read: String,
    /// Why, e.g. `timed out after 30 s`.
    #[schemars(transform = state_explanation)]
    pub reason: String,
}

impl Checked for Coverage {
    fn check(&self, checking: &mut Checking) {
        let Self { nodes_total, nodes_booted, phase: _, failed_reads, unreadable_entries } = self;
        checking.whole("nodes_total", *nodes_total, MOST_NODES as u64);
        checking.whole("nodes_booted", *nodes_booted, MOST_NODES as u64);
        checking.each("failed_reads", failed_reads, MOST_SMALL, Checked::check);
        checking.each("unreadable_entries", unreadable_entries, MOST_SMALL, Checked::check);
    }
}

impl Checked for FailedRead {
    fn check(&self, checking: &mut Checking) {
        let Self { read, reason } = self;
        checking.text("read", read, EXPLANATION);
        checking.text("reason", reason, EXPLANATION);
    }
}
