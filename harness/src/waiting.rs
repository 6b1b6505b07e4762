//! Waiting for a state, bounded, and saying what was waited for.

use std::time::Duration;

use tokio::time::Instant;

/// Looks until `look` finds something, every 50 ms, at most `within`.
///
/// # Panics
/// When the time is over; the message says what was waited for.
pub async fn eventually<T, F>(what: &str, within: Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "waited {} s in vain for: {what}", within.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
