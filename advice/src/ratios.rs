//! What sessions of a definition needed beyond, or below, what their topologies alone say: r = ln(demand / base).
//!
//! What is kept per definition and topology are sums of ln(demand), in whole parts. The base is put in when the ratio is
//! asked for, so that a ratio never rests on a base that is out of date.

use serde::{Deserialize, Serialize};

use domain::resource::{LOG_PARTS, Resource};

/// The logarithm of a session's demand, in parts of [`LOG_PARTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogDemand(i64);

impl LogDemand {
    /// That of an amount: cores or MB.
    pub fn new(demand: f64, resource: Resource) -> Self {
        Self(resource.log_units(demand))
    }

    /// That of an amount, and no further from what was expected than this: a single session that lies far off says little of
    /// the next ones.
    #[expect(clippy::cast_possible_truncation, reason = "logarithms of amounts are within ±30")]
    pub fn within(demand: f64, resource: Resource, expected: f64, furthest: f64) -> Self {
        let bound = |log: f64| (log * LOG_PARTS).round() as i64;
        let (least, most) = (bound(expected - furthest), bound(expected + furthest));
        Self(resource.log_units(demand).clamp(least.min(most), most))
    }

    /// That of the ratio to this amount, which is more than zero.
    #[expect(clippy::cast_possible_truncation, reason = "logarithms of amounts are within ±30")]
    pub(crate) fn over(self, base: f64) -> Self {
        Self(self.0 - (base.ln() * LOG_PARTS).round() as i64)
    }
}

/// Logarithms of the demands of a definition's sessions of one topology, added up in parts of [`LOG_PARTS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDemands {
    /// Sessions whose demand is known.
    pub sessions: u64,
    /// Sum of the logarithms.
    pub sum: i64,
    /// Sum of their squares.
    pub sum_of_squares: i128,
}

impl LogDemands {
    /// Adds a session.
    pub fn add(&mut self, LogDemand(log): LogDemand) {
        self.sessions += 1;
        self.sum += log;
        self.sum_of_squares += i128::from(log) * i128::from(log);
    }

    /// Takes a session out that was added before.
    pub fn remove(&mut self, LogDemand(log): LogDemand) {
        self.sessions = self.sessions.saturating_sub(1);
        self.sum -= log;
        self.sum_of_squares -= i128::from(log) * i128::from(log);
    }

    /// The mean logarithm.
    #[expect(clippy::cast_precision_loss, reason = "sums are below 2^53 parts for a hundred million sessions")]
    pub fn mean(&self) -> Option<f64> {
        (self.sessions > 0).then(|| self.sum as f64 / self.sessions as f64 / LOG_PARTS)
    }

    /// Squares of the deviations from the mean, added up, in parts of [`LOG_PARTS`] squared, rounded down.
    #[expect(clippy::cast_possible_truncation, reason = "deviations below 2^18 parts of a million sessions fit")]
    pub(crate) fn deviations(&self) -> i64 {
        let sessions = i128::from(self.sessions);
        if sessions < 2 {
            return 0;
        }
        let whole = sessions * self.sum_of_squares - i128::from(self.sum) * i128::from(self.sum);
        (whole / sessions).min(i128::from(i64::MAX)) as i64
    }

    /// What sessions add up to that count so much each: as many sessions as their weights add up to, rounded, and at least one
    /// where there is any.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "sums are below 2^53 parts for a hundred million sessions"
    )]
    pub(crate) fn weighted<'a>(parts: impl Iterator<Item = (f64, &'a Self)>) -> Self {
        let (mut weight, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for (each, part) in parts {
            weight += each * part.sessions as f64;
            sum += each * part.sum as f64;
            squares += each * part.sum_of_squares as f64;
        }
        if weight <= 0.0 {
            return Self::default();
        }
        let sessions = weight.round().max(1.0);
        let part = sessions / weight;
        Self {
            sessions: sessions as u64,
            sum: (sum * part).round() as i64,
            sum_of_squares: (squares * part).round() as i128,
        }
    }

    /// Both added up.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            sessions: self.sessions + other.sessions,
            sum: self.sum + other.sum,
            sum_of_squares: self.sum_of_squares + other.sum_of_squares,
        }
    }
}

/// Sessions of a definition with one topology, beside the base of that topology now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopologyDemands {
    /// The sessions' demands.
    pub demands: LogDemands,
    /// Cores or MB.
    pub base: f64,
    /// Whether it is the topology that is asked about.
    pub is_asked: bool,
}

/// Ratios of some sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Ratios {
    pub(crate) sessions: f64,
    pub(crate) mean: f64,
}

impl Ratios {
    /// The ratios of the sessions of those topologies that `counts`.
    #[expect(clippy::cast_precision_loss, reason = "a definition has fewer than 2^53 sessions")]
    pub(crate) fn over(topologies: &[TopologyDemands], counts: impl Fn(&TopologyDemands) -> bool) -> Self {
        let (mut sessions, mut sum) = (0.0, 0.0);
        for topology in topologies.iter().filter(|topology| counts(topology)) {
            let Some(mean) = topology.demands.mean() else { continue };
            let count = topology.demands.sessions as f64;
            sessions += count;
            sum += count * (mean - topology.base.ln());
        }
        Self { sessions, mean: if sessions > 0.0 { sum / sessions } else { 0.0 } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CPU: Resource = Resource::CpuCores;

    fn demands(amounts: &[f64]) -> LogDemands {
        let mut demands = LogDemands::default();
        amounts.iter().for_each(|amount| demands.add(LogDemand::new(*amount, CPU)));
        demands
    }

    #[test]
    fn the_ratio_is_the_mean_logarithm_of_demand_over_base() {
        let (small, large) = (demands(&[2.0, 8.0]), demands(&[40.0]));
        let topologies = [
            TopologyDemands { demands: small, base: 2.0, is_asked: false },
            TopologyDemands { demands: large, base: 10.0, is_asked: true },
        ];
        // ln 1, ln 4 and ln 4.
        let all = Ratios::over(&topologies, |_| true);
        assert!((all.mean - 2.0 / 3.0 * 4.0_f64.ln()).abs() < 1e-3 && all.sessions == 3.0, "{all:?}");
        assert!((Ratios::over(&topologies, |topology| topology.is_asked).mean - 4.0_f64.ln()).abs() < 1e-3);
        assert_eq!(Ratios::over(&[], |_| true), Ratios::default());
    }

    #[test]
    fn a_session_far_off_counts_as_one_that_lies_at_the_bound() {
        let within = |demand: f64| LogDemand::within(demand, CPU, 0.0, 2.0_f64.ln());
        assert_eq!([0.1, 1.5, 90.0].map(within), [0.5, 1.5, 2.0].map(|demand| LogDemand::new(demand, CPU)));
    }

    #[test]
    fn deviations_are_those_from_the_mean() {
        // ln 2 = 2839 parts, ln 8 = 8517 parts: 2839 to each side of the mean.
        assert_eq!(demands(&[2.0, 8.0]).deviations(), 2 * 2839 * 2839);
        assert_eq!((demands(&[5.0]).deviations(), demands(&[]).deviations()), (0, 0));
    }

    #[test]
    fn nothing_used_counts_as_the_smallest_amount_and_no_amount_is_too_large() {
        assert_eq!(demands(&[0.0]), demands(&[1.0 / 256.0]));
        let most = demands(&vec![1e9; 50_000]);
        assert!((most.mean().unwrap() - 1e9_f64.ln()).abs() < 1e-3 && most.deviations() == 0);
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_the_order_and_what_is_taken_out_was_never_there(
            stay in proptest::collection::vec(0.0..1e9_f64, 0..20), go in proptest::collection::vec(0.0..1e9_f64, 0..20),
        ) {
            let mut sum = demands(&go);
            stay.iter().for_each(|amount| sum.add(LogDemand::new(*amount, CPU)));
            let reversed: Vec<f64> = stay.iter().rev().chain(&go).copied().collect();
            prop_assert_eq!(sum, demands(&reversed));
            prop_assert_eq!(sum, demands(&go).with(demands(&stay)));
            go.iter().for_each(|amount| sum.remove(LogDemand::new(*amount, CPU)));
            prop_assert_eq!(sum, demands(&stay));
        }
    }
}
