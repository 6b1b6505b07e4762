//! Seeded chance: the same seed and the same question always give the same answer.
//!
//! Answers depend on *what* is asked (a lab, a node, a moment), not on how often or in which order, so that concurrent
//! clients cannot disturb each other's numbers. Own arithmetic (splitmix64, FNV-1a): a generator of a library may change
//! its sequence with its version, and recorded expectations with it.

use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(scramble(seed ^ 0x005d_eece_66d1_ab1e))
    }

    /// A die of its own for `part` of what this one is about.
    pub(crate) fn about(self, part: u64) -> Self {
        Self(scramble(self.0 ^ scramble(part.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    pub(crate) fn about_text(self, part: &str) -> Self {
        let hash = part
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        self.about(hash)
    }

    pub(crate) fn value(self) -> u64 {
        scramble(self.0)
    }

    /// At least 0, below 1.
    pub(crate) fn unit(self) -> f64 {
        (self.value() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn between(self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// An identifier in the form of a random UUID (version 4).
    pub(crate) fn uuid(self) -> Uuid {
        let mut bytes = [0_u8; 16];
        bytes[..8].copy_from_slice(&self.about(1).value().to_be_bytes());
        bytes[8..].copy_from_slice(&self.about(2).value().to_be_bytes());
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

fn scramble(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_has_the_same_answer_and_another_has_another() {
        let dice = Dice::new(7);
        assert_eq!(dice.about(1).value(), Dice::new(7).about(1).value());
        assert_ne!(dice.about(1).value(), dice.about(2).value());
        assert_ne!(dice.about(1).value(), Dice::new(8).about(1).value());
        assert_ne!(dice.about_text("a").value(), dice.about_text("b").value());
    }

    #[test]
    fn an_identifier_has_the_form_of_a_random_uuid() {
        let id = Dice::new(7).about_text("lab").uuid();
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn a_share_stays_within_its_bounds() {
        for question in 0..1_000 {
            let share = Dice::new(1).about(question).unit();
            assert!((0.0..1.0).contains(&share), "{share}");
        }
    }
}
