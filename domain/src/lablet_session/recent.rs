//! What a session remembers in order to recognise a repetition: a bounded part of what it recorded.
//!
//! An observation is recognised by observer and time while it is the newest of its observer or among the [`MOST_TIMES`]
//! that its observer reported last. This holds for the [`MOST_OBSERVERS`] observers that reported last. The outcome of a
//! request is recognised while the request is among the [`MOST_ANSWERED`] answered last.
//!
//! Beyond that a repetition is recognised by the key of its command, which the log keeps for good: source and id of the
//! message on the bus, the `Idempotency-Key` over HTTP. An observation without one is recorded again as a late one: it
//! raises the count of observations and replaces no newer reading and no newer verdict. An outcome without one is
//! refused, as its request is unknown.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::RequestId;

/// Most observers whose observations are recognised.
pub(crate) const MOST_OBSERVERS: usize = 16;
/// Most observations of one observer that are recognised, beside its newest.
pub(crate) const MOST_TIMES: usize = 32;
/// Most answered requests that are recognised.
pub(crate) const MOST_ANSWERED: usize = 64;

/// The last entries of a sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Last<T, const MOST: usize>(VecDeque<T>);

impl<T, const MOST: usize> Default for Last<T, MOST> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: PartialEq, const MOST: usize> Last<T, MOST> {
    fn push(&mut self, entry: T) {
        while self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }
}

/// The observations that a session recognises. The same observer at the same instant made the same observation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecentObservations {
    /// Ordered by when they reported last.
    observers: Last<Observer, MOST_OBSERVERS>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Observer {
    name: String,
    newest: DateTime<Utc>,
    recorded: Last<DateTime<Utc>, MOST_TIMES>,
}

impl RecentObservations {
    /// Whether the observation that this observer made then was recorded.
    pub fn contains(&self, observer: &str, observed_at: DateTime<Utc>) -> bool {
        self.observers
            .0
            .iter()
            .find(|known| known.name == observer)
            .is_some_and(|known| known.newest == observed_at || known.recorded.0.contains(&observed_at))
    }

    /// How many observers are remembered.
    pub(crate) fn observers(&self) -> usize {
        self.observers.0.len()
    }

    /// How many times are remembered, of all observers.
    pub fn times(&self) -> usize {
        self.observers.0.iter().map(|known| known.recorded.0.len()).sum()
    }

    /// Remembers an observation that was recorded.
    pub fn insert(&mut self, observer: String, observed_at: DateTime<Utc>) {
        let known = self.observers.0.iter().position(|known| known.name == observer);
        let mut known = known.and_then(|place| self.observers.0.remove(place)).unwrap_or_else(|| Observer {
            name: observer,
            newest: observed_at,
            recorded: Last::default(),
        });
        known.newest = known.newest.max(observed_at);
        known.recorded.push(observed_at);
        self.observers.push(known);
    }
}

/// The answered requests that a session recognises.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AnsweredRequests(Last<RequestId, MOST_ANSWERED>);

impl AnsweredRequests {
    /// Whether this request has its outcome.
    pub fn contains(&self, request_id: &RequestId) -> bool {
        self.0.0.contains(request_id)
    }

    /// How many requests are remembered.
    pub fn len(&self) -> usize {
        self.0.0.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// Remembers a request that has its outcome now.
    pub fn insert(&mut self, request_id: RequestId) {
        self.0.push(request_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_772_000_000 + second, 0).unwrap()
    }

    #[test]
    fn the_last_observations_of_each_observer_are_recognised_and_its_newest_for_good() {
        let mut recent = RecentObservations::default();
        recent.insert("grading".to_owned(), at(1_000));
        for second in 0..100 {
            recent.insert("grading".to_owned(), at(second));
        }
        assert!(recent.contains("grading", at(99)) && recent.contains("grading", at(68)));
        assert!(recent.contains("grading", at(1_000)), "the newest one, however many late ones came since");
        assert!(!recent.contains("grading", at(67)), "forgotten");
        assert!(!recent.contains("controller", at(99)), "another observer made another observation");
    }

    #[test]
    fn one_observer_that_reports_much_makes_no_other_forgotten() {
        let mut recent = RecentObservations::default();
        recent.insert("controller".to_owned(), at(0));
        for second in 0..1_000 {
            recent.insert("grading".to_owned(), at(second));
        }
        assert!(recent.contains("controller", at(0)));
    }

    #[test]
    fn what_is_remembered_is_bounded_whoever_reports() {
        let mut recent = RecentObservations::default();
        let mut answered = AnsweredRequests::default();
        let size = |recent: &RecentObservations| serde_json::to_string(recent).unwrap().len();
        for number in 0..2_000 {
            recent.insert(format!("observer-{:04}", number % 40), at(number));
            answered.insert(RequestId::parse(format!("r-{number}")).unwrap());
        }
        let before = size(&recent);
        for number in 2_000..20_000 {
            recent.insert(format!("observer-{:04}", number % 40), at(number));
        }
        assert!(size(&recent) <= before, "{} bytes after {before}", size(&recent));
        assert!(answered.contains(&"r-1936".parse().unwrap()) && !answered.contains(&"r-1935".parse().unwrap()));
    }
}
