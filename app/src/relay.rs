//! The relay: follows the log in its order and publishes a notice of every event.
//!
//! One relay is active at a time, by a lease with an epoch in Postgres; the others wait. Its checkpoint moves after the
//! acknowledgements and is fenced by the epoch. As JetStream acknowledges before it syncs, the relay remembers the
//! stream that it published to, and publishes again from the log when that was lost, wiped or rolled back.
//!
//! What consumers may rely on: every event is on the stream at least once, and each notice names the position before
//! it. They stand in the log's order: each publish names the message that has to be the last one, so that none overtakes
//! a publish that was lost, or begins a stream that was replaced meanwhile.
//!
//! Reading, writing notices and waiting for acknowledgements overlap: see `read_ahead` and `window`.

mod audit;
mod checkpoint;
mod comparison;
mod lease;
mod lost;
mod nudger;
mod read_ahead;
mod repair;
mod window;

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::audit::Finding;
pub use self::comparison::{Comparison, ComparisonError, compare};
pub use self::lease::{Progress, progress};
use self::lease::{RelayLease, SavedCheckpoint, Saving};
pub use self::nudger::Nudger;
use self::read_ahead::{Prepared, ReadAhead};
pub use self::repair::{LostEvent, Repair, RepairError, RepairReport, empty_records, repair};
use self::window::{Acknowledgements, Window};
use crate::lease::LeaseError;
use crate::log::{Log, LogError, Position, current_epoch};
use crate::notice::{NoticeError, PublicUrl};
use bus::streams::{EnsureError, StreamBounds};
use bus::{Backoff, Bus, streams};

/// The checkpoint is saved at most this often while events are published.
const SAVE_EVERY: Duration = Duration::from_millis(100);

/// First and longest wait before a stream that cannot store events is tried again.
const WHILE_IT_CANNOT_STORE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Settings of the relay.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// Where the gateway is reached from outside.
    pub public_url: PublicUrl,
    /// How much the stream of events may hold, where the relay has to create it.
    pub bounds: StreamBounds,
    /// Most publishes whose acknowledgement is awaited at a time.
    pub in_flight: usize,
    /// Interval at which the log is read without a wake-up signal.
    pub poll: Duration,
    /// A relay loses its lease after this time without renewal.
    pub lease: Duration,
    /// Interval at which the stream is compared with the checkpoint, beside every connect and failure.
    pub audit_every: Duration,
    /// How long a stream has to miss messages that it counts before they are considered lost: a server under pressure may
    /// fail to find a message for a while.
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

/// Why the relay has to restart; [`Relay::run`] handles it and never gives up.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// Postgres refused, or another relay holds the lease.
    #[error("the lease cannot be held")]
    Lease(#[from] LeaseError),
    /// The stream could not be ensured.
    #[error("the stream of events cannot be ensured")]
    Stream(#[from] EnsureError),
    /// The stream cannot be compared with the checkpoint.
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
    /// The last message of the stream is not the one before this event: it was replaced, or a publish was lost.
    #[error("event {event_id} does not follow the last message of the stream")]
    OutOfOrder {
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
    /// What a promotion lost could not be looked for.
    #[error("lost events cannot be looked for")]
    Lost(#[from] lost::LookError),
    /// No notice can be made of an event.
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

/// Why publishing paused.
enum Pause {
    Stopped,
    CheckStream,
    /// The stream lost something: the checkpoint was moved back.
    Restarted,
}

/// Outcome of a check of the stream.
struct StreamCheck {
    last_sequence: u64,
    restarted: bool,
}

/// The stream's faults, as the active relay knows them.
#[derive(Default)]
struct Troubles {
    /// Whether events were looked for under this lease that a promotion lost.
    looked_for_lost: bool,
    /// Since when the stream misses messages that it counts.
    missing_since: Option<Instant>,
    /// The recorded hindrance.
    hindrance: Option<String>,
    /// Events up to this position were published before the stream lost them.
    again_until: Option<Position>,
    /// Why there is no stream of records, as last logged.
    records_cause: Option<String>,
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
        // There from the start: of a counter that begins at 1, nobody sees the increase.
        counter!("lablet_relay_losses_total").increment(0);
        describe_counter!(
            "lablet_log_lost_events_total",
            Unit::Count,
            "Events that were published and lost, as a standby was promoted that lacked them"
        );
        counter!("lablet_log_lost_events_total").increment(0);
        describe_counter!(
            "lablet_relay_records_total",
            Unit::Count,
            "Events that were written in full for read models"
        );
        describe_gauge!("lablet_relay_lag_seconds", Unit::Seconds, "Age of the oldest event that is not yet published");
        describe_gauge!("lablet_relay_leading", "1 where this process holds the lease of the relay");
        describe_gauge!("lablet_relay_hindered", "1 while the stream cannot store events, or has lost them");
        let holder = format!("{}-{}", std::process::id(), log.id_generator().uuid());
        Self { log, bus, options, holder }
    }

    /// Runs until `stop` is cancelled. Failures are logged and retried with back-off.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !stop.is_cancelled() {
            let lease = match self.acquire_lease().await {
                Ok(Some(lease)) => lease,
                Ok(None) => {
                    wait(self.options.lease / 3, &stop).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "lease not acquired, retrying");
                    wait(backoff.next_wait(), &stop).await;
                    continue;
                }
            };
            tracing::info!(epoch = lease.epoch(), position = %lease.checkpoint().position, "relay started");
            gauge!("lablet_relay_leading").set(1.0);
            self.lead(lease, &mut backoff, &stop).await;
            gauge!("lablet_relay_leading").set(0.0);
        }
    }

    /// The lease, unless another relay holds it. In a deployment where nobody appends, the relay is who begins the epoch after a
    /// promotion.
    async fn acquire_lease(&self) -> Result<Option<RelayLease>, LeaseError> {
        current_epoch(self.log.pool()).await?;
        RelayLease::acquire(self.log.pool(), &self.holder, self.options.lease).await
    }

    /// Publishes as long as the lease is held.
    async fn lead(&self, mut lease: RelayLease, backoff: &mut Backoff, stop: &CancellationToken) {
        let mut troubles = Troubles::default();
        let mut cannot_store = Backoff::new(WHILE_IT_CANNOT_STORE.0, WHILE_IT_CANNOT_STORE.1);
        let mut acknowledged = lease.checkpoint().position;
        let mut out_of_order_at = None;
        // The relay before this one may have recorded a hindrance.
        let mut noted = self.note_hindrance(&mut lease, &mut troubles, None).await;
        loop {
            if noted.is_ok() {
                match self.publish(&mut lease, backoff, &mut troubles, stop).await {
                    Ok(Pause::Stopped) => {
                        if let Err(error) = lease.release().await {
                            tracing::warn!(error = &error as &dyn Error, "lease not released, it expires");
                        }
                        return;
                    }
                    Ok(Pause::CheckStream | Pause::Restarted) => {}
                    Err(RelayError::Lease(LeaseError::Lost { epoch })) => {
                        tracing::warn!(epoch, "relay lost its lease");
                        return;
                    }
                    Err(error) => {
                        if lease.checkpoint().position != acknowledged {
                            acknowledged = lease.checkpoint().position;
                            cannot_store.reset();
                        }
                        let delay = match &error {
                            // The stream exists and refuses: wait for it, never replace it.
                            RelayError::Refused { source, .. } => {
                                noted = self.note_hindrance(&mut lease, &mut troubles, Some(in_words(&**source))).await;
                                cannot_store.next_wait()
                            }
                            // Somebody else published, or the stream was replaced: a look at it tells what comes next.
                            RelayError::OutOfOrder { .. } if out_of_order_at != Some(lease.checkpoint().position) => {
                                out_of_order_at = Some(lease.checkpoint().position);
                                Duration::ZERO
                            }
                            _ => backoff.next_wait(),
                        };
                        tracing::warn!(error = &error as &dyn Error, "publishing failed, retrying from the checkpoint");
                        self.wait_leading(&mut lease, delay, stop).await;
                    }
                }
            }
            if let Err(error) = &noted {
                tracing::warn!(error = error as &dyn Error, "hindrance not recorded");
                wait(backoff.next_wait(), stop).await;
            }
            noted = match lease.renew().await {
                Ok(()) => Ok(()),
                Err(LeaseError::Lost { epoch }) => {
                    tracing::warn!(epoch, "lease not renewed");
                    return;
                }
                Err(error) => Err(error),
            };
            if stop.is_cancelled() && noted.is_err() {
                return;
            }
        }
    }

    /// Waits, and renews the lease meanwhile.
    async fn wait_leading(&self, lease: &mut RelayLease, delay: Duration, stop: &CancellationToken) {
        let until = Instant::now() + delay;
        while Instant::now() < until && !stop.is_cancelled() {
            wait((until - Instant::now()).min(self.options.lease / 3), stop).await;
            if let Err(error) = lease.renew_when_due().await {
                tracing::warn!(error = &error as &dyn Error, "lease not renewed");
                return;
            }
        }
    }

    /// Records the hindrance for operators and sets the alarm, or clears both.
    async fn note_hindrance(
        &self,
        lease: &mut RelayLease,
        troubles: &mut Troubles,
        hindrance: Option<String>,
    ) -> Result<(), LeaseError> {
        gauge!("lablet_relay_hindered").set(if hindrance.is_some() { 1.0 } else { 0.0 });
        match &hindrance {
            Some(hindrance) => {
                tracing::error!(stream = streams::EVENTS, hindrance, "stream of events cannot store, waiting");
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
    async fn look_for_lost_messages(&self, lease: &mut RelayLease, troubles: &mut Troubles) -> Result<(), RelayError> {
        if !streams::misses_its_first_message(&self.bus, streams::EVENTS).await.map_err(RelayError::Audit)? {
            troubles.missing_since = None;
            return Ok(());
        }
        let since = *troubles.missing_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.options.confirm_loss {
            tracing::warn!(stream = streams::EVENTS, "stream misses messages that it counts, checking again");
            return Ok(());
        }
        if !lease.may_replace_the_stream().await? {
            let hindrance = format!(
                "the stream lost its messages again within an hour; `lablet bus replace {}` replaces it",
                streams::EVENTS
            );
            return Ok(self.note_hindrance(lease, troubles, Some(hindrance)).await?);
        }
        tracing::error!(stream = streams::EVENTS, "stream lost messages that it counts, replacing it");
        streams::replace(&self.bus, streams::EVENTS, &self.options.bounds).await?;
        troubles.missing_since = None;
        Ok(())
    }

    /// Checks the stream, then publishes until another check is due.
    async fn publish(
        &self,
        lease: &mut RelayLease,
        backoff: &mut Backoff,
        troubles: &mut Troubles,
        stop: &CancellationToken,
    ) -> Result<Pause, RelayError> {
        let mut connects = self.bus.connects();
        connects.mark_unchanged();
        if !troubles.looked_for_lost {
            lost::look(&self.log, &self.bus, lease.checkpoint()).await?;
            troubles.looked_for_lost = true;
        }
        let look = self.check_stream(lease, troubles).await?;
        let most = self.options.in_flight.min(bus::connect::MOST_IN_FLIGHT);
        let again_until = troubles.again_until.unwrap_or(Position::START);
        let mut window = Window::new(most, lease.checkpoint().clone(), look.last_sequence, again_until);
        let mut saving = None;
        let ended = self.publish_through(&mut window, &mut saving, lease, backoff, troubles, &mut connects, stop).await;
        // A save that was given up might arrive behind a later one.
        let mut saved = match saving {
            Some(saving) => lease.saved(saving.await),
            None => Ok(()),
        };
        let restarted = matches!(ended, Ok(Pause::Restarted));
        if saved.is_ok() && !restarted && window.acknowledged().position != lease.checkpoint().position {
            saved = lease.save(window.acknowledged().clone()).await;
        }
        let pause = ended?;
        saved?;
        Ok(pause)
    }

    /// Publishes through a window. What it acknowledged last is saved by the caller, whatever ended it.
    #[expect(clippy::too_many_arguments, reason = "all of it is the state of one stretch of publishing")]
    async fn publish_through(
        &self,
        window: &mut Window,
        saving: &mut Option<Saving>,
        lease: &mut RelayLease,
        backoff: &mut Backoff,
        troubles: &mut Troubles,
        connects: &mut watch::Receiver<u64>,
        stop: &CancellationToken,
    ) -> Result<Pause, RelayError> {
        let mut ahead = ReadAhead::start(&self.log, &self.bus, &self.options, lease.checkpoint().position);
        let mut unsent = VecDeque::new();
        let mut room = None;
        let mut look_at = Instant::now() + self.options.audit_every;
        let mut save_at = Instant::now();
        loop {
            window.send_all(&self.bus, &mut unsent).await?;
            if unsent.is_empty() {
                drop(room.take());
            }
            let is_saved = window.acknowledged().position == lease.checkpoint().position;
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    while !window.is_empty() {
                        count(window.settle().await?);
                    }
                    return Ok(Pause::Stopped);
                }
                _ = connects.changed() => return Ok(Pause::CheckStream),
                saved = outcome(saving), if saving.is_some() => {
                    *saving = None;
                    lease.saved(saved)?;
                    save_at = Instant::now() + SAVE_EVERY;
                }
                () = sleep_until(save_at), if saving.is_none() && !is_saved => {
                    *saving = Some(lease.saving(window.acknowledged().clone()));
                }
                () = sleep_until(lease.renew_at()), if saving.is_none() && is_saved => lease.renew().await?,
                () = sleep_until(look_at), if saving.is_none() => {
                    if !is_saved {
                        lease.save(window.acknowledged().clone()).await?;
                    }
                    // What is in flight meanwhile only adds to the stream, which no finding is about.
                    if self.check_stream(lease, troubles).await?.restarted {
                        return Ok(Pause::Restarted);
                    }
                    look_at = Instant::now() + self.options.audit_every;
                }
                acknowledgements = window.settle(), if !window.is_empty() => {
                    count(acknowledgements?);
                    backoff.reset();
                    if troubles.missing_since.is_none() && troubles.hindrance.is_some() {
                        self.note_hindrance(lease, troubles, None).await?;
                    }
                }
                next = ahead.next(), if unsent.is_empty() => match next {
                    Some(Ok(Prepared::Notices(notices, permit))) => {
                        unsent = notices.into();
                        room = Some(permit);
                    }
                    Some(Ok(Prepared::CaughtUp)) => backoff.reset(),
                    Some(Err(error)) => {
                        while !window.is_empty() {
                            count(window.settle().await?);
                        }
                        return Err(error);
                    }
                    None => return Ok(Pause::CheckStream),
                },
            }
        }
    }

    /// Makes sure that the stream is there, and moves the checkpoint back where events are missing from it.
    async fn check_stream(&self, lease: &mut RelayLease, troubles: &mut Troubles) -> Result<StreamCheck, RelayError> {
        streams::ensure_events(&self.bus, &self.options.bounds).await?;
        if let Err(error) = streams::ensure_records(&self.bus).await {
            let cause = in_words(&error);
            if troubles.records_cause.as_ref() != Some(&cause) {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "stream of records unavailable, read models follow the log"
                );
                troubles.records_cause = Some(cause);
            }
        }
        self.look_for_lost_messages(lease, troubles).await?;
        let info = streams::ensure_events(&self.bus, &self.options.bounds).await?;
        let last_sequence = info.state.last_sequence;
        let state = audit::look(&self.bus, &info, lease.checkpoint()).await.map_err(RelayError::Audit)?;
        let finding = audit::judge(lease.checkpoint(), &state);
        let resume_from = match finding {
            Finding::Intact => return Ok(StreamCheck { last_sequence, restarted: false }),
            Finding::Unused | Finding::Lost => Position::START,
            Finding::RolledBack { last_event } => match last_event {
                Some(event_id) => self.log.event(event_id).await?.map_or(Position::START, |event| event.position),
                None => Position::START,
            },
        };
        if finding != Finding::Unused {
            troubles.again_until = troubles.again_until.max(Some(lease.checkpoint().position));
            counter!("lablet_relay_losses_total").increment(1);
            tracing::error!(
                ?finding,
                published = %lease.checkpoint().position,
                from = %resume_from,
                "stream lost acknowledged events, publishing again from the log"
            );
        }
        lease.begin_again(resume_from, &state, finding != Finding::Unused).await?;
        Ok(StreamCheck { last_sequence, restarted: true })
    }
}

fn count(acknowledgements: Acknowledgements) {
    counter!("lablet_relay_published_total").increment(acknowledgements.events);
    if acknowledgements.again > 0 {
        counter!("lablet_relay_republished_total").increment(acknowledgements.again);
    }
}

/// The outcome of a save, for ever outstanding where there is none.
async fn outcome(saving: &mut Option<Saving>) -> Result<SavedCheckpoint, LeaseError> {
    match saving {
        Some(saving) => saving.await,
        None => std::future::pending().await,
    }
}

/// What a stream's refusal says, without what is said of every refusal.
fn in_words(refusal: &(dyn Error + 'static)) -> String {
    refusal.source().map_or_else(|| refusal.to_string(), ToString::to_string)
}

/// Resolves when this process has appended; never when the log is gone.
async fn woken(appended: &mut watch::Receiver<u64>) {
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
