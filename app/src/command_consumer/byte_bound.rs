//! Bound on the bytes of commands in hand.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Bytes of commands that wait for their worker or are being handled.
#[derive(Debug)]
pub(super) struct ByteBound {
    room: Arc<Semaphore>,
    bytes: usize,
}

impl ByteBound {
    pub(super) fn new(bytes: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// Waits until there is room for a message of this size; one that is larger than the bound takes all of it.
    ///
    /// # Errors
    /// The semaphore is closed, which nothing does.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        let permits = u32::try_from(bytes.clamp(1, self.bytes)).unwrap_or(u32::MAX);
        self.room.clone().acquire_many_owned(permits).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn messages_beyond_the_bound_wait_until_others_are_done() {
        let bound = ByteBound::new(100);
        let reserve = |bytes| bound.reserve(bytes).now_or_never().map(Result::unwrap);
        let [first, second] = [60, 40].map(|bytes| reserve(bytes).unwrap());
        assert!(reserve(0).is_none(), "a message takes a byte at least, or any number of empty ones would fit");
        drop(second);
        assert!(reserve(41).is_none());
        let third = reserve(40).unwrap();
        drop((first, third));
        assert!(reserve(1_000).is_some(), "one that is larger than the bound goes alone");
        let alone = reserve(1_000).unwrap();
        assert!(reserve(1).is_none());
        drop(alone);
        assert!(reserve(100).is_some());
    }
}
