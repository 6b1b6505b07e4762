//! The one reader of the log that all clients of the stream go along with. While there are none, it reads nothing.

use std::sync::Arc;
use std::time::Duration;

use app::log::{Log, LogError, Position, RecordedEvent};
use app::notice::{PublicUrl, announce, cloud_event_type};
use projections::Projections;
use tokio::sync::{AcquireError, Notify, Semaphore, SemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use crate::problem::Problem;

/// Entries that the follower keeps for clients that are not yet there. An entry has at most 64 KiB; whoever falls
/// behind further reads the log.
const BUFFER: usize = 128;

/// Most events read at once.
pub(super) const PAGE: i64 = 64;

/// Most bytes of entries that are made at once; what is left of a page is read again.
const RENDERED_BYTES: usize = 256 * 1024;

/// Clients that catch up make their entries a few at a time: until they are made, each holds a page of the log.
const CATCHING_UP: usize = 4;

/// How long the follower waits for a wake-up signal before it looks anyway.
const POLL: Duration = Duration::from_secs(1);

/// How long it waits after the log could not be read.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Fans the log out.
#[derive(Clone)]
pub(crate) struct Follower {
    sender: broadcast::Sender<Live>,
    /// Somebody listens.
    subscribed: Arc<Notify>,
    catching_up: Arc<Semaphore>,
}

/// What those who listen get.
#[derive(Debug, Clone)]
pub(crate) enum Live {
    /// The follower reads on from here: what a client misses before it, the log has.
    From(Position),
    /// The next event.
    Entry(Arc<Entry>),
}

impl Follower {
    /// A follower that nobody goes along with yet.
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(BUFFER),
            subscribed: Arc::default(),
            catching_up: Arc::new(Semaphore::new(CATCHING_UP)),
        }
    }

    /// A permit to catch up, of which there are few.
    ///
    /// # Errors
    /// There will be none any more.
    pub(super) async fn permit(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.catching_up.acquire().await
    }

    /// What comes from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Live> {
        let live = self.sender.subscribe();
        self.subscribed.notify_one();
        live
    }

    /// Follows the log until told to stop. It waits for a log that cannot be reached.
    pub(crate) async fn run(&self, log: Log, reads: Projections, public_url: PublicUrl, stop: CancellationToken) {
        if stop.run_until_cancelled(self.follow(&log, &reads, &public_url)).await.is_none() {
            tracing::debug!("stream follower stopped");
        }
    }

    async fn follow(&self, log: &Log, reads: &Projections, public_url: &PublicUrl) {
        let (mut appended, mut moved) = (log.appended(), reads.moved());
        let mut cursor = None;
        loop {
            if self.sender.receiver_count() == 0 {
                cursor = None;
                self.subscribed.notified().await;
                continue;
            }
            appended.mark_unchanged();
            moved.mark_unchanged();
            match self.advance(log, public_url, cursor).await {
                Ok((next, more)) => {
                    cursor = Some(next);
                    if more {
                        continue;
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "stream follower cannot read the log, retrying"
                    );
                    tokio::time::sleep(AFTER_FAILURE).await;
                    continue;
                }
            }
            // The first signal, or the poll: a signal whose sender is gone never comes.
            tokio::select! {
                Ok(()) = appended.changed() => {}
                Ok(()) = moved.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Sends what is new; answers where it is now, and whether there may be more.
    async fn advance(
        &self,
        log: &Log,
        public_url: &PublicUrl,
        cursor: Option<Position>,
    ) -> Result<(Position, bool), LogError> {
        let Some(mut cursor) = cursor else {
            let head = log.head().await?;
            self.send(Live::From(head));
            return Ok((head, true));
        };
        let page = page(log, cursor, PAGE, public_url).await?;
        let more = !page.is_empty();
        for entry in page {
            cursor = entry.position;
            self.send(Live::Entry(Arc::new(entry)));
        }
        Ok((cursor, more))
    }

    fn send(&self, live: Live) {
        // Nobody listens any more: then nobody misses anything.
        drop(self.sender.send(live));
    }
}

/// Where the log ends.
///
/// # Errors
/// 503 when the log does not answer.
pub(crate) async fn head(log: &Log) -> Result<Position, Problem> {
    log.head().await.map_err(|error| projections::ReadError::Log(error).into())
}

/// The next entries after a position, at most `limit`, few where they are large. None where there is nothing more.
///
/// # Errors
/// The log does not answer.
pub(super) async fn page(
    log: &Log,
    after: Position,
    limit: i64,
    public_url: &PublicUrl,
) -> Result<Vec<Entry>, LogError> {
    let (mut previous, mut bytes) = (after, 0);
    let mut entries = Vec::new();
    for event in log.read(after, limit).await? {
        let json = render(&event, previous, public_url);
        previous = event.position;
        bytes += json.len();
        entries.push(Entry {
            position: event.position,
            definition_id: event.payload.text_member("definition_id"),
            aggregate_type: event.aggregate_type,
            aggregate_id: event.aggregate_id,
            event_type: cloud_event_type(&event.event_type, &event.event_version),
            json,
        });
        if bytes >= RENDERED_BYTES {
            break;
        }
    }
    Ok(entries)
}

/// The notice that goes out on the bus too: a CloudEvent of bounded size.
fn render(event: &RecordedEvent, previous: Position, public_url: &PublicUrl) -> String {
    match announce(event, previous, public_url) {
        Ok(notice) => String::from_utf8_lossy(&notice.payload).into_owned(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, event.id = %event.event_id, "event cannot be rendered as a notice");
            serde_json::json!({ "id": event.event_id, "dataref": public_url.event_data(event.event_id) }).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::RecvError;

    use super::*;

    #[tokio::test]
    async fn the_buffer_keeps_the_newest_and_says_how_many_a_slow_client_missed() {
        let follower = Follower::new();
        let mut slow = follower.subscribe();
        let at = |number| -> Position { format!("0000000001-00000000000000000001-{number:019}").parse().unwrap() };
        for number in 0..7 + BUFFER {
            follower.send(Live::From(at(number)));
        }
        assert!(matches!(slow.recv().await, Err(RecvError::Lagged(7))));
        assert_eq!(slow.len(), BUFFER);
        assert!(matches!(slow.recv().await, Ok(Live::From(position)) if position == at(7)));
    }
}
