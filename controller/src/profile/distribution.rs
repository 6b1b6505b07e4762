//! How the amounts of one resource were spread, in bounded space.
//!
//! Quantiles are those of a DDSketch: the bins of [`sketches_ddsketch::Config`], each [`RELATIVE_ERROR`] wide to either
//! side. The library keeps its bins densely, at least 1 KB a sketch; a lab of 300 nodes has 1,800 of them, most with a few
//! bins in use. So only bins in use are kept here, as pairs of key and weight. A test compares every quantile with the
//! library's own.
//!
//! All arithmetic is in whole numbers, so the order in which samples come and summaries are merged changes nothing.

use std::sync::LazyLock;

use domain::observation::Spread;
use domain::{Amount, Invalid};
use serde::{Deserialize, Serialize};
use sketches_ddsketch::Config;

/// By how much a quantile may be off, as a share of it, while the values are in at most [`MOST_BINS`] bins.
pub const RELATIVE_ERROR: f64 = 0.02;
/// Most bins. Beyond them the lowest are merged: quantiles below the [`MOST_BINS`] highest bins are then too high.
pub const MOST_BINS: usize = 96;
/// Parts of a core, or of a MB, in which amounts are counted.
const PARTS: f64 = 10_000.0;

static BINS: LazyLock<Config> =
    LazyLock::new(|| Config::new(RELATIVE_ERROR, u32::try_from(MOST_BINS).unwrap_or(u32::MAX), 1.0));

/// Weighted amounts of one resource. A weight is the time for which an amount stands, in seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    weight: u64,
    /// Sum of parts × weight.
    sum: u128,
    /// In parts.
    peak: u64,
    /// Weight of amounts below one part.
    zero: u64,
    /// Key and weight, by key.
    bins: Vec<(i16, u32)>,
}

impl Distribution {
    /// Adds an amount that stands for `weight` seconds. What is no amount is not added.
    pub fn add(&mut self, amount: f64, weight: u32) {
        let Ok(amount) = Amount::new(amount) else { return };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an amount is from 0 to 1e9")]
        let parts = (amount.get() * PARTS).round() as u64;
        self.weight = self.weight.saturating_add(weight.into());
        self.sum = self.sum.saturating_add(u128::from(parts) * u128::from(weight));
        self.peak = self.peak.max(parts);
        if parts <= 1 {
            self.zero = self.zero.saturating_add(weight.into());
        } else {
            self.add_to_bin(key(parts), weight);
        }
        self.keep_bound();
    }

    /// Adds everything that another distribution holds.
    pub fn merge(&mut self, other: &Self) {
        self.weight = self.weight.saturating_add(other.weight);
        self.sum = self.sum.saturating_add(other.sum);
        self.peak = self.peak.max(other.peak);
        self.zero = self.zero.saturating_add(other.zero);
        for (key, weight) in &other.bins {
            self.add_to_bin(*key, *weight);
        }
        self.keep_bound();
    }

    fn add_to_bin(&mut self, key: i16, weight: u32) {
        match self.bins.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => self.bins[at].1 = self.bins[at].1.saturating_add(weight),
            Err(at) => {
                self.bins.reserve_exact(1);
                self.bins.insert(at, (key, weight));
            }
        }
    }

    /// Merges the lowest bins into the lowest that stays.
    fn keep_bound(&mut self) {
        while self.bins.len() > MOST_BINS {
            let (_, weight) = self.bins.remove(0);
            self.bins[0].1 = self.bins[0].1.saturating_add(weight);
        }
    }

    /// The amount that the share `q` of all weight does not exceed. `None`: nothing was added.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.weight == 0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "seconds are far below 2^52"
        )]
        let rank = (q.clamp(0.0, 1.0) * (self.weight - 1) as f64).floor() as u64;
        let mut below = self.zero;
        if rank < below {
            return Some(0.0);
        }
        for (key, weight) in &self.bins {
            below = below.saturating_add((*weight).into());
            if rank < below {
                // No bin reaches beyond what was seen.
                return Some(BINS.value((*key).into()).min(number(self.peak)) / PARTS);
            }
        }
        Some(number(self.peak) / PARTS)
    }

    /// What is reported of it. `None`: nothing was added.
    ///
    /// # Errors
    /// [`Invalid`] when a figure is none that an observation may hold.
    pub fn spread(&self) -> Result<Option<Spread>, Invalid> {
        if self.weight == 0 {
            return Ok(None);
        }
        let peak = number(self.peak) / PARTS;
        let mean = (wide(self.sum) / number(self.weight) / PARTS).min(peak);
        let known = |amount: Option<f64>| amount.map(|amount| Amount::new(rounded(amount))).transpose();
        Spread::new(known(Some(peak))?, known(self.quantile(0.95))?, known(Some(mean))?).map(Some)
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.bins.capacity() * size_of::<(i16, u32)>()
    }
}

/// The bin of an amount, in parts.
fn key(parts: u64) -> i16 {
    i16::try_from(BINS.key(number(parts))).unwrap_or(i16::MAX)
}

fn rounded(amount: f64) -> f64 {
    (amount * PARTS).round() / PARTS
}

#[expect(clippy::cast_precision_loss, reason = "parts of the greatest amount, and seconds, are far below 2^52")]
fn number(whole: u64) -> f64 {
    whole as f64
}

#[expect(clippy::cast_precision_loss, reason = "a mean needs no more digits than a float has")]
fn wide(whole: u128) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use sketches_ddsketch::DDSketch;

    use super::*;

    fn distribution(samples: &[(f64, u32)]) -> Distribution {
        let mut distribution = Distribution::default();
        samples.iter().for_each(|(amount, weight)| distribution.add(*amount, *weight));
        distribution
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_stated_error(samples in vec((10_u64..60_000, 1_u32..40), 1..300), q in 0.0..=1.0_f64) {
            // Three decades need 191 bins at most; of those that are used, 96 are kept.
            let low = 60_000.0 / 1.0408_f64.powi(95);
            let samples: Vec<(f64, u32)> =
                samples.into_iter().map(|(parts, weight)| ((number(parts) / PARTS).max(low / PARTS), weight)).collect();
            let distribution = distribution(&samples);
            let mut all: Vec<f64> =
                samples.iter().flat_map(|(amount, weight)| std::iter::repeat_n(*amount, *weight as usize)).collect();
            all.sort_by(f64::total_cmp);
            let exact = all[(q * (all.len() - 1) as f64).floor() as usize];
            let found = distribution.quantile(q).unwrap();
            prop_assert!((found - exact).abs() <= exact * RELATIVE_ERROR + 1.0 / PARTS, "{} is not {}", found, exact);
        }

        #[test]
        fn quantiles_are_those_of_the_library(samples in vec(100_u64..4_000, 1..200), q in 0.0..=1.0_f64) {
            let mut sketch = DDSketch::new(Config::new(RELATIVE_ERROR, 2_048, 1.0));
            samples.iter().for_each(|parts| sketch.add(number(*parts)));
            let ours = distribution(&samples.iter().map(|parts| (number(*parts) / PARTS, 1)).collect::<Vec<_>>());
            let (ours, theirs) = (ours.quantile(q).unwrap() * PARTS, sketch.quantile(q).unwrap().unwrap());
            // The library answers the ends exactly, and reaches beyond the greatest value within its error.
            prop_assert!((ours - theirs).abs() <= theirs * (RELATIVE_ERROR + 1e-9), "{} is not {}", ours, theirs);
        }

        #[test]
        fn neither_the_order_of_samples_nor_that_of_merging_changes_anything(
            samples in vec((0.0..1e9_f64, 1_u32..100), 0..400), cut in any::<prop::sample::Index>(),
        ) {
            let whole = distribution(&samples);
            let backwards: Vec<_> = samples.iter().rev().copied().collect();
            prop_assert_eq!(&distribution(&backwards), &whole);
            let cut = cut.index(samples.len() + 1);
            for (first, second) in [(&samples[..cut], &samples[cut..]), (&samples[cut..], &samples[..cut])] {
                let mut merged = distribution(first);
                merged.merge(&distribution(second));
                prop_assert_eq!(&merged, &whole);
            }
        }

        #[test]
        fn whatever_is_added_gives_amounts_that_may_be_reported(samples in vec((any::<f64>(), any::<u32>()), 0..100)) {
            let distribution = distribution(&samples);
            let spread = distribution.spread().unwrap();
            for amount in spread.iter().flat_map(|spread| [spread.peak(), spread.p95(), spread.mean()]) {
                prop_assert!(amount.unwrap().get() <= Amount::GREATEST);
            }
            prop_assert!(distribution.bins.len() <= MOST_BINS);
        }
    }

    #[test]
    fn nothing_is_known_of_no_samples_and_zero_of_idle_ones() {
        assert_eq!(Distribution::default().spread().unwrap(), None);
        let idle = distribution(&[(0.0, 30), (0.0, 30)]).spread().unwrap().unwrap();
        assert_eq!([idle.peak(), idle.p95(), idle.mean()].map(|amount| amount.unwrap().get()), [0.0; 3]);
    }
}
