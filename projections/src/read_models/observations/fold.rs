//! How observations become rows.

use chrono::{DateTime, Utc};
use domain::evidence::{Contradiction, Evidence, NoEvidence, made_at};
use domain::lablet_session::{LabletSessionEvent, SessionIds};
use domain::observation::{NodeObservation, Phase, Quantities, ResourceObservation};
use domain::ports::PortMap;
use domain::time::shown;
use domain::{LabId, RequestId, WorkerId};
use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use crate::projector::{Applied, ApplyError, Event, Recorded, expect_one};

pub(super) async fn apply(tables: &mut PgConnection, recorded: &Recorded<'_>) -> Result<Applied, ApplyError> {
    let event = match recorded.event {
        Event::Session(event) => event,
        Event::Definition(_) | Event::Worker(_) => return Ok(Applied::Ignored),
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
            request_id,
            observed_at,
            recorded_at,
        } => {
            let seen = Seen {
                ids,
                worker_id: worker_id.as_ref(),
                cml_lab_id: cml_lab_id.as_ref(),
                resources: observed_resources,
                ports: observed_ports.as_ref(),
                drift: *port_drift_detected,
                unallocated: unallocated.as_ref(),
                request_id: request_id.as_ref(),
                observed_at: *observed_at,
                recorded_at: *recorded_at,
                evidence: observed_resources.evidence(),
                contradictions: observed_resources.contradictions(),
                no_evidence: observed_resources.no_evidence(),
            };
            seen.keep(tables, recorded).await?;
            seen.keep_nodes(tables, recorded).await?;
            seen.add_to_session(tables, recorded).await
        }
        LabletSessionEvent::PortDriftDetected { drift_details, .. } => {
            // It says how the observation right before it, of the same command, differs.
            let statement = "UPDATE observations SET port_drift = $3, port_drift_event_id = $4
                WHERE session_id = $1 AND sequence = $2 - 1";
            let result = sqlx::query(statement)
                .bind(&recorded.log.aggregate_id)
                .bind(recorded.sequence())
                .bind(Json(drift_details))
                .bind(recorded.event_id())
                .execute(tables)
                .await?;
            expect_one(&result, "the observation whose ports drifted")
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
        | LabletSessionEvent::ObservationFailed { .. } => Ok(Applied::Ignored),
    }
}

/// The parts of a `resources_observed`.
struct Seen<'a> {
    ids: &'a SessionIds,
    worker_id: Option<&'a WorkerId>,
    cml_lab_id: Option<&'a LabId>,
    resources: &'a ResourceObservation,
    ports: Option<&'a PortMap>,
    drift: Option<bool>,
    unallocated: Option<&'a PortMap>,
    request_id: Option<&'a RequestId>,
    observed_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    evidence: Evidence,
    contradictions: Vec<Contradiction>,
    no_evidence: Option<NoEvidence>,
}

impl Seen<'_> {
    async fn keep(&self, tables: &mut PgConnection, recorded: &Recorded<'_>) -> Result<Applied, ApplyError> {
        let resources = self.resources;
        let nominal = resources.nominal.unwrap_or_default();
        let used = resources.usage.unwrap_or_default();
        let coverage = resources.coverage.as_ref();
        // An event of old may count more nodes than a column holds.
        let unknown = |given: bool, nodes: fn(&Quantities) -> u32, amounts: &Quantities| {
            given.then(|| i64::from(nodes(amounts)).min(i64::from(i32::MAX)))
        };
        let (has_nominal, has_used) = (resources.nominal.is_some(), resources.usage.is_some());
        let statement = "INSERT INTO observations (event_id, session_id, definition_id, definition_version,
                definition_revision, worker_id, cml_lab_id, sequence, position, observed_at, recorded_at, observer,
                reported_by, request_id, nominal_cpu_cores, nominal_memory_mb, nominal_storage_mb,
                nominal_unknown_cpu_nodes, nominal_unknown_memory_nodes, nominal_unknown_storage_nodes, used_cpu_cores,
                used_memory_mb, used_storage_mb, used_unknown_cpu_nodes, used_unknown_memory_nodes,
                used_unknown_storage_nodes, highest_cpu_percent, node_count, nodes_booted, node_definitions_used,
                complete, phase, failed_reads, unreadable_entries, observed_ports, port_drift_detected, unallocated,
                cml_version, topology_fingerprint, contradictions, no_evidence)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41)";
        let result = sqlx::query(statement)
            .bind(recorded.event_id())
            .bind(self.ids.session_id.as_str())
            .bind(self.ids.definition_id.as_str())
            .bind(self.ids.definition_version.as_str())
            .bind(i64::from(self.ids.definition_revision))
            .bind(self.worker_id.map(WorkerId::as_str))
            .bind(self.cml_lab_id.map(LabId::as_str))
            .bind(recorded.sequence())
            .bind(&recorded.position)
            .bind(shown(self.observed_at))
            .bind(self.recorded_at)
            .bind(&resources.observer)
            .bind(&recorded.log.metadata.actor)
            .bind(self.request_id.map(RequestId::as_str))
            .bind(resources.nominal_cpu_cores())
            .bind(resources.nominal_memory_mb())
            .bind(nominal.storage_mb)
            .bind(unknown(has_nominal, |amounts| amounts.unknown_cpu_nodes, &nominal))
            .bind(unknown(has_nominal, |amounts| amounts.unknown_memory_nodes, &nominal))
            .bind(unknown(has_nominal, |amounts| amounts.unknown_storage_nodes, &nominal))
            .bind(used.used.cpu_cores)
            .bind(used.used.memory_mb)
            .bind(resources.used_storage_mb())
            .bind(unknown(has_used, |amounts| amounts.unknown_cpu_nodes, &used.used))
            .bind(unknown(has_used, |amounts| amounts.unknown_memory_nodes, &used.used))
            .bind(unknown(has_used, |amounts| amounts.unknown_storage_nodes, &used.used))
            .bind(used.highest_cpu_percent)
            .bind(resources.node_count().map(i64::from))
            .bind(coverage.and_then(|coverage| coverage.nodes_booted).map(i64::from))
            .bind(Json(&resources.node_definitions_used))
            .bind(resources.is_complete())
            .bind(coverage.map(|coverage| phase(coverage.phase)))
            .bind(Json(coverage.map(|coverage| coverage.failed_reads.as_slice()).unwrap_or_default()))
            .bind(Json(coverage.map(|coverage| coverage.unreadable_entries.as_slice()).unwrap_or_default()))
            .bind(self.ports.map(Json))
            .bind(self.drift)
            .bind(self.unallocated.map(Json))
            .bind(&resources.cml_version)
            .bind(&resources.topology_fingerprint)
            .bind(Json(&self.contradictions))
            .bind(self.no_evidence.map(NoEvidence::as_str))
            .execute(tables)
            .await?;
        expect_one(&result, "an observation")
    }

    /// All nodes in one statement; a lab has up to 2,000.
    async fn keep_nodes(&self, tables: &mut PgConnection, recorded: &Recorded<'_>) -> Result<Applied, ApplyError> {
        if self.resources.nodes.is_empty() {
            return Ok(Applied::Ignored);
        }
        let nodes: Vec<serde_json::Value> =
            self.resources.nodes.iter().enumerate().map(|(ordinal, node)| node_row(ordinal, node)).collect();
        let statement = "INSERT INTO observation_nodes (event_id, session_id, definition_id, observed_at, position,
                ordinal, node_id, label, node_definition, image_definition, state, cpus, cpu_limit_percent,
                nominal_cpu_cores, nominal_memory_mb, used_cpu_percent, used_cpu_cores, used_memory_mb, used_storage_mb,
                disk_read_bytes, disk_written_bytes, booted_seconds)
            SELECT $1, $2, $3, $4, $5, n.*
              FROM jsonb_to_recordset($6) AS n (ordinal integer, node_id text, label text, node_definition text,
                image_definition text, state text, cpus bigint, cpu_limit_percent bigint,
                nominal_cpu_cores double precision, nominal_memory_mb double precision,
                used_cpu_percent double precision, used_cpu_cores double precision, used_memory_mb double precision,
                used_storage_mb double precision, disk_read_bytes numeric, disk_written_bytes numeric,
                booted_seconds numeric)";
        sqlx::query(statement)
            .bind(recorded.event_id())
            .bind(self.ids.session_id.as_str())
            .bind(self.ids.definition_id.as_str())
            .bind(shown(self.observed_at))
            .bind(&recorded.position)
            .bind(Json(nodes))
            .execute(tables)
            .await?;
        Ok(Applied::Changed)
    }

    /// Of each quantity the newest that counts stays; a reading recorded late does not replace a newer one, nor does one
    /// that is no evidence.
    async fn add_to_session(&self, tables: &mut PgConnection, recorded: &Recorded<'_>) -> Result<Applied, ApplyError> {
        let statement = "INSERT INTO observed_sessions AS s (session_id, definition_id, definition_version,
                definition_revision, worker_id, observation_count, observed_at, observed_event_id, complete, position,
                cpu_cores, cpu_cores_event_id, cpu_cores_at, memory_mb, memory_mb_event_id, memory_mb_at,
                storage_mb, storage_mb_event_id, storage_mb_at, node_count, node_count_event_id, node_count_at,
                port_drift_detected, port_drift_event_id, port_drift_at, contradictions, no_evidence)
            VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8, $9,
                $10, CASE WHEN $10::float8 IS NOT NULL THEN $7 END, CASE WHEN $10 IS NOT NULL THEN $6 END,
                $11, CASE WHEN $11::float8 IS NOT NULL THEN $7 END, CASE WHEN $11 IS NOT NULL THEN $6 END,
                $12, CASE WHEN $12::float8 IS NOT NULL THEN $7 END, CASE WHEN $12 IS NOT NULL THEN $6 END,
                $13, CASE WHEN $13::bigint IS NOT NULL THEN $7 END, CASE WHEN $13 IS NOT NULL THEN $6 END,
                $14, CASE WHEN $14::boolean IS NOT NULL THEN $7 END, CASE WHEN $14 IS NOT NULL THEN $6 END, $15, $16)
            ON CONFLICT (session_id) DO UPDATE SET
                observation_count = s.observation_count + 1,
                position = excluded.position,
                worker_id = excluded.worker_id,
                observed_at = greatest(s.observed_at, excluded.observed_at),
                observed_event_id = CASE WHEN s.observed_at > $6 THEN s.observed_event_id ELSE $7 END,
                complete = CASE WHEN s.observed_at > $6 THEN s.complete ELSE $8 END,
                contradictions = CASE WHEN s.observed_at > $6 THEN s.contradictions ELSE $15 END,
                no_evidence = CASE WHEN s.observed_at > $6 THEN s.no_evidence ELSE $16 END,
                cpu_cores = CASE WHEN $10 IS NULL OR s.cpu_cores_at > $6 THEN s.cpu_cores ELSE $10 END,
                cpu_cores_event_id = CASE WHEN $10 IS NULL OR s.cpu_cores_at > $6 THEN s.cpu_cores_event_id ELSE $7 END,
                cpu_cores_at = CASE WHEN $10 IS NULL OR s.cpu_cores_at > $6 THEN s.cpu_cores_at ELSE $6 END,
                memory_mb = CASE WHEN $11 IS NULL OR s.memory_mb_at > $6 THEN s.memory_mb ELSE $11 END,
                memory_mb_event_id = CASE WHEN $11 IS NULL OR s.memory_mb_at > $6 THEN s.memory_mb_event_id ELSE $7 END,
                memory_mb_at = CASE WHEN $11 IS NULL OR s.memory_mb_at > $6 THEN s.memory_mb_at ELSE $6 END,
                storage_mb = CASE WHEN $12 IS NULL OR s.storage_mb_at > $6 THEN s.storage_mb ELSE $12 END,
                storage_mb_event_id = CASE WHEN $12 IS NULL OR s.storage_mb_at > $6 THEN s.storage_mb_event_id ELSE $7 END,
                storage_mb_at = CASE WHEN $12 IS NULL OR s.storage_mb_at > $6 THEN s.storage_mb_at ELSE $6 END,
                node_count = CASE WHEN $13 IS NULL OR s.node_count_at > $6 THEN s.node_count ELSE $13 END,
                node_count_event_id = CASE WHEN $13 IS NULL OR s.node_count_at > $6 THEN s.node_count_event_id ELSE $7 END,
                node_count_at = CASE WHEN $13 IS NULL OR s.node_count_at > $6 THEN s.node_count_at ELSE $6 END,
                port_drift_detected = CASE WHEN $14 IS NULL OR s.port_drift_at > $6 THEN s.port_drift_detected ELSE $14 END,
                port_drift_event_id = CASE WHEN $14 IS NULL OR s.port_drift_at > $6 THEN s.port_drift_event_id ELSE $7 END,
                port_drift_at = CASE WHEN $14 IS NULL OR s.port_drift_at > $6 THEN s.port_drift_at ELSE $6 END";
        let result = sqlx::query(statement)
            .bind(self.ids.session_id.as_str())
            .bind(self.ids.definition_id.as_str())
            .bind(self.ids.definition_version.as_str())
            .bind(i64::from(self.ids.definition_revision))
            .bind(self.worker_id.map(WorkerId::as_str))
            .bind(made_at(self.observed_at, self.recorded_at))
            .bind(recorded.event_id())
            .bind(self.resources.is_complete())
            .bind(&recorded.position)
            .bind(self.evidence.cpu_cores)
            .bind(self.evidence.memory_mb)
            .bind(self.evidence.storage_mb)
            .bind(self.evidence.node_count.map(i64::from))
            .bind(self.drift)
            .bind(Json(&self.contradictions))
            .bind(self.no_evidence.map(NoEvidence::as_str))
            .execute(tables)
            .await?;
        expect_one(&result, "an observed session")
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

fn node_row(ordinal: usize, node: &NodeObservation) -> serde_json::Value {
    let usage = node.usage.unwrap_or_default();
    serde_json::json!({
        "ordinal": ordinal,
        "node_id": node.node_id,
        "label": node.label,
        "node_definition": node.node_definition,
        "image_definition": node.image_definition,
        "state": node.state,
        "cpus": node.cpus,
        "cpu_limit_percent": node.cpu_limit,
        "nominal_cpu_cores": node.nominal_cpu_cores,
        "nominal_memory_mb": node.ram_mb,
        "used_cpu_percent": usage.cpu_percent,
        "used_cpu_cores": usage.cpu_cores,
        "used_memory_mb": usage.memory_mb,
        "used_storage_mb": usage.disk_mb,
        "disk_read_bytes": usage.disk_read_bytes,
        "disk_written_bytes": usage.disk_written_bytes,
        "booted_seconds": usage.booted_seconds,
    })
}
