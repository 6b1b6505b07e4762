//! One client of the stream: catches up from the log, then goes along with the follower.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use app::log::{Log, Position};
use app::notice::PublicUrl;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::Streams;
use super::entry::{Entry, Filter};
use super::follower::{self, Follower, Live};
use crate::authentication::Principal;
use crate::problem::Problem;

/// Entries that wait for a client to read them, of at most 64 KiB each.
const QUEUE: usize = 8;

/// How long a client may leave its queue full before it is cut off.
const LONGEST_STANDSTILL: Duration = Duration::from_secs(30);

/// Why a stream ends that the gateway ends.
const ENDS: &str = "the gateway ends; resume with Last-Event-ID";

/// What a client gets.
pub(crate) enum Frame {
    /// The stream is open.
    Hello,
    /// An event.
    Entry(Arc<Entry>),
    /// The stream ends, and why.
    End(&'static str),
}

/// Opens a stream of what comes `after`, or from now on.
///
/// # Errors
/// 429 when the principal has too many streams, 503 when all have, or the log cannot be read.
pub(crate) async fn open(
    streams: &Streams,
    principal: &Principal,
    after: Option<Position>,
    filter: Filter,
) -> Result<impl Stream<Item = Frame> + Send + 'static, Problem> {
    let place = streams.permits.take(principal, Duration::ZERO).await?;
    let after = match after {
        Some(after) => after,
        None => follower::head(&streams.log).await?,
    };
    let (queue, frames) = mpsc::channel(QUEUE);
    let farewell = Arc::new(OnceLock::new());
    let client = Client {
        log: streams.log.clone(),
        follower: streams.follower.clone(),
        filter,
        cursor: after,
        public_url: streams.public_url.clone(),
        queue,
        farewell: Arc::clone(&farewell),
        stop: streams.stop.clone(),
    };
    tokio::spawn(async move {
        let gauge = metrics::gauge!("lablet_http_streams");
        gauge.increment(1.0);
        client.run().await;
        gauge.decrement(1.0);
        drop(place);
    });
    // The farewell needs no room in the queue, so that also a client whose queue is full gets it.
    let last = futures_util::stream::once(async move { Frame::End(farewell.get().copied().unwrap_or("ended")) });
    Ok(ReceiverStream::new(frames).chain(last))
}

struct Client {
    log: Log,
    follower: Follower,
    filter: Filter,
    cursor: Position,
    public_url: PublicUrl,
    queue: mpsc::Sender<Frame>,
    farewell: Arc<OnceLock<&'static str>>,
    stop: CancellationToken,
}

/// Why a stream is over.
enum Over {
    /// The client is gone; there is nobody to tell.
    Gone,
    /// The client is told why.
    Because(&'static str),
}

impl Client {
    async fn run(mut self) {
        let stop = self.stop.clone();
        let over = tokio::select! {
            over = self.follow() => over,
            () = stop.cancelled() => Over::Because("the gateway ends; resume with Last-Event-ID"),
        };
        if let Over::Because(reason) = over {
            self.farewell.get_or_init(|| reason);
        }
    }

    async fn follow(&mut self) -> Over {
        if self.queue.send(Frame::Hello).await.is_err() {
            return Over::Gone;
        }
        loop {
            // Listening begins before the log is read, so nothing falls between the two.
            let mut live = self.follower.subscribe();
            if let Err(over) = self.catch_up().await {
                return over;
            }
            loop {
                let received = tokio::select! {
                    received = live.recv() => received,
                    () = self.queue.closed() => return Over::Gone,
                };
                match received {
                    Ok(Live::From(position)) if position > self.cursor => break,
                    Ok(Live::From(_)) => {}
                    Ok(Live::Entry(entry)) if entry.position <= self.cursor => {}
                    Ok(Live::Entry(entry)) => {
                        if let Err(over) = self.send(entry).await {
                            return over;
                        }
                    }
                    // The buffer was overwritten while this client was slow: the log has what it missed.
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Over::Because(ENDS),
                }
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), Over> {
        loop {
            let Ok(permit) = self.follower.permit().await else { return Err(Over::Because(ENDS)) };
            let page = match follower::page(&self.log, self.cursor, follower::PAGE, &self.public_url).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "event stream ended: the log cannot be read"
                    );
                    return Err(Over::Because("the log cannot be read; resume with Last-Event-ID"));
                }
            };
            drop(permit);
            if page.is_empty() {
                return Ok(());
            }
            for entry in page {
                self.send(Arc::new(entry)).await?;
            }
        }
    }

    async fn send(&mut self, entry: Arc<Entry>) -> Result<(), Over> {
        self.cursor = entry.position;
        if !self.filter.wants(&entry) {
            return Ok(());
        }
        match tokio::time::timeout(LONGEST_STANDSTILL, self.queue.send(Frame::Entry(entry))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over::Gone),
            Err(_) => Err(Over::Because("cut off for not reading; resume with Last-Event-ID")),
        }
    }
}
