//! What a running device uses: a burst while it boots, then what work asks of it.
//!
//! Everything is a function of dice and of the time, so equal seeds and equal times give equal numbers, whoever asks however
//! often, and what was produced can be told afterwards ([`record`]). Counters grow until the node is started again.

pub(crate) mod record;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    definition::NodeDefinition,
    dice::Dice,
    lab::Link,
    life::Run,
    workload::{Runaway, Workers},
};

/// The controller samples a node about this often; between two samples a reading stays as it is.
pub(crate) const SAMPLE_SECONDS: f64 = 3.0;
/// Share of a boot after which it uses all it has: first comes the loader, then the system.
const LOADED: f64 = 0.3;
/// Share of a boot after which memory and disk are filled.
const FILLED: f64 = 0.7;
/// Share of what a boot takes that the hardest work takes, beside what an idle device does.
const HARDEST_WORK: f64 = 0.35;
/// Percent of its RAM that the hardest work takes.
const MEMORY_OF_WORK: f64 = 8.0;
/// Readings vary by this share and no more: the peak of a plateau is seen by whoever sees some of it.
const NOISE: f64 = 0.003;
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

/// What the usage of a node depends on, beside its run and the time.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) definition: &'static NodeDefinition,
    pub(crate) workers: Workers,
    /// Processes that were ordered to run away.
    pub(crate) runaways: Vec<Runaway>,
}

pub(crate) fn seconds_between(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_milliseconds().max(0) as f64 / 1_000.0
}

impl Load {
    /// Of a node that has started.
    pub(crate) fn usage(&self, run: Run, now: DateTime<Utc>) -> NodeUsage {
        let device = self.definition;
        let dice = self.workers.node.about_text("usage");
        let boot = seconds_between(run.starts_at, run.boots_at).max(1.0);
        let sample = (seconds_between(run.starts_at, now) / SAMPLE_SECONDS).floor();
        // The end of the boot is a sample too: no reading of the boot is shown of a node that has booted.
        let elapsed = if now >= run.boots_at { (sample * SAMPLE_SECONDS).max(boot) } else { sample * SAMPLE_SECONDS };
        let at = run.starts_at + TimeDelta::milliseconds((elapsed * 1_000.0) as i64);
        let settled = (elapsed - boot).max(0.0);
        let booted_share = (elapsed / boot).min(1.0);
        let filled_share = (booted_share / FILLED).min(1.0);

        let temper = dice.about_text("temper").between(0.8, 1.25);
        let steady = device.steady_load * temper;
        let noise = 1.0 + NOISE * (2.0 * noise(dice, sample) - 1.0);
        let work = if elapsed < boot { 0.0 } else { self.workers.work(run.boots_at, at) };
        let (runaway_cpu, runaway_memory) = if elapsed < boot { (0.0, 0.0) } else { self.runaway(run.boots_at, at) };
        let wanted = if elapsed < boot {
            device.boot_load * (0.35 + 0.65 * (booted_share / LOADED).min(1.0))
        } else {
            steady + (device.boot_load - steady).max(0.0) * HARDEST_WORK * work + runaway_cpu
        };
        // A hair above its limit is what a scheduler's accounting gives.
        let limit = run.given.cpus as f64 * run.given.cpu_limit as f64 * 1.002;

        let read = device.boot_read as f64 * MEGABYTE * booted_share + settled * 90.0 * temper;
        let filled: f64 = self.runaways.iter().map(|runaway| runaway.written_mb(run.boots_at, at)).sum();
        let written_later = settled * device.write_rate as f64 * temper + filled * MEGABYTE;
        let written = device.disk as f64 * MEGABYTE * 0.01 * filled_share + written_later;
        let memory = 5.0 + (device.memory_share * 100.0 - 5.0) * filled_share;
        let memory = memory + work * MEMORY_OF_WORK + (settled / 86_400.0).min(6.0) + runaway_memory;
        // A first boot unpacks; what an earlier run left on the disk stays there.
        let disk = (device.disk as f64 * (0.4 + 0.6 * filled_share)).max(run.disk_mb as f64);
        NodeUsage {
            cpu_usage: hundredths((wanted * noise).min(limit)),
            read_bytes: blocks(read),
            written_bytes: blocks(written),
            ram_usage: hundredths((memory * noise).clamp(1.0, 99.0)),
            disk_usage: (disk + written / MEGABYTE) as u64,
        }
    }

    /// Percent of one core and percent of the RAM that processes take which ran away.
    fn runaway(&self, booted_at: DateTime<Utc>, at: DateTime<Utc>) -> (f64, f64) {
        let ordered = self.runaways.iter().copied().filter(|runaway| runaway.is_active(at));
        ordered
            .chain(self.workers.runaway(booted_at, at))
            .fold((0.0, 0.0), |(cpu, memory), runaway| (cpu + runaway.cpu_percent, memory + runaway.memory_percent))
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
    use crate::{life::Life, node::Node, topology::Topology};

    fn started(definition: &str) -> (Node, Run) {
        let yaml = format!("nodes: [{{ id: n0, label: a, node_definition: {definition} }}]");
        let section = Topology::parse(&yaml).unwrap().nodes.remove(0);
        let mut node = Node::new(section, Dice::new(3), Dice::new(4));
        node.queue(DateTime::from_timestamp(1_767_225_600, 0).unwrap(), TimeDelta::zero());
        let Life::Running(run) = node.life else { panic!("it was started") };
        (node, run)
    }

    #[test]
    fn a_boot_costs_more_than_what_follows() {
        let (node, run) = started("iosv");
        let booting = node.load.usage(run, run.boots_at - TimeDelta::seconds(5)).cpu_usage;
        let later = |minute| node.load.usage(run, run.boots_at + TimeDelta::minutes(minute)).cpu_usage;
        let steady: Vec<f64> = (0..120).map(later).collect();
        let quietest = steady.iter().copied().fold(f64::MAX, f64::min);
        assert!(booting > 70.0 && quietest < 8.0 && quietest > 0.0, "{booting} then {steady:?}");
        assert!(steady.iter().all(|steady| *steady < 60.0), "{steady:?}");
    }

    #[test]
    fn a_router_that_polls_keeps_its_core_busy_and_a_big_one_exceeds_a_hundred_percent() {
        let (polling, run) = started("csr1000v");
        let busy = polling.load.usage(run, run.boots_at + TimeDelta::hours(2)).cpu_usage;
        assert!((60.0..=100.3).contains(&busy), "{busy}");
        let (big, run) = started("iosxrv9000");
        assert!(big.load.usage(run, run.boots_at + TimeDelta::hours(2)).cpu_usage > 100.0);
    }

    #[test]
    fn readings_repeat_and_counters_and_disks_never_shrink_in_a_run() {
        let (node, run) = started("ubuntu");
        let mut before = node.load.usage(run, run.starts_at);
        for step in 1..400 {
            let now = run.starts_at + TimeDelta::seconds(step * 7);
            let usage = node.load.usage(run, now);
            assert_eq!(usage, node.load.usage(run, now));
            assert!(usage.read_bytes >= before.read_bytes && usage.written_bytes >= before.written_bytes);
            assert!(usage.disk_usage >= before.disk_usage);
            assert!((0.0..=100.0).contains(&usage.ram_usage));
            before = usage;
        }
    }

    #[test]
    fn no_reading_of_the_boot_is_shown_of_a_node_that_has_booted() {
        for definition in ["server", "alpine", "iosv", "ubuntu"] {
            let (node, run) = started(definition);
            let last = node.load.usage(run, run.boots_at - TimeDelta::milliseconds(1)).cpu_usage;
            let first = node.load.usage(run, run.boots_at).cpu_usage;
            assert!(first < 0.7 * last, "{definition}: {last} then {first}");
        }
    }

    #[test]
    fn a_process_that_was_ordered_to_run_away_takes_a_core_and_memory_while_it_runs() {
        let (mut node, run) = started("alpine");
        let from = run.boots_at + TimeDelta::minutes(10);
        let until = from + TimeDelta::seconds(30);
        node.load.runaways.push(Runaway { from, until, cpu_percent: 100.0, memory_percent: 20.0, disk_mb: 50.0 });
        let at = |seconds| node.load.usage(run, from + TimeDelta::seconds(seconds));
        assert!(at(6).cpu_usage >= 100.0 && at(-6).cpu_usage < 40.0 && at(36).cpu_usage < 40.0);
        assert!(at(6).ram_usage > at(-6).ram_usage + 15.0);
        let filled = |seconds| at(seconds).disk_usage - at(-6).disk_usage;
        assert!((8..=12).contains(&filled(6)) && (50..=51).contains(&filled(36)), "{} {}", filled(6), filled(36));
    }

    #[test]
    fn a_second_run_counts_anew_and_finds_the_disk_as_it_was() {
        let (mut node, first) = started("ubuntu");
        let end = first.boots_at + TimeDelta::hours(5);
        let before = node.load.usage(first, end);
        node.stop(end);
        node.queue(end, TimeDelta::seconds(2));
        let Life::Running(second) = node.life else { panic!("it was started") };
        let after = node.load.usage(second, second.starts_at + TimeDelta::seconds(3));
        assert!(after.read_bytes < before.read_bytes && after.written_bytes < before.written_bytes);
        assert_eq!(after.disk_usage, before.disk_usage);
    }
}
