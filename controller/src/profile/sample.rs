//! One sample of a lab: what each of its nodes uses at one instant.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::observation::MOST_NODES;
use serde::{Deserialize, Serialize};

use crate::cml::answers::{NodeStats, Stats};
use crate::observation::{cores_in_use, memory_in_use_mb};

/// Most virtual CPUs of one node: a busier one is a mistake.
const MOST_CPUS: f64 = 1_024.0;
/// By which part a node may seem to exceed what it has: accounting of a scheduler is not exact.
const ACCOUNTING_ERROR: f64 = 0.05;

/// What the nodes of a lab use at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, by this controller's clock.
    pub at: DateTime<Utc>,
    /// Nodes that have started, by id.
    pub nodes: BTreeMap<String, NodeSample>,
    /// Nodes of which nothing is known, not even whether they have started.
    pub unknown_nodes: u32,
    /// Entries that could not be read, and the first of them.
    pub unreadable: Option<(u32, String)>,
}

/// What a node uses at one instant. What is not known is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeSample {
    /// Seconds since it started, by the worker's clock.
    pub started_for: Option<u64>,
    /// Seconds since it booted, by the worker's clock; 0: it has not.
    pub booted_for: Option<u64>,
    /// Cores.
    pub cpu_cores: Option<f64>,
    /// MB.
    pub memory_mb: Option<f64>,
    /// MB.
    pub storage_mb: Option<f64>,
    /// Bytes read and written by its disk, which only grow while it runs.
    pub disk_bytes: Option<u64>,
}

impl Sample {
    /// The sample that a worker's statistics give, read at `at`.
    pub fn from_stats(stats: &Stats, unreadable: Option<(u32, String)>, at: DateTime<Utc>) -> Self {
        let running = stats.nodes.iter().filter_map(|(id, stats)| Some((id.clone(), NodeSample::from_stats(stats)?)));
        let unknown = stats.nodes.values().filter(|stats| stats.started_for.is_none() && stats.is_running.is_none());
        let unknown_nodes = u32::try_from(unknown.count()).unwrap_or(u32::MAX);
        Self { at, nodes: running.take(MOST_NODES).collect(), unknown_nodes, unreadable }
    }

    /// Leaves out nodes that are not of the lab, and notes them as unreadable.
    pub fn keep_only(&mut self, nodes_of_lab: &BTreeSet<String>) {
        let mut strangers = self.nodes.extract_if(.., |id, _| !nodes_of_lab.contains(id)).map(|(id, _)| id);
        if let Some(first) = strangers.next() {
            let count = u32::try_from(strangers.count()).unwrap_or(u32::MAX).saturating_add(1);
            let (before, example) = self.unreadable.take().unwrap_or_default();
            let example = if example.is_empty() { format!("{first} is no node of this lab") } else { example };
            self.unreadable = Some((before.saturating_add(count), example));
        }
    }

    /// What the lab uses: cores, MB of memory, MB on disk. A sum of which a part is unknown is unknown.
    pub fn totals(&self) -> [Option<f64>; 3] {
        [0, 1, 2].map(|which| self.nodes.values().map(|node| node.amounts()[which]).sum())
    }

    /// Whether any amount of it is known.
    pub fn has_amounts(&self) -> bool {
        self.nodes.values().any(|node| node.amounts().into_iter().any(|amount| amount.is_some()))
    }
}

impl NodeSample {
    /// `None`: the node has not started.
    fn from_stats(stats: &NodeStats) -> Option<Self> {
        let not_started = stats.started_for == Some(0) || stats.is_running == Some(false);
        let has_figures = stats.cpu_usage.is_some() || stats.ram_usage.is_some() || stats.disk_usage.is_some();
        if not_started || (stats.started_for.is_none() && !has_figures) {
            return None;
        }
        Some(Self {
            started_for: stats.started_for,
            booted_for: stats.booted_for,
            cpu_cores: plausible_cpu_usage(stats).map(cores_in_use),
            memory_mb: plausible_ram_usage(stats).and_then(|percent| memory_in_use_mb(percent, stats.ram)),
            storage_mb: stats.disk_usage,
            disk_bytes: match (stats.disk_read_bytes, stats.disk_written_bytes) {
                (None, None) => None,
                (read, written) => Some(read.unwrap_or(0).saturating_add(written.unwrap_or(0))),
            },
        })
    }

    /// Cores, MB of memory, MB on disk.
    pub(super) fn amounts(&self) -> [Option<f64>; 3] {
        [self.cpu_cores, self.memory_mb, self.storage_mb]
    }
}

/// `cpu_usage` where a node can use as much: all that its CPUs have, where their number is told (from 2.10).
fn plausible_cpu_usage(stats: &NodeStats) -> Option<f64> {
    let cpus = stats.cpus.map_or(MOST_CPUS, |cpus| f64::from(u32::try_from(cpus).unwrap_or(u32::MAX)).min(MOST_CPUS));
    stats.cpu_usage.filter(|percent| (0.0..=cpus.max(1.0) * 100.0 * (1.0 + ACCOUNTING_ERROR)).contains(percent))
}

/// `ram_usage` where it is a percentage.
fn plausible_ram_usage(stats: &NodeStats) -> Option<f64> {
    stats.ram_usage.filter(|percent| (0.0..=100.0 * (1.0 + ACCOUNTING_ERROR)).contains(percent))
}
