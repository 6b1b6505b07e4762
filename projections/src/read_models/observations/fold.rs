//! How observations become rows.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::evidence::Evidence;
use domain::lablet_session::{LabletSessionEvent, SessionIds};
use domain::observation::{NodeCount, NodeObservation, Phase, ResourceObservation};
use domain::observation_summary::{Contribution, LatestDrift, NewestObservation, ObservationSummary, Reading};
use domain::port_drift::PortDrift;
use domain::ports::PortMap;
use domain::time::shown;
use domain::{Amount, LabId, RequestId, WorkerId};
use uuid::Uuid;

use crate::projector::{Applied, Event, Fold, Recorded, jsonb};
use crate::refused::{Refused, integer};
use crate::table::cell::{Count, Jsonb};
use crate::table::{AnyTable, AppendOnly, Table, rows};

rows! {
    /// An observation, as it is stored.
    pub(crate) struct StoredObservation in "observations" by (session_id: String, sequence: i64) {
        event_id: Uuid,
        session_id: String,
        definition_id: String,
        definition_version: String,
        definition_revision: i32,
        worker_id: Option<String>,
        cml_lab_id: Option<String>,
        sequence: i64,
        position: Position,
        observed_at: DateTime<Utc>,
        recorded_at: DateTime<Utc>,
        observer: Option<String>,
        reported_by: Option<String>,
        request_id: Option<String>,
        nominal_cpu_cores: Option<f64>,
        nominal_memory_mb: Option<f64>,
        nominal_storage_mb: Option<f64>,
        nominal_unknown_cpu_nodes: Option<i32>,
        nominal_unknown_memory_nodes: Option<i32>,
        nominal_unknown_storage_nodes: Option<i32>,
        used_cpu_cores: Option<f64>,
        used_memory_mb: Option<f64>,
        used_storage_mb: Option<f64>,
        used_unknown_cpu_nodes: Option<i32>,
        used_unknown_memory_nodes: Option<i32>,
        used_unknown_storage_nodes: Option<i32>,
        highest_cpu_percent: Option<f64>,
        node_count: Option<i64>,
        nodes_booted: Option<i64>,
        node_definitions_used: Jsonb,
        complete: Option<bool>,
        phase: Option<String>,
        failed_reads: Jsonb,
        unreadable_entries: Jsonb,
        observed_ports: Option<Jsonb>,
        port_drift_detected: Option<bool>,
        port_drift: Option<Jsonb>,
        port_drift_event_id: Option<Uuid>,
        unallocated: Option<Jsonb>,
        cml_version: Option<String>,
        topology_fingerprint: Option<String>,
        contradictions: Jsonb,
        no_evidence: Option<String>,
        worker_short: Option<bool>,
        worker_short_of: Jsonb,
    }

    /// A node of an observation, as it is stored.
    pub(crate) struct StoredNode in "observation_nodes" by (event_id: Uuid, ordinal: i32) {
        event_id: Uuid,
        ordinal: i32,
        node_id: String,
        label: String,
        node_definition: String,
        image_definition: Option<String>,
        state: Option<String>,
        cpus: Option<i64>,
        cpu_limit_percent: Option<i64>,
        nominal_cpu_cores: Option<f64>,
        nominal_memory_mb: Option<f64>,
        used_cpu_percent: Option<f64>,
        used_cpu_cores: Option<f64>,
        used_memory_mb: Option<f64>,
        used_storage_mb: Option<f64>,
        disk_read_bytes: Option<Count>,
        disk_written_bytes: Option<Count>,
        booted_seconds: Option<Count>,
    }

    /// A session with the newest reading of each quantity, as it is stored.
    pub(crate) struct StoredObservedSession in "observed_sessions" by (session_id: String) {
        session_id: String,
        definition_id: String,
        definition_version: String,
        definition_revision: i32,
        worker_id: Option<String>,
        observation_count: i64,
        observed_at: DateTime<Utc>,
        observed_event_id: Uuid,
        complete: Option<bool>,
        position: Position,
        cpu_cores: Option<f64>,
        cpu_cores_event_id: Option<Uuid>,
        cpu_cores_at: Option<DateTime<Utc>>,
        memory_mb: Option<f64>,
        memory_mb_event_id: Option<Uuid>,
        memory_mb_at: Option<DateTime<Utc>>,
        storage_mb: Option<f64>,
        storage_mb_event_id: Option<Uuid>,
        storage_mb_at: Option<DateTime<Utc>>,
        node_count: Option<i64>,
        node_count_event_id: Option<Uuid>,
        node_count_at: Option<DateTime<Utc>>,
        port_drift_detected: Option<bool>,
        port_drift_event_id: Option<Uuid>,
        port_drift_at: Option<DateTime<Utc>>,
        contradictions: Jsonb,
        no_evidence: Option<String>,
    }
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    observations: Table<StoredObservation>,
    nodes: AppendOnly<StoredNode>,
    sessions: Table<StoredObservedSession>,
}

impl Fold for Rows {
    fn tables(&mut self) -> Vec<&mut dyn AnyTable> {
        vec![&mut self.observations, &mut self.nodes, &mut self.sessions]
    }

    fn want(&mut self, event: &Event, recorded: &Recorded) {
        let Event::Session(event) = event else { return };
        let session = || recorded.log.aggregate_id.clone();
        match event.as_ref() {
            LabletSessionEvent::ResourcesObserved { .. } => {
                self.observations.expect_none((session(), recorded.sequence()));
                self.sessions.want((session(),));
            }
            LabletSessionEvent::PortDriftDetected { .. } => {
                self.observations.want((session(), recorded.sequence() - 1));
            }
            LabletSessionEvent::AllocationCorrected { .. } => self.sessions.want((session(),)),
            LabletSessionEvent::Created { .. }
            | LabletSessionEvent::Scheduled(_)
            | LabletSessionEvent::Instantiating(_)
            | LabletSessionEvent::Ready(_)
            | LabletSessionEvent::Running(_)
            | LabletSessionEvent::Collecting(_)
            | LabletSessionEvent::Grading(_)
            | LabletSessionEvent::Stopping(_)
            | LabletSessionEvent::Stopped(_)
            | LabletSessionEvent::Archived(_)
            | LabletSessionEvent::Terminated(_)
            | LabletSessionEvent::Expired(_)
            | LabletSessionEvent::ObserveResourcesRequested { .. }
            | LabletSessionEvent::ObservationFailed { .. }
            | LabletSessionEvent::EvidenceExcluded { .. }
            | LabletSessionEvent::EvidenceIncluded { .. }
            | LabletSessionEvent::PortDriftAcknowledged { .. }
            | LabletSessionEvent::PortDriftAcknowledgementWithdrawn { .. } => {}
        }
    }

    fn fold(&mut self, event: &Event, recorded: &Recorded) -> Result<Applied, Refused> {
        let event = match event {
            Event::Session(event) => event,
            Event::Definition(_) | Event::Worker(_) | Event::AdvicePolicy(_) | Event::Foreign => {
                return Ok(Applied::Ignored);
            }
        };
        match event.as_ref() {
            LabletSessionEvent::ResourcesObserved {
                ids,
                worker_id,
                cml_lab_id,
                observed_resources,
                observed_ports,
                port_drift_detected,
                unallocated,
                renamed_ports: _,
                late_drift,
                request_id,
                observed_at,
                recorded_at,
            } => {
                let Some(contribution) = recorded.contribution() else {
                    return Err(Refused::new("an observation contributes nothing"));
                };
                let observed = Observed {
                    ids,
                    worker_id: worker_id.as_ref(),
                    cml_lab_id: cml_lab_id.as_ref(),
                    resources: observed_resources,
                    ports: observed_ports.as_ref(),
                    drift: *port_drift_detected,
                    unallocated: unallocated.as_ref(),
                    late_drift: late_drift.as_ref(),
                    request_id: request_id.as_ref(),
                    observed_at: *observed_at,
                    recorded_at: *recorded_at,
                    contradictions: jsonb(&contribution.contradictions)?,
                    contribution,
                };
                let observation = observed.observation(recorded)?;
                let nodes = observed.nodes(recorded)?;
                let session = observed.session(recorded, self.sessions.get(&(observation.session_id.clone(),))?)?;
                self.observations.insert(observation, "a lab is observed")?;
                nodes.into_iter().for_each(|node| self.nodes.push(node));
                self.sessions.put(session)?;
                Ok(Applied::Changed)
            }
            LabletSessionEvent::PortDriftDetected { drift_details, .. } => {
                // It says how the observation right before it, of the same command, differs.
                let drift = jsonb(drift_details)?;
                let key = (recorded.log.aggregate_id.clone(), recorded.sequence() - 1);
                let row = self.observations.change(&key, "ports drift")?;
                row.port_drift = Some(drift);
                row.port_drift_event_id = Some(recorded.event_id());
                Ok(Applied::Changed)
            }
            LabletSessionEvent::AllocationCorrected { after, drift_details, corrected_at, .. } => {
                // The observations stay what they were; the verdict on the session is another one from now on.
                let key = (recorded.log.aggregate_id.clone(),);
                let Some(mut summary) = self.sessions.get(&key)?.map(StoredObservedSession::summary) else {
                    return Ok(Applied::Ignored);
                };
                summary.correct(after, drift_details, *corrected_at);
                let row = self.sessions.change(&key, "an allocation is corrected")?;
                row.port_drift_detected = summary.drift_detected();
                row.position = recorded.position();
                Ok(Applied::Changed)
            }
            LabletSessionEvent::Created { .. }
            | LabletSessionEvent::Scheduled(_)
            | LabletSessionEvent::Instantiating(_)
            | LabletSessionEvent::Ready(_)
            | LabletSessionEvent::Running(_)
            | LabletSessionEvent::Collecting(_)
            | LabletSessionEvent::Grading(_)
            | LabletSessionEvent::Stopping(_)
            | LabletSessionEvent::Stopped(_)
            | LabletSessionEvent::Archived(_)
            | LabletSessionEvent::Terminated(_)
            | LabletSessionEvent::Expired(_)
            | LabletSessionEvent::ObserveResourcesRequested { .. }
            | LabletSessionEvent::ObservationFailed { .. }
            | LabletSessionEvent::EvidenceExcluded { .. }
            | LabletSessionEvent::EvidenceIncluded { .. }
            | LabletSessionEvent::PortDriftAcknowledged { .. }
            | LabletSessionEvent::PortDriftAcknowledgementWithdrawn { .. } => Ok(Applied::Ignored),
        }
    }
}

/// The parts of a `resources_observed`.
struct Observed<'a> {
    ids: &'a SessionIds,
    worker_id: Option<&'a WorkerId>,
    cml_lab_id: Option<&'a LabId>,
    resources: &'a ResourceObservation,
    ports: Option<&'a PortMap>,
    drift: Option<bool>,
    unallocated: Option<&'a PortMap>,
    late_drift: Option<&'a PortDrift>,
    request_id: Option<&'a RequestId>,
    observed_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    contradictions: Jsonb,
    contribution: Contribution<'a>,
}

impl Observed<'_> {
    fn observation(&self, recorded: &Recorded) -> Result<StoredObservation, Refused> {
        let resources = self.resources;
        let nominal = resources.nominal.unwrap_or_default();
        let used = resources.usage.unwrap_or_default();
        let coverage = resources.coverage.as_ref();
        let unknown = |given: bool, nodes: NodeCount| given.then(|| integer(nodes.get(), "unknown nodes")).transpose();
        let (has_nominal, has_used) = (resources.nominal.is_some(), resources.usage.is_some());
        Ok(StoredObservation {
            event_id: recorded.event_id(),
            session_id: recorded.log.aggregate_id.clone(),
            definition_id: self.ids.definition_id.to_string(),
            definition_version: self.ids.definition_version.as_str().to_owned(),
            definition_revision: integer(self.ids.definition_revision, "definition_revision")?,
            worker_id: self.worker_id.map(ToString::to_string),
            cml_lab_id: self.cml_lab_id.map(ToString::to_string),
            sequence: recorded.sequence(),
            position: recorded.position(),
            observed_at: shown(self.observed_at),
            recorded_at: self.recorded_at,
            observer: resources.observer.as_ref().map(ToString::to_string),
            reported_by: recorded.log.metadata.actor.clone(),
            request_id: self.request_id.map(ToString::to_string),
            nominal_cpu_cores: resources.nominal_cpu_cores(),
            nominal_memory_mb: resources.nominal_memory_mb(),
            nominal_storage_mb: nominal.storage_mb.map(Amount::get),
            nominal_unknown_cpu_nodes: unknown(has_nominal, nominal.unknown_cpu_nodes)?,
            nominal_unknown_memory_nodes: unknown(has_nominal, nominal.unknown_memory_nodes)?,
            nominal_unknown_storage_nodes: unknown(has_nominal, nominal.unknown_storage_nodes)?,
            used_cpu_cores: used.used.cpu_cores.map(Amount::get),
            used_memory_mb: used.used.memory_mb.map(Amount::get),
            used_storage_mb: resources.used_storage_mb(),
            used_unknown_cpu_nodes: unknown(has_used, used.used.unknown_cpu_nodes)?,
            used_unknown_memory_nodes: unknown(has_used, used.used.unknown_memory_nodes)?,
            used_unknown_storage_nodes: unknown(has_used, used.used.unknown_storage_nodes)?,
            highest_cpu_percent: used.highest_cpu_percent.map(Amount::get),
            node_count: resources.node_count().map(i64::from),
            nodes_booted: coverage.and_then(|coverage| coverage.nodes_booted).map(|booted| i64::from(booted.get())),
            node_definitions_used: jsonb(&resources.node_definitions_used)?,
            complete: self.contribution.complete,
            phase: coverage.map(|coverage| phase(coverage.phase).to_owned()),
            failed_reads: jsonb(&coverage.map(|coverage| &*coverage.failed_reads).unwrap_or_default())?,
            unreadable_entries: jsonb(&coverage.map(|coverage| &*coverage.unreadable_entries).unwrap_or_default())?,
            observed_ports: self.ports.map(jsonb).transpose()?,
            port_drift_detected: self.drift,
            port_drift: self.late_drift.map(jsonb).transpose()?,
            port_drift_event_id: self.late_drift.map(|_| recorded.event_id()),
            unallocated: self.unallocated.map(jsonb).transpose()?,
            cml_version: resources.cml_version.as_ref().map(ToString::to_string),
            topology_fingerprint: resources.topology_fingerprint.as_ref().map(ToString::to_string),
            contradictions: self.contradictions.clone(),
            no_evidence: self.contribution.no_evidence.map(|reason| reason.as_str().to_owned()),
            worker_short: coverage.and_then(|coverage| coverage.worker_short),
            worker_short_of: jsonb(&coverage.map(|coverage| &*coverage.worker_short_of).unwrap_or_default())?,
        })
    }

    fn nodes(&self, recorded: &Recorded) -> Result<Vec<StoredNode>, Refused> {
        let nodes = self.resources.nodes.iter().enumerate();
        nodes.map(|(ordinal, node)| stored_node(recorded.event_id(), ordinal, node)).collect()
    }

    fn session(
        &self,
        recorded: &Recorded,
        known: Option<&StoredObservedSession>,
    ) -> Result<StoredObservedSession, Refused> {
        let event_id = recorded.event_id();
        let mut row = match known {
            Some(known) => known.clone(),
            None => StoredObservedSession {
                session_id: recorded.log.aggregate_id.clone(),
                definition_id: self.ids.definition_id.to_string(),
                definition_version: self.ids.definition_version.as_str().to_owned(),
                definition_revision: integer(self.ids.definition_revision, "definition_revision")?,
                worker_id: None,
                observation_count: 0,
                observed_at: self.contribution.made_at,
                observed_event_id: event_id,
                complete: None,
                position: recorded.position(),
                cpu_cores: None,
                cpu_cores_event_id: None,
                cpu_cores_at: None,
                memory_mb: None,
                memory_mb_event_id: None,
                memory_mb_at: None,
                storage_mb: None,
                storage_mb_event_id: None,
                storage_mb_at: None,
                node_count: None,
                node_count_event_id: None,
                node_count_at: None,
                port_drift_detected: None,
                port_drift_event_id: None,
                port_drift_at: None,
                contradictions: Jsonb::empty_array(),
                no_evidence: None,
            },
        };
        let mut summary = row.summary();
        let is_newest = summary.record(event_id, &self.contribution);
        row.observation_count += 1;
        row.position = recorded.position();
        row.worker_id = self.worker_id.map(ToString::to_string);
        if is_newest {
            row.observed_at = self.contribution.made_at;
            row.observed_event_id = event_id;
            row.complete = self.contribution.complete;
            row.contradictions = self.contradictions.clone();
            row.no_evidence = self.contribution.no_evidence.map(|reason| reason.as_str().to_owned());
        }
        (row.cpu_cores, row.cpu_cores_event_id, row.cpu_cores_at) = parts(summary.cpu_cores);
        (row.memory_mb, row.memory_mb_event_id, row.memory_mb_at) = parts(summary.memory_mb);
        (row.storage_mb, row.storage_mb_event_id, row.storage_mb_at) = parts(summary.storage_mb);
        let (node_count, node_count_event_id, node_count_at) = parts(summary.node_count);
        (row.node_count_event_id, row.node_count_at) = (node_count_event_id, node_count_at);
        row.node_count = node_count.map(i64::from);
        let drift = summary.drift.map(|drift| (drift.detected, drift.event, drift.made_at));
        row.port_drift_detected = drift.map(|(detected, _, _)| detected);
        row.port_drift_event_id = drift.map(|(_, event, _)| event);
        row.port_drift_at = drift.map(|(_, _, made_at)| made_at);
        Ok(row)
    }
}

impl StoredObservedSession {
    /// What the row knows; of the newest observation only when it was made.
    fn summary(&self) -> ObservationSummary<Uuid> {
        let newest = (self.observation_count > 0).then(|| NewestObservation {
            event: self.observed_event_id,
            made_at: self.observed_at,
            complete: self.complete,
            evidence: Evidence::default(),
            contradictions: Vec::new(),
            no_evidence: None,
        });
        let verdict = self.port_drift_detected.zip(self.port_drift_event_id).zip(self.port_drift_at);
        let drift = verdict.map(|((detected, event), made_at)| LatestDrift {
            detected,
            event,
            made_at,
            since: None,
            observed_ports: None,
            unallocated: None,
            details: PortDrift::default(),
            acknowledgement: None,
            is_recorded_last: false,
        });
        let nodes = self.node_count.and_then(|count| u32::try_from(count).ok());
        ObservationSummary {
            count: self.observation_count.unsigned_abs(),
            newest,
            cpu_cores: reading(self.cpu_cores, self.cpu_cores_event_id, self.cpu_cores_at),
            memory_mb: reading(self.memory_mb, self.memory_mb_event_id, self.memory_mb_at),
            storage_mb: reading(self.storage_mb, self.storage_mb_event_id, self.storage_mb_at),
            node_count: reading(nodes, self.node_count_event_id, self.node_count_at),
            drift,
        }
    }
}

fn reading<T>(value: Option<T>, event: Option<Uuid>, made_at: Option<DateTime<Utc>>) -> Option<Reading<T, Uuid>> {
    Some(Reading { value: value?, event: event?, made_at: made_at? })
}

fn parts<T>(reading: Option<Reading<T, Uuid>>) -> (Option<T>, Option<Uuid>, Option<DateTime<Utc>>) {
    match reading {
        Some(Reading { value, event, made_at }) => (Some(value), Some(event), Some(made_at)),
        None => (None, None, None),
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Boot => "boot",
        Phase::Steady => "steady",
        Phase::Stopped => "stopped",
        Phase::Unknown => "unknown",
    }
}

#[expect(clippy::cast_precision_loss, reason = "a node has at most 100,000,000 MB")]
fn stored_node(event_id: Uuid, ordinal: usize, node: &NodeObservation) -> Result<StoredNode, Refused> {
    let usage = node.usage.unwrap_or_default();
    Ok(StoredNode {
        event_id,
        ordinal: integer(ordinal, "ordinal")?,
        node_id: node.node_id.to_string(),
        label: node.label.to_string(),
        node_definition: node.node_definition.to_string(),
        image_definition: node.image_definition.as_ref().map(ToString::to_string),
        state: node.state.as_ref().map(ToString::to_string),
        cpus: node.cpus.map(|cpus| i64::from(cpus.get())),
        cpu_limit_percent: node.cpu_limit.map(|limit| i64::from(limit.get())),
        nominal_cpu_cores: node.nominal_cpu_cores.map(Amount::get),
        nominal_memory_mb: node.ram_mb.map(|ram| ram.get() as f64),
        used_cpu_percent: usage.cpu_percent.map(Amount::get),
        used_cpu_cores: usage.cpu_cores.map(Amount::get),
        used_memory_mb: usage.memory_mb.map(Amount::get),
        used_storage_mb: usage.disk_mb.map(Amount::get),
        disk_read_bytes: usage.disk_read_bytes.map(|count| Count(count.get())),
        disk_written_bytes: usage.disk_written_bytes.map(|count| Count(count.get())),
        booted_seconds: usage.booted_seconds.map(|count| Count(count.get())),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::read_models::given::{event_id, given, recorded, sample};

    fn observed(sequence: i64, at: &str, total_cpu_cores: Value) -> Recorded {
        let mut event = sample("lablet_session.resources_observed.v1");
        event["observed_at"] = at.into();
        event["observed_resources"]["total_cpu_cores"] = total_cpu_cores;
        event["observed_resources"]["nominal"] = Value::Null;
        recorded("s-1", sequence, &event)
    }

    #[test]
    fn an_observation_becomes_a_row_a_row_for_each_node_and_the_sessions_readings() {
        let mut rows = Rows::default();
        given(&mut rows, &observed(7, "2026-03-01T10:00:00Z", json!(1.5))).unwrap();
        let observation = rows.observations.rows()[0];
        assert_eq!((observation.nominal_cpu_cores, observation.node_count), (Some(1.5), Some(2)));
        let nodes: Vec<_> = rows.nodes.rows().iter().map(|node| (node.ordinal, node.nominal_memory_mb)).collect();
        assert_eq!(nodes, [(0, Some(512.0)), (1, Some(768.0))]);
        assert_eq!(rows.nodes.rows()[0].disk_read_bytes, Some(Count(46_081_024)));
        assert_eq!(rows.nodes.rows()[1].used_cpu_percent, None, "nobody measured");
        assert_eq!(rows.sessions.rows()[0].cpu_cores_event_id, Some(event_id(7)));
    }

    #[test]
    fn of_each_quantity_the_newest_known_reading_stays_whatever_the_order() {
        let mut rows = Rows::default();
        given(&mut rows, &observed(2, "2026-03-01T10:30:00Z", json!(1.5))).unwrap();
        given(&mut rows, &observed(3, "2026-03-01T10:40:00Z", Value::Null)).unwrap();
        given(&mut rows, &observed(4, "2026-03-01T10:00:00Z", json!(1.5))).unwrap();
        let row = rows.sessions.rows()[0];
        assert_eq!((row.observation_count, row.observed_event_id), (3, event_id(3)));
        assert_eq!((row.cpu_cores, row.cpu_cores_event_id), (Some(1.5), Some(event_id(2))));
        assert_eq!(row.memory_mb_event_id, Some(event_id(3)));
    }

    #[test]
    fn a_drift_that_arrives_late_is_told_by_its_observation() {
        let mut event = sample("lablet_session.resources_observed.v1");
        event["late_drift"] = json!({"removed": {"PC_serial": 5041}});
        let mut rows = Rows::default();
        given(&mut rows, &recorded("s-1", 7, &event)).unwrap();
        let row = rows.observations.rows()[0];
        assert_eq!(row.port_drift.as_ref().unwrap().value()["removed"], json!({"PC_serial": 5041}));
        assert_eq!(row.port_drift_event_id, Some(event_id(7)));
    }

    #[test]
    fn drift_details_go_to_the_observation_right_before_them() {
        let mut rows = Rows::default();
        let drift = recorded("s-1", 3, &sample("lablet_session.port_drift_detected.v1"));
        assert!(given(&mut rows, &drift).is_err(), "there is no observation");
        given(&mut rows, &observed(2, "2026-03-01T10:30:00Z", json!(1.5))).unwrap();
        rows.observations.expect_none(("s-1".to_owned(), 9));
        given(&mut rows, &drift).unwrap();
        assert_eq!(rows.observations.rows()[0].port_drift_event_id, Some(event_id(3)));
    }
}
