//! Reads the log ahead of what is published, and writes the notices meanwhile.
//!
//! Two tasks, so that a page is read while the one before is written down and the one before that is acknowledged.
//! What they have in hand is bounded in bytes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{RelayError, RelayOptions, woken};
use crate::log::{Log, Position, RecordedEvent};
use crate::notice::{Notice, PublicUrl, announce};
use crate::records;
use bus::{Backoff, Bus, subjects};

/// Most events read from the log at once; the log bounds their bytes.
const PAGE: i64 = 1_000;
/// Most bytes of payloads that were read and are not yet handed to the connection.
const AHEAD_BYTES: usize = 8 * 1024 * 1024;
/// Notices that are handed over together.
const CHUNK: usize = 64;
/// Wait before the log is read again after a wake-up signal without an event: it may wait for an older transaction.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// The next step of the relay, in the log's order.
pub(super) enum Prepared {
    /// Notices to publish. The permit bounds what is in hand; it is shared by the chunks of a page.
    Notices(Vec<Notice>, Arc<OwnedSemaphorePermit>),
    /// Everything that readers of the log may see was handed over.
    CaughtUp,
}

/// A page of the log whose notices are to be written.
enum Read {
    Page { previous: Position, events: Vec<RecordedEvent>, room: OwnedSemaphorePermit },
    CaughtUp,
}

/// The tasks that read and write ahead. They end with this value.
pub(super) struct ReadAhead {
    ahead: mpsc::Receiver<Result<Prepared, RelayError>>,
    _tasks: JoinSet<()>,
}

impl ReadAhead {
    /// Reads from a position on.
    pub(super) fn start(log: &Log, bus: &Bus, options: &RelayOptions, from: Position) -> Self {
        let (read, pages) = mpsc::channel(2);
        let (written, ahead) = mpsc::channel(4);
        let mut tasks = JoinSet::new();
        let reader = Reader { log: log.clone(), bus: bus.clone(), poll: options.poll, pages: read };
        tasks.spawn(reader.run(from));
        tasks.spawn(write(pages, written, options.public_url.clone()));
        Self { ahead, _tasks: tasks }
    }

    /// What comes next. `None` only where a task was ended from outside.
    pub(super) async fn next(&mut self) -> Option<Result<Prepared, RelayError>> {
        self.ahead.recv().await
    }
}

struct Reader {
    log: Log,
    bus: Bus,
    poll: Duration,
    pages: mpsc::Sender<Result<Read, RelayError>>,
}

impl Reader {
    async fn run(self, from: Position) {
        if let Err(error) = self.read(from).await {
            // A receiver that is gone has no use for the failure.
            let _ = self.pages.send(Err(error)).await;
        }
    }

    async fn read(&self, from: Position) -> Result<(), RelayError> {
        // Wake-up signals that come while a page is on its way are kept by the subscription.
        let mut signals = match self.bus.nudges(subjects::NUDGE_LOG).await {
            Ok(signals) => signals.fuse(),
            Err(error) => return Err(RelayError::Audit(Box::new(error))),
        };
        let room = Arc::new(Semaphore::new(AHEAD_BYTES));
        let mut appended = self.log.appended();
        let mut looks = Backoff::new(FIRST_LOOK, self.poll);
        let mut previous = from;
        loop {
            appended.mark_unchanged();
            let page = self.log.read_page(previous, PAGE).await?;
            let may_hold_more = page.more;
            if let Some((oldest, newest)) = page.events.first().zip(page.events.last()) {
                let age = self.log.clock().now() - oldest.recorded_at;
                gauge!("lablet_relay_lag_seconds").set(age.as_seconds_f64().max(0.0));
                let newest = newest.position;
                records::publish(&self.bus, previous, &page.events, self.log.clock().now()).await;
                let bytes: usize = page.events.iter().map(|event| event.payload.bytes()).sum();
                let wanted = u32::try_from(bytes.clamp(1, AHEAD_BYTES)).unwrap_or(u32::MAX);
                let Ok(room) = room.clone().acquire_many_owned(wanted).await else { return Ok(()) };
                if self.pages.send(Ok(Read::Page { previous, events: page.events, room })).await.is_err() {
                    return Ok(());
                }
                previous = newest;
                looks.reset();
            }
            if may_hold_more {
                continue;
            }
            if self.pages.send(Ok(Read::CaughtUp)).await.is_err() {
                return Ok(());
            }
            let wait = looks.next_wait();
            if wait >= self.poll / 2 {
                // No visible event does not mean no event: an open transaction may keep events from every reader.
                gauge!("lablet_relay_lag_seconds").set(self.log.visibility().await?.lag_seconds());
            }
            let signal = async {
                tokio::select! {
                    () = woken(&mut appended) => {}
                    _ = signals.next() => {}
                }
            };
            if timeout(wait, signal).await.is_ok() {
                looks.reset();
            }
        }
    }
}

/// Writes notices of pages until there are no more pages, or nobody takes notices any more.
async fn write(
    mut pages: mpsc::Receiver<Result<Read, RelayError>>,
    written: mpsc::Sender<Result<Prepared, RelayError>>,
    public_url: PublicUrl,
) {
    while let Some(read) = pages.recv().await {
        let (mut previous, events, room) = match read {
            Ok(Read::Page { previous, events, room }) => (previous, events, Arc::new(room)),
            Ok(Read::CaughtUp) => {
                if written.send(Ok(Prepared::CaughtUp)).await.is_err() {
                    return;
                }
                continue;
            }
            Err(error) => {
                let _ = written.send(Err(error)).await;
                return;
            }
        };
        for events in events.chunks(CHUNK) {
            let mut notices = Vec::with_capacity(events.len());
            for event in events {
                match announce(event, previous, &public_url) {
                    Ok(notice) => notices.push(notice),
                    Err(source) => {
                        let error = RelayError::Notice { event_id: event.event_id, source };
                        // What is before it can be published all the same.
                        let _ = written.send(Ok(Prepared::Notices(notices, room))).await;
                        let _ = written.send(Err(error)).await;
                        return;
                    }
                }
                previous = event.position;
            }
            if written.send(Ok(Prepared::Notices(notices, room.clone()))).await.is_err() {
                return;
            }
        }
    }
}
