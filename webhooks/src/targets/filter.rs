//! Which events a target gets.

use app::notice;

use super::file::closest;

/// A text, or all that begin with one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exactly(String),
    BeginningWith(String),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('*') {
            None if text.is_empty() => Err("has an empty entry".to_owned()),
            None => Ok(Self::Exactly(text.to_owned())),
            Some((beginning, "")) => Ok(Self::BeginningWith(beginning.to_owned())),
            Some(_) => Err(format!("has the entry {text:?} with a * elsewhere than at its end")),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exactly(wanted) => text == wanted,
            Self::BeginningWith(beginning) => text.starts_with(beginning),
        }
    }
}

/// Types and subjects of events, of each of which one has to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter {
    types: Vec<Pattern>,
    subjects: Vec<Pattern>,
}

impl EventFilter {
    /// Reads types, as they are in a CloudEvent, and subjects, which are ids; each may end with `*`.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub(super) fn parse(types: &[String], subjects: &[String]) -> Result<Self, (&'static str, String)> {
        let known: Vec<String> = notice::schemas().iter().map(notice::NoticeSchema::cloud_event_type).collect();
        let parse = |field: &'static str, texts: &[String]| {
            if texts.is_empty() {
                return Err((field, "is empty: nothing would be delivered; leave it out for all".to_owned()));
            }
            texts.iter().map(|text| Pattern::parse(text).map_err(|problem| (field, problem))).collect()
        };
        let filter = Self { types: parse("types", types)?, subjects: parse("subjects", subjects)? };
        for (pattern, text) in filter.types.iter().zip(types) {
            if !known.iter().any(|known| pattern.matches(known)) {
                let meant = closest(text, known.iter().map(String::as_str))
                    .map_or_else(|| "docs/events.md lists them".to_owned(), |meant| format!("did you mean {meant}?"));
                return Err(("types", format!("names {text:?}, which no event has; {meant}")));
            }
        }
        Ok(filter)
    }

    /// Whether an event of this CloudEvent type, about this subject, is wanted.
    pub fn wants(&self, cloud_event_type: &str, subject: &str) -> bool {
        self.types.iter().any(|pattern| pattern.matches(cloud_event_type))
            && self.subjects.iter().any(|pattern| pattern.matches(subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(types: &[&str], subjects: &[&str]) -> Result<EventFilter, (&'static str, String)> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        EventFilter::parse(&owned(types), &owned(subjects))
    }

    #[test]
    fn an_event_is_wanted_by_its_type_and_its_subject() {
        let some = filter(&["io.lablet.lablet_session.*", "io.lablet.worker.changed.v1"], &["exam-*", "w1"]).unwrap();
        assert!(some.wants("io.lablet.lablet_session.running.v1", "exam-7"));
        assert!(some.wants("io.lablet.worker.changed.v1", "w1"));
        assert!(!some.wants("io.lablet.worker.registered.v1", "w1"));
        assert!(!some.wants("io.lablet.lablet_session.running.v1", "w12"));
        assert!(filter(&["*"], &["*"]).unwrap().wants("io.lablet.whatever.v9", ""));
    }

    #[test]
    fn a_type_that_no_event_has_is_refused_with_what_was_meant() {
        let (field, problem) = filter(&["io.lablet.lablet_session.runing.v1"], &["*"]).unwrap_err();
        assert_eq!(field, "types");
        assert!(problem.contains("did you mean io.lablet.lablet_session.running.v1?"), "{problem}");
        assert!(filter(&["lablet_session.running.v1"], &["*"]).is_err(), "the spelling of CloudEvents alone");
        assert!(filter(&["io.lablet.session.*"], &["*"]).is_err());
        assert!(filter(&["*.v1"], &["*"]).unwrap_err().1.contains("elsewhere than at its end"));
        assert_eq!(filter(&["*"], &[]).unwrap_err().0, "subjects");
        assert_eq!(filter(&["*"], &[""]).unwrap_err().0, "subjects");
    }
}
