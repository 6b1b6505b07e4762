//! How processes that keep read models divide them among themselves.
//!
//! Nobody leads. Each process says that it is there, reads who else is, and [divides](division::divide) the duties by the
//! same rule: what is another's it gives back, what is its own it takes once it is free. A lease holds while its holder is
//! present, so that a process which ends or is cut off leaves its duties to the others. None of this is needed for rows to be
//! right: a checkpoint is moved by one at a time.

mod division;
mod leases;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use app::log::Log;
use bus::Backoff;
use metrics::{Unit, describe_gauge, gauge};
use sqlx::postgres::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;

use self::division::Duty;
pub(crate) use self::division::Task;
use self::leases::Leases;
use crate::read_models::ReadModel;

/// How often a process looks who is there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A process that is not heard of for so long is gone.
const PRESENT_FOR: Duration = Duration::from_secs(5);
/// How long giving everything back at the end may take; what was not given back is free once the process is gone.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// Shortest and longest wait after a look that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The part of one process in keeping read models.
#[derive(Debug)]
pub(crate) struct Share {
    models: Vec<ReadModel>,
    leases: Leases,
    /// When the process said last that it is there.
    present_at: Option<Instant>,
    kept: watch::Sender<BTreeMap<ReadModel, Task>>,
}

impl Share {
    /// None yet, of these read models.
    pub(crate) fn new(pool: &PgPool, log: &Log, models: &[ReadModel]) -> Self {
        describe_gauge!(
            "lablet_projection_kept",
            Unit::Count,
            "Whether this process keeps the read model: 1, or 0 where another does or none"
        );
        let holder = format!("{}-{}", std::process::id(), log.id_generator().uuid());
        let kept = watch::Sender::new(BTreeMap::new());
        let share = Self { models: models.to_vec(), leases: Leases::new(pool, holder), present_at: None, kept };
        share.tell(&BTreeMap::new());
        share
    }

    /// The read models that this process is to keep at present, and what it is to do for each.
    pub(crate) fn kept(&self) -> watch::Receiver<BTreeMap<ReadModel, Task>> {
        self.kept.subscribe()
    }

    /// Takes part in the division for as long as it is polled.
    pub(crate) async fn take_part(&mut self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            let looked = tokio::time::timeout(PRESENT_FOR, self.look()).await;
            let wait = match looked.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))) {
                Ok(()) => {
                    backoff.reset();
                    LOOK_EVERY
                }
                Err(error) => {
                    let wait = backoff.next_wait();
                    let wait_ms = wait.as_millis();
                    tracing::warn!(error = &error as &dyn Error, wait_ms, "read models not divided, retrying");
                    wait
                }
            };
            // Others take over what a process has that they cannot hear of: it stops before.
            let gone_at = self.present_at.map(|present_at| present_at + PRESENT_FOR);
            let look_at = Instant::now() + wait;
            match gone_at.filter(|gone_at| *gone_at < look_at) {
                Some(gone_at) => {
                    tokio::time::sleep_until(gone_at).await;
                    self.keep(BTreeMap::new());
                    tokio::time::sleep_until(look_at).await;
                }
                None => tokio::time::sleep_until(look_at).await,
            }
        }
    }

    /// Gives everything back, so that nobody need wait until this process is taken to be gone.
    pub(crate) async fn leave(mut self) {
        self.keep(BTreeMap::new());
        match tokio::time::timeout(LEAVE_WITHIN, self.leases.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = &error as &dyn Error, "read models not given back"),
            Err(_) => tracing::debug!(timeout_seconds = LEAVE_WITHIN.as_secs(), "read models not given back"),
        }
    }

    async fn look(&mut self) -> sqlx::Result<()> {
        let asked_at = Instant::now();
        if self.present_at.is_none_or(|present_at| asked_at >= present_at + PRESENT_FOR / 3) {
            self.leases.say_present(&self.models, PRESENT_FOR).await?;
            self.present_at = Some(asked_at);
        }
        let membership = self.leases.read(&self.models).await?;
        let own: BTreeSet<Duty> = division::divide(&membership.members, &membership.live_revisions, &membership.lately)
            .into_iter()
            .filter(|(_, holder)| holder == self.leases.holder())
            .map(|(duty, _)| duty)
            .collect();
        let mut held = membership.held_by(self.leases.holder());
        let excess: Vec<Duty> = held.difference(&own).copied().collect();
        held.retain(|duty| own.contains(duty));
        if !excess.is_empty() {
            // What is given back is let go of first.
            self.keep(models_of(&held));
            self.leases.give_back(&excess).await?;
        }
        let free: Vec<Duty> = own.iter().filter(|duty| membership.is_free(**duty)).copied().collect();
        if !free.is_empty() {
            held.extend(self.leases.take(&free).await?);
        }
        self.keep(models_of(&held));
        Ok(())
    }

    fn keep(&self, models: BTreeMap<ReadModel, Task>) {
        let changed = self.kept.send_if_modified(|kept| {
            let changed = *kept != models;
            kept.clone_from(&models);
            changed
        });
        if changed {
            let names: Vec<&str> = models.keys().map(|model| model.name()).collect();
            tracing::info!(holder = self.leases.holder(), read_models = names.join(","), "read models divided");
            self.tell(&models);
        }
    }

    fn tell(&self, kept: &BTreeMap<ReadModel, Task>) {
        for model in &self.models {
            let is_kept = if kept.contains_key(model) { 1.0 } else { 0.0 };
            gauge!("lablet_projection_kept", "projection" => model.name()).set(is_kept);
        }
    }
}

/// What is done for each read model: a process follows its rows, or makes others, as it is of one revision.
fn models_of(duties: &BTreeSet<Duty>) -> BTreeMap<ReadModel, Task> {
    duties.iter().map(|duty| (duty.model, duty.task)).collect()
}
