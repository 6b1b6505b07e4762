//! Where an event stands in the order of all events.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// The global order: (epoch, transaction, place within it).
///
/// Outside it is one zero-padded text that sorts like the position:
/// `0000000001-00000000000000012345-0000000000000000678`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Position {
    pub(crate) epoch: i32,
    pub(crate) written_by: u64,
    pub(crate) position: i64,
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no position; expected ten, twenty and nineteen digits with hyphens between, as an earlier answer gave it"
)]
pub struct NoPosition(String);

impl Position {
    /// Before every event.
    pub const START: Self = Self { epoch: 0, written_by: 0, position: 0 };

    /// Reads the columns `epoch`, `written_by` (as text) and `position`.
    pub(crate) fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Self::from_columns(row.try_get("epoch")?, row.try_get("written_by")?, row.try_get("position")?)
    }

    /// The position of these columns; the transaction is a text.
    pub(super) fn from_columns(epoch: i32, written_by: &str, position: i64) -> sqlx::Result<Self> {
        let written_by = written_by
            .parse()
            .map_err(|error| sqlx::Error::ColumnDecode { index: "written_by".to_owned(), source: Box::new(error) })?;
        Ok(Self { epoch, written_by, position })
    }

    /// The epoch of the log in which the event was appended; 0 before every event.
    pub fn epoch(self) -> i32 {
        self.epoch
    }

    /// How many positions had been given when this one was, itself included. Not every one is that of an event.
    pub fn number(self) -> u64 {
        self.position.unsigned_abs()
    }

    /// The transaction as Postgres' xid8 is written.
    pub(crate) fn written_by_text(self) -> String {
        self.written_by.to_string()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:010}-{:020}-{:019}", self.epoch, self.written_by, self.position)
    }
}

impl FromStr for Position {
    type Err = NoPosition;
    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let refused = || NoPosition(text.chars().take(80).collect());
        let well_formed = text.len() == 51 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let parts: Vec<&str> = text.split('-').collect();
        match parts.as_slice() {
            [epoch, written_by, position]
                if well_formed && (epoch.len(), written_by.len(), position.len()) == (10, 20, 19) =>
            {
                Ok(Self {
                    epoch: epoch.parse().map_err(|_| refused())?,
                    written_by: written_by.parse().map_err(|_| refused())?,
                    position: position.parse().map_err(|_| refused())?,
                })
            }
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for Position {
    type Error = NoPosition;
    fn try_from(text: String) -> Result<Self, NoPosition> {
        text.parse()
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

impl JsonSchema for Position {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Position".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]{10}-[0-9]{20}-[0-9]{19}$",
            "description": "Place in the order of all events; sorts as text",
            "examples": [Self::START]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn positions_sort_as_text_and_come_back(
            a in (0..=i32::MAX, any::<u64>(), 0..=i64::MAX), b in (0..=i32::MAX, any::<u64>(), 0..=i64::MAX),
        ) {
            let position = |(epoch, written_by, position)| Position { epoch, written_by, position };
            let (a, b) = (position(a), position(b));
            prop_assert_eq!(a.to_string().parse::<Position>().unwrap(), a);
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "1-2-3",
            "000000000a-00000000000000000000-0000000000000000000",
            "9999999999-00000000000000000000-0000000000000000000",
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad:?}");
        }
        assert_eq!(Position::START.to_string().parse::<Position>().unwrap(), Position::START);
    }
}
