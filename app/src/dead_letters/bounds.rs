//! How much is kept of dead letters, and for how long.

use std::str::FromStr;
use std::time::Duration;

/// What is kept of the messages that could not be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadPolicy {
    /// Nothing but reason, subject and the event's own attributes.
    None,
    /// JSON in which whatever may be a secret is replaced; nothing of what is no JSON.
    Masked,
    /// At most [`DeadLetterBounds::LARGEST_PAYLOAD`] bytes; of a larger one its beginning.
    Limited,
    /// All of it.
    Full,
}

impl PayloadPolicy {
    /// The names of all policies.
    pub const NAMES: [&'static str; 4] = ["none", "masked", "limited", "full"];
}

impl FromStr for PayloadPolicy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "masked" => Ok(Self::Masked),
            "limited" => Ok(Self::Limited),
            "full" => Ok(Self::Full),
            _ => Err(format!("expected one of {}", Self::NAMES.join(", "))),
        }
    }
}

/// The bounds of the dead letters of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterBounds {
    /// Which part of a message is stored.
    pub payloads: PayloadPolicy,
    /// Bytes of all letters together. Beyond it a new letter is stored without its message.
    pub bytes: u64,
    /// Number of letters. Beyond it messages are only counted.
    pub letters: u64,
    /// Retention of a settled letter.
    pub settled_for: Duration,
    /// Retention of an undecided letter, after which it is discarded with an alarm.
    pub waiting_for: Duration,
}

impl DeadLetterBounds {
    /// Most bytes of a message under [`PayloadPolicy::Limited`].
    pub(crate) const LARGEST_PAYLOAD: usize = 64 * 1024;
    /// One team may fill one part in so many of the whole.
    pub(crate) const TEAMS: u64 = 4;

    /// What there is room for beside the letters that exist.
    pub(super) fn room(&self, in_use: &LettersInUse) -> Room {
        let is_full = |used: i64, bound: u64| u64::try_from(used).is_ok_and(|used| used >= bound);
        if is_full(in_use.letters, self.letters) || is_full(in_use.team_letters, self.letters / Self::TEAMS) {
            Room::None
        } else if is_full(in_use.bytes, self.bytes) || is_full(in_use.team_bytes, self.bytes / Self::TEAMS) {
            Room::ForReasons
        } else {
            Room::Enough
        }
    }
}

/// What there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Whole letters.
    Enough,
    /// Letters without their messages.
    ForReasons,
    /// No more letters.
    None,
}

/// Existing letters and bytes, of all and of one team.
#[derive(Debug, Clone, Copy)]
pub(super) struct LettersInUse {
    pub(super) letters: i64,
    pub(super) bytes: i64,
    pub(super) team_letters: i64,
    pub(super) team_bytes: i64,
}

impl Default for DeadLetterBounds {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        Self {
            payloads: PayloadPolicy::Limited,
            bytes: 512 * 1024 * 1024,
            letters: 40_000,
            settled_for: days(30),
            waiting_for: days(90),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_fills_a_quarter_and_messages_go_before_letters() {
        let bounds = DeadLetterBounds { bytes: 400, letters: 40, ..DeadLetterBounds::default() };
        let in_use =
            |letters, bytes, team_letters, team_bytes| LettersInUse { letters, bytes, team_letters, team_bytes };
        assert_eq!(bounds.room(&in_use(39, 399, 9, 99)), Room::Enough);
        assert_eq!(bounds.room(&in_use(9, 100, 9, 100)), Room::ForReasons);
        assert_eq!(bounds.room(&in_use(20, 400, 0, 0)), Room::ForReasons);
        assert_eq!(bounds.room(&in_use(10, 0, 10, 0)), Room::None);
        assert_eq!(bounds.room(&in_use(40, 0, 0, 0)), Room::None);
    }
}
