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
    /// Adds a demand; the one that it pushes out is given back, which may be itself.
    pub fn add(&mut self, units: i64) -> Option<i64> {
        let place = self.0.partition_point(|known| *known >= units);
        self.0.insert(place, units);
        if self.0.len() > MOST { self.0.pop() } else { None }
    }

    /// Takes a demand out that was added, and puts back the one that it pushed out.
    pub fn undo(&mut self, units: i64, pushed_out: Option<i64>) {
        self.0.extend(pushed_out);
        self.take_out(units);
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
        units.into_iter().for_each(|units| {
            held.add(units);
        });
        held
    }

    #[test]
    fn the_sixteen_greatest_are_known_in_whatever_order_they_came() {
        let held = greatest(0..100);
        assert_eq!((held.clone(), held.first()), (greatest((84..100).rev()), Some(99)));
    }

    #[test]
    fn what_was_added_is_undone_also_where_it_was_too_small_to_be_known() {
        for units in [0, 84, 90, 1000] {
            let mut held = greatest(0..100);
            let pushed_out = held.add(units);
            held.undo(units, pushed_out);
            assert_eq!(held, greatest(0..100), "{units}");
        }
    }

    #[test]
    fn what_is_taken_out_uncovers_the_next_of_those_that_are_known() {
        let mut held = greatest([5, 7, 7]);
        assert!(held.take_out(7) && held.take_out(7) && !held.take_out(7));
        assert_eq!(held.first(), Some(5));
    }
}
