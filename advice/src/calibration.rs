//! How many spreads above the expected ratio a promise needs, by the scores of the fleet's own past.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scores::{Bucket, Score, Scores};
use crate::student::Student;

/// From this many scores on a bucket stands for itself.
pub(crate) const ENOUGH: f64 = 200.0;
/// Below this many scores, those of other buckets included, an estimate rests on little.
const LITTLE: f64 = 50.0;
/// As many scores Student's distribution counts as where a bucket has none.
const ASSUMED: f64 = 10.0;
/// As many scores those of other buckets count as, at most, where a bucket has none.
const BORROWED: f64 = 60.0;

/// The distribution of the next score.
///
/// With enough scores of its bucket it is conformal: the ⌈(N + 1)·p⌉-th smallest of N scores covers the next with
/// probability p, whatever their distribution. With fewer, scores of other buckets and Student's distribution stand in, the
/// less the more there are.
#[derive(Debug, Clone)]
pub struct Calibration<'a> {
    bucket: Bucket,
    own: &'a Scores,
    others: Vec<&'a Scores>,
    /// Weight of one score of another bucket.
    borrowed: f64,
    /// Weight of Student's distribution.
    assumed: f64,
    student: Student,
}

/// What a promise needs by a calibration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CalibratedScore {
    /// Sessions that were known of the definitions whose scores these are.
    pub bucket: Bucket,
    /// N: scores of the bucket.
    pub scores: u64,
    /// As many scores of other buckets stand in.
    pub borrowed_scores: f64,
    /// As many scores Student's distribution stands in for.
    pub assumed_scores: f64,
    /// The level that is asked for: the promise with the definition's own correction.
    pub level: f64,
    /// c: spreads above the expected ratio.
    pub score: f64,
}

impl CalibratedScore {
    /// Whether there are so few scores that the largest session says more.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 scores")]
    pub fn rests_on_little(&self) -> bool {
        self.scores as f64 + self.borrowed_scores < LITTLE
    }
}

impl<'a> Calibration<'a> {
    /// That of a definition with `sessions`, whose spread has so many `degrees` of freedom. `buckets` are in the order of
    /// [`Bucket::ALL`].
    pub fn new(buckets: &'a [Scores; 7], sessions: u64, degrees: f64) -> Self {
        let bucket = Bucket::from_sessions(sessions);
        let own = &buckets[bucket.index()];
        // What is said by a topology alone is off in another way than what rests on sessions.
        let alike = |other: &Bucket| *other != bucket && bucket != Bucket::None && *other != Bucket::None;
        let others: Vec<&Scores> =
            Bucket::ALL.iter().filter(|other| alike(other)).map(|other| &buckets[other.index()]).collect();
        let lacking = (1.0 - count(own) / ENOUGH).max(0.0);
        let available: f64 = others.iter().map(|scores| count(scores)).sum();
        let borrowed = if available > 0.0 { (BORROWED * lacking / available).min(1.0) } else { 0.0 };
        Self { bucket, own, others, borrowed, assumed: ASSUMED * lacking, student: Student::new(degrees) }
    }

    /// Scores that it has, or that stand in.
    fn weight(&self) -> f64 {
        count(self.own) + self.borrowed_scores() + self.assumed
    }

    fn borrowed_scores(&self) -> f64 {
        self.borrowed * self.others.iter().map(|scores| count(scores)).sum::<f64>()
    }

    /// Whether the bucket stands for itself.
    pub fn is_calibrated(&self) -> bool {
        self.assumed == 0.0
    }

    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 scores")]
    fn below_or_at(&self, score: Score) -> f64 {
        let assumed = if self.assumed > 0.0 { self.student.share_below(score.spreads()) } else { 0.0 };
        let others: u64 =
            if self.borrowed > 0.0 { self.others.iter().map(|scores| scores.at_most(score)).sum() } else { 0 };
        self.own.at_most(score) as f64 + self.borrowed * others as f64 + self.assumed * assumed
    }

    /// Where the bucket stands for itself, the next score counts as one more, which may lie anywhere.
    fn possible(&self) -> f64 {
        if self.is_calibrated() { self.weight() + 1.0 } else { self.weight() }
    }

    /// The share of scores below this one, 0 to 1: it is beyond every level that is not above this share.
    pub(crate) fn share_below(&self, score: Score) -> f64 {
        if score == Score::LOWEST {
            return 0.0;
        }
        self.below_or_at(score.before()) / self.possible()
    }

    /// The smallest score that covers the next one at this level.
    pub fn score(&self, level: f64) -> CalibratedScore {
        let needed = level * self.possible() - 1e-9;
        let (mut low, mut high) = (Score::LOWEST, Score::GREATEST);
        while low < high {
            let middle = Score::between(low, high);
            if self.below_or_at(middle) >= needed { high = middle } else { low = middle.next() }
        }
        // A level that so few scores cannot speak of: Student's distribution may lie beyond the greatest of them.
        let score = if self.below_or_at(high) >= needed {
            high.spreads()
        } else {
            let greatest = self.own.smallest(self.own.count()).map_or(0.0, Score::spreads);
            greatest.max(self.student.quantile(level))
        };
        CalibratedScore {
            bucket: self.bucket,
            scores: self.own.count(),
            borrowed_scores: self.borrowed_scores(),
            assumed_scores: self.assumed,
            level,
            score,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 scores")]
fn count(scores: &Scores) -> f64 {
    scores.count() as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buckets(sessions: u64, spreads: impl Iterator<Item = f64>) -> [Scores; 7] {
        let mut buckets: [Scores; 7] = Default::default();
        spreads.for_each(|spreads| buckets[Bucket::from_sessions(sessions).index()].add(Score::new(spreads)));
        buckets
    }

    #[test]
    fn with_enough_scores_it_is_the_smallest_that_covers_the_next_one() {
        let buckets = buckets(4, (1..=399).map(|number| f64::from(number) / 64.0));
        let calibration = Calibration::new(&buckets, 4, 8.0);
        assert!(calibration.is_calibrated());
        // ⌈400 · 0.95⌉ = 380.
        let found = calibration.score(0.95);
        assert_eq!((found.score, found.scores, found.bucket), (380.0 / 64.0, 399, Bucket::From3));
        assert_eq!((found.borrowed_scores, found.assumed_scores), (0.0, 0.0));
    }

    #[test]
    fn without_scores_it_is_students_quantile() {
        let buckets: [Scores; 7] = Default::default();
        let calibration = Calibration::new(&buckets, 1, 6.0);
        let score = calibration.score(0.95).score;
        // t(6) at 95 % is 1.943; scores are rounded up.
        assert!((1.943..1.943 + 1.0 / 64.0).contains(&score), "{score}");
        assert!(!calibration.is_calibrated());
    }

    #[test]
    fn few_scores_move_it_and_those_of_other_buckets_stand_in() {
        let narrow = || (0..50).map(|number| f64::from(number) / 64.0);
        let alone = Calibration::new(&buckets(4, narrow()), 4, 6.0).score(0.95).score;
        let borrowed = Calibration::new(&buckets(8, narrow()), 4, 6.0).score(0.95).score;
        assert!(alone < 1.943 && borrowed < 1.943, "{alone} {borrowed}");
        let of_topologies = Calibration::new(&buckets(0, narrow()), 4, 6.0).score(0.95).score;
        assert!(of_topologies > 1.943, "advice without sessions is off in another way");
    }

    #[test]
    fn a_level_that_no_score_reaches_is_taken_from_student() {
        let buckets = buckets(4, (0..300).map(|_| 0.5));
        assert_eq!(Calibration::new(&buckets, 4, 6.0).score(0.99).score, 0.5);
        assert!(Calibration::new(&buckets, 4, 6.0).score(0.999).score > 5.0);
    }

    proptest! {
        #[test]
        fn a_score_is_beyond_the_levels_that_are_not_above_its_share(
            held in proptest::collection::vec(-3.0..3.0_f64, 0..300), spreads in -4.0..4.0_f64, level in 0.5..0.94_f64,
        ) {
            let buckets = buckets(4, held.into_iter());
            let calibration = Calibration::new(&buckets, 4, 8.0);
            let score = Score::new(spreads);
            let is_missed = score.spreads() > calibration.score(level).score;
            prop_assert_eq!(is_missed, calibration.share_below(score) >= level - 1e-9);
        }

        #[test]
        fn a_greater_level_never_needs_less(held in proptest::collection::vec(-3.0..3.0_f64, 0..300), level in 0.1..0.98_f64) {
            let buckets = buckets(4, held.into_iter());
            let calibration = Calibration::new(&buckets, 4, 8.0);
            prop_assert!(calibration.score(level + 0.01).score >= calibration.score(level).score);
        }
    }
}
