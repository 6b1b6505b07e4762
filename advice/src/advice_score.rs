//! Whether advice held: what was possible to advise before a session, beside what the session then needed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use domain::advice_policy::Promise;
use domain::resource::Resource;

/// What was advised of one resource before a session, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoredAdvice {
    /// The promise.
    pub promise: Promise,
    /// What was advised: cores or MB; null: nothing could be.
    pub advised: Option<f64>,
    /// What the session needed: cores or MB.
    pub demand: f64,
    /// What was configured: cores or MB; null: unknown.
    pub configured: Option<f64>,
    /// What the nodes were given: cores or MB; null: unknown.
    pub nominal: Option<f64>,
}

impl ScoredAdvice {
    /// Whether it held; null: nothing was advised.
    pub fn held(&self) -> Option<bool> {
        self.advised.map(|advised| advised >= self.demand)
    }
}

/// Scored advice of one resource, added up in whole parts: by month, by number of sessions, by definition or over all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreSums {
    advised: u64,
    silent: u64,
    held: u64,
    /// Sum of the promises, in parts of a million.
    promised: u64,
    demand: i64,
    unused: i64,
    configured: Unused,
    nominal: Unused,
}

/// What another size left unused, over the sessions where it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Unused {
    sessions: u64,
    demand: i64,
    unused: i64,
}

/// What scored advice adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdviceScore {
    /// Sessions before which something was advised.
    pub count: u64,
    /// Sessions before which nothing could be advised.
    pub silent: u64,
    /// The mean promise; null: nothing was advised.
    pub promised: Option<f64>,
    /// The share of sessions that the advice covered; null: nothing was advised.
    pub achieved: Option<f64>,
    /// What the advice gave that was not used, as a share of what was needed; null: nothing was needed.
    pub waste: Option<f64>,
    /// The same of what was configured, where that is known.
    pub configured_waste: Option<f64>,
    /// The same of what the nodes were given, where that is known.
    pub nominal_waste: Option<f64>,
}

const PROMISE_PARTS: f64 = 1e6;

impl Unused {
    fn new(resource: Resource, size: Option<f64>, demand: f64) -> Self {
        size.map_or_else(Self::default, |size| Self {
            sessions: 1,
            demand: resource.units(demand),
            unused: resource.units(size - demand),
        })
    }

    fn with(self, other: Self, sign: i64) -> Self {
        Self {
            sessions: self.sessions.saturating_add_signed(other.sessions.cast_signed() * sign),
            demand: self.demand + sign * other.demand,
            unused: self.unused + sign * other.unused,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "sums are below 2^53 parts for a hundred million sessions")]
    fn waste(&self) -> Option<f64> {
        (self.sessions > 0 && self.demand > 0).then(|| self.unused as f64 / self.demand as f64)
    }
}

impl ScoreSums {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a promise has at most a million parts"
    )]
    fn one(resource: Resource, scored: &ScoredAdvice) -> Self {
        let Some(advised) = scored.advised else { return Self { silent: 1, ..Self::default() } };
        Self {
            advised: 1,
            silent: 0,
            held: u64::from(advised >= scored.demand),
            promised: (scored.promise.share() * PROMISE_PARTS).round() as u64,
            demand: resource.units(scored.demand),
            unused: resource.units(advised - scored.demand),
            configured: Unused::new(resource, scored.configured, scored.demand),
            nominal: Unused::new(resource, scored.nominal, scored.demand),
        }
    }

    fn with(self, other: Self, sign: i64) -> Self {
        let count = |one: u64, other: u64| one.saturating_add_signed(other.cast_signed() * sign);
        Self {
            advised: count(self.advised, other.advised),
            silent: count(self.silent, other.silent),
            held: count(self.held, other.held),
            promised: count(self.promised, other.promised),
            demand: self.demand + sign * other.demand,
            unused: self.unused + sign * other.unused,
            configured: self.configured.with(other.configured, sign),
            nominal: self.nominal.with(other.nominal, sign),
        }
    }

    /// Adds a session's.
    pub fn add(&mut self, resource: Resource, scored: &ScoredAdvice) {
        *self = self.with(Self::one(resource, scored), 1);
    }

    /// Takes a session's out that was added before.
    pub fn remove(&mut self, resource: Resource, scored: &ScoredAdvice) {
        *self = self.with(Self::one(resource, scored), -1);
    }

    /// Both added up.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, 1)
    }

    /// What they add up to.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 sessions")]
    pub fn score(&self) -> AdviceScore {
        let count = self.advised as f64;
        let share = |sum: f64| (self.advised > 0).then(|| sum / count);
        AdviceScore {
            count: self.advised,
            silent: self.silent,
            promised: share(self.promised as f64).map(|parts| parts / PROMISE_PARTS),
            achieved: share(self.held as f64),
            waste: (self.demand > 0).then(|| self.unused as f64 / self.demand as f64),
            configured_waste: self.configured.waste(),
            nominal_waste: self.nominal.waste(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Resource = Resource::MemoryMb;

    fn scored(advised: Option<f64>, demand: f64, nominal: Option<f64>) -> ScoredAdvice {
        ScoredAdvice { promise: Promise::default(), advised, demand, configured: Some(8192.0), nominal }
    }

    #[test]
    fn a_score_tells_what_was_promised_and_what_was_achieved() {
        let mut sums = ScoreSums::default();
        for (advised, demand) in [(Some(3000.0), 2000.0), (Some(3000.0), 3500.0), (None, 1000.0)] {
            sums.add(MEMORY, &scored(advised, demand, None));
        }
        let score = sums.score();
        assert_eq!((score.count, score.silent, score.promised, score.achieved), (2, 1, Some(0.95), Some(0.5)));
        // 1000 MB of 5500 were unused, and of what was configured 6192 and 4692.
        assert_eq!((score.waste, score.configured_waste), (Some(1000.0 / 5500.0), Some(10_884.0 / 5500.0)));
        assert_eq!(score.nominal_waste, None);
        assert_eq!(scored(Some(2.0), 2.0, None).held(), Some(true));
    }

    #[test]
    fn what_is_taken_out_was_never_there_and_nothing_has_no_score() {
        let mut sums = ScoreSums::default();
        let all = [scored(Some(3000.0), 2000.3, Some(4096.0)), scored(None, 7.7, None), scored(Some(1.0), 9.9, None)];
        all.iter().for_each(|one| sums.add(MEMORY, one));
        assert_eq!(sums.plus(ScoreSums::default()), sums);
        all.iter().for_each(|one| sums.remove(MEMORY, one));
        assert_eq!(sums, ScoreSums::default());
        assert_eq!((sums.score().promised, sums.score().achieved, sums.score().waste), (None, None, None));
    }
}
