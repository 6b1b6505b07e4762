//! The time for which a session is booked.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::time;

/// How long before the start of its timeslot a lab is brought up.
pub(crate) const LEAD_TIME: TimeDelta = TimeDelta::minutes(15);

/// How long after the end of its timeslot a lab may still occupy its worker.
pub(crate) const TEARDOWN_BUFFER: TimeDelta = TimeDelta::minutes(10);

/// A booked span of time, as RFC 3339 instants. Invariant: `start` is before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "UncheckedTimeslot")]
pub struct Timeslot {
    #[schemars(schema_with = "time::schema")]
    start: DateTime<Utc>,
    #[schemars(schema_with = "time::schema")]
    end: DateTime<Utc>,
}

#[derive(Deserialize)]
struct UncheckedTimeslot {
    #[serde(deserialize_with = "time::deserialize")]
    start: DateTime<Utc>,
    #[serde(deserialize_with = "time::deserialize")]
    end: DateTime<Utc>,
}

impl TryFrom<UncheckedTimeslot> for Timeslot {
    type Error = Invalid;
    fn try_from(unchecked: UncheckedTimeslot) -> Result<Self, Invalid> {
        Self::new(unchecked.start, unchecked.end)
    }
}

impl Timeslot {
    /// A timeslot from `start` to `end`.
    ///
    /// # Errors
    /// [`Invalid`] when the end is not after the start.
    pub fn new(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<Self, Invalid> {
        if end <= start {
            return Err(Invalid::new("end", format!("is {end}"), format!("a time after the start, {start}")));
        }
        Ok(Self { start, end })
    }

    /// When the session may begin.
    pub fn start(&self) -> DateTime<Utc> {
        self.start
    }

    /// When the session has to end.
    pub fn end(&self) -> DateTime<Utc> {
        self.end
    }

    /// Whether the timeslot is over at `now`. The end itself no longer belongs to it.
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        now >= self.end
    }

    /// From when to when the worker is occupied: lead time and teardown buffer included.
    pub fn occupied(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        // Stored times may lie at the end of what can be counted.
        let begin = self.start.checked_sub_signed(LEAD_TIME).unwrap_or(DateTime::<Utc>::MIN_UTC);
        let end = self.end.checked_add_signed(TEARDOWN_BUFFER).unwrap_or(DateTime::<Utc>::MAX_UTC);
        (begin, end)
    }
}

/// A timeslot as somebody books it.
///
/// Invariant: it lies within the years that a sender may state; a stored one may lie anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Timeslot")]
pub struct Booking(Timeslot);

impl Booking {
    /// The timeslot.
    pub fn timeslot(self) -> Timeslot {
        self.0
    }
}

/// The schema of a timeslot, which states the years.
impl JsonSchema for Booking {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Timeslot::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        Timeslot::schema_id()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Timeslot::json_schema(generator)
    }
}

impl TryFrom<Timeslot> for Booking {
    type Error = Invalid;
    fn try_from(timeslot: Timeslot) -> Result<Self, Invalid> {
        time::check(timeslot.start).map_err(|invalid| invalid.within("start"))?;
        time::check(timeslot.end).map_err(|invalid| invalid.within("end"))?;
        Ok(Self(timeslot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u32) -> DateTime<Utc> {
        use chrono::TimeZone as _;
        Utc.with_ymd_and_hms(2026, 3, 1, 10, minute, 0).unwrap()
    }

    #[test]
    fn a_timeslot_ends_after_it_starts() {
        assert!(Timeslot::new(at(1), at(1)).is_err());
        assert!(Timeslot::new(at(2), at(1)).is_err());
        let slot = Timeslot::new(at(20), at(40)).unwrap();
        assert_eq!(slot.occupied(), (at(5), at(50)));
        assert!(!slot.is_over(at(39)) && slot.is_over(at(40)));
    }

    #[test]
    fn the_wire_form_is_checked_too() {
        let backwards = r#"{"start":"2026-03-01T10:02:00Z","end":"2026-03-01T10:01:00Z"}"#;
        assert!(serde_json::from_str::<Timeslot>(backwards).unwrap_err().to_string().contains("after the start"));
    }
}
