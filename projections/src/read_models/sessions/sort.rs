//! The orders of a list of sessions, and where its pages begin.

use std::str::FromStr;

use app::log::Position;
use domain::Invalid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};

use crate::page;

/// The order of a list of sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionSort {
    /// The one created last comes first.
    #[default]
    Newest,
    /// The one created first comes first.
    Oldest,
    /// The one whose last event is newest comes first.
    Changed,
    /// By definition; of one definition the one created last comes first.
    Definition,
    /// The one whose timeslot ends first comes first; those without a timeslot come last.
    TimeslotEnd,
    /// The most recently observed one comes first; those never observed come last.
    Observed,
}

impl SessionSort {
    /// All of them, the default first.
    pub const ALL: [Self; 6] =
        [Self::Newest, Self::Oldest, Self::Changed, Self::Definition, Self::TimeslotEnd, Self::Observed];

    /// In its wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::Changed => "changed",
            Self::Definition => "definition",
            Self::TimeslotEnd => "timeslot_end",
            Self::Observed => "observed",
        }
    }

    /// The order, along an index whose last column is unique.
    pub(super) fn order(self) -> &'static str {
        match self {
            Self::Newest => "created_position DESC",
            Self::Oldest => "created_position",
            Self::Changed => "position DESC",
            Self::Definition => "definition_id, created_position DESC",
            Self::TimeslotEnd => "coalesce(timeslot_end, 'infinity'::timestamptz), id",
            Self::Observed => "coalesce(observed_at, '-infinity'::timestamptz) DESC, id DESC",
        }
    }

    /// Where the page after a row begins, in SQL: of columns as Postgres writes them, as a row that cannot be read has a
    /// place in the list too. The default order has kept the cursor that it had before there were others.
    pub(super) fn cursor(self) -> &'static str {
        match self {
            Self::Newest => "created_position",
            Self::Oldest => "'oldest::' || created_position",
            Self::Changed => "'changed::' || position",
            Self::Definition => "'definition:' || definition_id || ':' || created_position",
            Self::TimeslotEnd => "'timeslot_end:' || id || ':' || coalesce(timeslot_end::text, '')",
            Self::Observed => "'observed:' || id || ':' || coalesce(observed_at::text, '')",
        }
    }

    /// The two parts of a cursor of this order. The first may hold a colon where the row is one that cannot be read.
    fn parts(self, cursor: &str) -> Option<(&str, &str)> {
        if self == Self::Newest {
            return Some(("", cursor));
        }
        let rest = cursor.strip_prefix(self.as_str())?.strip_prefix(':')?;
        match self {
            Self::Newest | Self::Oldest | Self::Changed | Self::Definition => rest.rsplit_once(':'),
            Self::TimeslotEnd | Self::Observed => {
                let mut parts = rest.match_indices(':').map(|(colon, _)| (&rest[..colon], &rest[colon + 1..]));
                parts.find(|(_, key)| key.is_empty() || (key.contains(['-', 'i']) && moment(key).is_ok()))
            }
        }
    }

    /// Restricts to what comes after a cursor of this order.
    pub(super) fn push_after(self, cursor: &str, query: &mut QueryBuilder<Postgres>) -> Result<(), Invalid> {
        let (tie, key) = self.parts(cursor).ok_or_else(page::bad_cursor)?;
        let position = || key.parse::<Position>().map(|_| key.to_owned()).map_err(|_| page::bad_cursor());
        let id = || page::id_in_cursor(tie);
        match self {
            Self::Newest => query.push(" AND created_position < ").push_bind(position()?),
            Self::Oldest => query.push(" AND created_position > ").push_bind(position()?),
            Self::Changed => query.push(" AND position < ").push_bind(position()?),
            Self::Definition => {
                // The range of the index begins with the definition; of that one, what was shown is passed over.
                query.push(" AND definition_id >= ").push_bind(id()?);
                query.push(" AND (definition_id > ").push_bind(id()?);
                query.push(" OR created_position < ").push_bind(position()?).push(")")
            }
            Self::TimeslotEnd => {
                query.push(" AND (coalesce(timeslot_end, 'infinity'::timestamptz), id) > (coalesce(");
                query.push_bind(moment(key)?).push("::timestamptz, 'infinity'::timestamptz), ");
                query.push_bind(id()?).push(")")
            }
            Self::Observed => {
                query.push(" AND (coalesce(observed_at, '-infinity'::timestamptz), id) < (coalesce(");
                query.push_bind(moment(key)?).push("::timestamptz, '-infinity'::timestamptz), ");
                query.push_bind(id()?).push(")")
            }
        };
        Ok(())
    }
    /// The same order from its end.
    pub(super) fn order_from_the_end(self) -> &'static str {
        match self {
            Self::Newest => "created_position",
            Self::Oldest => "created_position DESC",
            Self::Changed => "position",
            Self::Definition => "definition_id DESC, created_position",
            Self::TimeslotEnd => "coalesce(timeslot_end, 'infinity'::timestamptz) DESC, id DESC",
            Self::Observed => "coalesce(observed_at, '-infinity'::timestamptz), id",
        }
    }

    /// Restricts to what a cursor of this order comes after.
    pub(super) fn push_until(self, cursor: &str, query: &mut QueryBuilder<Postgres>) -> Result<(), Invalid> {
        let (tie, key) = self.parts(cursor).ok_or_else(page::bad_cursor)?;
        let position = || key.parse::<Position>().map(|_| key.to_owned()).map_err(|_| page::bad_cursor());
        let id = || page::id_in_cursor(tie);
        match self {
            Self::Newest => query.push(" AND created_position >= ").push_bind(position()?),
            Self::Oldest => query.push(" AND created_position <= ").push_bind(position()?),
            Self::Changed => query.push(" AND position >= ").push_bind(position()?),
            Self::Definition => {
                query.push(" AND definition_id <= ").push_bind(id()?);
                query.push(" AND (definition_id < ").push_bind(id()?);
                query.push(" OR created_position >= ").push_bind(position()?).push(")")
            }
            Self::TimeslotEnd => {
                query.push(" AND (coalesce(timeslot_end, 'infinity'::timestamptz), id) <= (coalesce(");
                query.push_bind(moment(key)?).push("::timestamptz, 'infinity'::timestamptz), ");
                query.push_bind(id()?).push(")")
            }
            Self::Observed => {
                query.push(" AND (coalesce(observed_at, '-infinity'::timestamptz), id) >= (coalesce(");
                query.push_bind(moment(key)?).push("::timestamptz, '-infinity'::timestamptz), ");
                query.push_bind(id()?).push(")")
            }
        };
        Ok(())
    }
}

impl FromStr for SessionSort {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|sort| sort.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            let known: Vec<&str> = Self::ALL.iter().map(|sort| sort.as_str()).collect();
            Invalid::new("", format!("is {shown:?}"), format!("one of {}", known.join(", ")))
        })
    }
}

/// A time of a cursor as Postgres wrote it, which may be one that only Postgres knows; empty where the row had none.
fn moment(key: &str) -> Result<Option<String>, Invalid> {
    let of_a_time = |letter: char| letter.is_ascii_digit() || " +-.:BCTZ".contains(letter);
    match key {
        "" => Ok(None),
        "infinity" | "-infinity" => Ok(Some(key.to_owned())),
        _ if key.len() <= 40 && key.chars().all(of_a_time) => Ok(Some(key.to_owned())),
        _ => Err(page::bad_cursor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_of_one_order_only() {
        let position = Position::START.to_string();
        let time = "2026-03-01T10:00:00+00:00";
        let cursors = [
            (SessionSort::Newest, position.clone()),
            (SessionSort::Oldest, format!("oldest::{position}")),
            (SessionSort::Changed, format!("changed::{position}")),
            (SessionSort::Definition, format!("definition:d-4:{position}")),
            (SessionSort::TimeslotEnd, format!("timeslot_end:s-1:{time}")),
            (SessionSort::Observed, "observed:s-1:".to_owned()),
        ];
        for (sort, _) in &cursors {
            for (of, cursor) in &cursors {
                let taken = sort.push_after(cursor, &mut QueryBuilder::new("")).is_ok();
                assert_eq!(taken, sort == of, "{sort:?} {cursor}");
            }
            for foreign in ["", "x", ":::", &format!("{}:d\04:x", sort.as_str()), &format!("{}::x", sort.as_str())] {
                assert!(sort.push_after(foreign, &mut QueryBuilder::new("")).is_err(), "{sort:?} {foreign}");
            }
        }
    }
}
