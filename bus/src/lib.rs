//! The message bus: connection, streams and the CloudEvents binding.
//!
//! The bus is a copy. JetStream acknowledges before it syncs, so whatever is on it may be lost and comes back from the
//! log; only commands live here alone, until they are handled.

pub mod access;
pub mod clock;
pub mod cloud_event;
pub mod connect;
pub mod consumers;
pub mod deviation;
pub mod rights;
pub mod streams;
pub mod subjects;
pub mod trace;

pub use access::{BusTls, ClientCertificate, SignIn};
pub use connect::{Bus, BusError, BusOptions};
pub use consumers::{ConsumerState, ConsumersUnknown};
pub use deviation::Deviation;
pub use streams::StreamBounds;

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Exponential back-off with a cap and jitter: many that failed together do not retry together.
#[derive(Debug)]
pub struct Backoff {
    waits: ExponentialBuilder,
    next: ExponentialBackoff,
    most: Duration,
}

impl Backoff {
    /// Waits `first`, then twice as long each time, never longer than `most`; each wait is between half of that and all.
    pub fn new(first: Duration, most: Duration) -> Self {
        let waits = ExponentialBuilder::new()
            .with_min_delay(first / 2)
            .with_max_delay(most / 2)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        Self { next: waits.build(), waits, most }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        self.next.next().unwrap_or(self.most).min(self.most)
    }

    /// Resets to the first wait, after a success.
    pub fn reset(&mut self) {
        self.next = self.waits.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for whole in [100, 200, 350, 350, 350] {
            let wait = backoff.next_wait().as_millis();
            assert!((whole / 2..=whole).contains(&wait), "{wait} of {whole}");
        }
        backoff.reset();
        assert!(backoff.next_wait().as_millis() <= 100);
    }

    #[test]
    fn those_who_failed_together_do_not_try_together() {
        let wait = || Backoff::new(Duration::from_secs(1), Duration::from_secs(10)).next_wait();
        let waits: std::collections::BTreeSet<Duration> = (0..50).map(|_| wait()).collect();
        assert!(waits.len() > 10, "{waits:?}");
    }
}
