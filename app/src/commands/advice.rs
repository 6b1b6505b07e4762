//! Warnings about an allocation. It is recorded all the same, as the scheduler may know better.

use std::time::Duration;

use domain::lablet_session::PresentSession;
use futures_util::future::BoxFuture;

use crate::log::Position;
use crate::warning::Warning;

/// How long a command's answer may wait for advice. Advice that takes longer is not given.
pub(super) const ADVICE_WITHIN: Duration = Duration::from_secs(1);

/// Looks at what else is allocated, which no single aggregate knows.
pub trait AllocationAdvisor: Send + Sync {
    /// Warnings about the allocation of a session, as it is after the event at this position. None where the advisor
    /// cannot tell.
    fn advise<'a>(&'a self, session: &'a PresentSession, position: Position) -> BoxFuture<'a, Vec<Warning>>;
}
