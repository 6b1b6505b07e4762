//! Answers that cost the database much and are the same for everybody, made once and given to all who ask meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bus::clock::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use projections::Projections;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// How old an answer may be where no read model signalled a move: another process's signal may be lost.
const SERVES: Duration = Duration::from_secs(1);
/// The same by the log's clock, which tests can move.
const SERVES_BY_CLOCK: TimeDelta = TimeDelta::seconds(1);

/// The newest answer to one question. Cheap to clone.
#[derive(Debug)]
pub(crate) struct AnswerCache<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    moved: watch::Receiver<u64>,
    clock: Clock,
    newest: Mutex<Option<CachedAnswer<T>>>,
}

#[derive(Debug)]
struct CachedAnswer<T> {
    /// When making it began, and how many moves of read models were known then.
    begun_at: Instant,
    time: DateTime<Utc>,
    moves: u64,
    answer: Arc<T>,
}

impl<T> Clone for AnswerCache<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> AnswerCache<T> {
    /// An empty cache of an answer from these read models.
    pub(crate) fn new(reads: &Projections, clock: &Clock) -> Self {
        Self(Arc::new(Inner { moved: reads.moved(), clock: clock.clone(), newest: Mutex::new(None) }))
    }

    /// The answer. It is made anew where a read model moved since, where it is older than a second, and where it was
    /// begun before `since`, when a read model was seen to be where the reader needs it.
    ///
    /// # Errors
    /// That of `make`.
    pub(crate) async fn get<E>(
        &self,
        since: Option<Instant>,
        make: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, E> {
        // Held while an answer is made: others wait for it, instead of asking the same.
        let mut newest = self.0.newest.lock().await;
        let (moves, time) = (*self.0.moved.borrow(), self.0.clock.now());
        let serves = |cached: &&CachedAnswer<T>| {
            cached.moves == moves
                && cached.begun_at.elapsed() < SERVES
                && (time - cached.time).abs() < SERVES_BY_CLOCK
                && since.is_none_or(|since| cached.begun_at >= since)
        };
        if let Some(cached) = newest.as_ref().filter(serves) {
            return Ok(Arc::clone(&cached.answer));
        }
        let begun_at = Instant::now();
        let answer = Arc::new(make.await?);
        *newest = Some(CachedAnswer { begun_at, time, moves, answer: Arc::clone(&answer) });
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Counted {
        cache: AnswerCache<u32>,
        made: AtomicU32,
    }

    impl Counted {
        async fn get(&self, since: Option<Instant>) -> u32 {
            let make = async { Ok::<_, Infallible>(self.made.fetch_add(1, Ordering::Relaxed) + 1) };
            *self.cache.get(since, make).await.unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_serves_until_a_read_model_moves_or_a_second_is_over_or_a_reader_needs_a_newer_one() {
        let moves = watch::Sender::new(0);
        let inner = Inner { moved: moves.subscribe(), clock: Clock::system(), newest: Mutex::new(None) };
        let cache = AnswerCache(Arc::new(inner));
        let counted = Counted { cache, made: AtomicU32::new(0) };
        assert_eq!((counted.get(None).await, counted.get(None).await), (1, 1));
        moves.send_modify(|count| *count += 1);
        assert_eq!((counted.get(None).await, counted.get(None).await), (2, 2));
        tokio::time::advance(SERVES).await;
        assert_eq!(counted.get(None).await, 3);
        tokio::time::advance(SERVES / 4).await;
        let now = Instant::now();
        assert_eq!((counted.get(Some(now)).await, counted.get(Some(now)).await), (4, 4));
    }
}
