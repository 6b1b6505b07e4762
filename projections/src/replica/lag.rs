//! How far a replica is behind: the age of the oldest end of the primary's log that it has not replayed.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Most ends that are remembered; beyond it every other one is forgotten, but never the oldest.
const MOST_HEADS: usize = 1_024;

/// Ends of the primary's log that the replica has not replayed, each with when it was seen first.
#[derive(Debug, Default)]
pub(super) struct UnreplayedHeads(VecDeque<(Instant, i64)>);

impl UnreplayedHeads {
    /// How far behind a replica is that has replayed up to here while the primary's log ends there.
    pub(super) fn lag(&mut self, now: Instant, head: i64, replayed: i64) -> Duration {
        // After a fail-over the log may end before what was seen.
        while self.0.back().is_some_and(|(_, known)| *known > head) {
            self.0.pop_back();
        }
        if self.0.back().is_none_or(|(_, known)| *known < head) {
            self.0.push_back((now, head));
        }
        while self.0.front().is_some_and(|(_, known)| *known <= replayed) {
            self.0.pop_front();
        }
        if self.0.len() > MOST_HEADS {
            let mut place = 0;
            self.0.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        self.0.front().map_or(Duration::ZERO, |(seen_at, _)| now.saturating_duration_since(*seen_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lags(looks: &[(u64, i64, i64)]) -> Vec<u64> {
        let (mut heads, start) = (UnreplayedHeads::default(), Instant::now());
        let lag = |(second, head, replayed): &(u64, i64, i64)| {
            heads.lag(start + Duration::from_secs(*second), *head, *replayed).as_secs()
        };
        looks.iter().map(lag).collect()
    }

    #[test]
    fn one_that_has_replayed_everything_is_not_behind_however_long_nothing_is_written() {
        assert_eq!(lags(&[(0, 100, 100), (600, 100, 100), (601, 200, 200)]), [0, 0, 0]);
    }

    #[test]
    fn one_that_stands_still_is_behind_since_the_first_that_it_lacks() {
        assert_eq!(lags(&[(0, 100, 100), (1, 200, 100), (5, 200, 100), (7, 300, 100)]), [0, 0, 4, 6]);
    }

    #[test]
    fn one_that_catches_up_is_behind_since_the_first_that_it_still_lacks() {
        assert_eq!(lags(&[(0, 200, 100), (3, 300, 100), (6, 300, 200), (7, 300, 300)]), [0, 3, 3, 0]);
    }

    #[test]
    fn a_log_that_ends_earlier_after_a_fail_over_leaves_no_end_that_nobody_can_replay() {
        assert_eq!(lags(&[(0, 500, 100), (4, 300, 300), (9, 300, 300)]), [0, 0, 0]);
    }

    #[test]
    fn hours_behind_are_still_told_and_take_no_more_room() {
        let (mut heads, start) = (UnreplayedHeads::default(), Instant::now());
        for second in 0..20_000_u64 {
            let lag = heads.lag(start + Duration::from_secs(second), 100 + second.cast_signed(), 50);
            assert_eq!(lag.as_secs(), second);
            assert!(heads.0.len() <= MOST_HEADS);
        }
    }
}
