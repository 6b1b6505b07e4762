//! The ratios of a definition's sessions by day, for policies under which older sessions count less.

use serde::{Deserialize, Serialize};

use crate::ratios::{LogDemand, LogDemands};

/// Most days, with the topologies of that day, that are looked back on.
const MOST: usize = 64;

/// The ratios of the sessions of one day and topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Days since 1970.
    day: i32,
    /// The topology's key, shortened.
    topology: String,
    ratios: LogDemands,
}

/// The newest days on which sessions ended, oldest first. A ratio is put down with the base of its day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(Vec<Day>);

impl Days {
    /// The place of a day and topology, or where it would be.
    fn place(&self, day: i32, topology: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|known| (known.day, known.topology.as_str()).cmp(&(day, topology)))
    }

    /// Adds a session, or puts one back that was taken out. Of too many days the oldest go.
    pub(crate) fn add(&mut self, day: i32, topology: &str, ratio: LogDemand) {
        self.entry(day, topology).ratios.add(ratio);
        while self.0.len() > MOST {
            self.0.remove(0);
        }
    }

    /// Takes a session out; whether its day was there.
    pub(crate) fn take_out(&mut self, day: i32, topology: &str, ratio: LogDemand) -> bool {
        let Ok(place) = self.place(day, topology) else { return false };
        let Some(known) = self.0.get_mut(place) else { return false };
        known.ratios.remove(ratio);
        if known.ratios.sessions == 0 {
            self.0.remove(place);
        }
        true
    }

    fn entry(&mut self, day: i32, topology: &str) -> &mut Day {
        let place = self.place(day, topology).unwrap_or_else(|place| {
            self.0.insert(place, Day { day, topology: topology.to_owned(), ratios: LogDemands::default() });
            place
        });
        &mut self.0[place]
    }

    /// The newest day.
    pub(crate) fn newest(&self) -> Option<i32> {
        self.0.last().map(|newest| newest.day)
    }

    /// The ratios of the asked topology and those of others, where a session counts half after so many days before the newest
    /// one. As many sessions as their weights add up to, rounded, and at least one where there is any.
    pub(crate) fn weighted(&self, half_life_days: u32, asked: &str) -> [LogDemands; 2] {
        let newest = self.newest().unwrap_or_default();
        [true, false].map(|wanted| {
            let weighted = self.0.iter().filter(|day| (day.topology == asked) == wanted).map(|day| {
                let age = f64::from(newest.saturating_sub(day.day));
                ((-age / f64::from(half_life_days.max(1))).exp2(), &day.ratios)
            });
            LogDemands::weighted(weighted)
        })
    }
}

#[cfg(test)]
mod tests {
    use domain::resource::Resource;
    use proptest::prelude::*;

    use super::*;

    fn ratio(value: f64) -> LogDemand {
        LogDemand::new(value, Resource::MemoryMb)
    }

    #[test]
    fn a_session_counts_half_after_the_half_life() {
        let mut days = Days::default();
        for (day, topology, count) in [(10, "a", 8), (40, "a", 4), (40, "b", 4), (70, "a", 2)] {
            for _ in 0..count {
                days.add(day, topology, ratio(f64::from(day)));
            }
        }
        let [asked, others] = days.weighted(30, "a");
        // 8 / 4 of two half-lives ago, 4 / 2 of one, and 2.
        assert_eq!((asked.sessions, others.sessions), (6, 2));
        let mean = asked.mean().unwrap();
        assert!((mean - (10_f64.ln() + 40_f64.ln() + 70_f64.ln()) / 3.0).abs() < 0.001, "{mean}");
        assert_eq!(days.weighted(30, "c")[0], LogDemands::default());
        assert_eq!(days.weighted(1, "b")[0].sessions, 1, "at least one where there is any");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_taken_out_comes_back_and_no_more_days_are_kept(ends in proptest::collection::vec((0..200_i32, 0..3_u8, 1..9_i32), 1..150)) {
            let mut days = Days::default();
            let mut ends = ends;
            ends.sort_by_key(|(day, ..)| *day);
            for (day, topology, value) in ends {
                let before = days.clone();
                let (topology, ratio) = (topology.to_string(), ratio(f64::from(value)));
                days.add(day, &topology, ratio);
                prop_assert!(days.0.len() <= MOST);
                let mut back = days.clone();
                prop_assert!(back.take_out(day, &topology, ratio));
                if before.0.len() < MOST {
                    prop_assert_eq!(&back, &before);
                }
                back.add(day, &topology, ratio);
                prop_assert_eq!(&back, &days);
            }
        }
    }
}
