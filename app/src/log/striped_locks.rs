//! Locks shared by the aggregates of a process.

use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::{Mutex, MutexGuard};

const LOCKS: usize = 64;

/// Serialises commands that met a conflict on the same aggregate: of many that decide at once only one can win, and the
/// others would have decided in vain. One lock serves many aggregates: waiting for another one costs less than a lock for
/// each.
pub(super) struct StripedLocks {
    hasher: RandomState,
    locks: [Mutex<()>; LOCKS],
}

impl Default for StripedLocks {
    fn default() -> Self {
        Self { hasher: RandomState::new(), locks: std::array::from_fn(|_| Mutex::new(())) }
    }
}

impl StripedLocks {
    /// The lock of an aggregate.
    pub(super) async fn lock(&self, aggregate_type: &str, id: &str) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one((aggregate_type, id));
        let index = usize::try_from(hash % LOCKS as u64).unwrap_or_default();
        self.locks[index].lock().await
    }
}
