//! Bounds of delayed commands: those of one aggregate or team cannot use up the room of all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most commands that wait because of one broken aggregate. The others go to the dead letters at once.
const MOST_OF_AN_AGGREGATE: usize = 8;
/// Most commands of one team that wait for something that does not exist yet.
const MOST_OF_A_TEAM: usize = 128;
/// Most commands that wait at all: a part of what the consumer may have outstanding.
const MOST: usize = 256;

/// What a command waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum WaitsFor {
    /// Its aggregate, which fails: type and id.
    Aggregate(String, String),
    /// Something that does not exist yet; the team that sent it.
    Team(String),
}

impl WaitsFor {
    fn most(&self) -> usize {
        match self {
            Self::Aggregate(..) => MOST_OF_AN_AGGREGATE,
            Self::Team(_) => MOST_OF_A_TEAM,
        }
    }
}

/// The commands that this process has delayed, by their place in the stream.
#[derive(Debug, Default)]
pub(super) struct DelayedCommands(Mutex<HashMap<u64, (WaitsFor, Instant)>>);

impl DelayedCommands {
    /// Adds a delayed command; `false` if there is no room for it.
    pub(super) fn admit(&self, sequence: u64, waits_for: WaitsFor, delay: Duration) -> bool {
        let now = Instant::now();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is overdue was delivered to another process.
        waiting.retain(|_, (_, due)| *due + FORGOTTEN_AFTER > now);
        waiting.remove(&sequence);
        let of_the_same = waiting.values().filter(|(other, _)| *other == waits_for).count();
        if of_the_same >= waits_for.most() || waiting.len() >= MOST {
            return false;
        }
        waiting.insert(sequence, (waits_for, now + delay));
        true
    }

    /// Whether a command waits.
    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&sequence)
    }

    /// Removes a command that was delivered again or settled; returns whether it had been delayed.
    pub(super) fn remove(&self, sequence: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&sequence).is_some()
    }
}

/// Time after its delay at which a command is taken to be with another process.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_aggregate_has_little_room_and_another_its_own() {
        let delayed = DelayedCommands::default();
        let broken = |id: &str| WaitsFor::Aggregate("lablet_session".to_owned(), id.to_owned());
        let admitted =
            (0..600).filter(|sequence| delayed.admit(*sequence, broken("s1"), Duration::from_secs(60))).count();
        assert_eq!(admitted, MOST_OF_AN_AGGREGATE);
        assert!(delayed.admit(1_000, broken("s2"), Duration::from_secs(60)));
        assert!(delayed.admit(0, broken("s1"), Duration::from_secs(60)), "one that waits already may go on to");
        let all = (2_000..4_000_u64)
            .filter(|sequence| delayed.admit(*sequence, broken(&sequence.to_string()), FORGOTTEN_AFTER));
        assert_eq!(all.count(), MOST - MOST_OF_AN_AGGREGATE - 1);
        assert!(delayed.remove(0));
        assert!(!delayed.remove(0));
    }
}
