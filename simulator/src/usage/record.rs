//! What was produced, told afterwards: peak, 95th percentile and mean of an interval, at the simulator's own sampling.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;

use super::{Load, SAMPLE_SECONDS};
use crate::life::{Run, State};

/// Readings that one record may rest on: the 302-node lab for more than 8 hours.
const MOST_READINGS: u64 = 4_000_000;

/// What a lab and its nodes used from `from` to `to`, sampled every `sample_seconds`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UsageRecord {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub sample_seconds: f64,
    /// Sums over the nodes at one instant. It boots while any of its machines is queued, starting or booting, or has
    /// booted less than `settling_seconds` ago.
    pub lab: UsageByPhase,
    pub settling_seconds: u64,
    /// By id; machines only.
    pub nodes: BTreeMap<String, NodeUsageRecord>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeUsageRecord {
    pub label: String,
    #[serde(flatten)]
    pub usage: UsageByPhase,
}

/// None where there is no sample of that phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UsageByPhase {
    pub boot: Option<PhaseUsage>,
    pub steady: Option<PhaseUsage>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseUsage {
    pub samples: u64,
    /// Percent of one core.
    pub cpu_percent: Spread,
    pub memory_mb: Spread,
    pub storage_mb: Spread,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub peak: f64,
    /// By nearest rank.
    pub p95: f64,
    pub mean: f64,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    #[error("the interval ends before it begins")]
    Backwards,
    #[error("the interval has {found} readings, more than the {MOST_READINGS} of one record")]
    TooLong { found: u64 },
}

/// A node with all runs that are remembered of it, each with its end if it has one.
#[derive(Clone, Debug)]
pub(crate) struct RecordedNode {
    pub(crate) id: Uuid,
    pub(crate) label: String,
    pub(crate) load: Load,
    pub(crate) runs: Vec<(Run, Option<DateTime<Utc>>)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    cpu_percent: f64,
    memory_mb: f64,
    storage_mb: f64,
}

/// The lab at one instant.
#[derive(Clone, Copy, Debug, Default)]
struct Instant {
    sum: Reading,
    readings: u32,
    boots: bool,
}

#[derive(Debug, Default)]
struct Series {
    cpu_percent: Vec<f64>,
    memory_mb: Vec<f64>,
    storage_mb: Vec<f64>,
}

impl UsageRecord {
    pub(crate) fn between(
        nodes: Vec<RecordedNode>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        settling: TimeDelta,
    ) -> Result<Self, RecordError> {
        let seconds = u64::try_from((to - from).num_seconds()).map_err(|_| RecordError::Backwards)?;
        let instants = seconds / SAMPLE_SECONDS as u64 + 1;
        let machines: Vec<RecordedNode> = nodes.into_iter().filter(|node| node.load.definition.is_machine()).collect();
        let found = instants.saturating_mul(machines.len() as u64);
        if found.max(instants) > MOST_READINGS {
            return Err(RecordError::TooLong { found });
        }
        let step = TimeDelta::milliseconds((SAMPLE_SECONDS * 1_000.0) as i64);
        let mut lab = vec![Instant::default(); instants as usize];
        let mut records = BTreeMap::new();
        for node in machines {
            let (mut boot, mut steady) = (Series::default(), Series::default());
            let mut at = from;
            for instant in &mut lab {
                if let Some(run) = node.run_at(at) {
                    let state = run.state(at);
                    instant.boots |= state != State::Booted || at < run.boots_at + settling;
                    if matches!(state, State::Started | State::Booted) {
                        let reading = node.reading(run, at);
                        instant.add(reading);
                        if state == State::Booted { steady.push(reading) } else { boot.push(reading) }
                    }
                }
                at += step;
            }
            let usage = UsageByPhase { boot: boot.summary(), steady: steady.summary() };
            records.insert(node.id.to_string(), NodeUsageRecord { label: node.label, usage });
        }
        let (mut boot, mut steady) = (Series::default(), Series::default());
        for instant in lab.into_iter().filter(|instant| instant.readings > 0) {
            if instant.boots { boot.push(instant.sum) } else { steady.push(instant.sum) }
        }
        Ok(Self {
            from,
            to,
            sample_seconds: SAMPLE_SECONDS,
            lab: UsageByPhase { boot: boot.summary(), steady: steady.summary() },
            settling_seconds: settling.num_seconds().unsigned_abs(),
            nodes: records,
        })
    }
}

impl RecordedNode {
    fn run_at(&self, at: DateTime<Utc>) -> Option<Run> {
        let begun = self.runs.partition_point(|(run, _)| run.queued_at <= at);
        let (run, ended_at) = self.runs.get(begun.checked_sub(1)?)?;
        ended_at.is_none_or(|ended_at| at < ended_at).then_some(*run)
    }

    fn reading(&self, run: Run, at: DateTime<Utc>) -> Reading {
        let usage = self.load.usage(run, at);
        Reading {
            cpu_percent: usage.cpu_usage,
            memory_mb: usage.ram_usage / 100.0 * run.given.ram as f64,
            storage_mb: usage.disk_usage as f64,
        }
    }
}

impl Instant {
    fn add(&mut self, reading: Reading) {
        self.sum.cpu_percent += reading.cpu_percent;
        self.sum.memory_mb += reading.memory_mb;
        self.sum.storage_mb += reading.storage_mb;
        self.readings += 1;
    }
}

impl Series {
    fn push(&mut self, reading: Reading) {
        self.cpu_percent.push(reading.cpu_percent);
        self.memory_mb.push(reading.memory_mb);
        self.storage_mb.push(reading.storage_mb);
    }

    fn summary(self) -> Option<PhaseUsage> {
        Some(PhaseUsage {
            samples: self.cpu_percent.len() as u64,
            cpu_percent: spread(self.cpu_percent)?,
            memory_mb: spread(self.memory_mb)?,
            storage_mb: spread(self.storage_mb)?,
        })
    }
}

fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let peak = *values.last()?;
    let rank = (values.len() as f64 * 0.95).ceil() as usize;
    let p95 = *values.get(rank.max(1) - 1)?;
    Some(Spread { peak, p95, mean: values.iter().sum::<f64>() / values.len() as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_peak_the_nearest_rank_and_the_mean() {
        let spread = spread((1..=100).rev().map(f64::from).collect()).unwrap();
        assert_eq!((spread.peak, spread.p95, spread.mean), (100.0, 95.0, 50.5));
        assert_eq!(super::spread(Vec::new()), None);
    }

    #[test]
    fn an_interval_that_is_backwards_or_endless_is_refused() {
        let at = |seconds: i64| DateTime::from_timestamp(1_767_225_600 + seconds, 0).unwrap();
        let record = |to| UsageRecord::between(Vec::new(), at(0), to, TimeDelta::zero());
        assert_eq!(record(at(-5)), Err(RecordError::Backwards));
        assert!(matches!(record(at(1_000_000_000)), Err(RecordError::TooLong { .. })));
        assert_eq!(record(at(60)).unwrap().lab, UsageByPhase::default());
    }
}
