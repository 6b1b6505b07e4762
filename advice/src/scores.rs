//! How far sessions lay above the advice that was possible before them, in spreads of that advice: what a promise is kept by.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

/// Scores are counted in this part of a spread.
pub(crate) const SCORE_PARTS: f64 = 64.0;
/// Scores below and above this many spreads count as this many.
pub(crate) const GREATEST_SCORE: i32 = 16;
#[expect(clippy::cast_possible_truncation, reason = "64 parts")]
const LAST: i32 = GREATEST_SCORE * SCORE_PARTS as i32;
const BINS: usize = 2 * LAST as usize + 1;
/// Bins of a whole spread.
const SPREAD: usize = SCORE_PARTS as usize;

/// A score, rounded up to a whole part of a spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(i32);

impl Score {
    /// The lowest score.
    pub(crate) const LOWEST: Self = Self(-LAST);
    /// The greatest score.
    pub(crate) const GREATEST: Self = Self(LAST);

    /// The score of this many spreads.
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and the result is bounded")]
    pub fn new(spreads: f64) -> Self {
        Self(((spreads * SCORE_PARTS).ceil() as i32).clamp(-LAST, LAST))
    }

    /// Whole spreads below it, rounded down: -16 to 16.
    #[expect(clippy::cast_possible_truncation, reason = "64 parts")]
    pub fn whole_spreads(self) -> i32 {
        self.0.div_euclid(SCORE_PARTS as i32)
    }

    /// In spreads.
    pub fn spreads(self) -> f64 {
        f64::from(self.0) / SCORE_PARTS
    }

    /// The score between both, the lower one where there is none.
    pub(crate) fn between(low: Self, high: Self) -> Self {
        Self(low.0 + (high.0 - low.0) / 2)
    }

    /// The next greater one.
    pub(crate) fn next(self) -> Self {
        Self((self.0 + 1).min(LAST))
    }

    /// The next smaller one.
    pub(crate) fn before(self) -> Self {
        Self((self.0 - 1).max(-LAST))
    }

    #[expect(clippy::cast_sign_loss, reason = "a score is at least -LAST")]
    fn bin(self) -> usize {
        (self.0 + LAST) as usize
    }
}

/// Scores, each as often as it was had. The order in which they came is not kept. Stored are the scores that were had, each with
/// how often.
///
/// A copy shares what it holds until one of both is changed: copies that were not are compared without looking at a score.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(Score, u32)>", into = "Vec<(Score, u32)>")]
pub struct Scores {
    held: Arc<Histogram>,
}

/// How often each score was had.
#[derive(Clone, PartialEq, Eq)]
struct Histogram {
    counts: Vec<u32>,
    /// Sums over whole spreads, so that few counts are added up where a score is looked for.
    spreads: Vec<u64>,
    count: u64,
}

static NONE: LazyLock<Arc<Histogram>> =
    LazyLock::new(|| Arc::new(Histogram { counts: vec![0; BINS], spreads: vec![0; BINS.div_ceil(SPREAD)], count: 0 }));

impl Histogram {
    fn add(&mut self, bin: usize, times: u32) {
        let held = &mut self.counts[bin];
        let before = std::mem::replace(held, held.saturating_add(times));
        let added = u64::from(*held - before);
        self.spreads[bin / SPREAD] += added;
        self.count += added;
    }

    fn remove(&mut self, bin: usize) {
        let held = &mut self.counts[bin];
        let removed = u64::from(*held > 0);
        *held = held.saturating_sub(1);
        self.spreads[bin / SPREAD] -= removed;
        self.count -= removed;
    }

    fn at_most(&self, bin: usize) -> u64 {
        let spread = bin / SPREAD;
        let within = self.counts[spread * SPREAD..=bin].iter().map(|count| u64::from(*count));
        self.spreads[..spread].iter().copied().chain(within).sum()
    }
}

impl Default for Scores {
    fn default() -> Self {
        Self { held: NONE.clone() }
    }
}

impl std::fmt::Debug for Scores {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl From<Vec<(Score, u32)>> for Scores {
    fn from(had: Vec<(Score, u32)>) -> Self {
        let mut scores = Self::default();
        if had.is_empty() {
            return scores;
        }
        let held = Arc::make_mut(&mut scores.held);
        for (score, count) in had {
            // What is stored may be beyond the bounds of today.
            held.add(Score(score.0.clamp(-LAST, LAST)).bin(), count);
        }
        scores
    }
}

impl From<Scores> for Vec<(Score, u32)> {
    fn from(scores: Scores) -> Self {
        scores.iter().collect()
    }
}

impl Scores {
    /// Adds a score.
    pub fn add(&mut self, score: Score) {
        Arc::make_mut(&mut self.held).add(score.bin(), 1);
    }

    /// Takes a score out that was added before.
    pub fn remove(&mut self, score: Score) {
        Arc::make_mut(&mut self.held).remove(score.bin());
    }

    /// Number of scores.
    pub fn count(&self) -> u64 {
        self.held.count
    }

    /// Number of scores that are at most this one.
    pub fn at_most(&self, score: Score) -> u64 {
        self.held.at_most(score.bin())
    }

    /// The `rank`-th smallest score, counted from 1; `None` where there are fewer.
    pub fn smallest(&self, rank: u64) -> Option<Score> {
        if rank == 0 || rank > self.held.count {
            return None;
        }
        let mut below = 0;
        let mut had = self.iter();
        had.find(|(_, count)| {
            below += u64::from(*count);
            below >= rank
        })
        .map(|(score, _)| score)
    }

    /// The scores that were had, each with how often, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = (Score, u32)> {
        (-LAST..=LAST).map(Score).zip(self.held.counts.iter().copied()).filter(|(_, count)| *count > 0)
    }
}

/// How many sessions of a definition were known when it was advised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Bucket {
    /// None: advice by the topology alone.
    #[serde(rename = "0")]
    None,
    /// One or two.
    #[serde(rename = "1-2")]
    From1,
    /// Three to five.
    #[serde(rename = "3-5")]
    From3,
    /// Six to ten.
    #[serde(rename = "6-10")]
    From6,
    /// 11 to 20.
    #[serde(rename = "11-20")]
    From11,
    /// 21 to 50.
    #[serde(rename = "21-50")]
    From21,
    /// More.
    #[serde(rename = "51+")]
    From51,
}

impl Bucket {
    /// Each of them, in order.
    pub const ALL: [Self; 7] =
        [Self::None, Self::From1, Self::From3, Self::From6, Self::From11, Self::From21, Self::From51];

    /// The bucket of this many sessions.
    pub fn from_sessions(sessions: u64) -> Self {
        match sessions {
            0 => Self::None,
            1..=2 => Self::From1,
            3..=5 => Self::From3,
            6..=10 => Self::From6,
            11..=20 => Self::From11,
            21..=50 => Self::From21,
            _ => Self::From51,
        }
    }

    /// Its place in [`Bucket::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(spreads: &[f64]) -> Scores {
        let mut scores = Scores::default();
        spreads.iter().for_each(|spreads| scores.add(Score::new(*spreads)));
        scores
    }

    #[test]
    fn the_kth_smallest_score_is_found_and_rounded_up() {
        let held = scores(&[0.5, -1.0, 2.001, 0.5]);
        let found: Vec<_> = (0..6).map(|rank| held.smallest(rank).map(Score::spreads)).collect();
        assert_eq!(found, [None, Some(-1.0), Some(0.5), Some(0.5), Some(2.0 + 1.0 / 64.0), None]);
        assert_eq!((held.at_most(Score::new(0.5)), held.count()), (3, 4));
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let held = scores(&[0.5, -1.0, 16.0, 0.5]);
        let stored = serde_json::to_string(&held).unwrap();
        assert_eq!(stored, "[[-64,1],[32,2],[1024,1]]");
        assert_eq!(serde_json::from_str::<Scores>(&stored).unwrap(), held);
        assert_eq!(serde_json::from_str::<Scores>("[[9999,2]]").unwrap(), scores(&[16.0, 16.0]));
    }

    #[test]
    fn no_score_is_out_of_range() {
        let extremes = [f64::INFINITY, -1e300, f64::NAN].map(|spreads| Score::new(spreads).spreads());
        assert_eq!(extremes, [16.0, -16.0, 0.0]);
        assert_eq!([-99.0, -0.5, 0.5, 99.0].map(|spreads| Score::new(spreads).whole_spreads()), [-16, -1, 0, 16]);
    }

    #[test]
    fn every_number_of_sessions_has_its_bucket() {
        let buckets = [0, 1, 3, 6, 11, 21, 51].map(Bucket::from_sessions);
        assert_eq!(buckets, Bucket::ALL);
        let last = [0, 2, 5, 10, 20, 50, u64::MAX].map(Bucket::from_sessions);
        assert_eq!(last, Bucket::ALL);
        assert!(Bucket::ALL.iter().enumerate().all(|(index, bucket)| bucket.index() == index));
    }

    proptest! {
        #[test]
        fn what_is_taken_out_was_never_there(
            stay in proptest::collection::vec(-20.0..20.0_f64, 0..20), go in proptest::collection::vec(-20.0..20.0_f64, 0..20),
        ) {
            let mut held = scores(&go);
            stay.iter().for_each(|spreads| held.add(Score::new(*spreads)));
            go.iter().for_each(|spreads| held.remove(Score::new(*spreads)));
            prop_assert_eq!(held, scores(&stay));
        }

        #[test]
        fn those_at_most_as_great_are_counted_as_one_by_one_they_are(
            had in proptest::collection::vec(-20.0..20.0_f64, 0..40), spreads in -20.0..20.0_f64,
        ) {
            let (held, score) = (scores(&had), Score::new(spreads));
            let counted = had.iter().filter(|spreads| Score::new(**spreads) <= score).count();
            prop_assert_eq!(held.at_most(score), counted as u64);
        }

        #[test]
        fn a_copy_that_changes_leaves_the_other_as_it_was(had in proptest::collection::vec(-20.0..20.0_f64, 0..20)) {
            let held = scores(&had);
            let mut copy = held.clone();
            copy.add(Score::new(1.0));
            prop_assert_eq!((&held, held.count() + 1), (&scores(&had), copy.count()));
        }
    }
}
