//! Times that a sender may state: RFC 3339 with an offset, within the stated years.
//!
//! Postgres writes years that chrono cannot read (before 1 and after 9999, once the offset is taken into account), so one
//! such time in a row would fail everybody who reads the list. The stated years leave room on both sides of every use.
//! What is stored stays readable: an event may hold any time, and a reader shows it within the stated years.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Invalid;

/// By how much an observer's clock may be ahead of the log's.
pub(crate) const MOST_AHEAD: TimeDelta = TimeDelta::minutes(5);

/// The earliest time that a sender may state: 2000-01-01T00:00:00Z.
pub(crate) const EARLIEST: DateTime<Utc> = midnight(2000, 1, 1);
/// The first time that is too late: 2200-01-01T00:00:00Z.
pub(crate) const TOO_LATE: DateTime<Utc> = midnight(2200, 1, 1);

const EXPECTED: &str =
    "a time from 2000-01-01T00:00:00Z to 2199-12-31T23:59:59Z in RFC 3339, such as 2026-03-01T10:00:00Z";

const fn midnight(year: i32, month: u32, day: u32) -> DateTime<Utc> {
    let day = NaiveDate::from_ymd_opt(year, month, day).expect("a day of the calendar");
    day.and_time(NaiveTime::MIN).and_utc()
}

/// A time that a sender may state.
///
/// Invariant: from [`EARLIEST`] to before [`TOO_LATE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct BoundedTime(DateTime<Utc>);

impl BoundedTime {
    /// The time.
    pub fn at(self) -> DateTime<Utc> {
        self.0
    }

    /// A time as it can be shown, see [`shown`].
    pub fn nearest(at: DateTime<Utc>) -> Self {
        Self(shown(at))
    }
}

impl TryFrom<String> for BoundedTime {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl std::str::FromStr for BoundedTime {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let at = parse(text)?;
        check(at)?;
        Ok(Self(at))
    }
}

impl JsonSchema for BoundedTime {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BoundedTime".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schema(generator)
    }
}

/// The JSON schema of a time that a sender states.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string", "format": "date-time", "pattern": "^2[01][0-9]{2}-",
        "description": "From 2000-01-01T00:00:00Z to 2199-12-31T23:59:59Z, with its offset from UTC.",
    })
}

/// Reads a time of whatever year.
///
/// # Errors
/// [`Invalid`], with an empty field; it says so where only the offset is missing.
pub fn parse(text: &str) -> Result<DateTime<Utc>, Invalid> {
    if let Ok(at) = text.parse::<DateTime<Utc>>() {
        return Ok(at);
    }
    let shown: String = text.chars().take(40).collect();
    let problem = if text.len() <= 64 && format!("{}Z", text.trim_end()).parse::<DateTime<Utc>>().is_ok() {
        format!("is {shown:?}, which lacks its offset from UTC (Z, or such as +02:00)")
    } else {
        format!("is {shown:?}, which is no time")
    };
    Err(Invalid::new("", problem, EXPECTED))
}

/// Checks that a time lies within the stated years.
///
/// # Errors
/// [`Invalid`], with an empty field, naming the range.
pub fn check(at: DateTime<Utc>) -> Result<(), Invalid> {
    if (EARLIEST..TOO_LATE).contains(&at) {
        return Ok(());
    }
    Err(Invalid::new("", format!("is {at:?}"), EXPECTED))
}

/// Checks that what was seen was not seen in the future, by the log's clock.
///
/// # Errors
/// [`Invalid`], with an empty field, naming the range.
pub(crate) fn check_seen(at: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Invalid> {
    check(at)?;
    let latest = now.checked_add_signed(MOST_AHEAD).unwrap_or(now);
    if at <= latest {
        return Ok(());
    }
    let ahead = (at - now).num_seconds();
    Err(Invalid::new(
        "",
        format!("is {at:?}, {ahead} s ahead of the log's clock"),
        format!("a time from 2000-01-01T00:00:00Z to at most {} minutes from now", MOST_AHEAD.num_minutes()),
    ))
}

/// A stored time as it can be shown: one outside the stated years becomes the nearest within them.
pub fn shown(at: DateTime<Utc>) -> DateTime<Utc> {
    at.clamp(EARLIEST, TOO_LATE - TimeDelta::microseconds(1))
}

/// Reads a time of whatever year; for `#[serde(deserialize_with)]` where what is stored is read too.
///
/// # Errors
/// As [`parse`].
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = DateTime<Utc>;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str(EXPECTED)
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<DateTime<Utc>, E> {
            parse(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Visitor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_years_are_bounded_after_the_offset_is_taken_into_account() {
        for good in ["2000-01-01T00:00:00Z", "2199-12-31T23:59:59.999999Z", "1999-12-31T23:00:00-01:00"] {
            assert!(good.parse::<BoundedTime>().is_ok(), "{good}");
        }
        for bad in [
            "0001-01-01T00:00:00+08:00",
            "9999-12-31T23:59:59-05:00",
            "-5000-01-01T00:00:00Z",
            "+262142-12-31T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "1999-12-31T23:59:59Z",
            "2000-01-01T00:00:00+00:01",
            "2200-01-01T00:00:00Z",
        ] {
            let refused = bad.parse::<BoundedTime>().unwrap_err();
            assert!(refused.expected.contains("2000-01-01T00:00:00Z to 2199-12-31T23:59:59Z"), "{refused}");
        }
    }

    #[test]
    fn a_time_without_an_offset_is_told_that_the_offset_is_missing() {
        for bad in ["2026-03-01T10:00:00", "2026-03-01 10:00:00", "2026-03-01T10:00:00.123"] {
            assert!(parse(bad).unwrap_err().problem.contains("lacks its offset"), "{bad}");
        }
        for bad in ["", "yesterday", "2026-13-01T10:00:00Z", "2026-03-01", "1772000000", "2026-02-30T00:00:00Z"] {
            assert!(parse(bad).unwrap_err().problem.contains("is no time"), "{bad}");
        }
        let wrong_type = serde_json::from_str::<BoundedTime>("5").unwrap_err().to_string();
        assert!(wrong_type.contains("expected a string"), "{wrong_type}");
    }

    #[test]
    fn nothing_is_seen_more_than_five_minutes_ahead() {
        let now = parse("2026-03-01T10:00:00Z").unwrap();
        assert!(check_seen(now + MOST_AHEAD, now).is_ok());
        let refused = check_seen(now + MOST_AHEAD + TimeDelta::seconds(1), now).unwrap_err();
        assert!(refused.problem.contains("301 s ahead"), "{refused}");
        assert!(check_seen(parse("1970-01-01T00:00:00Z").unwrap(), now).is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back_by_everybody(seconds in -8_000_000_000_000_i64..8_000_000_000_000, nanos in 0_u32..1_000_000_000) {
            if let Some(at) = DateTime::from_timestamp(seconds, nanos) {
                let shown = shown(at);
                prop_assert!(check(shown).is_ok());
                prop_assert_eq!(check(at).is_ok(), shown == at || at > TOO_LATE - TimeDelta::microseconds(1) && at < TOO_LATE);
            }
        }
    }
}
