//! When something that keeps Lablet running needs somebody: the one place of these rules, for the pages, for what needs
//! attention and for `lablet doctor`. Values in, a verdict out; each reader has words of its own for it.

use std::time::Duration;

use app::webhook_targets::{TargetState, TargetStatus};
use chrono::{DateTime, TimeDelta, Utc};
use projections::verifications::Verification;

/// Oldest event that may wait to be published or shown.
pub const TOLERATED_LAG: Duration = Duration::from_secs(60);
/// Oldest event that may wait for a webhook's target that takes what it is sent.
pub const TOLERATED_DELIVERY_LAG: Duration = Duration::from_secs(120);
/// A verification that is older says little about today.
pub const VERIFIED_WITHIN: TimeDelta = TimeDelta::days(7);
/// A controller tells of each worker at least every hour.
pub const HEARD_WITHIN: TimeDelta = TimeDelta::minutes(75);

/// What is wrong with a target of webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetTrouble {
    /// It said that it is gone: nothing is delivered to it.
    Gone,
    /// Somebody paused it.
    Paused,
    /// It does not take an event.
    Failing,
    /// Nothing fails, and events wait all the same.
    Late,
}

/// What is wrong with a target that is configured; `None`: nothing.
pub fn target(status: &TargetStatus) -> Option<TargetTrouble> {
    match status.state {
        _ if !status.configured => None,
        TargetState::Gone => Some(TargetTrouble::Gone),
        TargetState::Paused => Some(TargetTrouble::Paused),
        TargetState::Active if status.failing_event.is_some() => Some(TargetTrouble::Failing),
        TargetState::Active if status.lag_seconds > TOLERATED_DELIVERY_LAG.as_secs_f64() => Some(TargetTrouble::Late),
        TargetState::Active => None,
    }
}

/// What is wrong with the last verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerificationTrouble {
    /// It found that something differs.
    Differs,
    /// It is older than a week.
    Old,
    /// There was none, and the log is older than a week.
    Never,
}

/// What is wrong with the last verification of a log whose first event is so old; `None`: nothing.
pub fn verification(last: Option<&Verification>, log_age: Duration, now: DateTime<Utc>) -> Option<VerificationTrouble> {
    match last {
        None => (log_age > VERIFIED_WITHIN.to_std().unwrap_or_default()).then_some(VerificationTrouble::Never),
        Some(last) if !last.held => Some(VerificationTrouble::Differs),
        Some(last) => (now - last.verified_at > VERIFIED_WITHIN).then_some(VerificationTrouble::Old),
    }
}

/// What is wrong with the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayTrouble {
    /// Nothing can be published.
    Hindered,
    /// None runs.
    Absent,
    /// Events wait to be published for longer than tolerated.
    Late,
}

/// What is wrong with the relay, whose oldest unpublished event is so old; `None`: nothing.
pub fn relay(
    is_hindered: bool,
    leased_until: Option<DateTime<Utc>>,
    oldest_waiting: Duration,
    now: DateTime<Utc>,
) -> Option<RelayTrouble> {
    let is_led = leased_until.is_some_and(|until| until > now);
    match (is_hindered, is_led) {
        (true, _) => Some(RelayTrouble::Hindered),
        (false, false) => Some(RelayTrouble::Absent),
        (false, true) => (oldest_waiting > TOLERATED_LAG).then_some(RelayTrouble::Late),
    }
}

#[cfg(test)]
mod tests {
    use app::log::Position;
    use serde_json::Value;

    use super::*;

    fn status(state: TargetState, fails: bool, lag_seconds: f64) -> TargetStatus {
        TargetStatus {
            name: "booking".to_owned(),
            host: "booking.example.com".to_owned(),
            format: "structured".to_owned(),
            configured: true,
            state,
            state_reason: None,
            state_by: None,
            state_since: DateTime::UNIX_EPOCH,
            position: Position::START,
            replay_position: None,
            replay_until: None,
            lag_seconds,
            failing_event: fails.then(uuid::Uuid::nil),
            failed_attempts: 3,
            failing_since: None,
            retry_at: None,
            last_answer: None,
            last_answer_at: None,
            attempts: 0,
            delivered: 0,
            dead_lettered: 0,
        }
    }

    #[test]
    fn a_target_that_gets_nothing_is_in_trouble_unless_it_is_not_configured_any_more() {
        assert_eq!(target(&status(TargetState::Active, false, 30.0)), None);
        assert_eq!(target(&status(TargetState::Active, false, 900.0)), Some(TargetTrouble::Late));
        assert_eq!(target(&status(TargetState::Active, true, 1.0)), Some(TargetTrouble::Failing));
        assert_eq!(target(&status(TargetState::Paused, true, 900.0)), Some(TargetTrouble::Paused));
        let gone = status(TargetState::Gone, false, 0.0);
        assert_eq!(target(&gone), Some(TargetTrouble::Gone));
        assert_eq!(target(&TargetStatus { configured: false, ..gone }), None);
    }

    #[test]
    fn a_verification_is_wanted_once_a_week_and_has_to_find_nothing() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(30);
        let (day, month) = (Duration::from_secs(86_400), Duration::from_secs(30 * 86_400));
        let last = |days: i64, held| Verification {
            verified_at: now - TimeDelta::days(days),
            verified_by: "ada".to_owned(),
            held,
            rows_compared: true,
            report: Value::Null,
        };
        assert_eq!(verification(None, day, now), None, "a young log need not have been verified");
        assert_eq!(verification(None, month, now), Some(VerificationTrouble::Never));
        assert_eq!(verification(Some(&last(1, true)), month, now), None);
        assert_eq!(verification(Some(&last(8, true)), month, now), Some(VerificationTrouble::Old));
        assert_eq!(verification(Some(&last(8, false)), month, now), Some(VerificationTrouble::Differs));
    }

    #[test]
    fn a_relay_has_to_lead_and_to_publish() {
        let now = DateTime::UNIX_EPOCH;
        let (leads, led) = (Some(now + TimeDelta::seconds(5)), Some(now - TimeDelta::seconds(5)));
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(61));
        assert_eq!(relay(false, leads, soon, now), None);
        assert_eq!(relay(false, leads, late, now), Some(RelayTrouble::Late));
        assert_eq!(relay(true, leads, soon, now), Some(RelayTrouble::Hindered));
        assert_eq!(relay(false, led, soon, now), Some(RelayTrouble::Absent));
        assert_eq!(relay(false, None, soon, now), Some(RelayTrouble::Absent));
    }
}
