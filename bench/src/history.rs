//! A log of many sessions, written at once: stored events as the log has them, in bulk and in the order of time.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

/// Events of one inserting statement.
const PER_STATEMENT: usize = 1_000;
/// Nodes of an observed lab.
const NODES: usize = 5;
/// Steps in a session's life until it runs.
pub(crate) const STEPS: usize = 5;

/// What happened.
#[derive(Debug, Clone)]
pub(crate) struct History {
    /// Begins every id, so that several histories share a log.
    pub(crate) name: String,
    pub(crate) definitions: usize,
    /// All of them run.
    pub(crate) sessions: usize,
    /// Observations of each session.
    pub(crate) observations: usize,
}

/// A row of the log.
struct StoredEvent {
    aggregate_type: &'static str,
    aggregate_id: String,
    sequence: usize,
    payload: Value,
}

impl History {
    /// The id of a session.
    pub(crate) fn session(&self, number: usize) -> String {
        format!("{}-s{number}", self.name)
    }

    /// The id of a definition.
    pub(crate) fn definition(&self, number: usize) -> String {
        format!("{}-d{number}", self.name)
    }

    fn worker(&self) -> String {
        format!("{}-w", self.name)
    }

    /// Number of its events.
    pub(crate) fn len(&self) -> usize {
        1 + self.definitions + self.sessions * (STEPS + self.observations)
    }

    /// Appends all of it to a log.
    pub(crate) async fn write(&self, pool: &PgPool) -> anyhow::Result<()> {
        let mut connection = pool.acquire().await?;
        self.write_by(&mut connection).await
    }

    /// Appends all of it in one transaction, so that readers see it all at once.
    pub(crate) async fn write_at_once(&self, pool: &PgPool) -> anyhow::Result<()> {
        let mut transaction = app::log::begin(pool).await?;
        self.write_by(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    async fn write_by(&self, connection: &mut PgConnection) -> anyhow::Result<()> {
        let mut events = self.events();
        loop {
            let part: Vec<StoredEvent> = events.by_ref().take(PER_STATEMENT).collect();
            if part.is_empty() {
                return Ok(());
            }
            insert(connection, &part).await?;
        }
    }

    /// Definitions and worker, then all sessions step by step, then all their observations in turn.
    fn events(&self) -> impl Iterator<Item = StoredEvent> + '_ {
        let worker = StoredEvent {
            aggregate_type: "worker",
            aggregate_id: self.worker(),
            sequence: 1,
            payload: json!({
                "type": "worker.registered.v1", "worker_id": self.worker(), "name": self.worker(),
                "address": "https://192.0.2.1", "registered_at": at(0),
                "capacity": { "cpu_cores": 128, "memory_gb": 1_024, "storage_gb": 8_000, "max_nodes": 1_000 }
            }),
        };
        let definitions = (0..self.definitions).map(|number| StoredEvent {
            aggregate_type: "lablet_definition",
            aggregate_id: self.definition(number),
            sequence: 1,
            payload: json!({
                "type": "lablet_definition.created.v1", "definition_id": self.definition(number),
                "name": format!("Lab {number}"), "version": "1.0", "node_count": NODES,
                "resource_requirements": { "cpu_cores": 8, "memory_gb": 16, "storage_gb": 100 },
                "port_template": { "ports": [{ "name": "PC_serial", "protocol": "serial" }] },
                "created_at": at(0)
            }),
        });
        let session_event = |sequence: usize, number: usize, payload: Value| StoredEvent {
            aggregate_type: "lablet_session",
            aggregate_id: self.session(number),
            sequence,
            payload,
        };
        let lives = (0..STEPS).flat_map(move |step| {
            (0..self.sessions).map(move |number| session_event(step + 1, number, self.step(step, number)))
        });
        let observations = (0..self.observations).flat_map(move |round| {
            (0..self.sessions).map(move |number| session_event(STEPS + 1 + round, number, self.observed(round, number)))
        });
        std::iter::once(worker).chain(definitions).chain(lives).chain(observations)
    }

    /// What every event of a session holds.
    fn ids(&self, kind: &str, number: usize) -> Value {
        json!({
            "type": kind, "session_id": self.session(number),
            "definition_id": self.definition(number % self.definitions),
            "definition_version": "1.0", "definition_revision": 1
        })
    }

    fn step(&self, step: usize, number: usize) -> Value {
        let time = at(60 * (step + 1));
        let (kind, more) = match step {
            0 => ("created", json!({ "owner_id": format!("student-{}", number % 400), "created_at": time })),
            1 => ("scheduled", json!({ "worker_id": self.worker(), "allocated_ports": ports(), "at": time })),
            2 => ("instantiating", json!({ "worker_id": self.worker(), "at": time })),
            3 => ("ready", json!({ "worker_id": self.worker(), "at": time })),
            _ => {
                let lab = format!("lab-{}", self.session(number));
                ("running", json!({ "worker_id": self.worker(), "cml_lab_id": lab, "at": time }))
            }
        };
        merged(self.ids(&format!("lablet_session.{kind}.v1"), number), more)
    }

    fn observed(&self, round: usize, number: usize) -> Value {
        let time = at(3_600 + 60 * round);
        let mut resources = resources(round + number);
        resources["observed_at"] = json!(time);
        resources["observer"] = json!("controller");
        resources["observed_ports"] = ports();
        merged(
            self.ids("lablet_session.resources_observed.v1", number),
            json!({
                "worker_id": self.worker(), "cml_lab_id": format!("lab-{}", self.session(number)),
                "observed_resources": resources, "observed_ports": ports(), "port_drift_detected": false,
                "observed_at": time, "recorded_at": time
            }),
        )
    }
}

async fn insert(connection: &mut PgConnection, events: &[StoredEvent]) -> anyhow::Result<()> {
    let kind = |event: &StoredEvent| {
        let kind = event.payload["type"].as_str().unwrap_or_default();
        kind.trim_end_matches(".v1").to_owned()
    };
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT aggregate_type, aggregate_id, sequence, event_type, '1', payload::json, '{\"actor\":\"service:bench\"}'::json
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
             AS row (aggregate_type, aggregate_id, sequence, event_type, payload)",
    )
    .bind(events.iter().map(|event| event.aggregate_type).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| i64::try_from(event.sequence)).collect::<Result<Vec<_>, _>>()?)
    .bind(events.iter().map(kind).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.payload.to_string()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// The body of a command that reports an observation of five nodes, some 2.4 KB.
pub(crate) fn report() -> String {
    json!({ "observed_resources": resources(0), "observed_ports": ports() }).to_string()
}

/// The event that such a command records.
pub(crate) fn recorded_report() -> String {
    recorded_report_of(0)
}

/// The same of a session of another definition.
pub(crate) fn recorded_report_of(definition: usize) -> String {
    let history = History { name: "bench".to_owned(), definitions: 20, sessions: 20, observations: 1 };
    // pgbench takes a colon with a letter behind it for a variable.
    history.observed(0, definition).to_string().replace("\":", "\": ")
}

/// Allocated and observed: no drift.
fn ports() -> Value {
    json!({ "PC_serial": 5_041, "R1_tcp": 2_022 })
}

fn resources(seed: usize) -> Value {
    let node = |number: usize| {
        json!({
            "node_id": format!("0d9c1b7e-0f0a-4a53-9d7e-{number:012}"),
            "label": format!("R{number}"), "node_definition": "iosv", "state": "BOOTED", "cpu_limit": 100,
            "ram_mb": 768 + seed % 7 * 64, "tags": [format!("serial:{}", 5_041 + number)],
            "interfaces": [{
                "interface_id": format!("0d9c1b7e-0f0a-4a53-9d7f-{number:012}"), "label": "GigabitEthernet0/0",
                "slot": 0, "state": "STARTED", "mac_address": format!("52:54:00:00:00:{number:02}"),
                "ip4": [format!("192.0.2.{number}")]
            }],
            "cpus": 1, "nominal_cpu_cores": 1.0,
            "usage": { "cpu_percent": 3.1, "cpu_cores": 0.031, "disk_mb": 120.5 }
        })
    };
    json!({
        "total_cpu_cores": NODES, "total_memory_mb": NODES * (768 + seed % 7 * 64), "total_storage_mb": 2_048 + seed % 9,
        "nodes": (1..=NODES).map(node).collect::<Vec<_>>(),
        "actual_node_count": NODES, "node_definitions_used": ["iosv"],
        "coverage": { "nodes_total": NODES, "nodes_booted": NODES, "phase": "steady" },
        "cml_version": "2.10.0+build.1"
    })
}

/// So many seconds after the beginning.
fn at(seconds: usize) -> String {
    let begin = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(365 * 55);
    let after = TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::MAX / 1_000));
    (begin + after).to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn merged(mut value: Value, more: Value) -> Value {
    if let (Some(members), Value::Object(more)) = (value.as_object_mut(), more) {
        members.extend(more);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::lablet_definition::LabletDefinitionEvent;
    use domain::lablet_session::{LabletSessionEvent, ObservationReport};
    use domain::worker::WorkerEvent;

    #[test]
    fn every_event_is_one_that_the_log_could_hold() {
        let history = History { name: "h".to_owned(), definitions: 2, sessions: 3, observations: 4 };
        let events: Vec<StoredEvent> = history.events().collect();
        assert_eq!(events.len(), history.len());
        for StoredEvent { aggregate_type, payload, .. } in events {
            match aggregate_type {
                "worker" => drop(serde_json::from_value::<WorkerEvent>(payload).unwrap()),
                "lablet_definition" => drop(serde_json::from_value::<LabletDefinitionEvent>(payload).unwrap()),
                _ => drop(serde_json::from_value::<LabletSessionEvent>(payload).unwrap()),
            }
        }
    }

    #[test]
    fn a_report_has_the_size_of_five_nodes() {
        let report = report();
        serde_json::from_str::<ObservationReport>(&report).unwrap();
        assert!((2_200..2_700).contains(&report.len()), "{} bytes", report.len());
    }
}
