//! How observations become rows.

use app::log::RecordedEvent;
use domain::lablet_session::LabletSessionEvent;
use domain::observation::{NodeObservation, NodeUsage, Phase, ResourceObservation};
use sqlx::PgConnection;

use crate::workers::whole;
use crate::{Applied, ApplyError, DomainEvent, Projector};

/// Fills `observations`.
#[derive(Debug, Clone, Copy)]
pub struct Observations;

impl Projector for Observations {
    const NAME: &'static str = "observations";
    const REVISION: i32 = 1;
    const TABLES: &'static [&'static str] = &["observations", "observation_nodes", "observed_sessions"];

    async fn apply(
        &self,
        connection: &mut PgConnection,
        recorded: &RecordedEvent,
        event: &DomainEvent,
    ) -> Result<Applied, ApplyError> {
        let event = match event {
            DomainEvent::Session(event) => event.as_ref(),
            DomainEvent::Definition(_) | DomainEvent::Worker(_) | DomainEvent::Foreign => return Ok(Applied::Ignored),
        };
        match event {
            LabletSessionEvent::ResourcesObserved { observed_resources, .. } => {
                keep(connection, recorded, event).await?;
                keep_nodes(connection, recorded, &observed_resources.nodes).await?;
                keep_session(connection, recorded, event).await
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
            // The verdict is in the observation; its details are the sessions' matter.
            | LabletSessionEvent::PortDriftDetected { .. }
            | LabletSessionEvent::ObservationFailed { .. } => Ok(Applied::Ignored),
        }
    }
}

fn phase(observed: &ResourceObservation) -> Option<&'static str> {
    observed.coverage.as_ref().map(|coverage| match coverage.phase {
        Phase::Boot => "boot",
        Phase::Steady => "steady",
        Phase::Stopped => "stopped",
        Phase::Unknown => "unknown",
    })
}

async fn keep(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    event: &LabletSessionEvent,
) -> Result<(), ApplyError> {
    let LabletSessionEvent::ResourcesObserved {
        ids,
        worker_id,
        cml_lab_id,
        observed_resources: observed,
        port_drift_detected,
        request_id,
        observed_at,
        recorded_at,
        ..
    } = event
    else {
        return Ok(());
    };
    let coverage = observed.coverage.as_ref();
    sqlx::query(
        "INSERT INTO observations (event_id, session_id, definition_id, definition_version, definition_revision,
                worker_id, cml_lab_id, request_id, observer, observed_at, recorded_at, total_cpu_cores,
                total_memory_mb, total_storage_mb, node_count, used_cpu_cores, used_memory_mb, used_storage_mb,
                highest_cpu_percent, complete, phase, nodes_booted, failed_reads, port_drift_detected, cml_version,
                topology_fingerprint, sequence, position)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                $23, $24, $25, $26, $27, $28)",
    )
    .bind(recorded.event_id)
    .bind(&recorded.aggregate_id)
    .bind(ids.definition_id.as_str())
    .bind(ids.definition_version.as_str())
    .bind(whole(ids.definition_revision))
    .bind(worker_id.as_ref().map(AsRef::<str>::as_ref))
    .bind(cml_lab_id.as_ref().map(AsRef::<str>::as_ref))
    .bind(request_id.as_ref().map(AsRef::<str>::as_ref))
    .bind(&observed.observer)
    .bind(observed_at)
    .bind(recorded_at)
    .bind(observed.total_cpu_cores)
    .bind(observed.total_memory_mb)
    .bind(observed.total_storage_mb)
    .bind(observed.node_count().map(whole))
    .bind(observed.usage.and_then(|usage| usage.used.cpu_cores))
    .bind(observed.usage.and_then(|usage| usage.used.memory_mb))
    .bind(observed.usage.and_then(|usage| usage.used.storage_mb))
    .bind(observed.usage.and_then(|usage| usage.highest_cpu_percent))
    .bind(observed.is_complete())
    .bind(phase(observed))
    .bind(coverage.and_then(|coverage| coverage.nodes_booted).map(whole))
    .bind(coverage.map(|coverage| i32::try_from(coverage.failed_reads.len()).unwrap_or(i32::MAX)))
    .bind(port_drift_detected)
    .bind(&observed.cml_version)
    .bind(&observed.topology_fingerprint)
    .bind(recorded.sequence)
    .bind(recorded.position.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// All nodes in one statement, one array per column.
async fn keep_nodes(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    nodes: &[NodeObservation],
) -> Result<(), ApplyError> {
    if nodes.is_empty() {
        return Ok(());
    }
    let texts = |field: fn(&NodeObservation) -> Option<&str>| nodes.iter().map(field).collect::<Vec<_>>();
    let counts = |field: fn(&NodeObservation) -> Option<u32>| {
        nodes.iter().map(|node| field(node).map(whole)).collect::<Vec<_>>()
    };
    let used = |field: fn(NodeUsage) -> Option<f64>| {
        nodes.iter().map(|node| node.usage.and_then(field)).collect::<Vec<Option<f64>>>()
    };
    let bytes = |field: fn(NodeUsage) -> Option<u64>| {
        nodes.iter().map(|node| node.usage.and_then(field).map(large)).collect::<Vec<_>>()
    };
    sqlx::query(
        "INSERT INTO observation_nodes (event_id, place, node_id, label, node_definition, image_definition, state,
                cpus, cpu_limit_percent, nominal_cpu_cores, nominal_memory_mb, used_cpu_percent, used_cpu_cores,
                used_memory_mb, used_disk_mb, disk_read_bytes, disk_written_bytes, booted_seconds)
         SELECT $1, node.place::integer, node_id, label, node_definition, image_definition, state, cpus, cpu_limit,
                nominal_cpu, nominal_memory, used_percent, used_cpu, used_memory, used_disk, disk_read, disk_written,
                booted
           FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::integer[],
                       $9::double precision[], $10::bigint[], $11::double precision[], $12::double precision[],
                       $13::double precision[], $14::double precision[], $15::bigint[], $16::bigint[], $17::bigint[])
                WITH ORDINALITY AS node (node_id, label, node_definition, image_definition, state, cpus, cpu_limit,
                       nominal_cpu, nominal_memory, used_percent, used_cpu, used_memory, used_disk, disk_read,
                       disk_written, booted, place)",
    )
    .bind(recorded.event_id)
    .bind(texts(|node| Some(&node.node_id)))
    .bind(texts(|node| Some(&node.label)))
    .bind(texts(|node| Some(&node.node_definition)))
    .bind(texts(|node| node.image_definition.as_deref()))
    .bind(texts(|node| node.state.as_deref()))
    .bind(counts(|node| node.cpus))
    .bind(counts(|node| node.cpu_limit))
    .bind(nodes.iter().map(|node| node.nominal_cpu_cores).collect::<Vec<_>>())
    .bind(nodes.iter().map(|node| node.ram_mb.map(large)).collect::<Vec<_>>())
    .bind(used(|usage| usage.cpu_percent))
    .bind(used(|usage| usage.cpu_cores))
    .bind(used(|usage| usage.memory_mb))
    .bind(used(|usage| usage.disk_mb))
    .bind(bytes(|usage| usage.disk_read_bytes))
    .bind(bytes(|usage| usage.disk_written_bytes))
    .bind(bytes(|usage| usage.booted_seconds))
    .execute(connection)
    .await?;
    Ok(())
}

fn large(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Of each quantity the newest known number stays, by the time of its observation.
async fn keep_session(
    connection: &mut PgConnection,
    recorded: &RecordedEvent,
    event: &LabletSessionEvent,
) -> Result<Applied, ApplyError> {
    let LabletSessionEvent::ResourcesObserved {
        ids,
        observed_resources: observed,
        port_drift_detected,
        observed_at,
        ..
    } = event
    else {
        return Ok(Applied::Ignored);
    };
    sqlx::query(
        "INSERT INTO observed_sessions AS known (session_id, definition_id, definition_version, definition_revision,
                observation_count, observed_at, event_id, used_cpu_cores, used_memory_mb, used_storage_mb,
                highest_cpu_percent, complete,
                total_cpu_cores, cpu_observed_at, cpu_event_id,
                total_memory_mb, memory_observed_at, memory_event_id,
                total_storage_mb, storage_observed_at, storage_event_id,
                node_count, nodes_observed_at, nodes_event_id,
                port_drift_detected, drift_observed_at, position)
         VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $10, $11,
                $12, CASE WHEN $12 IS NOT NULL THEN $5 END, CASE WHEN $12 IS NOT NULL THEN $6 END,
                $13, CASE WHEN $13 IS NOT NULL THEN $5 END, CASE WHEN $13 IS NOT NULL THEN $6 END,
                $14, CASE WHEN $14 IS NOT NULL THEN $5 END, CASE WHEN $14 IS NOT NULL THEN $6 END,
                $15, CASE WHEN $15 IS NOT NULL THEN $5 END, CASE WHEN $15 IS NOT NULL THEN $6 END,
                $16, CASE WHEN $16 IS NOT NULL THEN $5 END, $17)
         ON CONFLICT (session_id) DO UPDATE SET
                observation_count = known.observation_count + 1,
                position = excluded.position,
                (observed_at, event_id, used_cpu_cores, used_memory_mb, used_storage_mb, highest_cpu_percent,
                 complete) = (SELECT newer.* FROM (VALUES
                    (true, excluded.observed_at, excluded.event_id, excluded.used_cpu_cores, excluded.used_memory_mb,
                     excluded.used_storage_mb, excluded.highest_cpu_percent, excluded.complete),
                    (false, known.observed_at, known.event_id, known.used_cpu_cores, known.used_memory_mb,
                     known.used_storage_mb, known.highest_cpu_percent, known.complete))
                    AS choice (taken, a, b, c, d, e, f, g)
                    CROSS JOIN LATERAL (SELECT a, b, c, d, e, f, g) AS newer
                    WHERE taken = (known.observed_at <= excluded.observed_at)),
                (total_cpu_cores, cpu_observed_at, cpu_event_id) = (SELECT a, b, c FROM (VALUES
                    (true, excluded.total_cpu_cores, excluded.cpu_observed_at, excluded.cpu_event_id),
                    (false, known.total_cpu_cores, known.cpu_observed_at, known.cpu_event_id))
                    AS choice (taken, a, b, c) WHERE taken = (excluded.total_cpu_cores IS NOT NULL
                    AND coalesce(known.cpu_observed_at <= excluded.cpu_observed_at, true))),
                (total_memory_mb, memory_observed_at, memory_event_id) = (SELECT a, b, c FROM (VALUES
                    (true, excluded.total_memory_mb, excluded.memory_observed_at, excluded.memory_event_id),
                    (false, known.total_memory_mb, known.memory_observed_at, known.memory_event_id))
                    AS choice (taken, a, b, c) WHERE taken = (excluded.total_memory_mb IS NOT NULL
                    AND coalesce(known.memory_observed_at <= excluded.memory_observed_at, true))),
                (total_storage_mb, storage_observed_at, storage_event_id) = (SELECT a, b, c FROM (VALUES
                    (true, excluded.total_storage_mb, excluded.storage_observed_at, excluded.storage_event_id),
                    (false, known.total_storage_mb, known.storage_observed_at, known.storage_event_id))
                    AS choice (taken, a, b, c) WHERE taken = (excluded.total_storage_mb IS NOT NULL
                    AND coalesce(known.storage_observed_at <= excluded.storage_observed_at, true))),
                (node_count, nodes_observed_at, nodes_event_id) = (SELECT a, b, c FROM (VALUES
                    (true, excluded.node_count, excluded.nodes_observed_at, excluded.nodes_event_id),
                    (false, known.node_count, known.nodes_observed_at, known.nodes_event_id))
                    AS choice (taken, a, b, c) WHERE taken = (excluded.node_count IS NOT NULL
                    AND coalesce(known.nodes_observed_at <= excluded.nodes_observed_at, true))),
                (port_drift_detected, drift_observed_at) = (SELECT a, b FROM (VALUES
                    (true, excluded.port_drift_detected, excluded.drift_observed_at),
                    (false, known.port_drift_detected, known.drift_observed_at))
                    AS choice (taken, a, b) WHERE taken = (excluded.port_drift_detected IS NOT NULL
                    AND coalesce(known.drift_observed_at <= excluded.drift_observed_at, true)))",
    )
    .bind(&recorded.aggregate_id)
    .bind(ids.definition_id.as_str())
    .bind(ids.definition_version.as_str())
    .bind(whole(ids.definition_revision))
    .bind(observed_at)
    .bind(recorded.event_id)
    .bind(observed.usage.and_then(|usage| usage.used.cpu_cores))
    .bind(observed.usage.and_then(|usage| usage.used.memory_mb))
    .bind(observed.usage.and_then(|usage| usage.used.storage_mb))
    .bind(observed.usage.and_then(|usage| usage.highest_cpu_percent))
    .bind(observed.is_complete())
    .bind(observed.total_cpu_cores)
    .bind(observed.total_memory_mb)
    .bind(observed.total_storage_mb)
    .bind(observed.node_count().map(whole))
    .bind(port_drift_detected)
    .bind(recorded.position.to_string())
    .execute(connection)
    .await?;
    Ok(Applied::Changed)
}
