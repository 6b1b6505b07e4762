//! What a running device uses: a burst while it boots, then a steady load with noise.
//!
//! Everything is a function of the node's own dice and of the time since it started, so equal seeds and equal times give
//! equal numbers, whoever asks however often. Counters only grow.

use chrono::{DateTime, Utc};

use crate::{
    dice::Dice,
    lab::Link,
    node::{Node, Run},
};

/// The controller samples a node about this often; between two samples a reading stays as it is.
const SAMPLE_SECONDS: f64 = 3.0;
/// How fast the load of the boot fades.
const SETTLE_SECONDS: f64 = 40.0;
const MEGABYTE: f64 = 1_048_576.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NodeUsage {
    /// Percent of one core; above 100 on a node with several vCPUs.
    pub(crate) cpu_usage: f64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    /// Percent of the RAM it was given.
    pub(crate) ram_usage: f64,
    /// MB on the disk of its own.
    pub(crate) disk_usage: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkTraffic {
    pub(crate) readbytes: u64,
    pub(crate) readpackets: u64,
    pub(crate) writebytes: u64,
    pub(crate) writepackets: u64,
}

pub(crate) fn seconds_between(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_milliseconds().max(0) as f64 / 1_000.0
}

/// Of a node that has started.
pub(crate) fn node_usage(node: &Node, run: Run, now: DateTime<Utc>) -> NodeUsage {
    let device = node.definition;
    let dice = node.dice.about_text("usage");
    let sample = (seconds_between(run.starts_at, now) / SAMPLE_SECONDS).floor();
    let elapsed = sample * SAMPLE_SECONDS;
    let boot = seconds_between(run.starts_at, run.boots_at).max(1.0);
    let settled = (elapsed - boot).max(0.0);
    let booted_share = (elapsed / boot).min(1.0);

    let temper = dice.about_text("temper").between(0.8, 1.25);
    let steady = device.steady_load * temper;
    let noise = noise(dice, sample);
    let wanted = if elapsed < boot {
        // The loader first, then the system with all it has.
        device.boot_load * (0.35 + 0.65 * booted_share) * (0.9 + 0.1 * noise)
    } else {
        let fading = (device.boot_load - steady).max(0.0) * (-settled / SETTLE_SECONDS).exp();
        let burst = if dice.about_text("burst").about(sample as u64 / 7).unit() < 0.04 { 1.8 } else { 1.0 };
        (steady * burst * (0.75 + 0.5 * noise)) + fading
    };
    // A hair above its limit is what a scheduler's accounting gives.
    let limit = node.given_cpus() as f64 * node.given_cpu_limit() as f64 * 1.002;

    let read = device.boot_read as f64 * MEGABYTE * booted_share + settled * 90.0 * temper;
    let written = device.disk as f64 * MEGABYTE * 0.01 * booted_share + settled * device.write_rate as f64 * temper;
    let memory = 5.0 + (device.memory_share * 100.0 - 5.0) * booted_share.powf(0.6);
    NodeUsage {
        cpu_usage: hundredths(wanted.min(limit)),
        read_bytes: blocks(read),
        written_bytes: blocks(written),
        ram_usage: hundredths((memory + (noise - 0.5) * 1.4 + (settled / 86_400.0).min(6.0)).clamp(1.0, 99.0)),
        disk_usage: ((device.disk as f64 * (0.4 + 0.6 * booted_share)) + written / MEGABYTE) as u64,
    }
}

/// Of a link whose ends are up since `since`. Some links carry nothing, and many carry one direction only.
pub(crate) fn link_traffic(link: &Link, since: DateTime<Utc>, now: DateTime<Utc>) -> LinkTraffic {
    let elapsed = (seconds_between(since, now) / SAMPLE_SECONDS).floor() * SAMPLE_SECONDS;
    let direction = |name: &str| {
        let dice = link.dice.about_text(name);
        if dice.unit() < 0.25 {
            return (0, 0);
        }
        // Routing protocols and little else: some bytes to some kilobytes a second.
        let rate = 8.0 * 10_f64.powf(dice.about(1).between(0.0, 2.7));
        let size = dice.about(2).between(64.0, 420.0);
        let bytes = rate * elapsed;
        (bytes as u64, (bytes / size) as u64)
    };
    let (readbytes, readpackets) = direction("read");
    let (writebytes, writepackets) = direction("write");
    LinkTraffic { readbytes, readpackets, writebytes, writepackets }
}

/// Between 0 and 1, and close to the sample before.
fn noise(dice: Dice, sample: f64) -> f64 {
    let at = |sample: f64| dice.about_text("noise").about(sample as u64).unit();
    (at(sample) + at(sample + 1.0) + at(sample + 2.0)) / 3.0
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Disks move whole sectors.
fn blocks(bytes: f64) -> u64 {
    (bytes / 512.0) as u64 * 512
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{node::Life, topology::Topology};
    use chrono::TimeDelta;

    fn started(definition: &str) -> (Node, Run) {
        let yaml = format!("nodes: [{{ id: n0, label: a, node_definition: {definition} }}]");
        let section = Topology::parse(&yaml).unwrap().nodes.remove(0);
        let mut node = Node::new(section, Dice::new(3));
        node.queue(DateTime::from_timestamp(1_767_225_600, 0).unwrap(), TimeDelta::zero());
        let Life::Running(run) = node.life else { panic!("it was started") };
        (node, run)
    }

    #[test]
    fn a_boot_costs_more_than_what_follows() {
        let (node, run) = started("iosv");
        let booting = node_usage(&node, run, run.boots_at - TimeDelta::seconds(5)).cpu_usage;
        let steady = node_usage(&node, run, run.boots_at + TimeDelta::hours(1)).cpu_usage;
        assert!(booting > 70.0 && steady < 8.0, "{booting} then {steady}");
        assert!(steady > 0.0);
    }

    #[test]
    fn a_router_that_polls_keeps_its_core_busy_and_a_big_one_exceeds_a_hundred_percent() {
        let (polling, run) = started("csr1000v");
        let busy = node_usage(&polling, run, run.boots_at + TimeDelta::hours(2)).cpu_usage;
        assert!((60.0..=100.3).contains(&busy), "{busy}");
        let (big, run) = started("iosxrv9000");
        assert!(node_usage(&big, run, run.boots_at + TimeDelta::hours(2)).cpu_usage > 100.0);
    }

    #[test]
    fn readings_repeat_and_counters_never_shrink() {
        let (node, run) = started("ubuntu");
        let mut before = node_usage(&node, run, run.starts_at);
        for step in 1..400 {
            let now = run.starts_at + TimeDelta::seconds(step * 7);
            let usage = node_usage(&node, run, now);
            assert_eq!(usage, node_usage(&node, run, now));
            assert!(usage.read_bytes >= before.read_bytes && usage.written_bytes >= before.written_bytes);
            assert!(usage.disk_usage >= before.disk_usage);
            assert!((0.0..=100.0).contains(&usage.ram_usage));
            before = usage;
        }
    }
}
