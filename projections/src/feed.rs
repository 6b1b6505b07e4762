//! The log, read and decoded once for all read models of a process.
//!
//! The feed is a window of decoded events that ends at the newest one that was read. A read model asks for what comes
//! after a position. Within the window it gets what is there; at its end one reads on, and all share it; before it, lagging
//! or rebuilding, one reads for oneself. Behind a burst the fast ones wait for the slow ones for a moment, so that the
//! window does not leave those behind, which would read and decode everything again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app::log::{Log, LogError, Position};
use app::records::RecordBatch;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::Instant;

use crate::projector::Recorded;
use crate::read_models::ReadModel;

/// Payloads of the window, in bytes as text. Decoded they take several times that.
const WINDOW_BYTES: usize = 6 * 1024 * 1024;
/// Bytes that a read adds, about.
const READ_BYTES: usize = 2 * 1024 * 1024;
/// How long the window's end waits for a read model that still needs its beginning. One that takes longer, or has failed,
/// is left behind and reads for itself.
const WAIT_FOR_SLOW: Duration = Duration::from_secs(1);
/// What an event takes beside its payload.
const EVENT_BYTES: usize = 512;
/// Most events read at once.
const MOST_READ: i64 = 2_000;

/// Events in the order of the log, all of those between two positions.
#[derive(Debug)]
struct Window {
    /// The epoch of the log in which it was read; 0: nobody has asked yet.
    epoch: i32,
    /// The first event is the one after this.
    start: Position,
    end: Position,
    events: VecDeque<Arc<Recorded>>,
    bytes: usize,
    /// Up to where each read model has applied, and when it asked last.
    followers: BTreeMap<ReadModel, (Position, Instant)>,
}

impl Window {
    fn reset(&mut self, position: Position) {
        (self.start, self.end, self.bytes) = (position, position, 0);
        self.events.clear();
    }

    /// Whether reading on would take events from the window that a read model still needs, which has asked lately.
    fn is_needed(&self, now: Instant) -> bool {
        let lately = |asked: Instant| now.saturating_duration_since(asked) < WAIT_FOR_SLOW;
        let slow = self.followers.values().filter(|(position, asked)| *position >= self.start && lately(*asked));
        let Some(slowest) = slow.map(|(position, _)| *position).min().filter(|position| *position < self.end) else {
            return false;
        };
        let first = self.events.partition_point(|event| event.position() <= slowest);
        let needed: usize = self.events.iter().skip(first).map(|event| weight(event)).sum();
        needed + READ_BYTES > WINDOW_BYTES
    }

    fn append(&mut self, events: impl IntoIterator<Item = Arc<Recorded>>) {
        for event in events {
            self.end = event.position();
            self.bytes += weight(&event);
            self.events.push_back(event);
        }
        while self.bytes > WINDOW_BYTES
            && let Some(event) = self.events.pop_front()
        {
            self.bytes -= weight(&event);
            self.start = event.position();
        }
    }

    /// Events after a position of the window, which may be its end; `None`: the position lies before it.
    fn after(&self, position: Position, limits: Limits) -> Option<Vec<Arc<Recorded>>> {
        if position < self.start || position > self.end {
            return None;
        }
        let first = self.events.partition_point(|event| event.position() <= position);
        let mut bytes = 0;
        let fits = |event: &&Arc<Recorded>| {
            let fits = bytes < limits.bytes;
            bytes += event.bytes;
            fits
        };
        Some(self.events.iter().skip(first).take(limits.events).take_while(fits).cloned().collect())
    }
}

fn weight(event: &Recorded) -> usize {
    event.bytes + EVENT_BYTES
}

/// How much is asked for: so many events, and no more once they have so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most events.
    pub events: usize,
    /// Bytes of payload at which it ends.
    pub bytes: usize,
}

impl Limits {
    /// The same with no more than so many events.
    pub(crate) fn at_most(self, events: usize) -> Self {
        Self { events: self.events.min(events), ..self }
    }
}

/// The newest events of the log, decoded.
#[derive(Debug)]
pub struct Feed {
    window: Mutex<Window>,
    /// Held by the one who reads at the window's end.
    reading: AsyncMutex<()>,
    end: watch::Sender<Position>,
    /// Changes whenever a read model has applied what it was given.
    applied: watch::Sender<u64>,
}

impl Default for Feed {
    fn default() -> Self {
        let start = Position::START;
        let (events, followers) = (VecDeque::new(), BTreeMap::new());
        let window = Window { epoch: 0, start, end: start, events, bytes: 0, followers };
        Self {
            window: Mutex::new(window),
            reading: AsyncMutex::default(),
            end: watch::Sender::new(start),
            applied: watch::Sender::new(0),
        }
    }
}

impl Feed {
    /// Takes note of the epoch that the log is in. With a new one, a standby was promoted: what is here may have been lost, and
    /// is read again.
    pub(crate) fn enter_epoch(&self, epoch: i32) {
        let mut window = self.window();
        if epoch > window.epoch {
            if window.epoch != 0 {
                window.reset(Position::START);
            }
            window.epoch = epoch;
        }
    }

    /// Changes whenever events are added.
    pub fn end(&self) -> watch::Receiver<Position> {
        self.end.subscribe()
    }

    fn window(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds those of a batch of records that lie after the window's end, if the window's end stands directly before them.
    /// `false`: it does not, and nothing was added.
    pub fn push_records(&self, batch: RecordBatch) -> bool {
        let RecordBatch { mut previous, mut events } = batch;
        let end = self.end_position();
        let known = events.partition_point(|event| event.position <= end);
        if let Some(last) = events.drain(..known).next_back() {
            previous = last.position;
        }
        if events.is_empty() {
            return true;
        }
        // Of an earlier epoch the log may have lost them.
        let epoch = self.window().epoch;
        if events.iter().any(|event| event.position.epoch() < epoch) {
            return false;
        }
        // Between other positions lie the events of another log, or a hole.
        if previous != end {
            return false;
        }
        let events: Vec<_> = events.into_iter().map(|event| Arc::new(Recorded::from_log(event))).collect();
        let mut window = self.window();
        // Meanwhile some of them may have been read from the log.
        let known = events.partition_point(|event| event.position() <= window.end);
        let (known, news) = events.split_at(known);
        if !news.is_empty() && known.last().map_or(previous, |event| event.position()) != window.end {
            return false;
        }
        window.append(news.iter().cloned());
        let end = window.end;
        drop(window);
        if !news.is_empty() {
            self.end.send_replace(end);
        }
        true
    }

    /// Has the window begin at a position, where nothing was read yet.
    pub(crate) fn begin(&self, position: Position) {
        let mut window = self.window();
        if window.events.is_empty() && window.end < position {
            window.reset(position);
        }
    }

    /// The position of the newest event that is known here.
    pub(crate) fn end_position(&self) -> Position {
        self.window().end
    }

    /// Events after the position to which a read model has applied them, in the order of the log; none: the log ends
    /// there, for now.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn after(
        &self,
        log: &Log,
        model: ReadModel,
        position: Position,
        limits: Limits,
    ) -> Result<Vec<Arc<Recorded>>, LogError> {
        self.window().followers.insert(model, (position, Instant::now()));
        self.applied.send_modify(|count| *count = count.wrapping_add(1));
        if let Some(events) = self.at_hand(position, limits) {
            return Ok(events);
        }
        let is_behind = |window: &Window| position < window.start && !window.events.is_empty();
        if is_behind(&self.window()) {
            return read(log, position, limits.events).await;
        }
        let _reading = self.reading.lock().await;
        self.wait_for_slow().await;
        // Another may have read meanwhile, or somebody pushed.
        if let Some(events) = self.at_hand(position, limits) {
            return Ok(events);
        }
        if is_behind(&self.window()) {
            return read(log, position, limits.events).await;
        }
        let most = limits.events.min(usize::try_from(MOST_READ).unwrap_or(usize::MAX));
        let epoch = self.window().epoch;
        let events = read(log, position, most).await?;
        let mut window = self.window();
        if window.epoch != epoch {
            // They may have been read from a server that is lost.
            return Ok(Vec::new());
        }
        if window.end != position {
            // Pushed meanwhile, or nobody has followed so far yet.
            if window.end > position {
                return Ok(events);
            }
            window.reset(position);
        }
        window.append(events.iter().cloned());
        let end = window.end;
        drop(window);
        if !events.is_empty() {
            self.end.send_replace(end);
        }
        Ok(events)
    }

    async fn wait_for_slow(&self) {
        let mut applied = self.applied.subscribe();
        let until = Instant::now() + WAIT_FOR_SLOW;
        while self.window().is_needed(Instant::now()) {
            // At the end of the time the slow ones are left behind.
            if !matches!(tokio::time::timeout_at(until, applied.changed()).await, Ok(Ok(()))) {
                break;
            }
        }
    }

    fn at_hand(&self, position: Position, limits: Limits) -> Option<Vec<Arc<Recorded>>> {
        self.window().after(position, limits).filter(|events| !events.is_empty())
    }
}

/// Reads and decodes.
pub(crate) async fn read(log: &Log, position: Position, most: usize) -> Result<Vec<Arc<Recorded>>, LogError> {
    let events = log.read(position, i64::try_from(most).unwrap_or(i64::MAX)).await?;
    Ok(events.into_iter().map(|event| Arc::new(Recorded::from_log(event))).collect())
}

#[cfg(test)]
mod tests {
    use app::log::{Metadata, RecordedEvent};
    use chrono::DateTime;
    use domain::RawJson;
    use uuid::Uuid;

    use super::*;

    fn position(number: i64) -> Position {
        format!("0000000001-00000000000000000007-{number:019}").parse().unwrap()
    }

    fn batch(previous: i64, numbers: &[i64]) -> RecordBatch {
        let event = |number: &i64| RecordedEvent {
            position: position(*number),
            event_id: Uuid::from_u128(number.unsigned_abs().into()),
            aggregate_type: "worker".to_owned(),
            aggregate_id: format!("w{number}"),
            sequence: 1,
            event_type: "worker.unknown".to_owned(),
            event_version: "1".to_owned(),
            payload: RawJson::trusted("{}"),
            metadata: Metadata::default(),
            recorded_at: DateTime::UNIX_EPOCH,
        };
        RecordBatch { previous: position(previous), events: numbers.iter().map(event).collect() }
    }

    fn holds(feed: &Feed, after: i64, numbers: &[i64]) {
        let events = feed.window().after(position(after), Limits { events: 100, bytes: 1_000 }).unwrap();
        let found: Vec<_> = events.iter().map(|event| event.position()).collect();
        assert_eq!(found, numbers.iter().map(|number| position(*number)).collect::<Vec<_>>());
    }

    fn feed_from(number: i64) -> Feed {
        let feed = Feed::default();
        feed.begin(position(number));
        feed
    }

    #[test]
    fn a_batch_ends_where_it_has_enough_bytes_and_holds_one_event_at_least() {
        let feed = feed_from(3);
        let mut heavy = batch(3, &[4, 5, 6, 7]);
        for event in &mut heavy.events {
            event.payload = RawJson::trusted(format!("\"{}\"", "x".repeat(98)));
        }
        assert!(feed.push_records(heavy));
        let events = |bytes| feed.window().after(position(3), Limits { events: 100, bytes }).unwrap().len();
        assert_eq!([1, 100, 101, 200, 300, 1_000].map(events), [1, 1, 2, 2, 3, 4]);
        let few = feed.window().after(position(3), Limits { events: 2, bytes: 1_000 }).unwrap();
        assert_eq!(few.len(), 2);
    }

    #[test]
    fn records_follow_the_checkpoint_before_the_log_was_ever_read() {
        let feed = feed_from(3);
        let end = feed.end();
        assert!(feed.push_records(batch(3, &[4, 6])));
        assert!(feed.push_records(batch(6, &[7])));
        holds(&feed, 3, &[4, 6, 7]);
        assert!(end.has_changed().unwrap());
    }

    #[test]
    fn of_records_that_repeat_what_is_known_only_the_rest_is_added() {
        let feed = feed_from(3);
        assert!(feed.push_records(batch(0, &[1, 3, 4])));
        holds(&feed, 3, &[4]);
        let end = feed.end();
        assert!(feed.push_records(batch(0, &[1, 3, 4])));
        assert!(!end.has_changed().unwrap(), "nobody is woken for what is known");
        holds(&feed, 3, &[4]);
    }

    #[test]
    fn records_behind_a_hole_or_of_another_log_are_left_to_the_log() {
        let feed = feed_from(3);
        assert!(!feed.push_records(batch(4, &[5])));
        assert!(!feed.push_records(batch(1, &[2, 5])), "they pass over what is known");
        holds(&feed, 3, &[]);
        assert!(feed.push_records(batch(3, &[4, 5])));
        holds(&feed, 3, &[4, 5]);
    }
}
