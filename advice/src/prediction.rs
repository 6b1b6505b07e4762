//! Where the ratio of the next session is expected, and how far it may be off: a definition's own ratios, shrunk towards
//! those of the fleet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fleet_moments::Prior;
use crate::ratios::{Ratios, TopologyDemands};
use domain::resource::LOG_PARTS;

/// d₀: as many sessions of a definition count as much as the fleet's variance does.
const DEGREES_OF_FLEET: f64 = 12.0;
/// By this share of the variance between definitions a definition may differ from itself after its topology changed.
const CHANGE_OF_TOPOLOGY: f64 = 0.15;
/// As many definitions lack where each kind of node was measured in few others: the base is off, and so is the mean of ratios.
const SMALL_FLEET: f64 = 3.0;
/// Variance of a definition's ratio where nothing is known of its nodes: sessions alone count.
const UNKNOWN_VARIANCE: f64 = 1e6;

/// The distribution of the next session's ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// Sessions of the definition whose demand is known.
    pub sessions: u64,
    /// Those among them that had the topology that is asked about.
    pub sessions_of_topology: u64,
    /// Mean ratio of the definition's sessions; null: there is none.
    pub ratio: Option<f64>,
    /// m: where the next ratio is expected.
    pub location: f64,
    /// Weight of the definition's own sessions in it, 0 to 1; the rest is the fleet's.
    pub own_weight: f64,
    /// By how much the location follows the definition's last sessions, of that.
    pub followed: f64,
    /// Variance of the location: how well it is known.
    pub location_variance: f64,
    /// s²: variance of a session around its definition.
    pub variance: f64,
    /// Standard deviation of the next ratio from the location.
    pub spread: f64,
    /// Degrees of freedom of the spread.
    pub degrees: f64,
}

impl Prediction {
    /// The prediction for a definition with sessions of these topologies.
    #[expect(clippy::cast_precision_loss, reason = "a definition has fewer than 2^53 sessions")]
    pub fn new(prior: &Prior, topologies: &[TopologyDemands]) -> Self {
        let (before, asked) = (
            Ratios::over(topologies, |topology| !topology.is_asked),
            Ratios::over(topologies, |topology| topology.is_asked),
        );
        let all = Ratios::over(topologies, |_| true);
        let definitions = prior.definitions as f64;
        let mut state = Location {
            mean: prior.mean,
            variance: prior.variance_between * (1.0 + SMALL_FLEET / (definitions + 1.0)),
            own_weight: 0.0,
        };
        if before.sessions > 0.0 {
            state.learn(&before, prior.variance_within);
            state.variance += CHANGE_OF_TOPOLOGY * prior.variance_between;
        }
        state.learn(&asked, prior.variance_within);
        let squares = LOG_PARTS * LOG_PARTS;
        let deviations: f64 = topologies.iter().map(|topology| topology.demands.deviations() as f64 / squares).sum();
        let own_degrees: f64 =
            topologies.iter().map(|topology| topology.demands.sessions.saturating_sub(1) as f64).sum();
        let variance = (DEGREES_OF_FLEET * prior.variance_within + deviations) / (DEGREES_OF_FLEET + own_degrees);
        let count = |counts: fn(&&TopologyDemands) -> bool| -> u64 {
            topologies.iter().filter(counts).map(|topology| topology.demands.sessions).sum()
        };
        Self {
            sessions: count(|_| true),
            sessions_of_topology: count(|topology| topology.is_asked),
            ratio: (all.sessions > 0.0).then_some(all.mean),
            location: state.mean,
            own_weight: state.own_weight,
            followed: 0.0,
            location_variance: state.variance,
            variance,
            spread: (variance + state.variance).sqrt(),
            degrees: if all.sessions > 0.0 {
                DEGREES_OF_FLEET.min(prior.degrees_within) + own_degrees
            } else {
                prior.degrees_between
            },
        }
    }

    /// The prediction for a definition of whose nodes nothing is known: by its own sessions alone, whose bases count as 1.
    /// `None`: it has none.
    pub fn alone(prior: &Prior, topologies: &[TopologyDemands]) -> Option<Self> {
        let asked: Vec<TopologyDemands> =
            topologies.iter().map(|topology| TopologyDemands { base: 1.0, is_asked: true, ..*topology }).collect();
        let own = Ratios::over(&asked, |_| true);
        (own.sessions > 0.0).then(|| {
            let prior = Prior { mean: own.mean, variance_between: UNKNOWN_VARIANCE, ..*prior };
            Self::new(&prior, &asked)
        })
    }

    /// The prediction for a topology of which this much is unknown beside the definition.
    #[must_use]
    pub(crate) fn with_unknown(self, variance: f64) -> Self {
        let location_variance = self.location_variance + variance;
        Self { location_variance, spread: (self.variance + location_variance).sqrt(), ..self }
    }

    /// The prediction that follows sessions which lay so many spreads above the location.
    #[must_use]
    pub(crate) fn following(self, spreads: f64) -> Self {
        let followed = spreads * self.spread;
        Self { location: self.location + followed, followed, ..self }
    }

    /// How many spreads a ratio lies above the location.
    pub(crate) fn score(&self, ratio: f64) -> f64 {
        (ratio - self.location) / self.spread
    }
}

/// The location while it learns.
struct Location {
    mean: f64,
    variance: f64,
    own_weight: f64,
}

impl Location {
    /// Moves towards the mean of some ratios, each of which has this variance.
    fn learn(&mut self, ratios: &Ratios, variance: f64) {
        if ratios.sessions == 0.0 {
            return;
        }
        let gain = self.variance / (self.variance + variance / ratios.sessions);
        self.mean += gain * (ratios.mean - self.mean);
        self.variance *= 1.0 - gain;
        self.own_weight += gain * (1.0 - self.own_weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratios::{LogDemand, LogDemands};
    use domain::resource::Resource;

    const PRIOR: Prior = Prior {
        definitions: 1_000_000_000,
        mean: -0.2,
        variance_between: 0.04,
        variance_within: 0.01,
        degrees_between: 1e9,
        degrees_within: 1e9,
    };

    fn sessions(demand: f64, count: usize, is_asked: bool) -> TopologyDemands {
        let mut demands = LogDemands::default();
        (0..count).for_each(|_| demands.add(LogDemand::new(demand, Resource::MemoryMb)));
        TopologyDemands { demands, base: 1000.0, is_asked }
    }

    #[test]
    fn without_sessions_it_is_what_the_fleet_says() {
        let prediction = Prediction::new(&PRIOR, &[]);
        assert_eq!((prediction.location, prediction.own_weight, prediction.ratio), (-0.2, 0.0, None));
        assert!((prediction.spread - 0.05_f64.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn the_location_is_the_weighted_mean_of_fleet_and_definition() {
        // κ = s₀²/t₀² = 1/4, so that four sessions weigh 16 times as much as the fleet.
        let prediction = Prediction::new(&PRIOR, &[sessions(1000.0, 4, true)]);
        assert!((prediction.location - -0.2 / 17.0).abs() < 1e-4, "{prediction:?}");
        assert!((prediction.own_weight - 16.0 / 17.0).abs() < 1e-6);
        // s² = 12 · 0.01 / (12 + 3); its own sessions did not differ at all.
        assert!((prediction.variance - 0.12 / 15.0).abs() < 1e-9);
        assert!((prediction.spread.powi(2) - (0.12 / 15.0 + 0.01 / 4.25)).abs() < 1e-6);
    }

    #[test]
    fn sessions_before_a_change_of_topology_say_nearly_as_much() {
        let (same, before) = (sessions(1500.0, 10, true), sessions(1500.0, 10, false));
        let (same, before) = (Prediction::new(&PRIOR, &[same]), Prediction::new(&PRIOR, &[before]));
        assert!((same.location - before.location).abs() < 1e-12);
        assert!(before.spread > same.spread && before.spread < 1.5 * same.spread, "{before:?}");
        assert_eq!((before.sessions, before.sessions_of_topology), (10, 0));
        let after = Prediction::new(&PRIOR, &[sessions(1500.0, 10, false), sessions(2000.0, 3, true)]);
        assert!(after.location > before.location + 0.1, "the new topology's own sessions weigh more: {after:?}");
    }
}
