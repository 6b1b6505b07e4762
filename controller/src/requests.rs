//! Answers observation requests: each ends as recorded, failed or skipped.
//!
//! A durable pull consumer, shared by all controllers, hands each request to one of them. It is acknowledged when its
//! outcome is known to be in the log, and redelivered after a while otherwise. A report that was made already is kept
//! and sent again, so that CML is not read twice for one request while the gateway or Postgres is away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::pull::{Config, Stream};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::{AckKind, Message};
use bus::clock::Clock;
use bus::{Backoff, Bus, StreamBounds, cloud_event, streams};
use chrono::{DateTime, Utc};
use cloudevents::AttributesReader as _;
use domain::lablet_session::{FailureOutcome, SessionStatus};
use domain::observation::ResourceObservation;
use domain::time::BoundedTime;
use domain::{LabId, RequestId, SessionId, WorkerId};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::Surroundings;
use crate::gateway::{Gateway, GatewayError, Request, Session};
use crate::observer::Observer;
use crate::pressure::{self, PressureReports};
use crate::reports::{CommandOutcome, Report, Sender};
use crate::sampling::Profiles;
use crate::workers::{AccessError, Workers};

/// The durable consumer that all controllers share.
pub const CONSUMER: &str = "controller_observation_requests";
/// Which messages it takes.
pub const FILTER: &str = "lablet.events.lablet_session.observe_resources_requested.>";
/// How long the server waits for an acknowledgement, or a sign of progress, before another controller gets the request.
const ACK_WAIT: Duration = Duration::from_secs(60);
/// How often a sign of progress is given.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// Most reports that are kept until their outcome shows; the oldest goes first.
const MAX_PENDING: usize = 32;
/// First and longest wait before a request is redelivered.
const REDELIVERY_DELAY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// A session that the gateway does not know even after this many deliveries does not exist.
const DELIVERIES_OF_UNKNOWN: i64 = 20;
/// How long work in hand may go on after the shutdown was requested.
const GRACE: Duration = Duration::from_secs(4);

/// Configuration of the consumer, for the role that has the right to create it.
pub fn consumer_config() -> Config {
    Config {
        durable_name: Some(CONSUMER.to_owned()),
        description: Some("Observation requests, shared by all controllers".to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // Every request gets an outcome, however often it has to come back for it.
        max_deliver: -1,
        filter_subject: FILTER.to_owned(),
        max_ack_pending: 1_000,
        ..Config::default()
    }
}

/// The consumer, made where it is missing, with its stream.
///
/// Where it is there, this takes no more than the right to read it.
///
/// # Errors
/// Stream or consumer can be neither read nor made.
pub async fn ensure_consumer(bus: &Bus, bounds: &StreamBounds) -> anyhow::Result<PullConsumer> {
    let wanted = consumer_config();
    if let Ok(consumer) = bus.ensure_consumer(streams::EVENTS, &wanted).await {
        return Ok(consumer);
    }
    // Whether the stream is missing or could not be read.
    streams::ensure_events(bus, bounds).await.context("the stream of events cannot be used")?;
    bus.ensure_consumer(streams::EVENTS, &wanted).await.context("the consumer of observation requests cannot be used")
}

/// One observation request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct ObservationRequest {
    session_id: SessionId,
    request_id: RequestId,
    worker_id: WorkerId,
    cml_lab_id: LabId,
    #[serde(skip)]
    position: Option<String>,
    /// The request's own correlation, else its event.
    #[serde(skip)]
    correlation: String,
    /// The trace that the request belongs to.
    #[serde(skip)]
    traceparent: Option<String>,
}

impl ObservationRequest {
    /// A report as a part of what the request belongs to.
    fn part_of_request(&self, report: Report) -> Report {
        report.part_of(&self.correlation).in_trace(self.traceparent.as_deref())
    }
}

/// Disposition of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Disposition {
    /// Its outcome is in the log.
    Acknowledge,
    /// Nak: it is delivered again.
    Retry(String),
    /// Terminate: it can never have an outcome.
    Terminate(String),
}

/// Serves the requests. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Requests {
    bus: Bus,
    bounds: StreamBounds,
    gateway: Gateway,
    workers: Workers,
    observer: Observer,
    sender: Sender,
    profiles: Profiles,
    pressures: PressureReports,
    clock: Clock,
    pending: Arc<Mutex<Pending>>,
}

impl Requests {
    /// A server of requests.
    pub(crate) fn new(
        surroundings: Surroundings,
        observer: Observer,
        sender: Sender,
        profiles: Profiles,
        pressures: PressureReports,
    ) -> Self {
        let Surroundings { bus, bounds, gateway, workers, client: _, clock } = surroundings;
        Self { bus, bounds, gateway, workers, observer, sender, profiles, pressures, clock, pending: Arc::default() }
    }

    /// Serves one request after the other until `stop`; several of these may run at once.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut connects = self.bus.connects();
        loop {
            connects.mark_unchanged();
            let subscribed = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // What was asked over the old connection gets no answer.
                Ok(()) = connects.changed() => continue,
                subscribed = self.subscribe() => subscribed,
            };
            let reason = match subscribed {
                Err(error) => format!("{error:#}"),
                Ok(mut messages) => {
                    backoff.reset();
                    loop {
                        tokio::select! {
                            biased;
                            () = stop.cancelled() => return,
                            next = messages.next() => match next {
                                Some(Ok(message)) => self.serve(&message, &stop).await,
                                Some(Err(error)) => break format!("{:#}", anyhow::Error::new(error)),
                                None => break "the stream of messages ended".to_owned(),
                            },
                            changed = connects.changed() => match changed {
                                Ok(()) => break "connected again".to_owned(),
                                Err(_) => break "the connection ended".to_owned(),
                            },
                        }
                    }
                }
            };
            let wait = backoff.next_wait();
            tracing::info!(
                reason,
                wait_ms = wait.as_millis() as u64,
                "subscription to observation requests lost, retrying"
            );
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = connects.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn subscribe(&self) -> anyhow::Result<Stream> {
        let consumer = ensure_consumer(&self.bus, &self.bounds).await?;
        let taken = &consumer.cached_info().config.filter_subject;
        if taken != FILTER {
            anyhow::bail!("the consumer {CONSUMER} takes {taken:?}, not {FILTER:?}");
        }
        let messages = consumer
            .stream()
            // One at a time: nothing waits in this process while another controller is idle.
            .max_messages_per_batch(1)
            .expires(Duration::from_secs(30))
            .heartbeat(Duration::from_secs(5))
            .messages()
            .await?;
        Ok(messages)
    }

    async fn serve(&self, message: &Message, stop: &CancellationToken) {
        let delivered = message.info().map_or(1, |info| info.delivered);
        let disposition = match read(message) {
            Err(reason) => Disposition::Terminate(reason),
            Ok(request) => {
                let work = self.with_progress(message, self.outcome_of(&request, delivered));
                tokio::pin!(work);
                tokio::select! {
                    disposition = &mut work => disposition,
                    () = stop.cancelled() => {
                        let interrupted = || Disposition::Retry("this controller ends".to_owned());
                        tokio::time::timeout(GRACE, work).await.unwrap_or_else(|_| interrupted())
                    }
                }
            }
        };
        let (word, acked) = match &disposition {
            Disposition::Acknowledge => ("acknowledged", bounded(message.double_ack()).await),
            Disposition::Retry(reason) => {
                let wait = if stop.is_cancelled() { Duration::ZERO } else { redelivery_delay(delivered) };
                tracing::info!(
                    reason,
                    delivered,
                    wait_s = wait.as_secs(),
                    "observation request negatively acknowledged"
                );
                ("retried", bounded(message.ack_with(AckKind::Nak(Some(wait)))).await)
            }
            Disposition::Terminate(reason) => {
                tracing::error!(reason, subject = %message.subject, "observation request terminated");
                ("terminated", bounded(message.double_ack_with(AckKind::Term)).await)
            }
        };
        metrics::counter!("lablet_observation_requests_total", "disposition" => word).increment(1);
        if let Err(error) = acked {
            // It is delivered again, and its outcome will be found in place.
            tracing::warn!(error, "acknowledgement failed, the request is redelivered");
        }
    }

    /// Tells the server that the request is being worked on, for as long as it is.
    async fn with_progress(&self, message: &Message, work: impl Future<Output = Disposition>) -> Disposition {
        tokio::pin!(work);
        loop {
            tokio::select! {
                disposition = &mut work => return disposition,
                () = tokio::time::sleep(PROGRESS_EVERY) => {
                    if let Err(error) = message.ack_with(AckKind::Progress).await {
                        tracing::debug!(error, "progress acknowledgement failed");
                    }
                }
            }
        }
    }

    #[tracing::instrument(name = "controller.request", skip_all, fields(
        session.id = %request.session_id, request.id = %request.request_id, delivered, traceparent = request.traceparent
    ))]
    async fn outcome_of(&self, request: &ObservationRequest, delivered: i64) -> Disposition {
        let session = match self.gateway.session(&request.session_id, request.position.as_deref()).await {
            Ok(session) => session,
            Err(GatewayError::NotFound) if delivered >= DELIVERIES_OF_UNKNOWN => {
                return Disposition::Terminate("the gateway knows no such session".to_owned());
            }
            Err(error) => return Disposition::Retry(error.to_string()),
        };
        if has_outcome(&session, request) {
            self.forget(request);
            return Disposition::Acknowledge;
        }
        let kept = self.pending.lock().unwrap_or_else(PoisonError::into_inner).get(&request.request_id);
        let report = match kept {
            Some(report) => report,
            None => match self.report_on(request, &session).await {
                Ok(report) => report,
                Err(disposition) => return disposition,
            },
        };
        self.deliver(request, report).await
    }

    /// Observes, and says what came of it.
    async fn report_on(&self, request: &ObservationRequest, session: &Session) -> Result<Report, Disposition> {
        let moved_on = |session: &Session| {
            (FailureOutcome::Skipped, format!("the session had moved on: it is {}", session.status))
        };
        let observation = if session.status.is_observable() {
            match self.workers.access(&request.worker_id).await {
                Err(AccessError::Gateway(error)) => return Err(Disposition::Retry(error.to_string())),
                Err(no_access @ (AccessError::Unknown(_) | AccessError::Refused(_))) => {
                    Err((FailureOutcome::Failed, no_access.to_string()))
                }
                Ok(access) => self
                    .observer
                    .observe(&access, &request.cml_lab_id, self.clock.now())
                    .await
                    .map_err(|error| (FailureOutcome::Failed, error.to_string())),
            }
        } else {
            Err(moved_on(session))
        };
        // Reading a large lab takes a while. A session that moved on meanwhile would refuse the observation.
        let observation = match (observation, self.gateway.session(&request.session_id, None).await) {
            (Ok(_), Ok(session)) if !session.status.is_observable() => Err(moved_on(&session)),
            (observation, _) => observation,
        };
        let report = match observation {
            Ok(mut observation) => {
                let until = self.clock.now();
                self.profiles.add_to(&mut observation, &request.session_id, until).await;
                if let Some(since) = running_since(session, &observation) {
                    let known = self.pressures.shortage(&request.worker_id, since, until).await;
                    pressure::add_to(observation.coverage.get_or_insert_default(), &known);
                }
                Report::observation(&request.session_id, &request.request_id, observation)
            }
            Err((outcome, reason)) => {
                tracing::info!(?outcome, reason, "session not observed");
                Report::failure(&request.session_id, &request.request_id, outcome, &reason)
            }
        };
        report
            .map(|report| request.part_of_request(report))
            .map_err(|error| Disposition::Terminate(format!("the report cannot be written: {error}")))
    }

    /// Sends the report until it is known to be in the log, once as it is, and once more as a failure when an
    /// observation is refused.
    async fn deliver(&self, request: &ObservationRequest, report: Report) -> Disposition {
        self.keep(request, &report);
        let mut report = report;
        loop {
            let outcome = match self.sender.send(&report).await {
                Ok(outcome) => outcome,
                Err(error) => return Disposition::Retry(format!("{:#}", anyhow::Error::new(error))),
            };
            match outcome {
                CommandOutcome::Recorded => {
                    self.forget(request);
                    return Disposition::Acknowledge;
                }
                CommandOutcome::Unknown => {
                    return match self.gateway.session(&request.session_id, None).await {
                        Ok(session) if has_outcome(&session, request) => {
                            self.forget(request);
                            Disposition::Acknowledge
                        }
                        Ok(_) => Disposition::Retry("the report waits on the bus".to_owned()),
                        Err(error) => Disposition::Retry(format!("the report waits on the bus, and {error}")),
                    };
                }
                CommandOutcome::Rejected { code, reason } if report.is_observation() => {
                    tracing::warn!(code, reason, "observation rejected");
                    let session = match self.gateway.session(&request.session_id, None).await {
                        Ok(session) => session,
                        Err(error) => return Disposition::Retry(error.to_string()),
                    };
                    if has_outcome(&session, request) {
                        self.forget(request);
                        return Disposition::Acknowledge;
                    }
                    let (outcome, reason) = if session.status.is_observable() {
                        (FailureOutcome::Failed, format!("the observation was refused ({code}): {reason}"))
                    } else {
                        (FailureOutcome::Skipped, format!("the session had moved on: it is {}", session.status))
                    };
                    match Report::failure(&request.session_id, &request.request_id, outcome, &reason) {
                        Ok(failure) => report = request.part_of_request(failure),
                        Err(error) => return Disposition::Terminate(error.to_string()),
                    }
                    self.keep(request, &report);
                }
                CommandOutcome::Rejected { code, reason } => {
                    self.forget(request);
                    return Disposition::Terminate(format!("its failure was refused ({code}): {reason}"));
                }
            }
        }
    }

    fn keep(&self, request: &ObservationRequest, report: &Report) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).keep(&request.request_id, report);
    }

    fn forget(&self, request: &ObservationRequest) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).forget(&request.request_id);
    }
}

/// Reports whose outcome does not show yet, the oldest first.
#[derive(Debug, Default)]
struct Pending(VecDeque<(RequestId, Report)>);

impl Pending {
    fn get(&self, request: &RequestId) -> Option<Report> {
        self.0.iter().find(|(id, _)| id == request).map(|(_, report)| report.clone())
    }

    fn keep(&mut self, request: &RequestId, report: &Report) {
        self.forget(request);
        self.0.push_back((request.clone(), report.clone()));
        if self.0.len() > MAX_PENDING {
            // CML is read again for it, should it come back.
            self.0.pop_front();
        }
    }

    fn forget(&mut self, request: &RequestId) {
        self.0.retain(|(id, _)| id != request);
    }
}

/// Since when the session runs, where that is known: by its profile, or as it still runs.
fn running_since(session: &Session, observation: &ResourceObservation) -> Option<DateTime<Utc>> {
    let sampled_from = observation.profile.as_ref().and_then(|profile| profile.from()).map(BoundedTime::at);
    let running = session.status_since.filter(|_| session.status == SessionStatus::Running);
    [sampled_from, running].into_iter().flatten().min()
}

fn has_outcome(session: &Session, request: &ObservationRequest) -> bool {
    session.request(&request.request_id).is_some_and(Request::is_answered)
}

fn read(message: &Message) -> Result<ObservationRequest, String> {
    let event = cloud_event::read(message.headers.as_ref(), &message.payload, streams::LARGEST_EVENT)
        .map_err(|error| error.to_string())?;
    let data = cloud_event::json_data(&event).map_err(|error| error.to_string())?;
    let request: ObservationRequest =
        serde_json::from_value(data).map_err(|error| format!("the request cannot be read: {error}"))?;
    Ok(ObservationRequest {
        position: cloud_event::extension(&event, "position"),
        correlation: cloud_event::extension(&event, "correlationid").unwrap_or_else(|| event.id().to_owned()),
        traceparent: cloud_event::extension(&event, "traceparent"),
        ..request
    })
}

fn redelivery_delay(delivered: i64) -> Duration {
    let (first, most) = REDELIVERY_DELAY;
    let doublings = u32::try_from(delivered.clamp(1, 10) - 1).unwrap_or_default();
    (first * 2_u32.pow(doublings)).min(most)
}

async fn bounded(ack: impl Future<Output = Result<(), async_nats::Error>>) -> Result<(), String> {
    match tokio::time::timeout(Duration::from_secs(5), ack).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer within 5 s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_redelivered_after_ever_longer_waits() {
        let waits: Vec<u64> = [1, 2, 3, 6, 7, 900].map(|delivered| redelivery_delay(delivered).as_secs()).to_vec();
        assert_eq!(waits, [2, 4, 8, 60, 60, 60]);
    }

    #[test]
    fn pending_reports_are_bounded_and_the_oldest_goes() {
        let session = SessionId::parse("s").unwrap();
        let mut pending = Pending::default();
        let id = |number: usize| RequestId::parse(format!("r{number}")).unwrap();
        for number in 0..=MAX_PENDING {
            let report = Report::failure(&session, &id(number), FailureOutcome::Failed, "x").unwrap();
            pending.keep(&id(number), &report);
            pending.keep(&id(number), &report);
        }
        assert_eq!(pending.0.len(), MAX_PENDING);
        assert!(pending.get(&id(0)).is_none() && pending.get(&id(MAX_PENDING)).is_some());
        pending.forget(&id(1));
        assert!(pending.get(&id(1)).is_none());
    }
}
