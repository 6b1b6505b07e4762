//! What follows from the answer to a request, or from there being none.

use std::time::Duration;

use app::printable::storable;
use app::webhook_targets::Failure;
use bus::Backoff;
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use uuid::Uuid;

use crate::targets::RetryLimits;

/// Longest part of an answer's body that is shown, in bytes.
const SHOWN: usize = 300;

/// Outcome of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The target answered.
    Answered {
        /// With this status.
        status: StatusCode,
        /// When to come again, from now on.
        retry_after: Option<Duration>,
        /// The beginning of what it said.
        body: String,
    },
    /// There was no answer, for this reason.
    Unanswered(String),
    /// It was not sent, as the target did not agree to be delivered to.
    NotAgreed(String),
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// The event was delivered.
    Delivered,
    /// The target wants nothing more.
    Gone,
    /// The target will never take this event.
    Refused,
    /// Another attempt may succeed. Whether this one counts towards the most attempts.
    Retry { counts: bool, after: Option<Duration> },
    /// Another attempt may succeed, and until then the event is not given up, as it was never sent.
    Wait,
}

impl Attempt {
    /// What follows.
    pub(crate) fn consequence(&self) -> Consequence {
        let (status, after) = match self {
            Self::Answered { status, retry_after, .. } => (status.as_u16(), *retry_after),
            Self::Unanswered(_) => return Consequence::Retry { counts: true, after: None },
            Self::NotAgreed(_) => return Consequence::Wait,
        };
        match status {
            200..=299 => Consequence::Delivered,
            410 => Consequence::Gone,
            // These are about what was sent. All others are about the target, whose operator may mend them: an address that
            // moved, a secret that was changed.
            400 | 406 | 409 | 411 | 413 | 414 | 415 | 417 | 422 | 431 | 451 => Consequence::Refused,
            _ => Consequence::Retry { counts: after.is_none(), after },
        }
    }

    /// In words, without what was sent.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Answered { status, body, .. } if status.is_success() || body.is_empty() => {
                status.as_u16().to_string()
            }
            Self::Answered { status, body, .. } => format!("{}: {}", status.as_u16(), storable(body, SHOWN)),
            Self::Unanswered(reason) => format!("no answer: {reason}"),
            Self::NotAgreed(reason) => format!("handshake: {reason}"),
        }
    }
}

/// The value of `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(value).ok()?;
    Some((at.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

/// First and longest wait between two attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryWaits {
    /// The first wait, doubled each time.
    pub first: Duration,
    /// The longest one, of what a target asks for as well.
    pub longest: Duration,
}

impl Default for RetryWaits {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(3_600) }
    }
}

/// What becomes of an event of which an attempt failed: the failure with the time of the next attempt, or `None` where it is
/// given up.
pub(crate) fn after_failure(
    before: Option<&Failure>,
    event_id: Uuid,
    consequence: Consequence,
    limits: RetryLimits,
    waits: RetryWaits,
    now: DateTime<Utc>,
) -> Option<Failure> {
    let before = before.filter(|failure| failure.event_id == event_id);
    let (counts, asked, may_end) = match consequence {
        Consequence::Retry { counts, after } => (counts, after, true),
        Consequence::Wait => (true, None, false),
        Consequence::Delivered | Consequence::Gone | Consequence::Refused => return None,
    };
    let attempts = before.map_or(0, |failure| failure.attempts).saturating_add(i64::from(counts));
    let since = before.map_or(now, |failure| failure.since);
    let wait = match asked {
        Some(asked) => asked.max(waits.first),
        None => nth_wait(attempts, waits),
    };
    let wait = TimeDelta::from_std(wait.min(waits.longest)).unwrap_or(TimeDelta::MAX);
    let retry_at = now.checked_add_signed(wait)?;
    let lasts_until = TimeDelta::from_std(limits.time).ok().and_then(|time| since.checked_add_signed(time));
    let is_over = attempts >= i64::from(limits.attempts) || lasts_until.is_some_and(|until| retry_at > until);
    (!(may_end && is_over)).then_some(Failure { event_id, attempts, since, retry_at })
}

/// The wait after so many attempts, with jitter.
fn nth_wait(attempts: i64, waits: RetryWaits) -> Duration {
    let mut backoff = Backoff::new(waits.first, waits.longest);
    // Long before so many attempts the wait is the longest one.
    (0..attempts.clamp(1, 64)).fold(waits.first, |_, _| backoff.next_wait())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, retry_after: Option<u64>) -> Consequence {
        let retry_after = retry_after.map(Duration::from_secs);
        let status = StatusCode::from_u16(status).unwrap();
        Attempt::Answered { status, retry_after, body: String::new() }.consequence()
    }

    #[test]
    fn a_status_says_what_follows() {
        for delivered in [200, 201, 202, 204] {
            assert_eq!(answered(delivered, None), Consequence::Delivered, "{delivered}");
        }
        for refused in [400, 413, 415, 422] {
            assert_eq!(answered(refused, Some(1)), Consequence::Refused, "{refused}");
        }
        assert_eq!(answered(410, None), Consequence::Gone);
        // Redirects are not followed; who moves mends the address. A secret that is changed gives 401 for a while.
        for retried in [301, 302, 307, 401, 403, 404, 405, 408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(answered(retried, None), Consequence::Retry { counts: true, after: None }, "{retried}");
        }
        let after = Some(Duration::from_secs(7));
        assert_eq!(answered(429, Some(7)), Consequence::Retry { counts: false, after });
        assert_eq!(Attempt::Unanswered(String::new()).consequence(), Consequence::Retry { counts: true, after: None });
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-03-01T10:00:00Z".parse().unwrap();
        let seconds = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sun, 01 Mar 2026 10:02:00 GMT"), Some(120));
        assert_eq!(seconds("Sun, 01 Mar 2026 09:00:00 GMT"), Some(0), "a date that is over");
        for nonsense in ["", "soon", "-5", "1.5", "99999999999999999999"] {
            assert_eq!(seconds(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn an_event_is_tried_ever_less_often_within_its_limits() {
        let limits = RetryLimits { attempts: 4, time: Duration::from_secs(3_600) };
        let waits = RetryWaits { first: Duration::from_secs(10), longest: Duration::from_secs(30) };
        let (event, start) = (Uuid::nil(), "2026-03-01T10:00:00Z".parse::<DateTime<Utc>>().unwrap());
        let retry = Consequence::Retry { counts: true, after: None };
        let mut failure = None;
        let mut now = start;
        let mut waited = Vec::new();
        while let Some(next) = after_failure(failure.as_ref(), event, retry, limits, waits, now) {
            waited.push((next.retry_at - now).num_seconds());
            assert_eq!(next.since, start);
            now = next.retry_at;
            failure = Some(next);
        }
        assert_eq!(waited.len(), 3, "the fourth attempt is the last: {waited:?}");
        for (wait, range) in waited.iter().zip([5..=10, 10..=20, 15..=30]) {
            assert!(range.contains(wait), "{waited:?}");
        }
        let other = after_failure(failure.as_ref(), Uuid::max(), retry, limits, waits, now).unwrap();
        assert_eq!((other.attempts, other.since), (1, now), "of another event nothing failed so far");
    }

    #[test]
    fn who_asks_to_wait_is_waited_for_by_time_and_not_by_attempts() {
        let limits = RetryLimits { attempts: 2, time: Duration::from_secs(100) };
        let waits = RetryWaits { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
        let start = "2026-03-01T10:00:00Z".parse::<DateTime<Utc>>().unwrap();
        let asks = |seconds| Consequence::Retry { counts: false, after: Some(Duration::from_secs(seconds)) };
        let after = |before: Option<&Failure>, seconds, now| {
            after_failure(before, Uuid::nil(), asks(seconds), limits, waits, now)
        };
        let mut failure = after(None, 20, start).unwrap();
        for _ in 0..3 {
            let now = failure.retry_at;
            failure = after(Some(&failure), 20, now).unwrap();
            assert_eq!((failure.attempts, (failure.retry_at - now).num_seconds()), (0, 20));
        }
        assert_eq!(after(Some(&failure), 30, failure.retry_at), None, "its time would be over");
        assert_eq!((after(None, 86_400, start).unwrap().retry_at - start).num_seconds(), 60, "bounded");
        assert_eq!((after(None, 0, start).unwrap().retry_at - start).num_seconds(), 1, "and not at once");
    }

    #[test]
    fn an_event_that_was_never_sent_is_not_given_up() {
        let limits = RetryLimits { attempts: 1, time: Duration::from_secs(1) };
        let now = "2026-03-01T10:00:00Z".parse::<DateTime<Utc>>().unwrap();
        let old = Failure { event_id: Uuid::nil(), attempts: 900, since: DateTime::UNIX_EPOCH, retry_at: now };
        let next =
            after_failure(Some(&old), Uuid::nil(), Consequence::Wait, limits, RetryWaits::default(), now).unwrap();
        assert!((next.retry_at - now).num_seconds() >= 1_800);
    }
}
