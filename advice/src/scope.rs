//! Which sessions of a definition count: the one choice on which everything rests that is said of them together.
//!
//! A size is judged by the sessions that had it, so those of the current revision and topology count unless somebody asks
//! for others. Whoever says a number says its scope with it, and where more sessions say otherwise, that too.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::str::FromStr;

use domain::Invalid;
use domain::resource::Resource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Most sessions that may be asked for as the newest.
pub const MOST_NEWEST: u32 = 10_000;

const CURRENT: &str = "current";
const ALL: &str = "all";
const NEWEST: &str = "newest-";

/// Which observed sessions of a definition count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SessionScope {
    /// All of the definition's current revision whose lab has the newest topology that is known of it, or an unknown one.
    #[default]
    Current,
    /// All of the definition, of any revision.
    All,
    /// The most recently observed ones, so many, of any revision.
    Newest(u32),
}

impl SessionScope {
    /// The newest ones.
    ///
    /// # Errors
    /// [`Invalid`] outside 1 to [`MOST_NEWEST`].
    pub fn newest(sessions: u32) -> Result<Self, Invalid> {
        if (1..=MOST_NEWEST).contains(&sessions) {
            Ok(Self::Newest(sessions))
        } else {
            Err(refused(&sessions.to_string()))
        }
    }

    /// What it is called where it is chosen.
    pub fn title(self) -> String {
        match self {
            Self::Current => "this revision".to_owned(),
            Self::All => "all".to_owned(),
            Self::Newest(sessions) => format!("newest {sessions}"),
        }
    }

    /// It in words, with how many sessions of how many it is, e.g. `20 of 180 sessions, this revision and topology`.
    pub fn describe(self, sessions: u64, of_sessions: u64) -> String {
        let noun = if of_sessions == 1 { "session" } else { "sessions" };
        let counted = format!("{sessions} of {of_sessions} {noun}");
        match self {
            Self::Current => format!("{counted}, this revision and topology"),
            Self::All => format!("{counted}, of any revision"),
            Self::Newest(_) => format!("{counted}, the newest, of any revision"),
        }
    }
}

impl Display for SessionScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => formatter.write_str(CURRENT),
            Self::All => formatter.write_str(ALL),
            Self::Newest(sessions) => write!(formatter, "{NEWEST}{sessions}"),
        }
    }
}

impl FromStr for SessionScope {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            CURRENT => Ok(Self::Current),
            ALL => Ok(Self::All),
            // A number alone is how addresses named the newest ones before there were others.
            _ => match text.strip_prefix(NEWEST).unwrap_or(text).parse() {
                Ok(sessions) => Self::newest(sessions),
                Err(_) => Err(refused(text)),
            },
        }
    }
}

impl TryFrom<String> for SessionScope {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<SessionScope> for String {
    fn from(scope: SessionScope) -> Self {
        scope.to_string()
    }
}

fn refused(text: &str) -> Invalid {
    let shown: String = text.chars().take(80).collect();
    Invalid::new("", format!("is {shown:?}"), format!("{CURRENT}, {ALL}, or {NEWEST}1 to {NEWEST}{MOST_NEWEST}"))
}

impl JsonSchema for SessionScope {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SessionScope".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Which observed sessions count: `current` (of the current revision and topology), `all` (of any revision), or `newest-20` and the like (the most recently observed, 1 to 10000).",
            "pattern": "^(current|all|newest-([1-9][0-9]{0,3}|10000))$"
        })
    }
}

/// The greatest amount of all sessions, where those of a scope know less of it. `None`: they say the same, or nothing more is
/// known.
pub fn greatest_beyond(resource: Resource, in_scope: Option<f64>, of_all: Option<f64>) -> Option<f64> {
    of_all.filter(|all| in_scope.is_none_or(|here| *all > here + resource.smallest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_as_it_is_written() {
        for (scope, text) in
            [(SessionScope::Current, "current"), (SessionScope::All, "all"), (SessionScope::Newest(50), "newest-50")]
        {
            assert_eq!((scope.to_string().as_str(), text.parse()), (text, Ok(scope)));
        }
        assert_eq!("50".parse(), Ok(SessionScope::Newest(50)), "as older addresses say it");
        for text in ["", "newest", "newest-0", "newest-10001", "newest--1", "0", "Current", "revision-3"] {
            assert!(text.parse::<SessionScope>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_scope_says_how_many_sessions_of_how_many_it_is() {
        assert_eq!(SessionScope::Current.describe(20, 180), "20 of 180 sessions, this revision and topology");
        assert_eq!(SessionScope::All.describe(1, 1), "1 of 1 session, of any revision");
        assert_eq!(SessionScope::Newest(50).describe(50, 180), "50 of 180 sessions, the newest, of any revision");
    }

    #[test]
    fn more_sessions_say_otherwise_where_their_greatest_lies_above() {
        let beyond = |here, all| greatest_beyond(Resource::CpuCores, here, all);
        assert_eq!(beyond(Some(5.0), Some(9.0)), Some(9.0));
        assert_eq!(beyond(Some(9.0), Some(9.0)), None);
        assert_eq!(beyond(None, Some(9.0)), Some(9.0), "where the scope knows nothing");
        assert_eq!(beyond(Some(9.0), None), None);
    }
}
