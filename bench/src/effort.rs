//! How long and how much is measured.

use std::time::Duration;

/// Sizes of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds in which a figure and its yardstick take turns: what else the machine does meets both alike.
    pub(crate) rounds: usize,
    /// Length of one round. Not shorter than a second: pgbench takes its time to sign its clients in.
    pub(crate) round: Duration,
    /// What sizes are divided by.
    divisor: usize,
}

impl Effort {
    /// `make bench`.
    pub(crate) const FULL: Self = Self { rounds: 3, round: Duration::from_secs(2), divisor: 1 };
    /// With `--quick`: shows whether everything works; its figures mean little.
    pub(crate) const QUICK: Self = Self { rounds: 3, round: Duration::from_secs(1), divisor: 20 };

    /// A number of events, sessions or the like.
    pub(crate) fn size(self, full: usize) -> usize {
        (full / self.divisor).max(1)
    }
}
