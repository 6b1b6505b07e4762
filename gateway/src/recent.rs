//! A range of time that ends now, as lists take it.

use chrono::{DateTime, TimeDelta, Utc};
use domain::Invalid;
use domain::time::BoundedTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far back a list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Recent {
    /// An hour.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
}

impl Recent {
    /// All of them, the shortest first.
    pub(crate) const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// In its wire form.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Hour => "Last hour",
            Self::Day => "Last 24 hours",
            Self::Week => "Last 7 days",
            Self::Month => "Last 30 days",
        }
    }

    /// How long it is.
    fn length(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
            Self::Week => TimeDelta::days(7),
            Self::Month => TimeDelta::days(30),
        }
    }

    /// When a range begins: so far back, or at the time that is given.
    ///
    /// # Errors
    /// [`Invalid`] where both are given.
    pub(crate) fn begin(
        last: Option<Self>,
        from: Option<BoundedTime>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Invalid> {
        match (last, from) {
            (Some(_), Some(_)) => Err(Invalid::new("last", "stands beside from", "one of the two alone")),
            (Some(last), None) => Ok(Some(now - last.length())),
            (None, from) => Ok(from.map(BoundedTime::at)),
        }
    }
}

/// A time as a page's field has it: with its offset, or without one as browsers write it, which is UTC here.
///
/// # Errors
/// [`Invalid`] naming the field.
pub(crate) fn typed(field: &str, text: Option<&str>) -> Result<Option<BoundedTime>, Invalid> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    whole.parse().map(Some).map_err(|invalid: Invalid| invalid.within(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_begins_so_far_back_or_at_a_time() {
        let now: DateTime<Utc> = "2026-03-02T10:00:00Z".parse().unwrap();
        let from = typed("from", Some("2026-03-01T09:30")).unwrap();
        assert_eq!(Recent::begin(Some(Recent::Day), None, now).unwrap(), Some(now - TimeDelta::hours(24)));
        assert_eq!(
            Recent::begin(None, from, now).unwrap().map(|at| at.to_rfc3339()),
            Some("2026-03-01T09:30:00+00:00".to_owned())
        );
        assert_eq!(Recent::begin(Some(Recent::Day), from, now).unwrap_err().field, "last");
    }

    #[test]
    fn a_time_without_an_offset_is_utc() {
        for text in ["2026-03-01", "2026-03-01T00:00", "2026-03-01T00:00:00", "2026-03-01T01:00:00+01:00"] {
            let at = typed("from", Some(text)).unwrap().unwrap().at();
            assert_eq!(at.to_rfc3339(), "2026-03-01T00:00:00+00:00", "{text}");
        }
        assert_eq!(typed("from", Some(" ")).unwrap(), None);
        assert_eq!(typed("before", Some("yesterday")).unwrap_err().field, "before");
    }
}
