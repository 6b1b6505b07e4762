//! What a definition's own past says of its advice: calibration over the fleet keeps a promise on average, and a definition
//! that keeps missing corrects its own.

use serde::{Deserialize, Serialize};

use crate::newest::Newest;
use crate::scores::Score;

/// Most sessions that a correction looks back on.
const LONGEST: usize = 64;
/// As many sessions of the definition count as much as the fleet does.
const FLEET: f64 = 20.0;
/// Each session counts for this part of the one after it.
const DECAY: f64 = 0.97;
/// A correction leaves this part of the promised misses.
const LEAST_MISSES: f64 = 0.4;
/// A correction allows this many times the promised misses.
const MOST_MISSES: f64 = 1.5;
/// Among recent sessions, each counts for this part of the one after it.
const RECENT_DECAY: f64 = 0.75;
/// Sessions that count as recent, at most.
const RECENT: usize = 16;
/// No session counts as further off than this many spreads.
pub(crate) const FURTHEST: f64 = 4.0;

/// The share of the fleet's scores that lay below that of a session, in parts of 65,535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShareBelow(u16);

impl ShareBelow {
    /// A share from 0 to 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 to 65,535")]
    pub fn new(share: f64) -> Self {
        Self((share.clamp(0.0, 1.0) * f64::from(u16::MAX)).round() as u16)
    }

    fn get(self) -> f64 {
        f64::from(self.0) / f64::from(u16::MAX)
    }
}

/// How a session lay to what was expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastScore {
    /// Spreads above the location, before that followed the sessions right before it.
    pub score: Score,
    /// Where it lay among the scores of the fleet.
    pub share: ShareBelow,
}

/// A definition's last sessions. They are kept without a promise, so that they tell of any.
pub type PastScores = Newest<PastScore, LONGEST>;

/// What a definition's last sessions say of its advice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OwnPast(pub PastScores);

impl OwnPast {
    /// By how many spreads the last few sessions lay above what was expected of them, the newest counting most: what sessions of
    /// one cohort have in common, and what has changed of late.
    pub fn recent(&self) -> f64 {
        let (mut weight, mut weights, mut sum) = (1.0, 1.0, 0.0);
        for past in self.0.iter().take(RECENT) {
            sum += weight * past.score.spreads().clamp(-FURTHEST, FURTHEST);
            weights += weight;
            weight *= RECENT_DECAY;
        }
        sum / weights
    }

    /// The level at which the fleet's scores keep this promise for the definition: the quantile of its own shares, newest
    /// first, and of the fleet's, which lie evenly from 0 to 1. It rises with sessions that lay higher than the promise, and
    /// falls a little where all lay lower. A greater promise never has a lower level.
    pub fn level(&self, promise: f64) -> f64 {
        let misses = 1.0 - promise;
        let bounds = ((1.0 - MOST_MISSES * misses).max(promise / 2.0), 1.0 - LEAST_MISSES * misses);
        let mut weight = 1.0;
        let mut shares: Vec<(f64, f64)> = Vec::with_capacity(self.0.len());
        for past in self.0.iter() {
            shares.push((past.share.get(), weight));
            weight *= DECAY;
        }
        shares.sort_by(|one, other| one.0.total_cmp(&other.0));
        let whole = FLEET + shares.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut lacking = promise * whole;
        for (share, weight) in shares {
            // Up to this share the fleet's alone would do.
            if lacking <= FLEET * share {
                break;
            }
            lacking -= weight;
            if lacking <= FLEET * share {
                lacking = FLEET * share;
                break;
            }
        }
        (lacking / FLEET).clamp(bounds.0, bounds.1)
    }

    /// Sessions that it looks back on, and how many of them the promise would have missed by the fleet's scores alone.
    pub fn missed(&self, promise: f64) -> (usize, usize) {
        (self.0.len(), self.0.iter().filter(|past| past.share.get() >= promise).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(shares: &[f64]) -> OwnPast {
        let mut past = OwnPast::default();
        for (session, share) in (1..).zip(shares) {
            past.0.push(session, PastScore { score: Score::new(1.0), share: ShareBelow::new(*share) });
        }
        past
    }

    #[test]
    fn a_session_beyond_the_promise_raises_the_level_and_covered_ones_lower_it_by_a_little() {
        assert_eq!(past(&[]).level(0.9), 0.9);
        // 20·ℓ + 1 = 0.9 · 21.
        assert!((past(&[0.5]).level(0.9) - 0.895).abs() < 1e-9);
        // 20·ℓ = 0.9 · 21, and 0.93 is covered from 0.93 on.
        assert!((past(&[0.99]).level(0.9) - 0.945).abs() < 1e-4);
        assert!((past(&[0.93]).level(0.9) - 0.93).abs() < 1e-4);
        assert_eq!(past(&[0.95, 0.5]).missed(0.9), (2, 1));
        assert!(past(&[0.99, 0.5, 0.5]).level(0.9) < past(&[0.5, 0.5, 0.99]).level(0.9), "the newest counts most");
    }

    #[test]
    fn a_correction_is_bounded() {
        assert!((past(&[1.0; 64]).level(0.95) - 0.98).abs() < 1e-9);
        assert!((past(&[0.0; 64]).level(0.95) - 0.925).abs() < 1e-9);
    }

    #[test]
    fn no_more_than_64_sessions_count() {
        assert_eq!(past(&[0.5; 100]).missed(0.9).0, 64);
    }
}
