//! One sample of a lab, from a worker's statistics.

use chrono::{DateTime, Utc};
use domain::live_sample::{NodeSample, Sample};
use domain::observation::MOST_NODES;

use crate::cml::answers::{NodeStats, Stats};
use crate::observation::{cores_in_use, memory_in_use_mb};

/// Most virtual CPUs of one node: a busier one is a mistake.
const MOST_CPUS: f64 = 1_024.0;
/// By which part a node may seem to exceed what it has: accounting of a scheduler is not exact.
const ACCOUNTING_ERROR: f64 = 0.05;

/// The sample that a worker's statistics give, read at `at`.
pub fn sample_from_stats(stats: &Stats, unreadable: Option<(u32, String)>, at: DateTime<Utc>) -> Sample {
    let running = stats.nodes.iter().filter_map(|(id, stats)| Some((id.clone(), node_sample(stats)?)));
    let unknown = stats.nodes.values().filter(|stats| stats.started_for.is_none() && stats.is_running.is_none());
    let unknown_nodes = u32::try_from(unknown.count()).unwrap_or(u32::MAX);
    Sample { at, nodes: running.take(MOST_NODES).collect(), unknown_nodes, unreadable }
}

/// `None`: the node has not started.
fn node_sample(stats: &NodeStats) -> Option<NodeSample> {
    let not_started = stats.started_for == Some(0) || stats.is_running == Some(false);
    let has_figures = stats.cpu_usage.is_some() || stats.ram_usage.is_some() || stats.disk_usage.is_some();
    if not_started || (stats.started_for.is_none() && !has_figures) {
        return None;
    }
    Some(NodeSample {
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

/// `cpu_usage` where a node can use as much: all that its CPUs have, where their number is told (from 2.10).
fn plausible_cpu_usage(stats: &NodeStats) -> Option<f64> {
    let cpus = stats.cpus.map_or(MOST_CPUS, |cpus| f64::from(u32::try_from(cpus).unwrap_or(u32::MAX)).min(MOST_CPUS));
    stats.cpu_usage.filter(|percent| (0.0..=cpus.max(1.0) * 100.0 * (1.0 + ACCOUNTING_ERROR)).contains(percent))
}

/// `ram_usage` where it is a percentage.
fn plausible_ram_usage(stats: &NodeStats) -> Option<f64> {
    stats.ram_usage.filter(|percent| (0.0..=100.0 * (1.0 + ACCOUNTING_ERROR)).contains(percent))
}
