//! What a running session uses at this moment, as controllers tell each other over the bus.
//!
//! The gateway hears a session's samples only while somebody looks: each open stream has a subscription of its own, which
//! ends with it. Nothing is kept. Whoever does not read misses samples, and is cut off after a while.

mod message;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bus::clock::Clock;
use bus::{Bus, subjects};
use domain::SessionId;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use self::message::Reader;
pub(crate) use self::message::{MissedSample, ShownSample};
use crate::authentication::Principal;
use crate::fair_share::{FairShare, Room};
use crate::problem::Problem;

/// Samples that wait for a client to read them. One of 300 nodes weighs about 40 KiB.
const QUEUE: usize = 8;
/// How long a client may leave its queue full before it is cut off.
const LONGEST_STANDSTILL: Duration = Duration::from_secs(30);
/// How long subscribing may take.
const LONGEST_SUBSCRIBING: Duration = Duration::from_secs(5);
/// `Retry-After` while the bus cannot be listened to.
const COME_BACK: Duration = Duration::from_secs(5);

/// What a client gets.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A sample.
    Sampled(Box<ShownSample>),
    /// A sample that could not be had, and why.
    Missed(MissedSample),
    /// The stream ends, and why.
    End(&'static str),
}

/// Streams of live samples. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LiveSamples {
    bus: Bus,
    clock: Clock,
    permits: Arc<FairShare>,
    /// Cancelled when the gateway ends: streams end with it.
    stop: CancellationToken,
}

impl LiveSamples {
    /// So many streams at once, until told to stop.
    pub(crate) fn new(bus: Bus, clock: Clock, room: Room, stop: CancellationToken) -> Self {
        Self { bus, clock, permits: Arc::new(FairShare::new("open streams of samples", room)), stop }
    }

    /// What is sampled of a session from now on.
    ///
    /// # Errors
    /// 429 when the principal has too many such streams, 503 when all have, or the bus cannot be listened to.
    pub(crate) async fn open(
        &self,
        principal: &Principal,
        session: &SessionId,
    ) -> Result<impl Stream<Item = Heard> + Send + 'static, Problem> {
        let place = self.permits.take(principal, Duration::ZERO).await?;
        let subscribing = self.bus.client().subscribe(subjects::live_samples(session.as_str()));
        let subscribed = tokio::time::timeout(LONGEST_SUBSCRIBING, subscribing).await;
        let Ok(Ok(mut messages)) = subscribed else {
            return Err(Problem::unavailable(
                "The bus that samples come by cannot be listened to.".to_owned(),
                COME_BACK,
            ));
        };
        let (queue, heard) = mpsc::channel(QUEUE);
        let farewell = Arc::new(OnceLock::new());
        let last = Arc::clone(&farewell);
        let (stop, clock) = (self.stop.clone(), self.clock.clone());
        tokio::spawn(async move {
            let gauge = metrics::gauge!("lablet_http_sample_streams");
            gauge.increment(1.0);
            let (mut reader, mut full_since) = (Reader::default(), None);
            let reason = loop {
                let message = tokio::select! {
                    message = messages.next() => message,
                    () = queue.closed() => break "the client is gone",
                    () = stop.cancelled() => break "the gateway ends",
                };
                let Some(message) = message else { break "the bus ended the subscription" };
                let Some(heard) = reader.read(&message.payload, clock.now()) else { continue };
                match queue.try_send(heard) {
                    Ok(()) => full_since = None,
                    Err(TrySendError::Closed(_)) => break "the client is gone",
                    Err(TrySendError::Full(_)) => {
                        metrics::counter!("lablet_http_samples_dropped_total").increment(1);
                        if full_since.get_or_insert_with(Instant::now).elapsed() > LONGEST_STANDSTILL {
                            break "cut off for not reading";
                        }
                    }
                }
            };
            farewell.get_or_init(|| reason);
            gauge.decrement(1.0);
            drop(place);
        });
        let end = futures_util::stream::once(async move { Heard::End(last.get().copied().unwrap_or("ended")) });
        Ok(ReceiverStream::new(heard).chain(end))
    }
}
