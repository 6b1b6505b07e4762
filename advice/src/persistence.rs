//! Whether what the last sessions of a definition had in common stays with the next one, over the whole fleet.

use serde::{Deserialize, Serialize};

use crate::own_past::FURTHEST;
use crate::scores::{SCORE_PARTS, Score};

/// As many pairs of scores without any connection the fleet begins with.
const ASSUMED: f64 = 30.0;

/// Scores beside the recent scores of their definitions, in parts of a score squared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persistence {
    products: i64,
    squares: i64,
}

/// By how much the sessions right before one lay above what was expected, in whole parts of a spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recent(i64);

impl Recent {
    /// That of this many spreads.
    #[expect(clippy::cast_possible_truncation, reason = "scores are within a few spreads")]
    pub fn new(spreads: f64) -> Self {
        Self((spreads * SCORE_PARTS).round() as i64)
    }
}

impl Persistence {
    /// Adds a session's score, and by how much those right before it lay above what was expected.
    pub fn add(&mut self, score: Score, recent: Recent) {
        let (score, recent) = parts(score, recent);
        self.products += score * recent;
        self.squares += recent * recent;
    }

    /// Takes out what was added before.
    pub fn remove(&mut self, score: Score, recent: Recent) {
        let (score, recent) = parts(score, recent);
        self.products -= score * recent;
        self.squares -= recent * recent;
    }

    /// The part of what sessions had in common that stays with the next, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "sums are below 2^53 parts for a hundred million sessions")]
    pub fn share(&self) -> f64 {
        let assumed = ASSUMED * SCORE_PARTS * SCORE_PARTS / 4.0;
        (self.products as f64 / (self.squares as f64 + assumed)).clamp(0.0, 1.0)
    }
}

fn parts(score: Score, Recent(recent): Recent) -> (i64, i64) {
    let score = score.spreads().clamp(-FURTHEST, FURTHEST);
    (Recent::new(score).0, recent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_with_the_next_session_is_measured_and_what_does_not_counts_for_nothing() {
        let (mut staying, mut changing) = (Persistence::default(), Persistence::default());
        for number in 0..1000 {
            let recent = if number % 2 == 0 { 1.0 } else { -1.0 };
            staying.add(Score::new(0.5 * recent), Recent::new(recent));
            changing.add(Score::new(if number % 4 < 2 { 1.0 } else { -1.0 }), Recent::new(recent));
        }
        assert!((staying.share() - 0.5).abs() < 0.02, "{}", staying.share());
        assert!(changing.share() < 0.01, "{}", changing.share());
        assert_eq!(Persistence::default().share(), 0.0);
    }

    #[test]
    fn what_is_taken_out_was_never_there() {
        let mut held = Persistence::default();
        held.add(Score::new(1.5), Recent::new(0.3));
        let before = held;
        held.add(Score::new(9.0), Recent::new(-0.7));
        held.remove(Score::new(9.0), Recent::new(-0.7));
        assert_eq!(held, before);
    }
}
