//! How a session goes from one controller to another: taken over when its controller falls silent, given up to whoever took
//! it over, handed over when this controller ends.

use std::time::Duration;

use bus::{Backoff, Bus};
use domain::SessionId;
use domain::live_sample::Outcome;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::Sampling;
use super::claim::Claim;
use super::live::{self, LiveSample};
use super::session::{OwnSampling, Role, Standby, catch_up};
use super::store::{StoreError, SummaryStore};
use crate::profile::Summary;

impl Sampling {
    /// After how long without a message of its controller a session is taken over: one and a half intervals, so that the
    /// gap is below two. Several controllers do not try at once.
    fn silence(&self) -> Duration {
        let interval = self.options.interval;
        interval.mul_f64(1.4) + Backoff::new(interval.mul_f64(0.2), interval).next_wait()
    }

    pub(super) fn claimed(&mut self, id: &SessionId, claim: Result<Claim, StoreError>, now: Instant) {
        let silence = self.silence();
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.in_store = false;
        let Role::Standby(standby) = &mut session.role else { return };
        let (mut summary, revision) = match claim {
            Ok(Claim::Won { summary, revision }) => (*summary, Some(revision)),
            Ok(Claim::Lost { holder }) => {
                standby.take_over_at = now + silence;
                standby.holder = holder;
                return;
            }
            Err(StoreError::Conflict) => {
                standby.take_over_at = now + silence;
                return;
            }
            Err(error) if standby.holder.is_some() => {
                // Its controller may go on in memory, as this one would.
                tracing::debug!(error = &error as &dyn std::error::Error, session.id = %id, "session not taken over");
                standby.take_over_at = now + silence;
                return;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.store_is_away, true) {
                    tracing::warn!(error = &error as &dyn std::error::Error, "samples are kept in memory only");
                }
                (Summary::new(session.running_since, self.options.interval, self.options.settling), None)
            }
        };
        catch_up(&mut summary, self.heard.about(id));
        session.role = Role::Sampling(Box::new(OwnSampling {
            summary,
            revision,
            term: revision.unwrap_or(0),
            is_written: revision.is_some() && self.heard.about(id).next().is_none(),
            write_at: now + self.options.write_interval,
            poll_at: now,
            in_poll: false,
            nodes: None,
            wants_nodes: true,
            nodes_asked_at: None,
            pushed_at: None,
            told_at: now,
        }));
        self.heard.forget(id);
        self.tell(id, Outcome::Pending, now);
        self.has_other_labs = true;
    }

    pub(super) fn written(&mut self, id: &SessionId, result: Result<u64, StoreError>, now: Instant) {
        let silence = self.silence();
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.in_store = false;
        let Role::Sampling(sampled) = &mut session.role else { return };
        match result {
            Ok(revision) => {
                if sampled.revision.is_none() {
                    sampled.term = revision;
                }
                sampled.revision = Some(revision);
                if std::mem::take(&mut self.store_is_away) {
                    tracing::info!("samples are stored again");
                }
            }
            Err(StoreError::Conflict) => {
                tracing::info!(session.id = %id, "session is sampled by another controller");
                session.role = Role::Standby(Standby::new(now + silence));
            }
            Err(error) => {
                sampled.is_written = false;
                if !std::mem::replace(&mut self.store_is_away, true) {
                    tracing::warn!(error = &error as &dyn std::error::Error, "samples are kept in memory only");
                }
            }
        }
    }

    pub(super) fn hear(&mut self, payload: &[u8]) {
        let now = Instant::now();
        let Some(message) = LiveSample::read(payload) else {
            metrics::counter!("lablet_live_samples_unreadable_total").increment(1);
            return;
        };
        if message.controller == self.controller {
            return;
        }
        let silence = self.silence();
        let Some(session) = self.sessions.get_mut(&message.session_id) else { return };
        if let Role::Sampling(sampled) = &session.role {
            if message.term <= sampled.term {
                return;
            }
            tracing::info!(session.id = %message.session_id, "session is sampled by another controller");
            session.role = Role::Standby(Standby::new(now + silence));
        }
        if let Role::Standby(standby) = &mut session.role {
            let is_released = message.outcome == Outcome::Released;
            if standby.hear(&message) {
                standby.take_over_at = now + if is_released { silence.mul_f64(0.01) } else { silence };
                if message.outcome != Outcome::Pending {
                    self.heard.keep(message, now);
                }
            }
        }
    }

    /// Leaves what it sampled to the other controllers.
    pub(super) async fn release(&mut self) {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        let mut released = JoinSet::new();
        for (id, session) in self.sessions.take() {
            if let Role::Sampling(sampled) = session.role {
                let (store, bus) = (self.store.clone(), self.surroundings.bus.clone());
                released.spawn(release(store, bus, self.controller, id, *sampled));
            }
        }
        released.join_all().await;
        if let Err(error) = self.surroundings.bus.client().flush().await {
            tracing::debug!(error = &error as &dyn std::error::Error, "last live samples not flushed");
        }
    }
}

/// Hands one session over to the other controllers.
async fn release(store: SummaryStore, bus: Bus, controller: Uuid, session_id: SessionId, sampled: OwnSampling) {
    if sampled.revision.is_some()
        && let Err(error) = store.write(&session_id, None, sampled.revision, &sampled.summary).await
    {
        tracing::debug!(error = &error as &dyn std::error::Error, session.id = %session_id, "session not released");
        return;
    }
    let message = LiveSample { session_id, controller, term: sampled.term, outcome: Outcome::Released };
    live::publish(&message, &bus).await;
}
