//! A log in a database of the test's own, and verbs of the domain to fill it.

use std::time::Duration;

use app::log::{Log, LogOptions, Origin, Position};
use bus::clock::{Clock, IdGenerator};
use chrono::{DateTime, TimeDelta, Utc};
use domain::advice_policy::{AdvicePolicy, AdvicePolicyCommand};
use domain::lablet_definition::{LabletDefinition, LabletDefinitionCommand, ProposalCommand};
use domain::lablet_session::{
    LabletSession, LabletSessionCommand, ObservationFailure, ObservationReport, SessionIds, SessionStatus, Transition,
};
use domain::worker::{Worker, WorkerCommand};
use domain::{DefinitionId, RequestId, SessionId, WorkerId};
use projections::{Projections, ReadModel};
use serde_json::{Value, json};
use servers::testing::{TestDatabase, database};

pub(crate) struct World {
    pub(crate) log: Log,
    pub(crate) projections: Projections,
    pub(crate) clock: Clock,
    pub(crate) database: TestDatabase,
}

pub(crate) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_000_000, 0).unwrap()
}

impl World {
    /// As the product runs: with the rights of `lablet_app`.
    pub(crate) async fn new() -> Self {
        let database = database(&app::log::MIGRATOR).await;
        let pool = app::log::pool(&database.url_as("lablet_app"), 12).unwrap();
        // A day later, so that what is told of this day lies in the past.
        let clock = Clock::manual(start() + TimeDelta::days(1));
        let log = Log::new(pool, clock.clone(), IdGenerator::seeded(1, clock.clone()), LogOptions::default());
        Self { projections: Projections::new(log.clone()), log, clock, database }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.advance(TimeDelta::seconds(1));
        self.clock.now()
    }

    pub(crate) async fn definition(&self, id: &str) -> Position {
        let id = DefinitionId::parse(id).unwrap();
        let new = serde_json::from_value(json!({
            "name": "OSPF", "version": "1.2.0",
            "resource_requirements": {"cpu_cores": 2, "memory_gb": 4, "storage_gb": 10},
            "port_template": {"ports": [{"name": "PC_serial", "protocol": "serial"}]}
        }))
        .unwrap();
        let command = LabletDefinitionCommand::Create { id: id.clone(), new, now: self.now() };
        let origin = Origin::from_actor("admin:ada");
        self.log.execute::<LabletDefinition>(id.as_str(), command, &origin).await.unwrap().position
    }

    pub(crate) async fn revise(&self, id: &str, cpu_cores: u32, evidence: &[String]) -> Position {
        let revision = serde_json::from_value(json!({
            "resource_requirements": {"cpu_cores": cpu_cores, "memory_gb": 4, "storage_gb": 10},
            "reason": "as observed", "evidence": evidence
        }))
        .unwrap();
        let command = LabletDefinitionCommand::Revise { revision, revised_by: "admin:ada".to_owned(), now: self.now() };
        let origin = Origin::from_actor("admin:ada");
        self.log.execute::<LabletDefinition>(id, command, &origin).await.unwrap().position
    }

    pub(crate) async fn worker(&self, id: &str) -> Position {
        let new = serde_json::from_value(json!({
            "name": id, "address": "https://cml-1.example.org",
            "capacity": {"cpu_cores": 64, "memory_gb": 512, "storage_gb": 2000, "max_nodes": 300}
        }))
        .unwrap();
        let command = WorkerCommand::Register { id: WorkerId::parse(id).unwrap(), new, now: self.now() };
        self.log.execute::<Worker>(id, command, &Origin::from_actor("admin:ada")).await.unwrap().position
    }

    /// Somebody tells of a worker, at a time.
    pub(crate) async fn pressure(&self, id: &str, observed_at: DateTime<Utc>, pressure: Value) -> Position {
        let report = serde_json::from_value(json!({"observed_at": observed_at, "pressure": pressure})).unwrap();
        let reported_by = "service:controller".parse().unwrap();
        let command = WorkerCommand::RecordPressure { report, reported_by, now: self.now() };
        self.log.execute::<Worker>(id, command, &Origin::from_actor("service:controller")).await.unwrap().position
    }

    async fn tell(&self, id: &str, command: LabletSessionCommand) -> Position {
        self.log.execute::<LabletSession>(id, command, &Origin::from_actor("service:booking")).await.unwrap().position
    }

    pub(crate) async fn session(&self, id: &str, definition: &str) -> Position {
        self.session_of_revision(id, definition, 1).await
    }

    pub(crate) async fn session_of_revision(&self, id: &str, definition: &str, revision: u32) -> Position {
        let ids = SessionIds {
            session_id: SessionId::parse(id).unwrap(),
            definition_id: DefinitionId::parse(definition).unwrap(),
            definition_version: serde_json::from_value(json!("1.2.0")).unwrap(),
            definition_revision: revision,
        };
        let command = LabletSessionCommand::Create {
            ids,
            owner_id: Some("Ada".parse().unwrap()),
            timeslot: None,
            now: self.now(),
        };
        self.tell(id, command).await
    }

    pub(crate) async fn go(&self, id: &str, status: SessionStatus) -> Position {
        let mut transition = Transition::to(status);
        if status == SessionStatus::Scheduled {
            transition.worker_id = Some(WorkerId::parse("cml-1").unwrap());
            transition.allocated_ports =
                Some(serde_json::from_value(json!({"PC_serial": 5041, "PC_vnc": 5042})).unwrap());
        }
        if status == SessionStatus::Running {
            transition.cml_lab_id = Some(serde_json::from_value(json!(format!("lab-{id}"))).unwrap());
        }
        self.transition(id, transition).await
    }

    pub(crate) async fn transition(&self, id: &str, transition: Transition) -> Position {
        self.tell(id, LabletSessionCommand::Transition { transition, now: self.now() }).await
    }

    /// A new session, all the way to running on `cml-1`.
    pub(crate) async fn running(&self, id: &str, definition: &str) -> Position {
        self.session(id, definition).await;
        let mut position = Position::START;
        for status in
            [SessionStatus::Scheduled, SessionStatus::Instantiating, SessionStatus::Ready, SessionStatus::Running]
        {
            position = self.go(id, status).await;
        }
        position
    }

    pub(crate) async fn observe(&self, id: &str, resources: Value) -> Position {
        self.report(id, resources, None).await
    }

    /// A session of two routers that together used this much memory, in MB, from its beginning to its end.
    pub(crate) async fn ended(&self, id: &str, definition: &str, memory_mb: f64) -> Position {
        self.running(id, definition).await;
        self.observe(id, measured(memory_mb, 2)).await;
        self.go(id, SessionStatus::Stopping).await
    }

    /// A session of two routers, sampled from its boot on: that used this much memory together, in MB, and this much while they
    /// booted.
    pub(crate) async fn booted(&self, id: &str, definition: &str, steady_mb: f64, boot_mb: f64) -> Position {
        self.running(id, definition).await;
        let mut seen = measured(steady_mb, 2);
        let peaks = |share: f64| {
            let peak = |memory_mb: f64| json!({"memory_mb": {"peak": share * memory_mb}});
            json!({"steady": peak(steady_mb), "boot": peak(boot_mb)})
        };
        seen["profile"] = peaks(1.0);
        seen["profile"]["samples"] = json!(9);
        seen["nodes"].as_array_mut().unwrap().iter_mut().for_each(|node| node["profile"] = peaks(0.5));
        self.observe(id, seen).await;
        self.go(id, SessionStatus::Stopping).await
    }

    /// Excludes a session from the evidence, or includes it again.
    pub(crate) async fn count_evidence(&self, id: &str, counts: bool) -> Position {
        let command = LabletSessionCommand::ChangeEvidence {
            counts,
            reason: serde_json::from_value(json!({"reason": "a trial"})).unwrap(),
            by: "admin:ada".to_owned(),
            now: self.now(),
        };
        self.tell(id, command).await
    }

    /// Leaves a session's drift as it is for a day.
    pub(crate) async fn acknowledge_drift(&self, id: &str) -> Position {
        let now = self.now();
        let acknowledgement = json!({"reason": "the guide names it", "until": now + TimeDelta::days(1)});
        let acknowledgement = serde_json::from_value(acknowledgement).unwrap();
        self.tell(id, LabletSessionCommand::AcknowledgeDrift { acknowledgement, by: "admin:ada".to_owned(), now }).await
    }

    /// Lets the drift be open again.
    pub(crate) async fn withdraw_acknowledgement(&self, id: &str) -> Position {
        let withdrawal = serde_json::from_value(json!({"reason": "the guide was corrected"})).unwrap();
        let (by, now) = ("admin:ada".to_owned(), self.now());
        self.tell(id, LabletSessionCommand::WithdrawAcknowledgement { withdrawal, by, now }).await
    }

    /// Allocates to a session what was observed of it.
    pub(crate) async fn correct_allocation(&self, id: &str) -> Position {
        let correction = serde_json::from_value(json!({"reason": "imported so"})).unwrap();
        let command =
            LabletSessionCommand::CorrectAllocation { correction, by: "admin:ada".to_owned(), now: self.now() };
        self.tell(id, command).await
    }

    /// Revises a definition so that it states its topology.
    pub(crate) async fn state(&self, id: &str, topology: Value) -> Position {
        let revision = serde_json::from_value(json!({
            "resource_requirements": {"cpu_cores": 2, "memory_gb": 4, "storage_gb": 10}, "topology": topology,
            "reason": "it is known"
        }))
        .unwrap();
        let command = LabletDefinitionCommand::Revise { revision, revised_by: "admin:ada".to_owned(), now: self.now() };
        let origin = Origin::from_actor("admin:ada");
        self.log.execute::<LabletDefinition>(id, command, &origin).await.unwrap().position
    }

    /// Gives a definition a policy of its own.
    pub(crate) async fn policy(&self, id: &str, policy: Value) -> Position {
        let new = serde_json::from_value(json!({"policy": policy, "reason": "a trial"})).unwrap();
        let command = LabletDefinitionCommand::SetPolicy { new, set_by: "admin:ada".to_owned(), now: self.now() };
        let origin = Origin::from_actor("admin:ada");
        self.log.execute::<LabletDefinition>(id, command, &origin).await.unwrap().position
    }

    /// Proposes 3 GB of memory.
    pub(crate) async fn propose(&self, definition: &str, proposal: &str) -> Position {
        let new = serde_json::from_value(json!({
            "kind": "size", "after": {"cpu_cores": 2, "memory_gb": 3, "storage_gb": 10}, "finding": "over_provisioned",
            "promise": 0.95, "as_of": Position::START, "sessions": 3, "reason": "3 GB keep the promise"
        }))
        .unwrap();
        let id = proposal.parse().unwrap();
        self.step(definition, ProposalCommand::Open { id, new: Box::new(new) }).await
    }

    /// A step of a proposal's life.
    pub(crate) async fn step(&self, definition: &str, command: ProposalCommand) -> Position {
        let by = "admin:ada".to_owned();
        let command = LabletDefinitionCommand::Proposal { command, by, now: self.now() };
        let origin = Origin::from_actor("admin:ada");
        self.log.execute::<LabletDefinition>(definition, command, &origin).await.unwrap().position
    }

    pub(crate) async fn default_policy(&self, policy: Value) -> Position {
        let new = serde_json::from_value(json!({"policy": policy, "reason": "a trial"})).unwrap();
        let command = AdvicePolicyCommand::Set { new, set_by: "admin:ada".to_owned(), now: self.now() };
        let origin = Origin::from_actor("admin:ada");
        self.log.execute::<AdvicePolicy>("default", command, &origin).await.unwrap().position
    }

    pub(crate) async fn report(&self, id: &str, resources: Value, request: Option<&str>) -> Position {
        let report: ObservationReport =
            serde_json::from_value(json!({"observed_resources": resources, "request_id": request})).unwrap();
        let command = LabletSessionCommand::RecordObservation {
            report: Box::new(report),
            reported_by: "team:grading".parse().unwrap(),
            now: self.now(),
        };
        self.tell(id, command).await
    }

    pub(crate) async fn ask(&self, id: &str, request: &str) -> Position {
        let command = LabletSessionCommand::RequestObservation {
            request_id: RequestId::parse(request).unwrap(),
            requested_by: "admin:ada".parse().unwrap(),
            now: self.now(),
        };
        self.tell(id, command).await
    }

    pub(crate) async fn fail(&self, id: &str, request: &str, outcome: &str) -> Position {
        let failure: ObservationFailure = serde_json::from_value(
            json!({"request_id": request, "outcome": outcome, "reason": "the controller did not answer"}),
        )
        .unwrap();
        self.tell(id, LabletSessionCommand::RecordObservationFailure { failure, now: self.now() }).await
    }

    /// Moves every read model to the newest event of the log. An event is in reach only when every older transaction of
    /// the cluster has ended, those of other tests included.
    pub(crate) async fn settle(&self) {
        for model in ReadModel::ALL {
            self.settle_one(model).await;
        }
    }

    pub(crate) async fn settle_one(&self, model: ReadModel) {
        let newest = self.newest().await;
        for _ in 0..2_000 {
            self.projections.catch_up(model).await.unwrap();
            if self.projections.position(model).await.unwrap() >= newest {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{model} did not come to {newest}");
    }

    /// The position of the newest committed event, settled or not.
    pub(crate) async fn newest(&self) -> Position {
        let statement = "SELECT lpad(epoch::text, 10, '0') || '-' || lpad(written_by::text, 20, '0') || '-'
                || lpad(position::text, 19, '0')
            FROM events ORDER BY epoch DESC, written_by DESC, position DESC LIMIT 1";
        let newest: Option<String> = sqlx::query_scalar(statement).fetch_optional(&self.database.pool()).await.unwrap();
        newest.map_or(Position::START, |text| text.parse().unwrap())
    }
}

/// The nodes of [`seen`], which add up to 2 cores and 1536 MB.
pub(crate) fn nodes() -> Value {
    json!([{"node_id": "n-1", "label": "PC", "node_definition": "desktop", "ram_mb": 512, "cpus": 1},
           {"node_id": "n-2", "label": "R1", "node_definition": "iosv", "ram_mb": 1024, "cpus": 1}])
}

/// An observation of two nodes with the allocated ports, unless stated otherwise.
pub(crate) fn seen(changes: Value) -> Value {
    let mut resources = json!({
        "observer": "grading", "total_cpu_cores": 2.0, "total_memory_mb": 1536.0, "actual_node_count": 2,
        "nodes": nodes(), "node_definitions_used": ["desktop", "iosv"],
        "observed_ports": {"PC_serial": 5041, "PC_vnc": 5042}
    });
    for (name, value) in changes.as_object().unwrap() {
        resources[name] = value.clone();
    }
    // A total of the test's own stands beside nodes of which nobody knows the size, so that it may be right.
    if changes.get("nodes").is_none() {
        for (total, share) in [("total_cpu_cores", "cpus"), ("total_memory_mb", "ram_mb")] {
            if changes.get(total).is_some() {
                for node in resources["nodes"].as_array_mut().unwrap() {
                    node[share] = Value::Null;
                }
            }
        }
    }
    resources
}

/// An observation of routers that together used this much memory, in MB.
pub(crate) fn measured(memory_mb: f64, routers: u32) -> Value {
    let share = memory_mb / f64::from(routers);
    let node = |number: u32| {
        json!({"node_id": format!("n-{number}"), "label": format!("R{number}"), "node_definition": "iosv",
               "image_definition": "iosv-159", "state": "BOOTED", "cpus": 1, "nominal_cpu_cores": 1.0, "ram_mb": 2048,
               "usage": {"cpu_cores": 0.25, "memory_mb": share, "disk_mb": 100.0}})
    };
    let count = f64::from(routers);
    json!({"observer": "controller", "nodes": (0..routers).map(node).collect::<Vec<_>>(),
           "total_storage_mb": 100.0 * count,
           "usage": {"cpu_cores": 0.25 * count, "memory_mb": memory_mb, "storage_mb": 100.0 * count},
           "coverage": {"nodes_total": routers, "nodes_booted": routers, "phase": "steady"},
           "cml_version": "2.10.0"})
}
