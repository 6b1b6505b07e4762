//! A database with a log, and verbs of the domain that write to it.

use std::time::Duration;

use app::clock::{Clock, Mint};
use app::log::{Log, LogOptions, MIGRATOR, Origin, Position};
use chrono::{DateTime, TimeDelta, Utc};
use domain::lablet_definition::{DefinitionRevision, LabletDefinition, LabletDefinitionCommand, NewDefinition};
use domain::lablet_session::{
    FailureOutcome, LabletSession, LabletSessionCommand, ObservationFailure, ObservationReport, SessionIds,
    SessionStatus, Transition,
};
use domain::worker::{NewWorker, Worker, WorkerChange, WorkerCommand};
use domain::{DefinitionId, RequestId, SessionId, WorkerId};
use projections::{Projections, ReadModel, Runner, RunnerOptions, read_models};
use serde_json::{Value, json};
use servers::testing::TestDatabase;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) clock: Clock,
    pub(crate) log: Log,
    pub(crate) projections: Projections,
}

/// A runner in the background. Dropping it kills it wherever it is.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn began() -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_000_000, 0).unwrap()
}

impl World {
    pub(crate) async fn start() -> Self {
        let database = servers::testing::database(&MIGRATOR).await;
        let pool = PgPool::connect(&database.url_as("lablet_app")).await.unwrap();
        let clock = Clock::manual(began());
        let log = Log::new(pool.clone(), clock.clone(), Mint::random(), LogOptions::default());
        Self { database, clock, log, projections: Projections::new(pool) }
    }

    pub(crate) fn run(&self) -> Running {
        self.run_models(read_models())
    }

    pub(crate) fn run_models(&self, models: Vec<ReadModel>) -> Running {
        let options = RunnerOptions { batch: 50, ..RunnerOptions::default() };
        let runner = Runner::of(models, self.log.clone(), self.projections.clone(), options);
        let stop = CancellationToken::new();
        let token = stop.clone();
        Running { stop, task: tokio::spawn(async move { runner.run(token).await.unwrap() }) }
    }

    /// Waits until every read model has seen everything.
    pub(crate) async fn settle(&self) {
        let newest = self.newest().await;
        self.projections.wait_for(None, newest, Duration::from_secs(30)).await.unwrap();
    }

    /// Position of the newest event, settled or not.
    pub(crate) async fn newest(&self) -> Position {
        let text: Option<String> = sqlx::query_scalar(
            "SELECT lpad(epoch::text, 10, '0') || '-' || lpad(written_by::text, 20, '0') || '-'
                    || lpad(position::text, 19, '0')
               FROM events ORDER BY epoch DESC, written_by DESC, position DESC LIMIT 1",
        )
        .fetch_optional(&self.database.pool())
        .await
        .unwrap();
        text.map_or(Position::START, |text| text.parse().unwrap())
    }

    pub(crate) fn wait(&self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds));
    }

    pub(crate) async fn define(&self, id: &str) {
        let new: NewDefinition = serde_json::from_value(json!({
            "name": format!("Lab {id}"), "version": "1.0",
            "resource_requirements": {"cpu_cores": 4, "memory_gb": 8, "storage_gb": 20},
            "port_template": {"ports": [{"name": "PC_serial", "protocol": "serial"}]}
        }))
        .unwrap();
        let command =
            LabletDefinitionCommand::Create { id: DefinitionId::parse(id).unwrap(), new, now: self.clock.now() };
        self.log.execute::<LabletDefinition>(id, command, &Origin::of("test")).await.unwrap();
    }

    pub(crate) async fn revise(&self, id: &str, memory_gb: u32) {
        let revision: DefinitionRevision = serde_json::from_value(json!({
            "resource_requirements": {"cpu_cores": 4, "memory_gb": memory_gb, "storage_gb": 20},
            "reason": "it needs more", "evidence": ["e-1", "e-2"]
        }))
        .unwrap();
        let command =
            LabletDefinitionCommand::Revise { revision, revised_by: "admin:ada".into(), now: self.clock.now() };
        self.log.execute::<LabletDefinition>(id, command, &Origin::of("test")).await.unwrap();
    }

    pub(crate) async fn register(&self, id: &str) {
        let new: NewWorker = serde_json::from_value(json!({
            "name": id, "address": "https://cml.example.org",
            "capacity": {"cpu_cores": 64, "memory_gb": 512, "storage_gb": 2000, "max_nodes": 300}
        }))
        .unwrap();
        let command = WorkerCommand::Register { id: WorkerId::parse(id).unwrap(), new, now: self.clock.now() };
        self.log.execute::<Worker>(id, command, &Origin::of("test")).await.unwrap();
    }

    pub(crate) async fn rename(&self, id: &str, name: &str) {
        let change = WorkerChange { name: Some(name.to_owned()), ..WorkerChange::default() };
        let command = WorkerCommand::Change { change, now: self.clock.now() };
        self.log.execute::<Worker>(id, command, &Origin::of("test")).await.unwrap();
    }

    pub(crate) async fn session_command(&self, id: &str, command: LabletSessionCommand) -> bool {
        self.log.execute::<LabletSession>(id, command, &Origin::of("test")).await.is_ok()
    }

    pub(crate) async fn create(&self, id: &str, definition: &str) {
        let ids: SessionIds = serde_json::from_value(json!({
            "session_id": SessionId::parse(id).unwrap(), "definition_id": definition,
            "definition_version": "1.0", "definition_revision": 1
        }))
        .unwrap();
        let command =
            LabletSessionCommand::Create { ids, owner_id: Some("ada".into()), timeslot: None, now: self.clock.now() };
        assert!(self.session_command(id, command).await);
    }

    pub(crate) async fn go(&self, id: &str, transition: Value) -> bool {
        let transition: Transition = serde_json::from_value(transition).unwrap();
        self.session_command(id, LabletSessionCommand::Transition { transition, now: self.clock.now() }).await
    }

    /// A session that runs, with two allocated ports.
    pub(crate) async fn running(&self, id: &str, definition: &str) {
        self.create(id, definition).await;
        let ports = json!({"PC_serial": 5041, "PC_vnc": 5042});
        assert!(self.go(id, json!({"new_status": "scheduled", "worker_id": "cml-1", "allocated_ports": ports})).await);
        for status in [SessionStatus::Instantiating, SessionStatus::Ready] {
            assert!(self.go(id, json!({"new_status": status})).await);
        }
        assert!(self.go(id, json!({"new_status": "running", "cml_lab_id": format!("lab-{id}")})).await);
    }

    pub(crate) async fn request(&self, id: &str, request: &str) -> bool {
        let command = LabletSessionCommand::RequestObservation {
            request_id: RequestId::parse(request).unwrap(),
            requested_by: "admin:ada".into(),
            now: self.clock.now(),
        };
        self.session_command(id, command).await
    }

    pub(crate) async fn observe(&self, id: &str, report: Value) -> bool {
        let report: ObservationReport = serde_json::from_value(report).unwrap();
        let command = LabletSessionCommand::RecordObservation {
            report: Box::new(report),
            reported_by: "controller".into(),
            now: self.clock.now(),
        };
        self.session_command(id, command).await
    }

    pub(crate) async fn fail(&self, id: &str, request: &str, outcome: FailureOutcome) -> bool {
        let failure = ObservationFailure {
            request_id: Some(RequestId::parse(request).unwrap()),
            outcome,
            reason: "the controller did not answer".into(),
        };
        let command = LabletSessionCommand::RecordObservationFailure { failure, now: self.clock.now() };
        self.session_command(id, command).await
    }
}

/// A report of a lab with so many nodes, cores and MB.
pub(crate) fn report(nodes: u32, cores: f64, memory: Option<f64>, ports: Option<Value>) -> Value {
    let nodes: Vec<Value> = (0..nodes)
        .map(|index| {
            json!({
                "node_id": format!("n{index}"), "label": format!("R{index}"), "node_definition": "iosv",
                "state": "BOOTED", "cpu_limit": 100, "ram_mb": 512, "cpus": 1, "nominal_cpu_cores": 1.0,
                "usage": {"cpu_percent": 3.5, "cpu_cores": 0.035}
            })
        })
        .collect();
    json!({"observed_resources": {
        "total_cpu_cores": cores, "total_memory_mb": memory, "nodes": nodes, "observed_ports": ports,
        "usage": {"cpu_cores": 0.5, "memory_mb": null, "storage_mb": null, "highest_cpu_percent": 3.5}
    }})
}
