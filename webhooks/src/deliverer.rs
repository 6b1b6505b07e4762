//! The process that delivers: one at a time by a lease, with a task a target, so that a slow target harms only itself.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use app::dead_letters::{DeadLetterKind, DeadLetters, sources_with_requested_retries};
use app::lease::{Lease, LeaseError};
use app::log::{Log, Position};
use app::webhook_targets::{AdoptError, ConfiguredTarget, LEASE, TargetRecord, WebhookTargets};
use bus::{Backoff, Bus, subjects};
use futures_util::{FutureExt as _, StreamExt as _};
use metrics::{Unit, describe_histogram};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::answer::RetryWaits;
use crate::log_pages::LogPages;
use crate::message::Site;
use crate::resolver::{self, Lookup};
use crate::sender::{Sender, SenderError};
use crate::targets::Target;
use crate::worker::{Shared, Signals, Worker};

/// How long requests that are under way may take when the process is to end.
const END_WITHIN: Duration = Duration::from_secs(12);
/// Deliveries that lasted so long begin again after the first wait, whatever ended them.
const STEADY_AFTER: Duration = Duration::from_secs(60);
/// Wait before the log is looked at again after a wake-up signal without an event: it may wait for an older transaction.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// Settings of a deliverer.
#[derive(Clone)]
pub struct DelivererOptions {
    /// Where the gateway is reached from outside.
    pub site: Site,
    /// Interval at which the log is looked at without a wake-up signal.
    pub poll: Duration,
    /// A deliverer loses its lease after this time without renewal.
    pub lease: Duration,
    /// Interval at which decisions of operators are looked for.
    pub decisions_every: Duration,
    /// Waits between attempts.
    pub waits: RetryWaits,
    /// Who answers for names.
    pub lookup: Lookup,
}

impl DelivererOptions {
    /// The settings for a site.
    pub fn new(site: Site) -> Self {
        Self {
            site,
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(6),
            decisions_every: Duration::from_secs(1),
            waits: RetryWaits::default(),
            lookup: resolver::system(),
        }
    }
}

/// Delivers the log to targets.
pub struct Deliverer {
    log: Log,
    bus: Option<Bus>,
    targets: Vec<Target>,
    records: WebhookTargets,
    dead_letters: DeadLetters,
    options: DelivererOptions,
    holder: String,
}

/// Why deliveries did not begin, or ended.
#[derive(Debug, thiserror::Error)]
enum LeadError {
    #[error("the targets' state cannot be read")]
    Adopt(#[from] AdoptError),
    #[error("the log cannot be read")]
    Log(#[from] app::log::LogError),
    #[error("requests cannot be made")]
    Sender(#[from] SenderError),
    #[error("a worker ended in a panic")]
    Panic(#[from] tokio::task::JoinError),
}

impl Deliverer {
    /// A deliverer of this log to these targets. The bus brings wake-up signals and nothing else.
    ///
    /// # Errors
    /// TLS cannot be set up for one of them.
    pub fn new(
        log: Log,
        bus: Option<Bus>,
        targets: Vec<Target>,
        dead_letters: DeadLetters,
        options: DelivererOptions,
    ) -> Result<Self, SenderError> {
        describe_histogram!(
            "lablet_webhook_request_seconds",
            Unit::Seconds,
            "Duration of one request to a target of webhooks, by target"
        );
        for target in &targets {
            // At the start, where somebody reads what is wrong.
            Sender::new(target, options.lookup.clone(), log.clock().clone())?;
        }
        let holder = format!("{}-{}", std::process::id(), log.id_generator().uuid());
        let records = WebhookTargets::new(&log);
        Ok(Self { log, bus, targets, records, dead_letters, options, holder })
    }

    /// Delivers until `stop` is cancelled. Failures are logged and retried with back-off.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !stop.is_cancelled() {
            let wait = match Lease::acquire(self.log.pool(), LEASE, &self.holder, self.options.lease).await {
                Ok(Some(lease)) => match self.lead(lease, &mut backoff, &stop).await {
                    Ok(()) => continue,
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn Error, "webhooks interrupted, retrying");
                        backoff.next_wait()
                    }
                },
                Ok(None) => self.options.lease / 3,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "lease of webhooks not acquired, retrying");
                    backoff.next_wait()
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Delivers as long as the lease is held.
    async fn lead(&self, mut lease: Lease, backoff: &mut Backoff, stop: &CancellationToken) -> Result<(), LeadError> {
        let started = self.start(&lease, &stop.child_token()).await;
        let (mut tasks, signals) = match started {
            Ok(started) => started,
            Err(error) => {
                release(&lease).await;
                return Err(error);
            }
        };
        tracing::info!(epoch = lease.epoch(), targets = self.targets.len(), "webhooks started");
        let mut look_at = Instant::now();
        let steady_at = look_at + STEADY_AFTER;
        let mut ended_badly = Ok(());
        let mut end_at = None;
        loop {
            tokio::select! {
                () = stop.cancelled(), if end_at.is_none() => end_at = Some(Instant::now() + END_WITHIN),
                () = sleep_until(end_at.unwrap_or_else(Instant::now)), if end_at.is_some() => {
                    tracing::warn!("webhook requests given up at the end, they are sent again");
                    break;
                }
                ended = tasks.join_next() => match ended {
                    Some(Ok(())) if stop.is_cancelled() && !tasks.is_empty() => {}
                    Some(Err(error)) => {
                        ended_badly = Err(LeadError::Panic(error));
                        break;
                    }
                    // All have ended, or one without being asked to: another process has the lease.
                    _ => break,
                },
                () = sleep_until(look_at) => {
                    if let Err(error) = self.keep(&mut lease, &signals).await {
                        tracing::warn!(error = &error as &dyn Error, "lease of webhooks not renewed");
                        if matches!(error, LeaseError::Lost { .. }) || Instant::now() >= lease.expires_at() {
                            break;
                        }
                    }
                    // Often enough for the lease, which is renewed when a third of it is over.
                    look_at = Instant::now() + self.options.decisions_every.min(self.options.lease / 3);
                }
            }
        }
        // Whoever takes over sends what is under way once more.
        tasks.shutdown().await;
        release(&lease).await;
        if Instant::now() >= steady_at {
            backoff.reset();
        }
        ended_badly
    }

    /// Starts the workers and what they need.
    async fn start(
        &self,
        lease: &Lease,
        stop: &CancellationToken,
    ) -> Result<(JoinSet<()>, watch::Sender<Signals>), LeadError> {
        let hosts: Vec<String> = self.targets.iter().map(Target::host).collect();
        let configured: Vec<ConfiguredTarget<'_>> = self
            .targets
            .iter()
            .zip(&hosts)
            .map(|(target, host)| ConfiguredTarget {
                name: &target.name,
                host,
                format: target.format.name(),
                start: target.start,
            })
            .collect();
        let records: Vec<TargetRecord> = self.records.adopt(lease, &configured).await?;
        let (head_sender, head) = watch::channel(self.log.head().await?);
        let decisions = records.iter().map(|record| (record.name.clone(), record.decisions)).collect();
        let (signal_sender, signals) = watch::channel(Signals { decisions, ..Signals::default() });
        let shared = Shared {
            pages: Arc::new(LogPages::new(self.log.clone())),
            log: self.log.clone(),
            targets: self.records.clone(),
            dead_letters: self.dead_letters.clone(),
            site: self.options.site.clone(),
            waits: self.options.waits,
            epoch: lease.epoch(),
            head,
            signals,
            stop: stop.clone(),
        };
        let mut tasks = JoinSet::new();
        for (target, record) in self.targets.iter().zip(records) {
            let sender = Sender::new(target, self.options.lookup.clone(), self.log.clock().clone())?;
            tasks.spawn(Worker::new(target.clone(), sender, record, shared.clone()).run());
        }
        tasks.spawn(follow_head(self.log.clone(), self.bus.clone(), self.options.poll, head_sender, stop.clone()));
        Ok((tasks, signal_sender))
    }

    /// Renews the lease when that is due, and tells the workers what operators decided.
    async fn keep(&self, lease: &mut Lease, signals: &watch::Sender<Signals>) -> Result<(), LeaseError> {
        let expires_at = lease.expires_at();
        let look = async {
            lease.renew_when_due().await?;
            let decisions = self.records.decisions().await?.into_iter().collect();
            let retries = sources_with_requested_retries(self.log.pool(), DeadLetterKind::Webhook).await?;
            Ok(Signals { decisions, retries })
        };
        let found =
            timeout_at(expires_at, look).await.unwrap_or(Err(LeaseError::Unavailable(sqlx::Error::PoolTimedOut)))?;
        signals.send_if_modified(|known| {
            let is_news = *known != found;
            *known = found;
            is_news
        });
        Ok(())
    }
}

async fn release(lease: &Lease) {
    let released = timeout(Duration::from_secs(2), lease.release()).await;
    if !matches!(released, Ok(Ok(()))) {
        tracing::warn!("lease of webhooks not released, it expires");
    }
}

/// Tells the workers where the log ends.
async fn follow_head(
    log: Log,
    bus: Option<Bus>,
    poll: Duration,
    head: watch::Sender<Position>,
    stop: CancellationToken,
) {
    let signals = match &bus {
        Some(bus) => bus.nudges(subjects::NUDGE_LOG).await.map_or_else(
            |error| {
                tracing::warn!(error = &error as &dyn Error, "no wake-up signals from the bus, the log is polled");
                None
            },
            Some,
        ),
        None => None,
    };
    let mut signals = signals.map(|signals| signals.boxed().fuse());
    let mut appended = log.appended();
    let mut looks = Backoff::new(FIRST_LOOK, poll);
    while !stop.is_cancelled() {
        appended.mark_unchanged();
        match log.head().await {
            Ok(found) => {
                let moved = head.send_if_modified(|known| {
                    let is_news = *known != found;
                    *known = found;
                    is_news
                });
                if moved {
                    looks.reset();
                }
            }
            Err(error) => tracing::warn!(error = &error as &dyn Error, "end of the log not read, retrying"),
        }
        let signal = async {
            tokio::select! {
                changed = appended.changed() => if changed.is_err() { std::future::pending::<()>().await },
                () = async {
                    match &mut signals {
                        Some(signals) => drop(signals.next().await),
                        None => std::future::pending().await,
                    }
                } => {}
                () = stop.cancelled() => {}
            }
        };
        if timeout(looks.next_wait(), signal.boxed()).await.is_ok() {
            looks.reset();
        }
    }
}
