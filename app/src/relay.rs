//! The relay: follows the log in its order and publishes a notice of every event.
//!
//! One relay works at a time, by a lease with an epoch in Postgres; the others wait. Its checkpoint moves after the
//! acknowledgements and is fenced by the epoch. As JetStream acknowledges before it syncs, the relay remembers the
//! stream that it published to, and publishes again from the log when that was lost, wiped or rolled back.
//!
//! What consumers may rely on: every event is on the stream at least once, each notice names the position before it,
//! and in an undisturbed run they stand in the log's order. After a publish with an unknown outcome a notice may come
//! later than its successors, which their `previousposition` tells.

mod audit;
mod comparison;
mod lease;
mod nudger;

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use futures_util::StreamExt as _;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::audit::Finding;
pub use self::comparison::{Comparison, ComparisonError, compare};
pub use self::lease::{Checkpoint, Progress, progress};
use self::lease::{Lease, LeaseError};
pub use self::nudger::Nudger;
use crate::log::{Log, LogError, Position};
use crate::notice::{NoticeError, PublicUrl, announce};
use bus::streams::{EnsureError, StreamBounds};
use bus::{Backoff, Bus, streams, subjects};

/// Most events read from the log at once; what they weigh is bounded by the log.
const PAGE: i64 = 250;

/// First and longest wait before a stream that cannot store events is tried again.
const WHILE_IT_CANNOT_STORE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How a relay works.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// Where the gateway is reached from outside.
    pub public_url: PublicUrl,
    /// How much the stream of events may hold, where the relay has to create it.
    pub bounds: StreamBounds,
    /// Most publishes whose acknowledgement is awaited at a time.
    pub in_flight: usize,
    /// The log is looked at this often, whether a bell rings or not.
    pub poll: Duration,
    /// A relay that is silent for this long is taken to be dead.
    pub lease: Duration,
    /// The stream is compared with what is remembered of it this often, beside every connect and failure.
    pub audit_every: Duration,
    /// For how long a stream has to miss messages that it counts before they are taken to be lost: a server under
    /// pressure may fail to find a message for a while.
    pub confirm_loss: Duration,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            public_url: PublicUrl::default(),
            bounds: StreamBounds::default(),
            in_flight: 500,
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(6),
            audit_every: Duration::from_secs(10),
            confirm_loss: Duration::from_secs(15),
        }
    }
}

/// Why the relay had to stop and begin again. Handled inside: the relay never gives up.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// Postgres refused, or the lease is another's.
    #[error("the lease cannot be kept")]
    Lease(#[from] LeaseError),
    /// The stream is not as it should be.
    #[error("the stream of events cannot be ensured")]
    Stream(#[from] EnsureError),
    /// The stream cannot be compared with what is remembered of it.
    #[error("the stream of events cannot be looked at")]
    Audit(#[source] Box<dyn Error + Send + Sync>),
    /// A publish failed, or its outcome is unknown. It is sent again with the same message id.
    #[error("event {event_id} was not acknowledged")]
    Publish {
        /// The event.
        event_id: Uuid,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The stream answered that it does not take an event, e.g. because its store is full.
    #[error("the stream cannot store event {event_id}")]
    Refused {
        /// The event.
        event_id: Uuid,
        /// What JetStream says.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The stream acknowledged with a sequence that it cannot have: it is another one.
    #[error("the stream acknowledged sequence {got} after {last}: it was replaced")]
    Replaced {
        /// The sequence.
        got: i64,
        /// The one before.
        last: i64,
    },
    /// An event cannot be told of.
    #[error("no notice can be made of event {event_id}")]
    Notice {
        /// The event.
        event_id: Uuid,
        /// Why.
        #[source]
        source: NoticeError,
    },
}

/// Publishes the log to the bus.
pub struct Relay {
    log: Log,
    bus: Bus,
    options: RelayOptions,
    holder: String,
}

/// What ends an undisturbed stretch of publishing.
enum Pause {
    Stopped,
    LookAtTheStream,
}

/// What a relay that works remembers of the stream's troubles.
#[derive(Default)]
struct Troubles {
    /// Since when the stream misses messages that it counts.
    missing_since: Option<Instant>,
    /// What was noted to hinder it.
    hindrance: Option<String>,
}

/// A notice that was sent and not yet acknowledged.
struct Sent {
    position: Position,
    event_id: Uuid,
    acknowledgement: PublishAckFuture,
}

impl Relay {
    /// A relay from this log to this bus.
    pub fn new(log: Log, bus: Bus, options: RelayOptions) -> Self {
        describe_counter!("lablet_relay_published_total", Unit::Count, "Events that the bus acknowledged");
        describe_counter!("lablet_relay_republished_total", Unit::Count, "Of them those published again after a loss");
        describe_counter!(
            "lablet_relay_losses_total",
            Unit::Count,
            "How often the stream was found lost or rolled back"
        );
        describe_gauge!("lablet_relay_lag_seconds", Unit::Seconds, "Age of the oldest event that is not yet published");
        describe_gauge!("lablet_relay_leading", "1 where this process is the relay that works");
        describe_gauge!("lablet_relay_hindered", "1 while the stream cannot store events, or has lost them");
        let holder = format!("{}-{}", std::process::id(), log.id_generator().uuid());
        Self { log, bus, options, holder }
    }

    /// Works until `stop` is cancelled. Everything that fails is logged and tried again with back-off.
    ///
    /// # Errors
    /// None at present; the type leaves room.
    pub async fn run(self, stop: CancellationToken) -> Result<(), RelayError> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !stop.is_cancelled() {
            let lease = match Lease::acquire(self.log.pool(), &self.holder, self.options.lease).await {
                Ok(Some(lease)) => lease,
                Ok(None) => {
                    wait(self.options.lease / 3, &stop).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "the relay cannot ask for its lease; trying again");
                    wait(backoff.next_wait(), &stop).await;
                    continue;
                }
            };
            tracing::info!(epoch = lease.epoch(), position = %lease.checkpoint().position, "the relay works");
            gauge!("lablet_relay_leading").set(1.0);
            self.lead(lease, &mut backoff, &stop).await;
            gauge!("lablet_relay_leading").set(0.0);
        }
        Ok(())
    }

    /// Works as long as the lease is held.
    async fn lead(&self, mut lease: Lease, backoff: &mut Backoff, stop: &CancellationToken) {
        let mut troubles = Troubles::default();
        let mut cannot_store = Backoff::new(WHILE_IT_CANNOT_STORE.0, WHILE_IT_CANNOT_STORE.1);
        let mut acknowledged = lease.checkpoint().position;
        // A relay before this one may have left its note.
        let mut noted = self.note_hindrance(&mut lease, &mut troubles, None).await;
        loop {
            if noted.is_ok() {
                match self.publish(&mut lease, backoff, &mut troubles, stop).await {
                    Ok(Pause::Stopped) => {
                        if let Err(error) = lease.release().await {
                            tracing::warn!(
                                error = &error as &dyn Error,
                                "the relay's lease was not given back; it runs out"
                            );
                        }
                        return;
                    }
                    Ok(Pause::LookAtTheStream) => {}
                    Err(RelayError::Lease(LeaseError::Lost { epoch })) => {
                        tracing::warn!(epoch, "another relay works now");
                        return;
                    }
                    Err(error) => {
                        if lease.checkpoint().position != acknowledged {
                            acknowledged = lease.checkpoint().position;
                            cannot_store.reset();
                        }
                        let delay = match &error {
                            // The stream is there and says that it cannot: it is waited for, and never thrown away.
                            RelayError::Refused { source, .. } => {
                                noted = self.note_hindrance(&mut lease, &mut troubles, Some(in_words(&**source))).await;
                                cannot_store.next_wait()
                            }
                            _ => backoff.next_wait(),
                        };
                        tracing::warn!(error = &error as &dyn Error, "the relay begins again from its checkpoint");
                        self.wait_leading(&mut lease, delay, stop).await;
                    }
                }
            }
            if let Err(error) = &noted {
                tracing::warn!(error = error as &dyn Error, "the relay's trouble was not noted");
                wait(backoff.next_wait(), stop).await;
            }
            noted = match lease.renew().await {
                Ok(()) => Ok(()),
                Err(LeaseError::Lost { epoch }) => {
                    tracing::warn!(epoch, "the relay's lease was not renewed");
                    return;
                }
                Err(error) => Err(error),
            };
            if stop.is_cancelled() && noted.is_err() {
                return;
            }
        }
    }

    /// Waits, and keeps the lease meanwhile.
    async fn wait_leading(&self, lease: &mut Lease, delay: Duration, stop: &CancellationToken) {
        let until = Instant::now() + delay;
        while Instant::now() < until && !stop.is_cancelled() {
            wait((until - Instant::now()).min(self.options.lease / 3), stop).await;
            if let Err(error) = lease.renew_when_due().await {
                tracing::warn!(error = &error as &dyn Error, "the relay's lease was not renewed");
                return;
            }
        }
    }

    /// Notes what hinders, for operators, where that is news; raises the alarm, and ends it.
    async fn note_hindrance(
        &self,
        lease: &mut Lease,
        troubles: &mut Troubles,
        hindrance: Option<String>,
    ) -> Result<(), LeaseError> {
        gauge!("lablet_relay_hindered").set(if hindrance.is_some() { 1.0 } else { 0.0 });
        match &hindrance {
            Some(hindrance) => {
                tracing::error!(stream = streams::EVENTS, hindrance, "stream of events cannot store; waiting for it");
            }
            None if troubles.hindrance.is_some() => {
                tracing::info!(stream = streams::EVENTS, "stream of events stores again");
            }
            None => {}
        }
        lease.note_hindrance(hindrance.as_deref()).await?;
        troubles.hindrance = hindrance;
        Ok(())
    }

    /// Looks whether the stream still has the messages that it counts. Only where it has missed them for a while is it
    /// replaced: the stream is a copy, but others' consumers hang on it.
    async fn look_for_lost_messages(&self, lease: &mut Lease, troubles: &mut Troubles) -> Result<(), RelayError> {
        if !streams::misses_its_first_message(&self.bus, streams::EVENTS).await.map_err(RelayError::Audit)? {
            troubles.missing_since = None;
            return Ok(());
        }
        let since = *troubles.missing_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.options.confirm_loss {
            tracing::warn!(stream = streams::EVENTS, "stream misses messages that it counts; looking again");
            return Ok(());
        }
        if !lease.may_replace_the_stream().await? {
            let hindrance = format!(
                "the stream lost its messages again within an hour; `lablet bus replace {}` replaces it",
                streams::EVENTS
            );
            return Ok(self.note_hindrance(lease, troubles, Some(hindrance)).await?);
        }
        tracing::error!(stream = streams::EVENTS, "stream has lost messages that it counts; replacing it");
        streams::replace(&self.bus, streams::EVENTS, &self.options.bounds).await?;
        troubles.missing_since = None;
        Ok(())
    }

    /// Looks at the stream, then publishes until something asks for another look.
    async fn publish(
        &self,
        lease: &mut Lease,
        backoff: &mut Backoff,
        troubles: &mut Troubles,
        stop: &CancellationToken,
    ) -> Result<Pause, RelayError> {
        let mut connects = self.bus.connects();
        connects.mark_unchanged();
        let before_loss = lease.checkpoint().position;
        self.look_at_the_stream(lease, troubles).await?;
        let again_until = (lease.checkpoint().position < before_loss).then_some(before_loss);
        // Nudges that come while a page is on its way are kept by the subscription.
        let mut nudges = match self.bus.client().subscribe(subjects::NUDGE_LOG).await {
            Ok(subscriber) => subscriber.fuse(),
            Err(error) => return Err(RelayError::Audit(Box::new(error))),
        };
        let mut appended = self.log.appended();
        let look_again = Instant::now() + self.options.audit_every;
        loop {
            appended.mark_unchanged();
            let published = self.publish_page(lease, again_until).await?;
            backoff.reset();
            if published > 0 && troubles.missing_since.is_none() && troubles.hindrance.is_some() {
                self.note_hindrance(lease, troubles, None).await?;
            }
            if stop.is_cancelled() {
                return Ok(Pause::Stopped);
            }
            if connects.has_changed().unwrap_or(true) || Instant::now() >= look_again {
                return Ok(Pause::LookAtTheStream);
            }
            // A page ends by its bytes too: only an empty one says that there is nothing more.
            if published > 0 {
                continue;
            }
            // Nothing to see is not yet nothing to do: an open transaction may keep events from every reader.
            gauge!("lablet_relay_lag_seconds").set(self.log.visibility().await?.lag_seconds());
            lease.renew_when_due().await?;
            let poll = Instant::now() + self.options.poll;
            tokio::select! {
                () = stop.cancelled() => return Ok(Pause::Stopped),
                _ = timeout_at(poll, ring(&mut appended)) => {}
                _ = nudges.next() => {}
                _ = connects.changed() => return Ok(Pause::LookAtTheStream),
            }
        }
    }

    /// Makes sure that the stream is there, and moves the checkpoint back where events are missing from it.
    async fn look_at_the_stream(&self, lease: &mut Lease, troubles: &mut Troubles) -> Result<(), RelayError> {
        streams::ensure_events(&self.bus, &self.options.bounds).await?;
        self.look_for_lost_messages(lease, troubles).await?;
        let info = streams::ensure_events(&self.bus, &self.options.bounds).await?;
        let seen = audit::look(&self.bus, &info, lease.checkpoint()).await.map_err(RelayError::Audit)?;
        let finding = audit::judge(lease.checkpoint(), &seen);
        let resume_from = match finding {
            Finding::Intact => return Ok(()),
            Finding::Unused | Finding::Lost => Position::START,
            Finding::RolledBack { last_event } => match last_event {
                Some(event_id) => self.log.event(event_id).await?.map_or(Position::START, |event| event.position),
                None => Position::START,
            },
        };
        if finding != Finding::Unused {
            counter!("lablet_relay_losses_total").increment(1);
            tracing::error!(
                ?finding,
                published = %lease.checkpoint().position,
                from = %resume_from,
                "the stream of events lost what was acknowledged; publishing again from the log"
            );
        }
        Ok(lease.begin_again(resume_from, &seen, finding != Finding::Unused).await?)
    }

    /// Publishes the next page; answers how many events it had. The checkpoint moves once all are acknowledged.
    async fn publish_page(&self, lease: &mut Lease, again_until: Option<Position>) -> Result<usize, RelayError> {
        let mut previous = lease.checkpoint().position;
        let page = self.log.read(previous, PAGE).await?;
        let Some(oldest) = page.first() else { return Ok(0) };
        let age = self.log.clock().now() - oldest.recorded_at;
        gauge!("lablet_relay_lag_seconds").set(age.as_seconds_f64().max(0.0));
        let mut in_flight: VecDeque<Sent> = VecDeque::with_capacity(self.options.in_flight);
        let mut checkpoint = lease.checkpoint().clone();
        for event in &page {
            if in_flight.len() >= self.options.in_flight.clamp(1, bus::connect::MOST_IN_FLIGHT)
                && let Some(oldest) = in_flight.pop_front()
            {
                settle(oldest, &mut checkpoint).await?;
            }
            let notice = announce(event, previous, &self.options.public_url)
                .map_err(|source| RelayError::Notice { event_id: event.event_id, source })?;
            let message = PublishMessage::build()
                .headers(notice.headers)
                .expected_stream(streams::EVENTS)
                .payload(notice.payload);
            let acknowledgement = self
                .bus
                .jetstream()
                .send_publish(notice.subject, message)
                .await
                .map_err(|source| RelayError::Publish { event_id: event.event_id, source: Box::new(source) })?;
            in_flight.push_back(Sent { position: event.position, event_id: event.event_id, acknowledgement });
            previous = event.position;
        }
        for sent in in_flight {
            settle(sent, &mut checkpoint).await?;
        }
        lease.save(checkpoint).await?;
        counter!("lablet_relay_published_total").increment(page.len() as u64);
        if let Some(until) = again_until {
            let again = page.iter().filter(|event| event.position <= until).count();
            counter!("lablet_relay_republished_total").increment(again as u64);
        }
        Ok(page.len())
    }
}

/// Waits for one acknowledgement and moves the checkpoint to its event.
async fn settle(sent: Sent, checkpoint: &mut Checkpoint) -> Result<(), RelayError> {
    let Sent { position, event_id, acknowledgement } = sent;
    let acknowledged = acknowledgement.await.map_err(|error| match error.kind() {
        // The server answered, and with none of the refusals that have a name of their own.
        PublishErrorKind::Other => RelayError::Refused { event_id, source: Box::new(error) },
        _ => RelayError::Publish { event_id, source: Box::new(error) },
    })?;
    let sequence = i64::try_from(acknowledged.sequence)
        .map_err(|error| RelayError::Publish { event_id, source: Box::new(error) })?;
    if let Some(last) = checkpoint.acked_sequence
        && sequence <= last
        && !acknowledged.duplicate
    {
        return Err(RelayError::Replaced { got: sequence, last });
    }
    // A duplicate is acknowledged with the sequence that the first one had, or with none by old servers.
    if !acknowledged.duplicate || checkpoint.acked_sequence.is_none_or(|last| sequence > last) {
        checkpoint.acked_sequence = Some(sequence);
        checkpoint.event_id = Some(event_id);
    }
    checkpoint.position = position;
    Ok(())
}

/// What a stream's refusal says, without what is said of every refusal.
fn in_words(refusal: &(dyn Error + 'static)) -> String {
    refusal.source().map_or_else(|| refusal.to_string(), ToString::to_string)
}

/// Resolves when this process has appended; never when the log is gone.
async fn ring(appended: &mut watch::Receiver<u64>) {
    if appended.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn wait(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}
