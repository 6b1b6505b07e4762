//! How often a worker is asked: as planned, and less often while it is slow or away.

use std::sync::Arc;
use std::time::Duration;

use bus::Backoff;
use domain::observation::GapReason;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::cml::CmlError;
use crate::workers::AccessError;

/// Requests to one worker at a time.
const CONCURRENCY: usize = 4;
/// Longest wait between two requests to a worker that does not answer, in intervals.
const LONGEST_WAIT_INTERVALS: u32 = 10;

/// The pace of one worker.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) permits: Arc<Semaphore>,
    backoff: Backoff,
    trouble: Option<Trouble>,
}

/// A worker that did not answer, or says that it cannot.
#[derive(Debug)]
struct Trouble {
    reason: GapReason,
    /// When it is asked again, by one request.
    again_at: Instant,
    asking: bool,
}

impl Pace {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
            backoff: Backoff::new(interval, interval * LONGEST_WAIT_INTERVALS),
            trouble: None,
        }
    }

    /// Whether the worker may be asked now; else why not, and when to look again.
    pub(super) fn may_ask(&mut self, now: Instant) -> Result<(), (GapReason, Instant)> {
        let Some(trouble) = &mut self.trouble else { return Ok(()) };
        if trouble.asking || now < trouble.again_at {
            // While one request tries, the others wait for what comes of it.
            return Err((trouble.reason, trouble.again_at.max(now + Duration::from_secs(1))));
        }
        trouble.asking = true;
        Ok(())
    }

    /// The worker answered.
    pub(super) fn answered(&mut self) {
        self.trouble = None;
        self.backoff.reset();
    }

    /// The worker did not answer, or said that it cannot.
    pub(super) fn failed(&mut self, reason: GapReason, now: Instant) {
        // Requests that were under way together fail together: they are one failure.
        if self.trouble.as_ref().is_none_or(|trouble| trouble.asking) {
            self.trouble = Some(Trouble { reason, again_at: now + self.backoff.next_wait(), asking: false });
        }
    }
}

/// Why a sample is missed, from what went wrong.
pub(super) fn gap_reason(error: &CmlError) -> GapReason {
    match error {
        CmlError::PasswordRefused
        | CmlError::TokenRefused
        | CmlError::Forbidden { .. }
        | CmlError::AddressNotNamed { .. } => GapReason::AccessRefused,
        CmlError::NotFound { .. } => GapReason::LabStopped,
        CmlError::InvalidResponse { .. } | CmlError::TooLarge { .. } => GapReason::Unreadable,
        CmlError::TimedOut { .. } => GapReason::WorkerSlow,
        CmlError::Status { .. } | CmlError::Unreachable { .. } | CmlError::Broken { .. } => GapReason::WorkerAway,
    }
}

/// As [`gap_reason`], where there is no way into the worker.
pub(super) fn gap_reason_of_access(error: &AccessError) -> GapReason {
    match error {
        AccessError::Gateway(_) => GapReason::ControllerAway,
        AccessError::Unknown(_) | AccessError::Refused(_) => GapReason::AccessRefused,
    }
}

/// Whether the trouble is the worker's, and not one lab's.
pub(super) fn is_of_worker(reason: GapReason) -> bool {
    matches!(reason, GapReason::WorkerAway | GapReason::WorkerSlow | GapReason::AccessRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_in_trouble_is_asked_by_one_request_and_ever_less_often() {
        let interval = Duration::from_secs(30);
        let (mut pace, mut now) = (Pace::new(interval), Instant::now());
        assert_eq!(pace.may_ask(now), Ok(()));
        pace.failed(GapReason::WorkerAway, now);
        pace.failed(GapReason::WorkerAway, now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let (reason, again_at) = pace.may_ask(now).unwrap_err();
            assert_eq!(reason, GapReason::WorkerAway);
            waits.push(again_at - now);
            now = again_at;
            assert_eq!(pace.may_ask(now), Ok(()));
            assert!(pace.may_ask(now).is_err(), "one request tries");
            pace.failed(GapReason::WorkerAway, now);
        }
        assert!(waits[0] <= interval && waits[5] > interval * 4 && waits.iter().all(|wait| *wait <= interval * 10));
        now += interval * 10;
        assert_eq!(pace.may_ask(now), Ok(()));
        pace.answered();
        assert_eq!((pace.may_ask(now), pace.may_ask(now)), (Ok(()), Ok(())), "as planned again");
    }
}
