//! How much the largest of some sessions says of all to come.
//!
//! Of n sessions that are exchangeable, the largest covers the next one with probability n/(n + 1), and at least the share p
//! of all to come with confidence 1 − pⁿ. Sessions of one day are alike, so that n of them say less than n. How much less is
//! seen in the fleet: how often the largest of the sessions before covered the first one of another day.

use serde::{Deserialize, Serialize};

use crate::scores::Bucket;

/// As many trials of exchangeable sessions the fleet begins with, in each bucket.
const ASSUMED: f64 = 20.0;
/// The least that a session may count.
const LEAST: f64 = 0.05;

/// One trial: whether the largest of so many sessions covered the first one of another day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Sessions before.
    pub sessions: u64,
    /// Whether the largest of them needed as much.
    pub is_covered: bool,
}

/// Trials of the whole fleet, by the number of sessions before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trials([Counts; 7]);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    trials: u64,
    sessions: u64,
    covered: u64,
}

impl Trials {
    /// Adds a trial.
    pub(crate) fn add(&mut self, trial: Trial) {
        let counts = &mut self.0[Bucket::from_sessions(trial.sessions).index()];
        counts.trials += 1;
        counts.sessions += trial.sessions;
        counts.covered += u64::from(trial.is_covered);
    }

    /// Takes a trial out that was added before.
    pub(crate) fn remove(&mut self, trial: Trial) {
        let counts = &mut self.0[Bucket::from_sessions(trial.sessions).index()];
        counts.trials = counts.trials.saturating_sub(1);
        counts.sessions = counts.sessions.saturating_sub(trial.sessions);
        counts.covered = counts.covered.saturating_sub(u64::from(trial.is_covered));
    }

    /// As how many exchangeable sessions one counts, up to 1: what makes n/(n + 1) right over all trials.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 trials")]
    pub fn session_counts(&self) -> f64 {
        let used: Vec<(f64, f64, f64)> = self
            .0
            .iter()
            .filter(|counts| counts.trials > 0 && counts.sessions > 0)
            .map(|counts| {
                let trials = counts.trials as f64;
                let sessions = counts.sessions as f64 / trials;
                let covered = counts.covered as f64 + ASSUMED * sessions / (sessions + 1.0);
                (trials + ASSUMED, sessions, covered)
            })
            .collect();
        let surplus = |counts: f64| -> f64 {
            used.iter()
                .map(|(trials, sessions, covered)| trials * counts * sessions / (counts * sessions + 1.0) - covered)
                .sum()
        };
        let (mut low, mut high) = (LEAST, 1.0);
        if used.is_empty() || surplus(high) <= 0.0 {
            return high;
        }
        for _ in 0..40 {
            let middle = (low + high) / 2.0;
            if surplus(middle) > 0.0 { high = middle } else { low = middle }
        }
        low
    }

    /// The confidence that the largest of so many sessions covers at least this share of all to come; `None`: there is none.
    #[expect(clippy::cast_precision_loss, reason = "a definition has fewer than 2^53 sessions")]
    pub fn confidence(&self, sessions: u64, share: f64) -> Option<f64> {
        (sessions > 0).then(|| 1.0 - share.powf(self.session_counts() * sessions as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(sessions: u64, covered: u64, of: u64) -> Trials {
        let mut trials = Trials::default();
        for number in 0..of {
            trials.add(Trial { sessions, is_covered: number < covered });
        }
        trials
    }

    #[test]
    fn exchangeable_sessions_count_as_one_each_and_those_of_a_class_less() {
        assert_eq!(Trials::default().session_counts(), 1.0);
        assert_eq!(trials(9, 90, 100).session_counts(), 1.0);
        let alike = trials(9, 7_500, 10_000).session_counts();
        // The largest of three covers three of four.
        assert!((alike - 3.0 / 9.0).abs() < 0.01, "{alike}");
        assert_eq!(trials(9, 0, 1_000_000).session_counts(), LEAST);
        let confidence = trials(9, 7_500, 10_000).confidence(9, 0.9).unwrap();
        assert!((confidence - (1.0 - 0.9_f64.powi(3))).abs() < 0.01, "{confidence}");
        assert_eq!(Trials::default().confidence(0, 0.9), None);
    }

    #[test]
    fn a_trial_that_is_taken_out_was_never_there() {
        let mut held = trials(4, 10, 12);
        held.add(Trial { sessions: 30, is_covered: true });
        held.remove(Trial { sessions: 30, is_covered: true });
        assert_eq!(held, trials(4, 10, 12));
    }
}
