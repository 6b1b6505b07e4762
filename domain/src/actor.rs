//! Who acts: a person, a service or a team, by name, and the name on whose behalf.

use crate::text::Line;

/// Most characters of a name.
pub(crate) const LONGEST_NAME: usize = 200;

/// The name of whoever signs in, sends commands, or has something asked for.
pub type ActorName = Line<1, LONGEST_NAME>;

/// Who acts, e.g. `admin:ada`, `team:grading`, or on behalf of a learner `service:booking/learner-7`: the longest has a kind
/// and two names.
pub type Actor = Line<1, { "service:".len() + LONGEST_NAME + "/".len() + LONGEST_NAME }>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_names_give_an_actor() {
        let name = ActorName::parse("é".repeat(LONGEST_NAME)).unwrap();
        assert!(Actor::parse(format!("service:{name}/{name}")).is_ok());
        assert!(ActorName::parse("é".repeat(LONGEST_NAME + 1)).is_err());
    }
}
