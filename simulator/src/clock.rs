//! The time of the simulated controller: it flows at a chosen speed, or stands still until it is moved.

use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};

/// How simulated time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SimulatedTime {
    /// From the wall clock's time at the start, `speed` simulated seconds to a real one. 1.0 is real time.
    Flowing { speed: f64 },
    /// Stands at 2026-01-01T00:00:00Z; only `advance` moves it. What a test wants that must repeat exactly.
    Manual,
}

/// Faster than this, a real second is more than a simulated month: a slip of the pen rather than a wish.
const FASTEST: f64 = 3_000_000.0;
/// 2026-01-01T00:00:00Z, in seconds since 1970.
const MANUAL_ORIGIN: i64 = 1_767_225_600;

#[derive(Debug)]
pub(crate) struct SimulatedClock {
    /// Simulated time at `anchor`.
    base: DateTime<Utc>,
    anchor: Instant,
    speed: f64,
}

impl SimulatedClock {
    pub(crate) fn new(time: SimulatedTime) -> Result<Self, String> {
        let (base, speed) = match time {
            SimulatedTime::Flowing { speed } => (DateTime::<Utc>::from(SystemTime::now()), checked_speed(speed)?),
            SimulatedTime::Manual => (DateTime::from_timestamp(MANUAL_ORIGIN, 0).unwrap_or_default(), 0.0),
        };
        Ok(Self { base, anchor: Instant::now(), speed })
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        let milliseconds = self.anchor.elapsed().as_secs_f64() * self.speed * 1_000.0;
        self.base + TimeDelta::milliseconds(milliseconds as i64)
    }

    pub(crate) fn speed(&self) -> f64 {
        self.speed
    }

    pub(crate) fn advance(&mut self, by: Duration) -> Result<(), String> {
        self.base = TimeDelta::from_std(by)
            .ok()
            .and_then(|by| self.now().checked_add_signed(by))
            .ok_or_else(|| format!("time cannot be moved by {} s", by.as_secs()))?;
        self.anchor = Instant::now();
        Ok(())
    }

    pub(crate) fn set_speed(&mut self, speed: f64) -> Result<(), String> {
        let speed = checked_speed(speed)?;
        self.base = self.now();
        self.anchor = Instant::now();
        self.speed = speed;
        Ok(())
    }
}

fn checked_speed(speed: f64) -> Result<f64, String> {
    if (0.0..=FASTEST).contains(&speed) {
        Ok(speed)
    } else {
        Err(format!("a speed of {speed} is not between 0 and {FASTEST}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_time_moves_only_when_it_is_moved() {
        let mut clock = SimulatedClock::new(SimulatedTime::Manual).unwrap();
        assert_eq!(clock.now().to_rfc3339(), "2026-01-01T00:00:00+00:00");
        clock.advance(Duration::from_secs(90)).unwrap();
        assert_eq!(clock.now().to_rfc3339(), "2026-01-01T00:01:30+00:00");
    }

    #[test]
    fn a_speed_that_is_no_speed_is_refused() {
        for speed in [-1.0, f64::NAN, f64::INFINITY] {
            SimulatedClock::new(SimulatedTime::Flowing { speed }).unwrap_err();
        }
    }

    #[test]
    fn a_leap_beyond_the_calendar_is_refused_and_changes_nothing() {
        let mut clock = SimulatedClock::new(SimulatedTime::Manual).unwrap();
        let before = clock.now();
        clock.advance(Duration::MAX).unwrap_err();
        assert_eq!(clock.now(), before);
    }
}
