//! Time and ids, passed in explicitly, so that tests can move time and repeat ids.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use uuid::Uuid;

/// The time, in microseconds, as Postgres keeps it.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<Mutex<DateTime<Utc>>>),
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until `advance` moves it. Its clones share the time.
    pub fn manual(start: DateTime<Utc>) -> Self {
        Self(Source::Manual(Arc::new(Mutex::new(start))))
    }

    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        let now = match &self.0 {
            Source::System =>
            {
                #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
                Utc::now()
            }
            Source::Manual(time) => *time.lock().unwrap_or_else(PoisonError::into_inner),
        };
        now.trunc_subsecs(6)
    }

    /// Moves a manual clock on; the machine's own clock is not moved.
    pub fn advance(&self, by: TimeDelta) {
        if let Source::Manual(time) = &self.0 {
            *time.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }
}

/// Generates identifiers: UUIDs of version 7, whose first bits are the time.
#[derive(Debug, Clone)]
pub struct IdGenerator(Chance);

#[derive(Debug, Clone)]
enum Chance {
    Random,
    Counted { clock: Clock, next: Arc<Mutex<u64>> },
}

impl IdGenerator {
    /// Ids from the machine's clock and randomness.
    pub fn random() -> Self {
        Self(Chance::Random)
    }

    /// The same sequence each time: `seed` and a counter in place of randomness, on the given clock.
    pub fn seeded(seed: u64, clock: Clock) -> Self {
        Self(Chance::Counted { clock, next: Arc::new(Mutex::new(seed << 32)) })
    }

    /// A new UUID.
    pub fn uuid(&self) -> Uuid {
        match &self.0 {
            Chance::Random =>
            {
                #[expect(clippy::disallowed_methods, reason = "this is the one place that asks for randomness")]
                Uuid::now_v7()
            }
            Chance::Counted { clock, next } => {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                *next += 1;
                let mut bytes = [0_u8; 10];
                bytes[2..].copy_from_slice(&next.to_be_bytes());
                let millis = u64::try_from(clock.now().timestamp_millis()).unwrap_or(0);
                uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_advance_and_a_seeded_generator_repeats_itself() {
        let clock = Clock::manual(DateTime::from_timestamp(1_772_000_000, 123_456_789).unwrap());
        assert_eq!(clock.now().timestamp_subsec_nanos(), 123_456_000);
        let other = clock.clone();
        other.advance(TimeDelta::seconds(5));
        assert_eq!(clock.now().timestamp(), 1_772_000_005);
        let generators = [IdGenerator::seeded(7, clock.clone()), IdGenerator::seeded(7, clock)];
        assert_eq!(generators[0].uuid(), generators[1].uuid());
        assert_ne!(generators[0].uuid(), generators[0].uuid());
        assert_eq!(generators[0].uuid().get_version_num(), 7);
    }
}
