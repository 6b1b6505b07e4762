//! The demonstration: two simulated CML controllers, some sample labs, and sessions that live through their life in some
//! minutes and begin again, so that a new user sees observations, drift, requests, aggregates and what a session really
//! uses come to life: work in phases, a process that runs away, one that fills a disk, a node that is restarted, and a
//! worker that is short of CPU for a while. Of advice it shows a definition that has too much and is revised by itself, one
//! that has too little, one that is not judged yet, and one that never ran.
//!
//! It plays the services around Lablet (booking, lab start and stop, grading) through the same interfaces that they use.

mod history;
mod labs;
mod services;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use rand::Rng as _;
use serde_json::{Value, json};
use simulator::{Simulator, WorkerPressure};
use tokio_util::sync::CancellationToken;

use self::labs::{LABS, SampleLab, planned_definition};
pub(crate) use self::services::Services;
use crate::secret::Secret;

/// How long any state may take to be reached before the demonstration gives the session up.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The workers: their ids and names.
const WORKERS: [(&str, &str); 2] = [("demo-cml", "Simulated CML"), ("demo-cml-2", "Simulated CML 2")];
/// How long the worker has what it needs before it is short of CPU, and how long it is.
const RELIEVED: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(45);

/// What the demonstration needs.
pub(crate) struct Demo {
    /// One for each of [`WORKERS`].
    simulators: Vec<Arc<Simulator>>,
    services: Services,
    clock: bus::clock::Clock,
}

impl Demo {
    /// A demonstration on [simulators](start_simulators).
    pub(crate) fn new(simulators: Vec<Arc<Simulator>>, services: Services, clock: bus::clock::Clock) -> Self {
        Self { simulators, services, clock }
    }

    /// Plays until cancelled. What goes wrong is logged, and tried again after a pause.
    pub(crate) async fn run(self, cancelled: CancellationToken) {
        let demo = Arc::new(self);
        let mut set_up_pause = Duration::from_secs(1);
        loop {
            let set_up = tokio::select! {
                result = demo.set_up() => result,
                () = cancelled.cancelled() => return,
            };
            match set_up {
                Ok(()) => break,
                Err(error) => tracing::warn!(error = format!("{error:#}"), "demonstration setup failed, retrying"),
            }
            tokio::select! {
                () = tokio::time::sleep(set_up_pause) => set_up_pause = (set_up_pause * 2).min(Duration::from_secs(30)),
                () = cancelled.cancelled() => return,
            }
        }
        let mut stages = tokio::task::JoinSet::new();
        let played = LABS.iter().enumerate().flat_map(|(index, lab)| std::iter::repeat_n((index, lab), lab.at_once));
        for (index, lab) in played {
            let (demo, cancelled) = (demo.clone(), cancelled.clone());
            stages.spawn(async move {
                // Staggered, so that there is always something in every state to look at.
                let stagger = Duration::from_secs(4 * u64::try_from(index).unwrap_or(0));
                tokio::select! {
                    () = async { tokio::time::sleep(stagger).await; demo.stage(lab).await } => {}
                    () = cancelled.cancelled() => {}
                }
            });
        }
        let (demo, cancelled) = (demo.clone(), cancelled.clone());
        stages.spawn(async move {
            tokio::select! {
                () = demo.strain() => {}
                () = cancelled.cancelled() => {}
            }
        });
        while stages.join_next().await.is_some() {}
    }

    /// Makes the first worker short of CPU now and then.
    async fn strain(&self) {
        loop {
            for (cpu, lasts) in [(false, RELIEVED), (true, SHORT)] {
                let pressure = WorkerPressure { cpu, ..WorkerPressure::default() };
                if let Some(Err(error)) = self.simulators.first().map(|simulator| simulator.set_pressure(pressure)) {
                    tracing::warn!(error = &error as &dyn std::error::Error, "demonstration cannot strain its worker");
                }
                tokio::time::sleep(lasts).await;
            }
        }
    }

    /// Worker and definitions; what an earlier run left unfinished is terminated, as its labs are gone.
    async fn set_up(&self) -> anyhow::Result<()> {
        for worker in workers(&self.simulators) {
            self.services.ensure_worker(worker).await?;
        }
        for lab in LABS {
            self.services.ensure_definition(lab.definition()?).await?;
            if let Some((policy, reason)) = lab.policy {
                self.services.ensure_policy(lab.id, policy.policy(), reason).await?;
            }
        }
        self.services.ensure_definition(planned_definition()).await?;
        for (worker, _) in WORKERS {
            for session in self.services.unfinished_sessions(worker).await? {
                self.services
                    .transition(
                        &session,
                        json!({"new_status": "terminated", "reason": "the demonstration began again"}),
                    )
                    .await?;
            }
        }
        Ok(())
    }

    /// Plays one lab's sessions, one after the other.
    async fn stage(&self, lab: &'static SampleLab) {
        loop {
            let played = self.play(lab).await;
            let pause = match played {
                Ok(()) => Duration::from_secs(rand::rng().random_range(2..6)),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), lab = lab.id, "demonstration session abandoned");
                    Duration::from_secs(10)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One session, from booking to archive.
    async fn play(&self, lab: &'static SampleLab) -> anyhow::Result<()> {
        let now: DateTime<Utc> = self.clock.now();
        let timeslot = json!({ "start": now, "end": now + lab.timeslot });
        let simulator = self.simulators.get(lab.worker).context("a sample lab names a worker that is not there")?;
        let session = self.services.create_session(json!({ "definition_id": lab.id, "timeslot": timeslot })).await?;
        // By the end of the session's id, as pages show it.
        let title = format!("{} {}", lab.name, session.get(session.len().saturating_sub(8)..).unwrap_or(&session));
        let lab_id = simulator.import_as(lab.topology, Some(&title))?;
        let lived = self.live(lab, (simulator, &lab_id), &session).await;
        // Whatever became of the session, its lab must not be left behind.
        simulator.stop_lab(&lab_id)?;
        simulator.wipe_lab(&lab_id)?;
        simulator.delete_lab(&lab_id)?;
        if lived.is_err() {
            let reason = json!({"new_status": "terminated", "reason": "the demonstration gave it up"});
            self.services.transition(&session, reason).await?;
            return lived;
        }
        for status in ["stopped", "archived"] {
            self.services.transition(&session, json!({ "new_status": status })).await?;
        }
        Ok(())
    }

    async fn live(
        &self,
        lab: &SampleLab,
        (simulator, lab_id): (&Simulator, &str),
        session: &str,
    ) -> anyhow::Result<()> {
        let (worker, _) = WORKERS[lab.worker];
        let services = &self.services;
        services
            .transition(
                session,
                json!({"new_status": "scheduled", "worker_id": worker, "allocated_ports": lab.ports()?}),
            )
            .await?;
        services.transition(session, json!({"new_status": "instantiating"})).await?;
        simulator.start_lab(lab_id)?;
        services.transition(session, json!({"new_status": "ready"})).await?;
        services.transition(session, json!({"new_status": "running", "cml_lab_id": lab_id})).await?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        if let Some((label, from, to)) = lab.drifts {
            simulator.move_port(lab_id, label, from, to)?;
        }
        if let Some(incident) = lab.incident {
            match incident.kind.runaway() {
                Some(order) => simulator.run_away(lab_id, incident.node, order)?,
                None => {
                    // It has booted by then, and boots again before the timeslot ends.
                    tokio::time::sleep(Duration::from_secs(6)).await;
                    simulator.restart_node(lab_id, incident.node)?;
                }
            }
        }
        if lab.is_asked_for {
            services.request_observation(session).await?;
        }
        // The controller observes when the timeslot ends, then moves the session on.
        services.wait_for(session, "collecting", TIMEOUT + lab.timeslot.to_std()?).await?;
        services.transition(session, json!({"new_status": "grading"})).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        services.transition(session, json!({"new_status": "stopping"})).await?;
        Ok(())
    }
}

/// The workers, as they are registered.
fn workers(simulators: &[Arc<Simulator>]) -> Vec<Value> {
    let worker = |((id, name), simulator): ((&str, &str), &Arc<Simulator>)| {
        json!({
            "id": id, "name": name, "address": simulator.url(),
            "capacity": {"cpu_cores": 64, "memory_gb": 256, "storage_gb": 2000, "max_nodes": 320}
        })
    };
    WORKERS.into_iter().zip(simulators).map(worker).collect()
}

/// Writes the days of a small fleet before now into the log, if it is empty. To be done before a controller works: it would
/// take care of sessions that are running only in the middle of the writing.
pub(crate) async fn write_history(
    pool: sqlx::PgPool,
    now: DateTime<Utc>,
    days: u32,
    simulators: &[Arc<Simulator>],
) -> anyhow::Result<()> {
    let sessions = history::write(pool, now, days, &workers(simulators)).await?;
    if sessions > 0 {
        tracing::info!(sessions, days, "demonstration history written");
    }
    Ok(())
}

/// Starts a simulator for each worker, with one password for all, and gives the credentials to them.
pub(crate) async fn start_simulators() -> anyhow::Result<(Vec<Arc<Simulator>>, controller::Credentials)> {
    let password = Secret::generate("")?;
    let mut simulators = Vec::with_capacity(WORKERS.len());
    for _ in WORKERS {
        let options = simulator::SimulatorOptions {
            username: "lablet".to_owned(),
            password: password.reveal().to_owned(),
            api: simulator::ApiVersion::V2_10,
            // A node boots in seconds here instead of minutes.
            time: simulator::SimulatedTime::Flowing { speed: 20.0 },
            // As its sessions are short, so that there is more than a handful of samples of each.
            sockets: simulator::SocketOptions { push_period: Duration::from_secs(1), ..Default::default() },
            ..simulator::SimulatorOptions::default()
        };
        simulators.push(Arc::new(Simulator::start(options).await?));
    }
    Ok((simulators, controller::Credentials::new("lablet", password.reveal())))
}
