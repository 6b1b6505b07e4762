//! Ends timeslots: reads what is, plans, and does what the plan says.
//!
//! It is told nothing. A timer or a message only rings the bell; whatever it does rests on what it has just read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bus::clock::Clock;
use bus::{Backoff, Bus, subjects};
use chrono::{DateTime, Utc};
use domain::SessionId;
use domain::lablet_session::SessionStatus;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::gateway::{Gateway, GatewayError, Session};
use crate::plan::{PlanOptions, RequestState, RunningSession, SendTimes, Snapshot, Step, plan, request_id};
use crate::reports::{CommandOutcome, Report, Sender};

/// How many sessions are looked at, or moved, at a time.
const CONCURRENCY: usize = 8;
/// What was sent longer ago than this is forgotten.
const SENT_LASTS: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// What one look around came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReconcilePass {
    /// Running sessions at their end, or close to it, that were looked at.
    pub examined: usize,
    /// Commands that took effect.
    pub changed: usize,
    /// What did not work, in words.
    pub failed: Vec<String>,
    /// When to look again at the latest. `None`: after the usual time.
    pub again_in: Option<Duration>,
}

/// The reconciler.
#[derive(Debug)]
pub struct Reconciler {
    gateway: Gateway,
    sender: Sender,
    clock: Clock,
    options: PlanOptions,
    poll: Duration,
    sent: BTreeMap<Uuid, SendTimes>,
}

impl Reconciler {
    /// A reconciler that looks around at least every `poll`.
    pub fn new(gateway: Gateway, sender: Sender, clock: Clock, options: PlanOptions, poll: Duration) -> Self {
        Self { gateway, sender, clock, options, poll, sent: BTreeMap::new() }
    }

    /// Looks around, now and again, until `stop`. A gateway that is away is asked again with back-off.
    pub async fn run(mut self, bus: Bus, stop: CancellationToken) {
        let mut bell = match bus.client().subscribe(subjects::NUDGE_PROJECTIONS).await {
            Ok(bell) => Some(bell),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no bell rings; the timer remains");
                None
            }
        };
        let mut backoff = Backoff::new(self.poll, Duration::from_secs(60).max(self.poll));
        loop {
            let began = Instant::now();
            let Some(pass) = stop.run_until_cancelled(self.reconcile_once()).await else { return };
            let took = began.elapsed();
            note(&pass, took);
            let pause = if pass.failed.is_empty() {
                backoff.reset();
                pass.again_in.unwrap_or(self.poll).min(self.poll)
            } else {
                backoff.next_wait()
            };
            // However often the bell rings, looking takes at most a tenth of the time.
            let soonest = began + Duration::from_secs(1).max(took * 10).min(self.poll.max(took));
            let latest = (Instant::now() + pause).max(began + Duration::from_millis(200));
            let rung = async {
                match bell.as_mut() {
                    Some(bell) if pass.failed.is_empty() => match bell.next().await {
                        Some(_) => tokio::time::sleep_until(soonest).await,
                        None => std::future::pending().await,
                    },
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(latest) => {}
                () = rung => {}
            }
        }
    }

    /// Looks around once and does what there is to do.
    #[tracing::instrument(name = "reconcile.timeslots", skip_all)]
    pub async fn reconcile_once(&mut self) -> ReconcilePass {
        let mut pass = ReconcilePass::default();
        let snapshot = match self.look(&mut pass).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                pass.failed.push(error.to_string());
                return pass;
            }
        };
        pass.examined = snapshot.running.len();
        let now = self.clock.now();
        let steps = plan(&snapshot, now, &self.options);
        let sender = &self.sender;
        let done: Vec<_> = stream::iter(steps.into_iter().filter_map(|step| command_of(step, now, &mut pass)))
            .map(|(session, command_id, report)| async move {
                let outcome = match &report {
                    Ok(report) => sender.send(report).await.map_err(|error| describe(&error)),
                    Err(error) => Err(error.to_string()),
                };
                (session, command_id, outcome)
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        for (session, command_id, outcome) in done {
            match outcome {
                Ok(CommandOutcome::Recorded) => pass.changed += 1,
                Ok(CommandOutcome::Unknown) => {}
                // It moved on by itself, or will not move at all; the next look tells.
                Ok(CommandOutcome::Rejected { code, reason }) => {
                    tracing::info!(session.id = %session, code, reason, "a command for a session at its end was refused");
                }
                Err(error) => {
                    // It may never have reached the bus: there is no effect to wait for.
                    pass.failed.push(format!("session {session}: {error}"));
                    continue;
                }
            }
            self.sent.entry(command_id).or_insert(SendTimes { first: now, last: now }).last = now;
        }
        self.sent.retain(|_, sent| now - sent.first < SENT_LASTS);
        pass
    }

    async fn look(&self, pass: &mut ReconcilePass) -> Result<Snapshot, GatewayError> {
        let read_at = self.clock.now();
        // However many sessions run, only those at their end, or close to it, are read. The next look
        // comes before the horizon, so an end is met on time.
        let soon = chrono::TimeDelta::from_std(self.poll * 2).unwrap_or(chrono::TimeDelta::MAX);
        let horizon = read_at.checked_add_signed(soon).unwrap_or(read_at);
        let rows = self.gateway.running_until(horizon).await?;
        pass.failed.extend(rows.unreadable.into_iter().map(|reason| format!("a session cannot be read: {reason}")));
        let (due, early): (Vec<Session>, Vec<Session>) = rows
            .items
            .into_iter()
            .filter(|session| session.timeslot.is_some())
            .partition(|session| session.timeslot.is_some_and(|timeslot| timeslot.end() <= read_at));
        let mut running: Vec<RunningSession> = early.into_iter().filter_map(running_session).collect();
        // Only sessions at their end are looked at one by one.
        let due: BTreeSet<SessionId> = due.into_iter().map(|session| session.id).collect();
        let details: Vec<_> = stream::iter(due)
            .map(|id| async move {
                let detail = self.gateway.session(&id, None).await;
                (id, detail)
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        for (id, detail) in details {
            match detail {
                Ok(session) if session.status == SessionStatus::Running => running.extend(running_session(session)),
                Ok(_) | Err(GatewayError::NotFound) => {}
                Err(error) => pass.failed.push(format!("session {id}: {error}")),
            }
        }
        running.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Snapshot { read_at, running, sent: self.sent.clone() })
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

type ToSend = (SessionId, Uuid, Result<Report, serde_json::Error>);

fn command_of(step: Step, now: DateTime<Utc>, pass: &mut ReconcilePass) -> Option<ToSend> {
    match step {
        Step::RequestObservation { session, request_id, command_id } => {
            let report = Report::request_observation(&session, &request_id, command_id);
            Some((session, command_id, Ok(report)))
        }
        Step::MoveOn { session, command_id } => {
            let report = Report::move_on(&session, command_id);
            Some((session, command_id, report))
        }
        Step::Wait { until, reason } => {
            tracing::trace!(%until, ?reason, "nothing to do until then");
            pass.again_in = Some((until - now).to_std().unwrap_or_default());
            None
        }
    }
}

fn note(pass: &ReconcilePass, took: Duration) {
    metrics::histogram!("lablet_reconcile_seconds").record(took.as_secs_f64());
    metrics::counter!("lablet_reconcile_commands_total").increment(pass.changed as u64);
    let outcome = if pass.failed.is_empty() { "ok" } else { "failed" };
    metrics::counter!("lablet_reconcile_total", "outcome" => outcome).increment(1);
    if pass.failed.is_empty() {
        tracing::debug!(examined = pass.examined, changed = pass.changed, "looked around");
    } else {
        tracing::warn!(
            examined = pass.examined,
            changed = pass.changed,
            failed = pass.failed.len(),
            first = pass.failed.first().map(String::as_str),
            "looking around failed in part; trying again with back-off"
        );
    }
}

/// An error with its sources, for one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
