//! Many sessions quickly: commands like any other, on a log of our own in the same database, so that neither HTTP nor
//! another process is waited for. The same crowd every time: nothing in it is left to chance.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use app::log::{Log, LogOptions, Origin, Position};
use bus::clock::{Clock, IdGenerator};
use chrono::{DateTime, TimeDelta, Utc};
use domain::lablet_definition::{LabletDefinition, LabletDefinitionCommand, NewDefinition};
use domain::lablet_session::{LabletSession, LabletSessionCommand, ObservationReport, SessionIds};
use domain::worker::{NewWorker, Worker, WorkerCommand};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Lablet;

/// Commands at a time; they share statements.
const AT_ONCE: usize = 64;
/// How long the read models may take to follow.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(180);

/// How many of what.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// Sessions, `crowd-00000` and on, in all states, a fifth of them observed, some drifted; or as `ended` says.
    pub sessions: usize,
    /// Definitions, `crowd-000` and on. The first one has a tenth of all sessions.
    pub definitions: usize,
    /// Workers, `crowd-cml-00` and on.
    pub workers: usize,
    /// Whether there is one session more, [`Crowd::GIANT`], of 300 nodes and 5,000 events.
    pub giant: bool,
    /// Whether every session was observed while it used something, and has ended: all of them are evidence.
    pub ended: bool,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { sessions: 10_000, definitions: 200, workers: 20, giant: false, ended: false }
    }
}

/// How far a session has come, and what happened to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Pending,
    Scheduled,
    Running,
    Observed,
    Drifted,
    Collecting,
    Archived,
    Expired,
    Terminated,
}

/// The lives of twenty sessions; then they come again.
const LIVES: [Life; 20] = {
    use Life::{Archived, Collecting, Drifted, Expired, Observed, Pending, Running, Scheduled, Terminated};
    [
        Pending, Pending, Archived, Pending, Pending, Scheduled, Pending, Observed, Pending, Pending, Terminated,
        Pending, Running, Pending, Pending, Pending, Collecting, Pending, Drifted, Expired,
    ]
};

impl Crowd {
    /// Lets them come, and waits until the read models show them all.
    ///
    /// # Errors
    /// A command is refused, or the read models do not follow.
    pub async fn settle(&self, lablet: &Lablet) -> anyhow::Result<()> {
        let pool = app::log::pool(&lablet.ready().database_url, 4)?;
        let log = Log::new(pool, Clock::system(), IdGenerator::random(), LogOptions::default());
        let origin = Origin::from_actor("service:crowd");
        let began = log.clock().now() - TimeDelta::days(30);
        for index in 0..self.workers {
            let command = WorkerCommand::Register { id: worker(index).parse()?, new: new_worker(index)?, now: began };
            log.execute::<Worker>(&worker(index), command, &origin).await?;
        }
        for index in 0..self.definitions {
            let id = definition(index);
            let command = LabletDefinitionCommand::Create { id: id.parse()?, new: new_definition(index)?, now: began };
            log.execute::<LabletDefinition>(&id, command, &origin).await?;
        }
        let many = stream::iter(0..self.sessions)
            .map(|index| self.live(&log, &origin, index, began))
            .buffer_unordered(AT_ONCE)
            .try_fold(Position::START, async |newest, position| Ok(newest.max(position)));
        let one =
            async { if self.giant { self.live_as_giant(&log, &origin, began).await } else { Ok(Position::START) } };
        let (many, one) = tokio::try_join!(many, one)?;
        followed(lablet, many.max(one)).await
    }

    /// The session of 300 nodes that was observed, with drift, two and a half thousand times.
    pub const GIANT: &str = "crowd-giant";

    async fn live_as_giant(&self, log: &Log, origin: &Origin, began: DateTime<Utc>) -> anyhow::Result<Position> {
        let mut position = self.begin(log, origin, Self::GIANT, 1, None, began).await?;
        let mut now = began;
        let life = steps(Life::Running, 1, 0, Self::GIANT);
        let small = (0..2_499).map(|_| report(1, 2, &json!({ "PC_serial": 7_000 })));
        let seen = small.chain([report(1, 300, &json!({ "PC_serial": 7_000 }))]).map(Step::See);
        for step in life.into_iter().chain(seen) {
            now += TimeDelta::minutes(5);
            position = go(log, origin, Self::GIANT, step, now).await?;
        }
        Ok(position)
    }

    /// A session of this definition is created.
    async fn begin(
        &self,
        log: &Log,
        origin: &Origin,
        id: &str,
        of: usize,
        owner_id: Option<String>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Position> {
        let ids = SessionIds {
            session_id: id.parse()?,
            definition_id: definition(of).parse()?,
            definition_version: read(json!("1.0"))?,
            definition_revision: 1,
        };
        let timeslot = json!({ "start": now + TimeDelta::minutes(20), "end": now + TimeDelta::minutes(110) });
        let owner_id = owner_id.map(|owner| owner.parse()).transpose()?;
        let create = LabletSessionCommand::Create { ids, owner_id, timeslot: Some(read(timeslot)?), now };
        Ok(log.execute::<LabletSession>(id, create, origin).await?.position)
    }

    /// One session's life as far as it has come.
    async fn live(&self, log: &Log, origin: &Origin, index: usize, began: DateTime<Utc>) -> anyhow::Result<Position> {
        let id = format!("crowd-{index:05}");
        let mut now = began + TimeDelta::minutes(4 * i64::try_from(index)?);
        let of = if index.is_multiple_of(10) { 0 } else { index % self.definitions };
        let owner_id = Some(format!("student-{:03}", index % 400));
        let mut position = self.begin(log, origin, &id, of, owner_id, now).await?;
        // Not index % 20: every tenth session is of the first definition, which has to see all lives.
        let life = if self.ended { Life::Archived } else { LIVES[(index + index / 10) % 20] };
        for step in steps(life, index, index % self.workers, &id) {
            now += TimeDelta::minutes(5);
            let step = match step {
                Step::See(report) if self.ended => Step::See(with_usage(report, index)),
                step => step,
            };
            position = go(log, origin, &id, step, now).await?;
        }
        Ok(position)
    }
}

enum Step {
    To(Value),
    See(Value),
}

/// One step of a session's life.
async fn go(log: &Log, origin: &Origin, id: &str, step: Step, now: DateTime<Utc>) -> anyhow::Result<Position> {
    let command = match step {
        Step::To(transition) => LabletSessionCommand::Transition { transition: read(transition)?, now },
        Step::See(report) => LabletSessionCommand::RecordObservation {
            report: Box::new(read::<ObservationReport>(report)?),
            reported_by: "service:crowd".parse()?,
            now,
        },
    };
    Ok(log.execute::<LabletSession>(id, command, origin).await?.position)
}

fn steps(life: Life, index: usize, worker_index: usize, id: &str) -> Vec<Step> {
    let to = |status: &str| Step::To(json!({ "new_status": status }));
    // Ports that no other session of the worker has, as far as the worker's range goes.
    let port = 2_000 + index % 1_900 * 3;
    let ports = json!({ "PC_serial": port, "R1_tcp": port + 1 });
    let mut steps = match life {
        Life::Pending => return Vec::new(),
        Life::Terminated => {
            return vec![Step::To(json!({ "new_status": "terminated", "reason": "the booking was cancelled" }))];
        }
        Life::Scheduled
        | Life::Running
        | Life::Observed
        | Life::Drifted
        | Life::Collecting
        | Life::Archived
        | Life::Expired => {
            let worker = worker(worker_index);
            vec![Step::To(json!({ "new_status": "scheduled", "worker_id": worker, "allocated_ports": ports }))]
        }
    };
    if life == Life::Scheduled {
        return steps;
    }
    steps.push(to("instantiating"));
    steps.push(to("ready"));
    steps.push(Step::To(json!({ "new_status": "running", "cml_lab_id": format!("lab-{id}") })));
    let seen = |ports: &Value| Step::See(report(index, 2, ports));
    match life {
        Life::Pending | Life::Scheduled | Life::Terminated | Life::Running => {}
        Life::Observed => steps.push(seen(&ports)),
        Life::Drifted => {
            steps.push(seen(&ports));
            steps.push(seen(&json!({ "PC_serial": port + 2, "R2_vnc": port + 1 })));
        }
        Life::Collecting => {
            steps.push(seen(&ports));
            steps.push(to("collecting"));
        }
        Life::Archived => {
            steps.push(seen(&ports));
            steps.extend(["collecting", "grading", "stopping", "stopped", "archived"].map(to));
        }
        Life::Expired => steps.push(to("expired")),
    }
    steps
}

/// What is seen of a lab of so many nodes. Of every seventh the controller tells no storage.
fn report(index: usize, nodes: usize, ports: &Value) -> Value {
    // Not the index itself: every tenth session is of the first definition, which has to see all sizes.
    let size = index + index / 10;
    let (cores, memory) = (1 + size % 5, 512 * (2 + size % 7));
    let storage = (!size.is_multiple_of(7)).then(|| 2_048 + size % 9 * 700);
    let node = |number: usize| {
        let (label, kind) = if number == 1 { ("PC".to_owned(), "desktop") } else { (format!("R{number}"), "iosv") };
        json!({
            "node_id": format!("00000000-0000-4000-8000-{:012}", index * 1_000 + number), "label": label,
            "node_definition": kind, "state": "BOOTED", "cpus": cores, "cpu_limit": 100, "ram_mb": memory,
            "nominal_cpu_cores": cores,
            "interfaces": [{
                "interface_id": format!("00000000-0000-4000-9000-{:012}", index * 1_000 + number), "label": "eth0",
                "slot": 0, "state": "STARTED", "mac_address": "52:54:00:00:00:01", "ip4": ["192.0.2.10"]
            }]
        })
    };
    json!({
        "observed_resources": {
            "observer": "controller",
            "total_cpu_cores": nodes * cores, "total_memory_mb": nodes * memory, "total_storage_mb": storage,
            "nodes": (1..=nodes).map(node).collect::<Vec<_>>(),
            "actual_node_count": nodes, "node_definitions_used": ["desktop", "iosv"],
            "coverage": { "nodes_total": nodes, "nodes_booted": nodes, "phase": "steady" },
            "cml_version": "2.10.0+build.1"
        },
        "observed_ports": ports
    })
}

/// The same, of a lab whose nodes use a part of what they have.
fn with_usage(mut report: Value, index: usize) -> Value {
    let percent = 5 + index % 23;
    let resources = &mut report["observed_resources"];
    let nodes = resources["nodes"].as_array_mut().into_iter().flatten();
    for node in nodes {
        let memory = node["ram_mb"].as_u64().unwrap_or_default() * percent as u64 / 100;
        let cores = node["cpus"].as_f64().unwrap_or_default() * percent as f64 / 100.0;
        node["usage"] = json!({ "memory_mb": memory, "cpu_cores": cores });
    }
    let total = |name: &str| resources[name].as_f64().unwrap_or_default() * percent as f64 / 100.0;
    resources["usage"] =
        json!({ "memory_mb": total("total_memory_mb").floor(), "cpu_cores": total("total_cpu_cores") });
    report
}

fn worker(index: usize) -> String {
    format!("crowd-cml-{index:02}")
}

fn definition(index: usize) -> String {
    format!("crowd-{index:03}")
}

fn new_worker(index: usize) -> anyhow::Result<NewWorker> {
    read(json!({
        "name": format!("CML {index}"), "address": format!("https://192.0.2.{}", index % 250 + 1),
        "capacity": { "cpu_cores": 128, "memory_gb": 1024, "storage_gb": 8000, "max_nodes": 1000 }
    }))
}

fn new_definition(index: usize) -> anyhow::Result<NewDefinition> {
    read(json!({
        "name": format!("Lab {index}"), "version": "1.0", "node_count": 2,
        "resource_requirements": { "cpu_cores": 1 + index % 8, "memory_gb": 2 + index % 16, "storage_gb": 10 },
        "port_template": { "ports": [
            { "name": "PC_serial", "protocol": "serial" }, { "name": "R1_tcp", "protocol": "tcp" }
        ] }
    }))
}

/// As it would come over the wire.
fn read<T: DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    serde_json::from_value(value).context("the crowd speaks another dialect")
}

/// Waits until the read models behind these lists are where the newest event is.
async fn followed(lablet: &Lablet, newest: Position) -> anyhow::Result<()> {
    let end = Instant::now() + FOLLOWED_WITHIN;
    for list in ["/api/lablet-sessions", "/api/lablet-definitions", "/api/workers"] {
        let path = format!("{list}?limit=1&position={newest}");
        // The gateway waits by itself, a few seconds each time.
        while let Err(behind) = lablet.request(Method::GET, &path, None).await? {
            ensure!(Instant::now() < end, "the read models do not follow: {path}: {}", behind.problem);
        }
    }
    Ok(())
}
