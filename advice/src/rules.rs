//! The rules of other recommenders, for comparison on the same evidence. None of them knows a topology.

use chrono::{DateTime, TimeDelta, Utc};

use domain::resource::Resource;

/// What a session of a definition needed, and what it was given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PastSession {
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// Cores or MB.
    pub demand: f64,
    /// Nominal cores or MB; `None`: unknown.
    pub nominal: Option<f64>,
}

/// How a size is found from the past sessions of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Kubernetes' Vertical Pod Autoscaler: the 90th percentile of a decaying histogram of peaks, and 15 % more.
    Vpa,
    /// Robusta's KRR: the 95th percentile of CPU; the maximum of anything else, and 15 % more.
    Krr,
    /// Lablet's first rule: the largest nominal size; of storage, which has none, the largest demand.
    LargestNominal,
}

/// Upper end of the histogram's first bucket, for CPU and for MB.
const FIRST_BUCKET: (f64, f64) = (0.01, 10.0);
const GROWTH: f64 = 1.05;
const HALF_LIFE_SECONDS: f64 = 24.0 * 3600.0;
const VPA_PERCENTILE: f64 = 0.9;
const KRR_PERCENTILE: f64 = 0.95;
const MARGIN: f64 = 1.15;

impl Rule {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Vpa, Self::Krr, Self::LargestNominal];

    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vpa => "VPA",
            Self::Krr => "KRR",
            Self::LargestNominal => "largest nominal",
        }
    }

    /// The size by the past sessions: cores or MB. `None`: there is none.
    pub fn size(self, resource: Resource, past: &[PastSession]) -> Option<f64> {
        let newest = past.iter().map(|session| session.ended_at).max()?;
        let largest = || past.iter().map(|session| session.demand).reduce(f64::max);
        match (self, resource) {
            (Self::Vpa, _) => Some(percentile_of_histogram(resource, past, newest) * MARGIN),
            (Self::Krr, Resource::CpuCores) => {
                let mut demands: Vec<f64> = past.iter().map(|session| session.demand).collect();
                demands.sort_by(f64::total_cmp);
                let rank = (demands.len() as f64 * KRR_PERCENTILE).ceil() as usize;
                demands.get(rank.clamp(1, demands.len()) - 1).copied()
            }
            (Self::Krr, Resource::MemoryMb | Resource::StorageMb) => largest().map(|largest| largest * MARGIN),
            (Self::LargestNominal, _) => {
                past.iter().filter_map(|session| session.nominal).reduce(f64::max).or_else(largest)
            }
        }
    }
}

/// The upper end of the bucket in which the percentile lies, older sessions counting less.
fn percentile_of_histogram(resource: Resource, past: &[PastSession], newest: DateTime<Utc>) -> f64 {
    let first = if resource == Resource::CpuCores { FIRST_BUCKET.0 } else { FIRST_BUCKET.1 };
    // The bucket with the number b ends at first · (growth^(b + 1) - 1) / (growth - 1).
    let end = |bucket: f64| first * (GROWTH.powf(bucket + 1.0) - 1.0) / (GROWTH - 1.0);
    let bucket = |demand: f64| ((demand * (GROWTH - 1.0) / first + 1.0).ln() / GROWTH.ln()).floor();
    let age = |at: DateTime<Utc>| (newest - at).max(TimeDelta::zero()).as_seconds_f64();
    let weight = |session: &PastSession| 0.5_f64.powf(age(session.ended_at) / HALF_LIFE_SECONDS);
    let mut weights: Vec<(f64, f64)> = past.iter().map(|session| (bucket(session.demand), weight(session))).collect();
    weights.sort_by(|one, other| one.0.total_cmp(&other.0));
    let whole: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut below = 0.0;
    let found = weights.iter().find(|(_, weight)| {
        below += weight;
        below >= VPA_PERCENTILE * whole - 1e-12
    });
    found.map_or(0.0, |(bucket, _)| end(*bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(demands: &[f64]) -> Vec<PastSession> {
        let session = |(hour, demand): (usize, &f64)| PastSession {
            ended_at: DateTime::from_timestamp(1_772_000_000 + 3600 * 24 * hour as i64, 0).unwrap(),
            demand: *demand,
            nominal: Some(4096.0),
        };
        demands.iter().enumerate().map(session).collect()
    }

    #[test]
    fn vpa_takes_the_upper_end_of_the_bucket_of_the_percentile_and_more() {
        // Buckets end at 10, 20.5, 31.525: 25 MB lie in the third one.
        let size = Rule::Vpa.size(Resource::MemoryMb, &past(&[25.0])).unwrap();
        assert!((size - 31.525 * 1.15).abs() < 1e-9, "{size}");
        // A day later an old peak counts half, and half of half the day after: 4 of 7 parts are below the newest.
        let size = Rule::Vpa.size(Resource::MemoryMb, &past(&[1000.0, 25.0, 25.0, 25.0, 25.0])).unwrap();
        assert!((size - 31.525 * 1.15).abs() < 1e-9, "it has forgotten the first session: {size}");
    }

    #[test]
    fn krr_takes_a_percentile_of_cpu_and_the_maximum_of_memory() {
        let demands: Vec<f64> = (1..=40).map(f64::from).collect();
        assert_eq!(Rule::Krr.size(Resource::CpuCores, &past(&demands)), Some(38.0));
        assert_eq!(Rule::Krr.size(Resource::MemoryMb, &past(&demands)), Some(40.0 * 1.15));
    }

    #[test]
    fn the_first_rule_takes_what_was_given_and_none_answers_without_sessions() {
        assert_eq!(Rule::LargestNominal.size(Resource::MemoryMb, &past(&[25.0])), Some(4096.0));
        assert!(Rule::ALL.iter().all(|rule| rule.size(Resource::MemoryMb, &[]).is_none()));
    }
}
