//! Ends timeslots: reads what is, plans, and does what the plan says.
//!
//! A timer or a message is only a wake-up signal; whatever it does rests on what it has just read. Each session is served
//! by a task of its own and has its own back-off, so that one that cannot be read or moved on delays no other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::clock::Clock;
use bus::{Backoff, Bus, subjects};
use chrono::{DateTime, TimeDelta, Utc};
use domain::SessionId;
use domain::lablet_session::SessionStatus;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::gateway::{Gateway, GatewayError, Session};
use crate::plan::{self, PlanOptions, RequestState, RunningSession, SendTimes, Snapshot, Step, plan, request_id};
use crate::reports::{CommandOutcome, Report, SendError, Sender};
use crate::wake_ups::WakeUps;

/// Sessions that are read, or moved on, at a time.
const CONCURRENCY: usize = 32;
/// Longest wait after failures, of one session and of the list alike.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Shortest time between two passes that wake-up signals cause.
const WAKE_UP_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between any two passes.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(200);
/// A session that was not listed for this long is forgotten, and so are commands that were sent before.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(1);

/// The reconciler.
#[derive(Debug)]
pub struct Reconciler {
    service: Service,
    poll: Duration,
    sessions: BTreeMap<SessionId, Progress>,
    /// When rows that cannot be read are reported again.
    unreadable: Option<Retry>,
    tasks: JoinSet<Served>,
}

/// What serving a session takes. Cloning shares connections.
#[derive(Debug, Clone)]
struct Service {
    gateway: Gateway,
    sender: Sender,
    clock: Clock,
    options: PlanOptions,
    permits: Arc<Semaphore>,
}

/// How far a session at its end has come.
#[derive(Debug)]
struct Progress {
    /// Commands that reached the bus, by their id.
    sent: BTreeMap<Uuid, SendTimes>,
    /// Whether a task is serving it.
    in_service: bool,
    listed_at: DateTime<Utc>,
    retry: Option<Retry>,
}

/// When something that failed is tried again.
#[derive(Debug)]
struct Retry {
    backoff: Backoff,
    at: Instant,
}

/// What came of serving one session once.
#[derive(Debug)]
struct Served {
    session: SessionId,
    /// The command that reached the bus, and when.
    sent: Option<(Uuid, DateTime<Utc>)>,
    failure: Option<ServeError>,
}

/// Why a session could not be served.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("the session cannot be read")]
    Read(#[source] GatewayError),
    #[error("the command cannot be written")]
    Write(#[source] serde_json::Error),
    #[error("the command cannot be sent")]
    Send(#[source] SendError),
}

impl Reconciler {
    /// A reconciler that lists the sessions at their end at least every `poll`.
    pub fn new(gateway: Gateway, sender: Sender, clock: Clock, options: PlanOptions, poll: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(CONCURRENCY));
        Self {
            service: Service { gateway, sender, clock, options, permits },
            poll,
            sessions: BTreeMap::new(),
            unreadable: None,
            tasks: JoinSet::new(),
        }
    }

    /// Serves sessions at their end until `stop`. A gateway that cannot be reached is asked again with back-off.
    pub async fn run(mut self, bus: Bus, stop: CancellationToken) {
        let wake_ups = WakeUps::subscribe(bus.client(), subjects::NUDGE_PROJECTIONS).await;
        let mut backoff = self.backoff();
        loop {
            let began = Instant::now();
            let Some(pass) = stop.run_until_cancelled(self.pass()).await else { return };
            let took = began.elapsed();
            metrics::histogram!("lablet_reconcile_seconds").record(took.as_secs_f64());
            let outcome = if pass.is_ok() { "ok" } else { "failed" };
            metrics::counter!("lablet_reconcile_total", "outcome" => outcome).increment(1);
            let (next_pass, listens) = match pass {
                Ok(next_end) => {
                    backoff.reset();
                    let poll = Instant::now() + self.poll;
                    (next_end.map_or(poll, |end| end.min(poll)).max(began + SHORTEST_INTERVAL), true)
                }
                Err(error) => {
                    let wait = backoff.next_wait();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        wait_ms = wait.as_millis() as u64,
                        "sessions could not be listed, retrying"
                    );
                    (Instant::now() + wait, false)
                }
            };
            let woken = async {
                wake_ups.next().await;
                // However many signals come, listing takes at most a tenth of the time.
                let interval = WAKE_UP_INTERVAL.max(took * 10).min(self.poll.max(took));
                tokio::time::sleep_until(began + interval).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(next_pass) => {}
                () = woken, if listens => {}
            }
        }
    }

    /// Lists the sessions at their end, or close to it, and has those at their end served. Gives the time of the next
    /// end.
    ///
    /// # Errors
    /// [`GatewayError`] when they cannot be listed.
    #[tracing::instrument(name = "reconcile.timeslots", skip_all, fields(listed, started))]
    async fn pass(&mut self) -> Result<Option<Instant>, GatewayError> {
        while let Some(served) = self.tasks.try_join_next() {
            self.settle(served);
        }
        let now = self.service.clock.now();
        // However many sessions run, only those at their end, or close to it, are listed. The next pass comes before the
        // horizon, so that an end is met on time.
        let soon = TimeDelta::from_std(self.poll * 2).unwrap_or(TimeDelta::MAX);
        let rows = self.service.gateway.running_until(now.checked_add_signed(soon).unwrap_or(now)).await?;
        self.report_unreadable(&rows.unreadable);
        let mut next_end: Option<DateTime<Utc>> = None;
        let mut started = 0_usize;
        for session in &rows.items {
            match session.timeslot.map(|timeslot| timeslot.end()) {
                Some(end) if end <= now => started += usize::from(self.start(&session.id, now)),
                Some(end) => next_end = Some(next_end.map_or(end, |earliest| earliest.min(end))),
                None => {}
            }
        }
        self.sessions.retain(|_, progress| progress.in_service || now - progress.listed_at < FORGOTTEN_AFTER);
        tracing::Span::current().record("listed", rows.items.len()).record("started", started);
        let until = |end: DateTime<Utc>| (end - self.service.clock.now()).to_std().unwrap_or_default();
        Ok(next_end.map(|end| Instant::now() + until(end)))
    }

    /// Starts a task that serves the session, unless there is one, or the session failed a short while ago.
    fn start(&mut self, session: &SessionId, now: DateTime<Utc>) -> bool {
        let progress = self.sessions.entry(session.clone()).or_insert_with(|| Progress {
            sent: BTreeMap::new(),
            in_service: false,
            listed_at: now,
            retry: None,
        });
        progress.listed_at = now;
        progress.sent.retain(|_, sent| now - sent.first < FORGOTTEN_AFTER);
        if progress.in_service || progress.retry.as_ref().is_some_and(|retry| Instant::now() < retry.at) {
            return false;
        }
        progress.in_service = true;
        let serve = self.service.clone().serve(session.clone(), progress.sent.clone());
        self.tasks.spawn(serve.in_current_span());
        true
    }

    fn settle(&mut self, served: Result<Served, JoinError>) {
        let Served { session, sent, failure } = match served {
            Ok(served) => served,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only this reconciler could have cancelled it.
            Err(_) => return,
        };
        let first_wait = self.backoff();
        let Some(progress) = self.sessions.get_mut(&session) else { return };
        progress.in_service = false;
        if let Some((command_id, at)) = sent {
            progress.sent.entry(command_id).or_insert(SendTimes { first: at, last: at }).last = at;
        }
        let Some(error) = failure else {
            progress.retry = None;
            return;
        };
        let wait = Retry::next(&mut progress.retry, first_wait);
        metrics::counter!("lablet_reconcile_session_failures_total").increment(1);
        tracing::warn!(
            session.id = %session,
            error = &error as &dyn std::error::Error,
            wait_ms = wait.as_millis() as u64,
            "session could not be served, retrying"
        );
    }

    /// Logs rows of the list that cannot be read, with back-off: they stay unreadable until they are repaired.
    fn report_unreadable(&mut self, reasons: &[String]) {
        let Some(first) = reasons.first() else {
            self.unreadable = None;
            return;
        };
        if self.unreadable.as_ref().is_some_and(|retry| Instant::now() < retry.at) {
            return;
        }
        let first_wait = self.backoff();
        Retry::next(&mut self.unreadable, first_wait);
        tracing::warn!(sessions = reasons.len(), first, "listed sessions cannot be read");
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.poll, LONGEST_WAIT.max(self.poll))
    }
}

impl Retry {
    /// Sets the time of the next try, and gives the wait until then.
    fn next(retry: &mut Option<Self>, first_wait: Backoff) -> Duration {
        let retry = retry.get_or_insert_with(|| Self { backoff: first_wait, at: Instant::now() });
        let wait = retry.backoff.next_wait();
        retry.at = Instant::now() + wait;
        wait
    }
}

impl Service {
    /// Reads one session at its end, and takes the one step that the plan has for it.
    #[tracing::instrument(name = "reconcile.session", skip_all, fields(session.id = %session))]
    async fn serve(self, session: SessionId, sent: BTreeMap<Uuid, SendTimes>) -> Served {
        let (sent, failure) = match self.step(&session, sent).await {
            Ok(sent) => (sent, None),
            Err(error) => (None, Some(error)),
        };
        Served { session, sent, failure }
    }

    async fn step(
        &self,
        id: &SessionId,
        sent: BTreeMap<Uuid, SendTimes>,
    ) -> Result<Option<(Uuid, DateTime<Utc>)>, ServeError> {
        // The semaphore is never closed; without a permit the session would be served all the same.
        let _permit = self.permits.acquire().await.ok();
        let read_at = self.clock.now();
        let session = match self.gateway.session(id, None).await {
            Ok(session) if session.status == SessionStatus::Running => session,
            // It moved on meanwhile.
            Ok(_) | Err(GatewayError::NotFound) => return Ok(None),
            Err(error) => return Err(ServeError::Read(error)),
        };
        let Some(running) = running_session(session) else { return Ok(None) };
        let traceparent = plan::traceparent(id, running.end);
        let now = self.clock.now();
        for step in plan(&Snapshot { read_at, running: vec![running], sent }, now, &self.options) {
            let (command_id, report) = match step {
                Step::RequestObservation { session, request_id, command_id } => {
                    (command_id, Report::request_observation(&session, &request_id, command_id))
                }
                Step::MoveOn { session, command_id } => {
                    (command_id, Report::move_on(&session, command_id).map_err(ServeError::Write)?)
                }
                Step::Wait { until, reason } => {
                    tracing::trace!(%until, ?reason, "nothing to do yet");
                    continue;
                }
            };
            let report = report.in_trace(Some(&traceparent));
            match self.sender.send(&report).await.map_err(ServeError::Send)? {
                CommandOutcome::Recorded => metrics::counter!("lablet_reconcile_commands_total").increment(1),
                CommandOutcome::Unknown => {}
                // It moved on by itself, or will not move at all; the next pass shows which.
                CommandOutcome::Rejected { code, reason } => {
                    tracing::info!(command = report.command(), code, reason, "command rejected");
                }
            }
            return Ok(Some((command_id, now)));
        }
        Ok(None)
    }
}

fn running_session(session: Session) -> Option<RunningSession> {
    let end = session.timeslot?.end();
    let request = request_id(&session.id, end)
        .and_then(|id| session.request(&id))
        .map(|request| RequestState { requested_at: request.requested_at, answered: request.is_answered() });
    let has_lab = session.worker_id.is_some() && session.cml_lab_id.is_some();
    Some(RunningSession { id: session.id, end, has_lab, request })
}
