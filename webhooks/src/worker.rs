//! Deliveries to one target: in the order of the log, each event until it is delivered or given up.
//!
//! The cursor moves after the answer. Where the process dies in between, the event is delivered once more: at least once,
//! never not at all.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use app::dead_letters::{DeadLetterKind, DeadLetters, RequestedRetry, Status, Undeliverable, next_requested_retry};
use app::lease::LeaseError;
use app::log::{Log, LogError, Position, RecordedEvent};
use app::notice;
use app::webhook_targets::{Agreement, Cursors, Failure, Progress, Saved, TargetRecord, TargetState, WebhookTargets};
use bus::Backoff;
use chrono::{DateTime, Utc};
use metrics::histogram;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use crate::answer::{Attempt, Consequence, RetryWaits, after_failure};
use crate::log_pages::{LogPage, LogPages};
use crate::message::{Message, MessageError, Site};
use crate::sender::{Handshake, Sender};
use crate::targets::Target;

/// The cursor is saved at most this often while it only passes events that the target does not want.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What every worker of a process is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Signals {
    /// How often operators decided something about a target.
    pub(crate) decisions: BTreeMap<String, i64>,
    /// Targets that have dead letters of which another attempt was asked for, and when that was last: a request that comes
    /// while the one before is served is news, too.
    pub(crate) retries: BTreeMap<String, DateTime<Utc>>,
}

/// What the workers of a process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) log: Log,
    pub(crate) pages: Arc<LogPages>,
    pub(crate) targets: WebhookTargets,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) site: Site,
    pub(crate) waits: RetryWaits,
    pub(crate) epoch: i64,
    /// The end of the log.
    pub(crate) head: watch::Receiver<Position>,
    pub(crate) signals: watch::Receiver<Signals>,
    pub(crate) stop: CancellationToken,
}

/// Why a step failed; it is taken again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    #[error("the target's state cannot be read or written")]
    Lease(#[from] LeaseError),
    #[error("the dead letters cannot be read or written")]
    DeadLetters(#[from] sqlx::Error),
}

/// An event that the target wants, and the position before it.
struct Wanted {
    event_id: Uuid,
    position: Position,
    previous: Position,
}

/// Delivers to one target.
pub(crate) struct Worker {
    target: Target,
    sender: Sender,
    shared: Shared,
    /// As it is stored.
    record: TargetRecord,
    /// Where it is, which may be ahead of what is stored by events that the target does not want.
    cursors: Cursors,
    page: Option<LogPage>,
    next_in_page: usize,
    next_send_at: Instant,
    saved_at: Instant,
}

impl Worker {
    pub(crate) fn new(target: Target, sender: Sender, record: TargetRecord, shared: Shared) -> Self {
        let now = Instant::now();
        let cursors = record.cursors;
        Self { target, sender, shared, record, cursors, page: None, next_in_page: 0, next_send_at: now, saved_at: now }
    }

    /// Delivers until it is stopped, or until the lease is another's.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        while !self.shared.stop.is_cancelled() {
            let error = match self.step().await {
                Ok(()) => {
                    backoff.reset();
                    continue;
                }
                Err(error) => error,
            };
            if let StepError::Lease(LeaseError::Lost { epoch }) = error {
                tracing::warn!(webhook = self.target.name, epoch, "webhook target is delivered to by another process");
                return;
            }
            let wait = backoff.next_wait();
            tracing::warn!(
                webhook = self.target.name,
                error = &error as &dyn Error,
                retry_in_ms = wait.as_millis(),
                "webhook delivery interrupted, retrying"
            );
            self.wait(Some(Instant::now() + wait)).await;
        }
        if self.cursors != self.record.cursors
            && let Err(error) = self.save(Progress::default()).await
        {
            tracing::debug!(error = &error as &dyn Error, "webhook cursor not saved, events are looked at again");
        }
    }

    async fn step(&mut self) -> Result<(), StepError> {
        self.take_decisions().await?;
        if self.record.state != TargetState::Active {
            self.wait(None).await;
            return Ok(());
        }
        if self.shared.signals.borrow().retries.contains_key(&self.target.name) {
            let pool = self.shared.log.pool();
            if let Some(retry) = next_requested_retry(pool, DeadLetterKind::Webhook, &self.target.name).await? {
                return self.retry(retry).await;
            }
        }
        let Some(wanted) = self.next_wanted().await? else { return self.idle().await };
        let failure = self.record.failure.as_ref().filter(|failure| failure.event_id == wanted.event_id);
        if let Some(wait) = failure.and_then(|failure| self.until(failure)) {
            self.wait_without_the_log(Instant::now() + wait).await;
            return Ok(());
        }
        self.deliver(wanted).await
    }

    /// How long the next attempt is to be waited for; `None`: it is due.
    fn until(&self, failure: &Failure) -> Option<Duration> {
        (failure.retry_at - self.shared.log.clock().now()).to_std().ok().filter(|wait| !wait.is_zero())
    }

    /// Takes over what operators decided.
    async fn take_decisions(&mut self) -> Result<(), StepError> {
        let decisions = self.shared.signals.borrow().decisions.get(&self.target.name).copied();
        if decisions.is_some_and(|decisions| decisions != self.record.decisions) {
            let record = self.shared.targets.record(self.shared.epoch, &self.target.name).await?;
            self.take(record);
        }
        Ok(())
    }

    fn take(&mut self, record: TargetRecord) {
        self.cursors = record.cursors;
        self.page = None;
        self.record = record;
    }

    /// The next event that the target wants; `None`: there is none yet, or something else comes first.
    async fn next_wanted(&mut self) -> Result<Option<Wanted>, StepError> {
        while let Some(page) = self.page_at_cursor().await? {
            while let Some(event) = page.events.get(self.next_in_page) {
                if self.cursors.replay.is_some_and(|replay| event.position > replay.until) {
                    self.end_replay();
                    break;
                }
                let ty = notice::cloud_event_type(&event.event_type, &event.event_version);
                if self.target.filter.wants(&ty, &event.aggregate_id) {
                    let before = self.next_in_page.checked_sub(1).and_then(|index| page.events.get(index));
                    let previous = before.map_or(page.after, |event| event.position);
                    return Ok(Some(Wanted { event_id: event.event_id, position: event.position, previous }));
                }
                self.pass(event.position);
                if self.page.is_none() {
                    break;
                }
            }
            // A long way without an event that is wanted is interrupted, and what was passed is not passed again.
            if self.shared.stop.is_cancelled() || self.shared.signals.has_changed().unwrap_or(true) {
                return Ok(None);
            }
            if self.saved_at.elapsed() >= SAVE_EVERY {
                self.save(Progress::default()).await?;
            }
        }
        Ok(None)
    }

    /// A page with an event that was not looked at; `None`: the log has no more.
    async fn page_at_cursor(&mut self) -> Result<Option<LogPage>, StepError> {
        loop {
            if let Some(page) = self.page.as_ref().filter(|page| self.next_in_page < page.events.len()) {
                return Ok(Some(page.clone()));
            }
            let at = self.cursors.at();
            // The end was looked up before, by one question for all targets.
            if self.cursors.replay.is_none() && *self.shared.head.borrow() <= at {
                return Ok(None);
            }
            let page = self.shared.pages.after(at).await?;
            if page.events.is_empty() {
                if self.cursors.replay.is_none() {
                    return Ok(None);
                }
                self.end_replay();
                continue;
            }
            self.page = Some(page);
            self.next_in_page = 0;
        }
    }

    /// Goes on where the target was before the replay.
    fn end_replay(&mut self) {
        self.cursors.replay = None;
        self.page = None;
    }

    /// Nothing is to be delivered: saves what was passed, and waits for more.
    async fn idle(&mut self) -> Result<(), StepError> {
        let save_at = self.saved_at + SAVE_EVERY;
        if self.cursors == self.record.cursors {
            self.wait(None).await;
        } else if Instant::now() < save_at {
            self.wait(Some(save_at)).await;
        } else {
            self.save(Progress::default()).await?;
        }
        Ok(())
    }

    /// Waits for an operator, for the end, or until a moment.
    async fn wait_without_the_log(&mut self, until: Instant) {
        let Shared { signals, stop, .. } = &mut self.shared;
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep_until(until) => {}
            changed = signals.changed() => if changed.is_err() { stop.cancelled().await },
        }
    }

    /// Waits for an event, for an operator, for the end, or until a moment.
    async fn wait(&mut self, until: Option<Instant>) {
        let Shared { head, signals, stop, .. } = &mut self.shared;
        let moment = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = moment => {}
            // Of a sender that is gone nothing comes any more: the process is about to end.
            changed = signals.changed() => if changed.is_err() { stop.cancelled().await },
            changed = head.changed() => if changed.is_err() { stop.cancelled().await },
        }
    }

    /// Makes one attempt to deliver an event.
    async fn deliver(&mut self, wanted: Wanted) -> Result<(), StepError> {
        let Some(event) = self.shared.log.event(wanted.event_id).await? else {
            tracing::error!(webhook = self.target.name, event.id = %wanted.event_id, "event of the log not found, skipped");
            self.pass(wanted.position);
            return Ok(());
        };
        let message = match Message::from_event(&self.target, &event, wanted.previous, &self.shared.site) {
            Ok(message) => message,
            Err(error) => {
                let reason = in_words(&error);
                self.dead_letter(&event, None, &reason).await?;
                self.pass(wanted.position);
                return self.save(Progress { dead_lettered: true, ..Progress::default() }).await;
            }
        };
        let Some(attempt) = self.attempt(&event, &message).await? else { return Ok(()) };
        let (consequence, answer) = (attempt.consequence(), attempt.describe());
        let attempted = !matches!(attempt, Attempt::NotAgreed(_));
        let progress = Progress { answer: Some(answer.clone()), attempted, ..Progress::default() };
        match consequence {
            Consequence::Delivered => {
                if self.record.failure.is_some() {
                    tracing::info!(webhook = self.target.name, answer, "webhook target takes events again");
                }
                self.pass(wanted.position);
                self.save(Progress { delivered: true, ..progress }).await
            }
            Consequence::Gone => {
                tracing::error!(webhook = self.target.name, answer, "webhook target is gone, deliveries stopped");
                self.save(Progress { gone: true, ..progress }).await
            }
            Consequence::Refused => self.give_up(&event, &message, wanted.position, progress, answer).await,
            Consequence::Retry { .. } | Consequence::Wait => {
                let now = self.shared.log.clock().now();
                let (limits, waits) = (self.target.limits, self.shared.waits);
                let before = self.record.failure.as_ref();
                match after_failure(before, event.event_id, consequence, limits, waits, now) {
                    Some(failure) => {
                        tracing::warn!(
                            webhook = self.target.name,
                            event.id = %event.event_id,
                            attempts = failure.attempts,
                            retry_at = %failure.retry_at,
                            answer,
                            "webhook delivery failed, retrying"
                        );
                        self.save(Progress { failure: Some(failure), ..progress }).await
                    }
                    None => self.give_up(&event, &message, wanted.position, progress, answer).await,
                }
            }
        }
    }

    /// Puts an event among the dead letters, and goes on behind it.
    async fn give_up(
        &mut self,
        event: &RecordedEvent,
        message: &Message,
        position: Position,
        progress: Progress,
        answer: String,
    ) -> Result<(), StepError> {
        self.dead_letter(event, Some(message), &answer).await?;
        self.pass(position);
        self.save(Progress { dead_lettered: true, ..progress }).await
    }

    async fn dead_letter(
        &self,
        event: &RecordedEvent,
        message: Option<&Message>,
        reason: &str,
    ) -> Result<(), StepError> {
        let ty = notice::cloud_event_type(&event.event_type, &event.event_version);
        let letter = Undeliverable {
            kind: DeadLetterKind::Webhook,
            source: &self.target.name,
            reason: reason.to_owned(),
            aggregate: Some((&event.aggregate_type, &event.aggregate_id)),
            event: Some((event.event_id, event.position.to_string())),
            headers: [("ce-id".to_owned(), event.event_id.to_string()), ("ce-type".to_owned(), ty)].into(),
            raw_headers: None,
            payload: message.map_or(&[], |message| &message.body),
        };
        let id = self.shared.dead_letters.keep(&letter).await?;
        tracing::warn!(webhook = self.target.name, event.id = %event.event_id, letter = %id, reason, "webhook event dead-lettered");
        Ok(())
    }

    /// Makes the attempt that somebody asked for of a dead letter.
    async fn retry(&mut self, retry: RequestedRetry) -> Result<(), StepError> {
        let letters = self.shared.dead_letters.clone();
        let Some(event) = self.shared.log.event(retry.event_id).await? else {
            letters.failed_again(retry.id, "the log has no such event").await?;
            return Ok(());
        };
        // Which event was before it nobody needs to know: what is sent out of order fills no hole.
        let message = match Message::from_event(&self.target, &event, Position::START, &self.shared.site) {
            Ok(message) => message,
            Err(error) => {
                letters.failed_again(retry.id, &in_words(&error)).await?;
                return Ok(());
            }
        };
        let Some(attempt) = self.attempt(&event, &message).await? else { return Ok(()) };
        let (consequence, answer) = (attempt.consequence(), attempt.describe());
        if consequence == Consequence::Delivered {
            letters.settle(retry.id, Status::Retried, &retry.requested_by, None).await?;
        } else {
            letters.failed_again(retry.id, &answer).await?;
        }
        let progress = Progress {
            answer: Some(answer),
            attempted: !matches!(attempt, Attempt::NotAgreed(_)),
            delivered: consequence == Consequence::Delivered,
            gone: consequence == Consequence::Gone,
            failure: self.record.failure.clone(),
            ..Progress::default()
        };
        self.save(progress).await
    }

    /// One request, after the handshake and not before its turn; `None`: the end came first.
    async fn attempt(&mut self, event: &RecordedEvent, message: &Message) -> Result<Option<Attempt>, StepError> {
        let mut rate = self.target.rate_per_minute.map(i64::from);
        if self.target.handshake {
            let origin = self.shared.site.origin();
            let with = self.target.agreement_with(&origin);
            if self.record.agreement.as_ref().is_none_or(|agreement| agreement.with != with) {
                match self.sender.ask(&origin, self.target.rate_per_minute).await {
                    Handshake::Refused(reason) => return Ok(Some(Attempt::NotAgreed(reason))),
                    Handshake::Agreed { rate } => {
                        let agreement = Agreement { with, rate };
                        self.shared.targets.agreed(self.shared.epoch, &self.target.name, &agreement).await?;
                        tracing::info!(webhook = self.target.name, rate, "webhook target agreed");
                        self.record.agreement = Some(agreement);
                    }
                }
            }
            let allowed = self.record.agreement.as_ref().and_then(|agreement| agreement.rate);
            rate = rate.into_iter().chain(allowed).min();
        }
        let turn = sleep_until(self.next_send_at);
        if self.shared.stop.clone().run_until_cancelled(turn).await.is_none() {
            return Ok(None);
        }
        if let Some(rate) = rate.and_then(|rate| u32::try_from(rate).ok()).filter(|rate| *rate > 0) {
            self.next_send_at = Instant::now() + Duration::from_secs(60) / rate;
        }
        let span = self.delivery_span(event);
        let began = Instant::now();
        let attempt = self.sender.send(message).instrument(span.clone()).await;
        histogram!("lablet_webhook_request_seconds", "target" => self.target.name.clone())
            .record(began.elapsed().as_secs_f64());
        if let Attempt::Answered { status, .. } = &attempt {
            span.record("http.response.status_code", status.as_u16());
        }
        if attempt.consequence() != Consequence::Delivered {
            span.record("otel.status_code", "ERROR");
        }
        Ok(Some(attempt))
    }

    /// The span of one request, below what made the event.
    fn delivery_span(&self, event: &RecordedEvent) -> Span {
        tracing::debug_span!(
            "webhook.deliver",
            otel.name = "POST",
            otel.kind = "client",
            otel.status_code = Empty,
            http.request.method = "POST",
            http.response.status_code = Empty,
            // The rest of the address may be a secret.
            server.address = self.target.url.host_str(),
            webhook = self.target.name,
            event.id = %event.event_id,
            event.r#type = event.event_type,
            traceparent = event.metadata.traceparent,
        )
    }

    /// Goes on behind the event at this position.
    fn pass(&mut self, position: Position) {
        let was_replaying = self.cursors.replay.is_some();
        self.cursors = self.cursors.moved_to(position);
        self.next_in_page += 1;
        if was_replaying && self.cursors.replay.is_none() {
            self.end_replay();
        }
    }

    async fn save(&mut self, progress: Progress) -> Result<(), StepError> {
        let saved = self
            .shared
            .targets
            .save(self.shared.epoch, &self.target.name, self.record.cursors, self.cursors, &progress)
            .await?;
        self.saved_at = Instant::now();
        match saved {
            Saved::Stored => {
                self.record.cursors = self.cursors;
                self.record.failure = progress.failure;
                if progress.gone {
                    self.record.state = TargetState::Gone;
                }
            }
            Saved::Moved(record) => self.take(*record),
        }
        Ok(())
    }
}

/// An error and its causes.
fn in_words(error: &MessageError) -> String {
    let causes = std::iter::successors(Some(error as &dyn Error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
