//! The greatest demands of some sessions.

use serde::{Deserialize, Serialize};

/// As many are known apart.
const MOST: usize = 16;

/// The greatest demands that sessions had, in parts of a core or MB, greatest first. Those beyond the 16 greatest are
/// forgotten: where all 16 were taken out, the greatest is unknown until a further session ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Greatest(Vec<i64>);

impl Greatest {
    /// Adds a demand. Of too many the smallest goes, which may be itself.
    pub fn add(&mut self, units: i64) {
        let place = self.0.partition_point(|known| *known >= units);
        self.0.insert(place, units);
        self.0.truncate(MOST);
    }

    /// Takes a demand out; whether it was among them.
    pub fn take_out(&mut self, units: i64) -> bool {
        let place = self.0.iter().position(|known| *known == units);
        place.map(|place| self.0.remove(place)).is_some()
    }

    /// The greatest.
    pub fn first(&self) -> Option<i64> {
        self.0.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greatest(units: impl IntoIterator<Item = i64>) -> Greatest {
        let mut held = Greatest::default();
        units.into_iter().for_each(|units| held.add(units));
        held
    }

    #[test]
    fn the_sixteen_greatest_are_known_in_whatever_order_they_came() {
        let held = greatest(0..100);
        assert_eq!((held.clone(), held.first()), (greatest((84..100).rev()), Some(99)));
    }

    #[test]
    fn what_was_taken_out_and_is_added_again_is_among_them_as_before() {
        for units in [84, 90, 99] {
            let mut held = greatest(0..100);
            assert!(held.take_out(units));
            held.add(units);
            assert_eq!(held, greatest(0..100), "{units}");
        }
        assert!(!greatest(0..100).take_out(83), "it was too small to be known");
    }

    #[test]
    fn what_is_taken_out_uncovers_the_next_of_those_that_are_known() {
        let mut held = greatest([5, 7, 7]);
        assert!(held.take_out(7) && held.take_out(7) && !held.take_out(7));
        assert_eq!(held.first(), Some(5));
    }
}
