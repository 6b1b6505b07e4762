//! What people and programs make the devices of a lab do, beside booting and idling.
//!
//! Work comes in phases of four minutes, in step for everybody: a minute in which the load changes, then three in which it
//! stays. How hard a phase is has three parts: what a class does together (all labs of one topology), what the people of
//! one lab do, what happens on one node. Who finds a node booted begins with the next phase. Now and then a process runs
//! away, from the minute of change to the end of a phase.
//!
//! A real lab also has bursts of seconds, which somebody who looks every 30 s mostly misses. Here the top of a phase lasts
//! [`PLATEAU_SECONDS`], of a node as of the sum over a lab, so that whoever looks that often sees the peak; a shorter burst
//! is a [`Runaway`] that was ordered.

use chrono::{DateTime, TimeDelta, Utc};

use crate::dice::Dice;

const PHASE_SECONDS: u64 = 240;
const CHANGE_SECONDS: u64 = PHASE_SECONDS - PLATEAU_SECONDS;
/// How long the load stays at the top of a phase.
pub(crate) const PLATEAU_SECONDS: u64 = 180;
const CLASS_SHARE: f64 = 0.5;
const LAB_SHARE: f64 = 0.3;
const NODE_SHARE: f64 = 0.2;
/// Share of phases in which nobody does much.
const QUIET: f64 = 0.3;
/// Chance that a process of a node runs away within an hour.
const RUNAWAY_AN_HOUR: f64 = 0.015;
const HOUR_SECONDS: i64 = 3_600;
const PHASES_AN_HOUR: u64 = HOUR_SECONDS as u64 / PHASE_SECONDS;

/// Whose chance decides how hard a node works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Workers {
    /// All labs of one topology.
    pub(crate) class: Dice,
    pub(crate) lab: Dice,
    pub(crate) node: Dice,
}

/// A process that takes what it gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Runaway {
    pub(crate) from: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
    /// Percent of one core.
    pub(crate) cpu_percent: f64,
    /// Percent of the node's RAM.
    pub(crate) memory_percent: f64,
    /// MB that it has written to the disk once it ends.
    pub(crate) disk_mb: f64,
}

impl Runaway {
    pub(crate) fn is_active(&self, at: DateTime<Utc>) -> bool {
        self.from <= at && at < self.until
    }

    /// MB that it wrote until a moment, of what it did after another.
    pub(crate) fn written_mb(&self, after: DateTime<Utc>, at: DateTime<Utc>) -> f64 {
        let milliseconds = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).num_milliseconds().max(0) as f64;
        let whole = milliseconds(self.from, self.until).max(1.0);
        self.disk_mb * milliseconds(self.from.max(after), self.until.min(at)) / whole
    }
}

impl Workers {
    /// From 0, nothing to do, to 1, on a node that has booted at that moment.
    pub(crate) fn work(&self, booted_at: DateTime<Utc>, at: DateTime<Utc>) -> f64 {
        let second = at.timestamp().unsigned_abs();
        let phase = second / PHASE_SECONDS;
        let first = booted_at.timestamp().unsigned_abs() / PHASE_SECONDS + 1;
        let level = |phase| if phase < first { 0.0 } else { self.level(phase) };
        let changed = (second % PHASE_SECONDS) as f64 / CHANGE_SECONDS as f64;
        if changed >= 1.0 {
            return level(phase);
        }
        let before = level(phase.saturating_sub(1));
        before + (level(phase) - before) * changed
    }

    fn level(&self, phase: u64) -> f64 {
        let level = |dice: Dice| {
            let dice = dice.about_text("work").about(phase);
            if dice.about(1).unit() < QUIET { 0.05 } else { dice.about(2).between(0.35, 1.0) }
        };
        CLASS_SHARE * level(self.class) + LAB_SHARE * level(self.lab) + NODE_SHARE * level(self.node)
    }

    /// A process that ran away by itself, where one does at this moment. It takes a core.
    pub(crate) fn runaway(&self, booted_at: DateTime<Utc>, at: DateTime<Utc>) -> Option<Runaway> {
        let hour = at.timestamp().div_euclid(HOUR_SECONDS);
        let dice = self.node.about_text("runaway").about(hour.unsigned_abs());
        if dice.unit() >= RUNAWAY_AN_HOUR {
            return None;
        }
        let phase = dice.about(1).value() % (PHASES_AN_HOUR - 1);
        let begins = phase * PHASE_SECONDS + CHANGE_SECONDS;
        let from = DateTime::from_timestamp(hour * HOUR_SECONDS + begins as i64, 0)?;
        let lasts = PLATEAU_SECONDS + dice.about(2).value() % 2 * PHASE_SECONDS;
        let until = from + TimeDelta::seconds(lasts as i64);
        let memory_percent = dice.about(3).between(5.0, 20.0);
        Some(Runaway { from, until, cpu_percent: 100.0, memory_percent, disk_mb: 0.0 })
            .filter(|runaway| runaway.is_active(at) && booted_at <= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(seconds: u64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600 + seconds as i64, 0).unwrap()
    }

    fn workers(lab: u64, node: u64) -> Workers {
        let dice = Dice::new(3);
        Workers { class: dice.about(0), lab: dice.about(lab), node: dice.about(lab).about(node) }
    }

    #[test]
    fn work_stays_at_the_top_of_a_phase_long_enough_to_be_seen_every_thirty_seconds() {
        let workers = workers(1, 1);
        for phase in 0..50 {
            let work = |second: u64| workers.work(moment(0), moment(phase * PHASE_SECONDS + second));
            let top = work(CHANGE_SECONDS);
            assert!((0.0..=1.0).contains(&top));
            assert!((CHANGE_SECONDS..PHASE_SECONDS).step_by(3).all(|second| work(second) == top));
        }
    }

    #[test]
    fn work_begins_with_the_phase_after_the_boot() {
        let workers = workers(1, 1);
        let booted_at = moment(PHASE_SECONDS + 200);
        let work = |second: u64| workers.work(booted_at, moment(second));
        assert!((PHASE_SECONDS + 200..=2 * PHASE_SECONDS).all(|second| work(second) == 0.0));
        assert!(work(2 * PHASE_SECONDS + 30) > 0.0 && work(2 * PHASE_SECONDS + 30) < work(2 * PHASE_SECONDS + 60));
    }

    #[test]
    fn labs_of_a_class_work_alike_and_not_the_same() {
        let series = |workers: Workers| -> Vec<f64> {
            (0..200).map(|phase| workers.work(moment(0), moment(phase * PHASE_SECONDS + CHANGE_SECONDS))).collect()
        };
        let correlation = |a: &[f64], b: &[f64]| {
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let (mean_a, mean_b) = (mean(a), mean(b));
            let products = |x: &[f64], mean_x: f64, y: &[f64], mean_y: f64| -> f64 {
                x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum()
            };
            products(a, mean_a, b, mean_b) / (products(a, mean_a, a, mean_a) * products(b, mean_b, b, mean_b)).sqrt()
        };
        let (one, other) = (series(workers(1, 1)), series(workers(2, 1)));
        let stranger = Workers { class: Dice::new(9), ..workers(3, 1) };
        let alike = correlation(&one, &other);
        assert!((0.4..0.95).contains(&alike), "{alike}");
        assert!(correlation(&one, &series(stranger)) < 0.35);
    }

    #[test]
    fn a_process_runs_away_now_and_then_and_for_minutes() {
        let hours = 2_000;
        let mut active = 0_u64;
        for minute in 0..hours * 60 {
            active += u64::from(workers(1, 1).runaway(moment(0), moment(minute * 60)).is_some());
        }
        assert!((30..1_000).contains(&active), "{active} minutes of {hours} hours");
    }
}
