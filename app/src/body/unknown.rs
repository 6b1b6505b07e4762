//! Unknown members of a body.

use std::collections::BTreeMap;

use domain::Invalid;

use super::{Handling, InvalidBody};
use crate::warning::{Warning, WarningCode};

/// Most members that are named; the others are only counted.
const MOST_NAMED: usize = 25;

/// Unknown members of a body, each once, in the body's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnknownMembers {
    named: Vec<UnknownMember>,
    /// Where each is among `named`, by its path without indexes.
    places: BTreeMap<String, usize>,
    more: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct UnknownMember {
    field: String,
    /// The name that the sender may have meant.
    meant: Option<String>,
    /// The names that are known there.
    known: String,
    /// How often the same member occurs in other entries of a list.
    again: usize,
}

impl UnknownMembers {
    /// Counts a member at `place`, a path without indexes. True: it is new, and to be [described](Self::describe).
    pub(super) fn is_new(&mut self, place: &str) -> bool {
        if let Some(known) = self.places.get(place) {
            if let Some(known) = self.named.get_mut(*known) {
                known.again += 1;
            }
            return false;
        }
        if self.named.len() >= MOST_NAMED {
            self.more += 1;
            return false;
        }
        true
    }

    pub(super) fn describe(&mut self, place: String, field: String, meant: Option<String>, known: String) {
        self.places.insert(place, self.named.len());
        self.named.push(UnknownMember { field, meant, known, again: 0 });
    }

    /// What the sender should look at.
    ///
    /// # Errors
    /// [`InvalidBody`] where unknown members are refused, and there are some.
    pub(crate) fn handled(&self, handling: Handling) -> Result<Vec<Warning>, InvalidBody> {
        let mut complaints = self.named.iter().map(UnknownMember::complaint);
        match complaints.next().filter(|_| handling == Handling::Strict) {
            None => Ok(self.warnings()),
            Some(first) => {
                let mut refused = InvalidBody::from(first);
                complaints.for_each(|complaint| refused.add(complaint));
                Err(refused.and_more(self.more))
            }
        }
    }

    /// The members as warnings.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let mut warnings: Vec<Warning> = self.named.iter().map(UnknownMember::warning).collect();
        if self.more > 0 {
            let message = format!("{} more members are not known and were not used.", self.more);
            warnings.push(Warning::new(WarningCode::UnknownMember, message));
        }
        warnings
    }
}

impl UnknownMember {
    fn complaint(&self) -> Invalid {
        let expected = match &self.meant {
            Some(meant) => format!("{meant}, perhaps, or nothing"),
            None if self.known.is_empty() => "nothing".to_owned(),
            None => format!("one of {}, or nothing", self.known),
        };
        Invalid::new(self.field.clone(), "is not known", expected)
    }

    fn warning(&self) -> Warning {
        let Self { field, meant, again, .. } = self;
        let mut message = format!("{field} is not known and was not used");
        match again {
            0 => {}
            1 => message.push_str(", as in 1 more entry of the list"),
            more => message.push_str(&format!(", as in {more} more entries of the list")),
        }
        match meant {
            Some(meant) => message.push_str(&format!("; did you mean {meant}?")),
            None => message.push('.'),
        }
        Warning::new(WarningCode::UnknownMember, message).about(field)
    }
}
