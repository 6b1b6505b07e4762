//! The newest few of something, each with the session that it is of.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The newest `MOST`, oldest first, each with the number of its session among those of its definition. A session that is
/// taken out can be put back where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Newest<T, const MOST: usize>(VecDeque<(u64, T)>);

impl<T, const MOST: usize> Default for Newest<T, MOST> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T, const MOST: usize> Newest<T, MOST> {
    /// Adds that of the newest session. Of too many the oldest goes.
    pub fn push(&mut self, session: u64, newest: T) {
        self.0.push_back((session, newest));
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// Takes that of a session out; whether it was there.
    pub fn take_out(&mut self, session: u64) -> bool {
        let place = self.0.iter().position(|(known, _)| *known == session);
        place.is_some_and(|place| self.0.remove(place).is_some())
    }

    /// Puts that of a session back where it belongs. Of more than `MOST` the oldest go.
    pub fn put_back(&mut self, session: u64, entry: T) {
        let place = self.0.partition_point(|(known, _)| *known < session);
        self.0.insert(place, (session, entry));
        while self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// The newest.
    pub fn newest(&self) -> Option<&T> {
        self.0.back().map(|(_, newest)| newest)
    }

    /// Each of them, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().rev().map(|(_, entry)| entry)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(sessions: std::ops::Range<u64>) -> Newest<u64, 4> {
        let mut held = Newest::default();
        sessions.for_each(|session| held.push(session, 10 * session));
        held
    }

    #[test]
    fn the_newest_push_out_the_oldest() {
        let mut held = newest(0..4);
        held.push(4, 40);
        assert_eq!((held.clone(), held.newest()), (newest(1..5), Some(&40)));
        assert!(!held.take_out(0) && held.take_out(4));
        held.put_back(4, 40);
        assert_eq!(held, newest(1..5));
    }

    #[test]
    fn what_was_taken_out_comes_back_to_its_place_and_the_oldest_go() {
        let mut held = newest(0..4);
        assert!(held.take_out(1) && !held.take_out(1));
        assert_eq!(held.iter().copied().collect::<Vec<_>>(), [30, 20, 0]);
        held.put_back(1, 10);
        assert_eq!(held, newest(0..4));
        held.take_out(1);
        held.push(4, 40);
        held.put_back(1, 10);
        assert_eq!((held.clone(), held.newest()), (newest(1..5), Some(&40)));
    }
}
