//! How definitions differ from what their topologies say, and sessions from their definitions, over the whole fleet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ratios::{Ratios, TopologyDemands};
use domain::resource::{LOG_PARTS, Resource};

/// What one definition contributes to the moments of the fleet, in whole parts, so that it can be taken out again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionMoments {
    /// Its mean ratio, in parts of [`LOG_PARTS`].
    ratio: i64,
    /// One over its number of sessions, in parts of 65,536.
    inverse_sessions: i64,
    /// Squared deviations of its sessions from the means of their topologies, in parts of [`LOG_PARTS`] squared.
    deviations: i64,
    /// Degrees of freedom of the deviations.
    degrees: u64,
}

const INVERSE_PARTS: f64 = 65_536.0;

impl DefinitionMoments {
    /// What the sessions of a definition contribute. `None`: no demand is known.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "ratios of amounts are within e^±30, and inverses within 0 to 1"
    )]
    pub fn new(topologies: &[TopologyDemands]) -> Option<Self> {
        let ratios = Ratios::over(topologies, |_| true);
        if ratios.sessions == 0.0 {
            return None;
        }
        Some(Self {
            ratio: (ratios.mean * LOG_PARTS).round() as i64,
            inverse_sessions: (INVERSE_PARTS / ratios.sessions).round() as i64,
            deviations: topologies
                .iter()
                .fold(0, |sum: i64, topology| sum.saturating_add(topology.demands.deviations())),
            degrees: topologies.iter().map(|topology| topology.demands.sessions.saturating_sub(1)).sum(),
        })
    }
}

/// The contributions of all definitions, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetMoments {
    definitions: u64,
    ratios: i64,
    squared_ratios: i128,
    inverse_sessions: i64,
    deviations: i128,
    degrees: u64,
}

impl FleetMoments {
    /// Adds a definition.
    pub fn add(&mut self, moments: &DefinitionMoments) {
        self.definitions += 1;
        self.ratios += moments.ratio;
        self.squared_ratios += i128::from(moments.ratio) * i128::from(moments.ratio);
        self.inverse_sessions += moments.inverse_sessions;
        self.deviations += i128::from(moments.deviations);
        self.degrees += moments.degrees;
    }

    /// Takes out what a definition contributed before.
    pub fn remove(&mut self, moments: &DefinitionMoments) {
        self.definitions = self.definitions.saturating_sub(1);
        self.ratios -= moments.ratio;
        self.squared_ratios -= i128::from(moments.ratio) * i128::from(moments.ratio);
        self.inverse_sessions -= moments.inverse_sessions;
        self.deviations -= i128::from(moments.deviations);
        self.degrees = self.degrees.saturating_sub(moments.degrees);
    }

    /// Number of definitions with a known demand.
    pub fn definitions(&self) -> u64 {
        self.definitions
    }

    /// What is expected of a definition of which nothing is known yet.
    #[expect(clippy::cast_precision_loss, reason = "sums are below 2^53 parts for any fleet")]
    pub fn prior(&self, resource: Resource) -> Prior {
        let assumed = Assumed::new(resource);
        let definitions = self.definitions as f64;
        let degrees = self.degrees as f64;
        let squares = LOG_PARTS * LOG_PARTS;
        let variance_within =
            (assumed.degrees * assumed.within.powi(2) + self.deviations as f64 / squares) / (assumed.degrees + degrees);
        let mean = self.ratios as f64 / LOG_PARTS / (definitions + 1.0);
        let (mut scatter, mut noise) = (0.0, 0.0);
        if self.definitions > 1 {
            let count = i128::from(self.definitions);
            let whole = count * self.squared_ratios - i128::from(self.ratios) * i128::from(self.ratios);
            scatter = (whole / count) as f64 / squares;
            noise = (definitions - 1.0) * variance_within * self.inverse_sessions as f64 / INVERSE_PARTS / definitions;
        }
        let variance_between = (assumed.definitions * assumed.between.powi(2) + (scatter - noise).max(0.0))
            / (assumed.definitions + (definitions - 1.0).max(0.0));
        Prior {
            definitions: self.definitions,
            mean,
            variance_between,
            variance_within,
            degrees_between: assumed.definitions + (definitions - 1.0).max(0.0),
            degrees_within: assumed.degrees + degrees,
        }
    }
}

/// What is assumed before a fleet tells, and how much evidence of the fleet outweighs it.
struct Assumed {
    /// Standard deviation of a session's ratio from that of its definition.
    within: f64,
    /// Standard deviation of a definition's ratio from the mean of all.
    between: f64,
    /// Sessions that count as much as the assumption within.
    degrees: f64,
    /// Definitions that count as much as the assumption between.
    definitions: f64,
}

impl Assumed {
    fn new(resource: Resource) -> Self {
        let (within, between) = match resource {
            Resource::CpuCores => (0.35, 0.35),
            Resource::MemoryMb => (0.15, 0.2),
            Resource::StorageMb => (0.1, 0.2),
        };
        Self { within, between, degrees: 4.0, definitions: 3.0 }
    }
}

/// What is expected of the ratio of a definition of which nothing is known yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prior {
    /// Definitions that it rests on.
    pub definitions: u64,
    /// μ: mean of the definitions' ratios.
    pub mean: f64,
    /// t₀²: variance of the definitions' ratios.
    pub variance_between: f64,
    /// s₀²: variance of a session's ratio within its definition.
    pub variance_within: f64,
    /// Degrees of freedom of t₀².
    pub degrees_between: f64,
    /// Degrees of freedom of s₀².
    pub degrees_within: f64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ratios::{LogDemand, LogDemands};

    const MEMORY: Resource = Resource::MemoryMb;

    fn definition(demands: &[f64], base: f64) -> DefinitionMoments {
        let mut sums = LogDemands::default();
        demands.iter().for_each(|demand| sums.add(LogDemand::new(*demand, MEMORY)));
        DefinitionMoments::new(&[TopologyDemands { demands: sums, base, is_asked: true }]).unwrap()
    }

    #[test]
    fn variances_within_and_between_are_told_apart() {
        let mut moments = FleetMoments::default();
        // Definitions at ln 1 and ln 4 in turn, of 100 sessions each that differ by ±0.1 from theirs.
        for number in 0..1000 {
            let middle = if number % 2 == 0 { 100.0 } else { 400.0 };
            let sessions: Vec<f64> = (0..100)
                .map(|session| middle * if session % 2 == 0 { 0.1_f64.exp() } else { (-0.1_f64).exp() })
                .collect();
            moments.add(&definition(&sessions, 100.0));
        }
        let prior = moments.prior(MEMORY);
        assert!((prior.mean - 4.0_f64.ln() / 2.0).abs() < 0.01, "{prior:?}");
        assert!((prior.variance_within.sqrt() - 0.1).abs() < 0.002, "{prior:?}");
        assert!((prior.variance_between.sqrt() - 4.0_f64.ln() / 2.0).abs() < 0.01, "{prior:?}");
    }

    #[test]
    fn a_fleet_of_nothing_is_what_is_assumed() {
        let prior = FleetMoments::default().prior(MEMORY);
        assert_eq!((prior.definitions, prior.mean), (0, 0.0));
        assert!(
            (prior.variance_within.sqrt() - 0.15).abs() < 1e-12 && (prior.variance_between.sqrt() - 0.2).abs() < 1e-12
        );
        assert_eq!(DefinitionMoments::new(&[]), None);
    }

    proptest! {
        #[test]
        fn a_definition_that_is_taken_out_was_never_there(
            stay in proptest::collection::vec(proptest::collection::vec(0.0..1e9_f64, 1..5), 0..5),
            go in proptest::collection::vec(0.0..1e9_f64, 1..5),
        ) {
            let (mut with, mut without) = (FleetMoments::default(), FleetMoments::default());
            with.add(&definition(&go, 7.0));
            for demands in &stay {
                with.add(&definition(demands, 3.0));
            }
            for demands in stay.iter().rev() {
                without.add(&definition(demands, 3.0));
            }
            with.remove(&definition(&go, 7.0));
            prop_assert_eq!(with, without);
        }
    }
}
