//! The tables of a session's page as CSV.

use axum::response::Response;
use domain::evidence::NoEvidence;
use projections::read_models::observation_requests::RequestFilter;
use projections::read_models::observations::nodes::{NodeFilter, NodeRow};
use projections::read_models::observations::{ObservationFilter, ObservationRow};
use projections::read_models::session_history::{EventRow, LifeRow};
use projections::read_models::sessions::{PortRow, SessionRow, compare_ports};

use super::usage::{USAGE, Usage};
use super::{HEADLINES, Table};
use crate::pages::parts::{Badge, contradiction};
use crate::pages::request_file::csv_of_requests;
use crate::pages::table::{Column, cell, csv as list_as_csv, csv_of, time};
use crate::problem::Problem;
use crate::queries::Queries;

/// One of the tables, from its first row on.
///
/// # Errors
/// 503 when the database does not answer.
pub(super) async fn csv(queries: &Queries, session: &SessionRow, table: Table) -> Result<Response, Problem> {
    let (reads, id) = (&queries, &session.id);
    let name = |what: &str| format!("{what}-of-{id}");
    match table {
        Table::Requests => {
            let filter = &RequestFilter { session_id: Some(id.clone()), ..RequestFilter::default() };
            csv_of_requests(queries, &name("requests"), filter).await
        }
        Table::Ports => {
            let (allocated, observed) = (session.allocated_ports.as_ref(), session.observed_ports.as_ref());
            let ports = compare_ports(allocated, observed, session.port_drift.as_ref());
            csv_of(&name("ports"), &PORTS, &ports)
        }
        Table::Nodes => {
            let filter = &NodeFilter::default();
            let ask = |request| async move { Ok(reads.session_nodes(id, filter, &request).await?.page) };
            list_as_csv(&name("nodes"), &NODES, ask).await
        }
        Table::Life => csv_of(&name("life"), &LIFE, &reads.session_life(id).await?.steps),
        Table::Observations => {
            let filter = &ObservationFilter { session_id: Some(id.clone()), definition_id: None };
            let ask = |request| async move { reads.observations(filter, &request).await };
            list_as_csv(&name("observations"), &OBSERVATIONS, ask).await
        }
        Table::Usage => {
            let observed = reads.newest_profile(id).await?;
            csv_of(&name("usage"), &USAGE, &observed.map_or_else(Vec::new, |observed| Usage::new(&observed).rows))
        }
        Table::Events => {
            let ask = |request| async move { reads.session_events(id, HEADLINES, &request).await };
            list_as_csv(&name("events"), &EVENTS, ask).await
        }
    }
}

const PORTS: [Column<PortRow>; 5] = [
    ("port", |row| row.name.to_string()),
    ("allocated", |row| cell(row.allocated.as_ref())),
    ("observed", |row| cell(row.observed.as_ref())),
    ("status", |row| Badge::comparison(&row.comparison).words),
    ("observed_name", |row| cell(row.observed_name.as_ref())),
];

const NODES: [Column<NodeRow>; 10] = [
    ("node_id", |row| row.node_id.clone()),
    ("label", |row| row.label.clone()),
    ("node_definition", |row| row.node_definition.clone()),
    ("state", |row| cell(row.state.as_ref())),
    ("nominal_cpu_cores", |row| cell(row.nominal_cpu_cores.as_ref())),
    ("nominal_memory_mb", |row| cell(row.nominal_memory_mb.as_ref())),
    ("used_cpu_percent", |row| cell(row.used_cpu_percent.as_ref())),
    ("used_cpu_cores", |row| cell(row.used_cpu_cores.as_ref())),
    ("used_memory_mb", |row| cell(row.used_memory_mb.as_ref())),
    ("used_storage_mb", |row| cell(row.used_storage_mb.as_ref())),
];

const LIFE: [Column<LifeRow>; 5] = [
    ("status", |row| row.status.to_string()),
    ("at", |row| time(&row.at)),
    ("actor", |row| cell(row.actor.as_ref())),
    ("reason", |row| cell(row.reason.as_ref())),
    ("event_id", |row| row.event_id.to_string()),
];

const OBSERVATIONS: [Column<ObservationRow>; 17] = [
    ("event_id", |row| row.event_id.to_string()),
    ("observed_at", |row| time(&row.observed_at)),
    ("observer", |row| cell(row.observer.as_ref())),
    ("reported_by", |row| cell(row.reported_by.as_ref())),
    ("complete", |row| cell(row.complete.as_ref())),
    ("nominal_cpu_cores", |row| cell(row.nominal.cpu_cores.as_ref())),
    ("nominal_memory_mb", |row| cell(row.nominal.memory_mb.as_ref())),
    ("nominal_storage_mb", |row| cell(row.nominal.storage_mb.as_ref())),
    ("used_cpu_cores", |row| cell(row.used.cpu_cores.as_ref())),
    ("used_memory_mb", |row| cell(row.used.memory_mb.as_ref())),
    ("used_storage_mb", |row| cell(row.used.storage_mb.as_ref())),
    ("highest_cpu_percent", |row| cell(row.highest_cpu_percent.as_ref())),
    ("node_count", |row| cell(row.node_count.as_ref())),
    ("port_drift_detected", |row| cell(row.port_drift_detected.as_ref())),
    ("cml_version", |row| cell(row.cml_version.as_ref())),
    ("contradictions", |row| row.contradictions.iter().map(contradiction).collect::<Vec<_>>().join("; ")),
    ("no_evidence", |row| row.no_evidence.map_or("", NoEvidence::as_str).to_owned()),
];

const EVENTS: [Column<EventRow>; 7] = [
    ("sequence", |row| row.sequence.to_string()),
    ("type", |row| row.event_type.clone()),
    ("recorded_at", |row| time(&row.recorded_at)),
    ("actor", |row| cell(row.metadata.actor.as_ref())),
    ("correlation_id", |row| cell(row.metadata.correlation_id.as_ref())),
    ("event_id", |row| row.event_id.to_string()),
    ("position", |row| row.position.to_string()),
];
