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
pub mod streams;
pub mod subjects;

pub use access::{BusTls, ClientCertificate, SignIn};
pub use connect::{Bus, BusError, BusOptions};
pub use consumers::{ConsumerState, ConsumersUnknown};
pub use deviation::Deviation;
pub use streams::StreamBounds;

use std::time::Duration;

/// A wait that doubles with every failure up to a cap, for loops that must never give up and never spin.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits `first`, then twice as long each time, never longer than `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(self.most);
        wait
    }

    /// Begins again after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let waits: Vec<u128> = (0..4).map(|_| backoff.next_wait().as_millis()).collect();
        assert_eq!(waits, [100, 200, 350, 350]);
        backoff.reset();
        assert_eq!(backoff.next_wait().as_millis(), 100);
    }
}
