//! `GET /workers`: workers, each with what its sessions take of it now.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::controller_report::ContactFailure;
use domain::worker::WorkerPressure;
use domain::{Amount, Whole, WorkerId};
use projections::read_models::sessions::WorkerLoad;
use projections::read_models::workers::{NewestPressure, WorkerRow};
use projections::{Page, PageRequest, ReadError, ReadModel};
use serde::{Deserialize, Serialize};

use super::contact;
use super::meter::Meter;
use super::parts::{self, When};
use super::pressure;
use super::query::{PageQuery, address};
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, cell, csv, time};
use super::visit::{Permit, Visit};
use crate::authentication::Role;
use crate::caller::{Caller, Viewing};
use crate::controllers::ControllerWatch;
use crate::controllers::heard::KnownContact;
use crate::paging::{self, Paging};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// The read models that a worker's load rests on.
pub(super) const RESTS_ON: [ReadModel; 3] = [ReadModel::Workers, ReadModel::Sessions, ReadModel::Observations];

/// Workers of a page unless the address says otherwise: each has four bars.
const ROWS: u32 = 25;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkersQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

/// A worker with what its sessions take of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LoadedWorker {
    pub(super) worker: WorkerRow,
    pub(super) load: WorkerLoad,
    /// How controllers get on with it.
    pub(super) contact: Option<KnownContact>,
}

#[derive(Template)]
#[template(path = "workers.html")]
struct WorkersPage {
    shell: Shell,
    query: WorkersQuery,
    workers: Vec<LoadedWorker>,
    /// Whether the visitor may make a new one.
    create: Permit,
    first: String,
    next: Option<String>,
    csv: String,
    json: String,
}

pub(crate) async fn list(
    State(queries): State<Queries>,
    State(controllers): State<ControllerWatch>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    PageQuery(query): PageQuery<WorkersQuery>,
) -> Result<Response, Problem> {
    since.reached(&queries, &RESTS_ON).await?;
    if query.format == Some(Format::Csv) {
        let (queries, controllers) = (&queries, &controllers);
        return csv("workers", &COLUMNS, |request| async move { loaded(queries, controllers, &request).await }).await;
    }
    let request = Paging { limit: query.limit.or(Some(ROWS)), cursor: query.cursor.clone() }.request()?;
    let found = paging::ListPage::from(loaded(&queries, &controllers, &request).await?);
    let start = WorkersQuery { cursor: None, format: None, ..query.clone() };
    let at = |cursor| address("/workers", &WorkersQuery { cursor: Some(cursor), ..start.clone() });
    page(&WorkersPage {
        shell: Shell::new(&visit, Section::Workers)
            .twin(address("/api/workers", &query))
            .live("/api/stream")
            .refreshed()
            .without(found.unreadable)
            .parked(found.items.iter().flat_map(|row| &row.worker.parked)),
        first: address("/workers", &start),
        next: found.next_cursor.map(at),
        csv: address("/workers", &WorkersQuery { format: Some(Format::Csv), ..WorkersQuery::default() }),
        json: address("/api/workers", &query),
        workers: found.items,
        create: visit.may(Role::Admin),
        query,
    })
}

async fn loaded(
    queries: &Queries,
    controllers: &ControllerWatch,
    request: &PageRequest,
) -> Result<Page<LoadedWorker>, ReadError> {
    let workers = queries.workers(request).await?;
    let ids: Vec<WorkerId> = workers.items.iter().map(|worker| worker.id.clone()).collect();
    let loads = queries.worker_load(&ids).await?;
    let mut unreadable = workers.unreadable;
    unreadable.extend(loads.unreadable);
    let mut loads: HashMap<WorkerId, WorkerLoad> =
        loads.items.into_iter().map(|load| (load.worker_id.clone(), load)).collect();
    // One whose load cannot be read is among those that are missing.
    let with_load = |worker: WorkerRow| {
        let contact = controllers.contact(&worker.id);
        Some(LoadedWorker { load: loads.remove(&worker.id)?, contact, worker })
    };
    let items = workers.items.into_iter().filter_map(with_load).collect();
    Ok(Page { items, next: workers.next, unreadable })
}

/// The columns of the list as CSV. Amounts carry their unit; what is unknown is empty.
const COLUMNS: [Column<LoadedWorker>; 41] = [
    ("worker_id", |row| row.worker.id.to_string()),
    ("name", |row| row.worker.profile.name.clone()),
    ("address", |row| String::from(row.worker.profile.address.clone())),
    ("up_sessions", |row| row.load.up_sessions.to_string()),
    ("booked_sessions", |row| row.load.booked_sessions.to_string()),
    ("drifted_sessions", |row| row.load.drifted_sessions.to_string()),
    ("nominal_cpu_cores", |row| cell(row.load.cpu_cores.known.as_ref())),
    ("cpu_unknown_sessions", |row| row.load.cpu_cores.unknown_sessions.to_string()),
    ("capacity_cpu_cores", |row| row.worker.profile.capacity.cpu_cores.to_string()),
    ("nominal_memory_mb", |row| cell(row.load.memory_mb.known.as_ref())),
    ("memory_unknown_sessions", |row| row.load.memory_mb.unknown_sessions.to_string()),
    ("capacity_memory_gb", |row| row.worker.profile.capacity.memory_gb.to_string()),
    ("used_storage_mb", |row| cell(row.load.storage_mb.known.as_ref())),
    ("storage_unknown_sessions", |row| row.load.storage_mb.unknown_sessions.to_string()),
    ("capacity_storage_gb", |row| row.worker.profile.capacity.storage_gb.to_string()),
    ("nodes", |row| cell(row.load.nodes.known.as_ref())),
    ("nodes_unknown_sessions", |row| row.load.nodes.unknown_sessions.to_string()),
    ("capacity_nodes", |row| row.worker.profile.capacity.max_nodes.to_string()),
    ("first_port", |row| row.worker.profile.port_range.first().to_string()),
    ("last_port", |row| row.worker.profile.port_range.last().to_string()),
    ("registered_at", |row| time(&row.worker.registered_at)),
    ("updated_at", |row| time(&row.worker.updated_at)),
    ("pressure", |row| row.worker.pressure.as_ref().map_or("", |newest| newest.condition.name()).to_owned()),
    ("short_of", |row| shortages(row.worker.pressure.as_ref())),
    ("free_cpu_cores", |row| reading(row, |reading| reading.free_cpu_cores.map(Amount::get))),
    ("free_memory_mb", |row| reading(row, |reading| reading.free_memory_mb.map(Amount::get))),
    ("free_storage_mb", |row| reading(row, |reading| reading.free_storage_mb.map(Amount::get))),
    ("queued_nodes", |row| reading(row, |reading| reading.queued_nodes.map(Whole::get))),
    ("longest_wait_seconds", |row| reading(row, |reading| reading.longest_wait_seconds.map(Whole::get))),
    ("running_nodes", |row| reading(row, |reading| reading.running_nodes.map(Whole::get))),
    ("pressure_since", |row| cell(row.worker.pressure.as_ref().map(|newest| time(&newest.since)).as_ref())),
    ("pressure_observed_at", |row| cell(row.worker.pressure.as_ref().map(|newest| time(&newest.observed_at)).as_ref())),
    ("contact", |row| row.contact.as_ref().map_or("unknown", |known| known.state.as_str()).to_owned()),
    ("last_answer_at", |row| {
        cell(row.contact.as_ref().and_then(|known| known.last_answer_at).as_ref().map(time).as_ref())
    }),
    ("last_error", |row| cell(last_error(row).map(|error| &error.words))),
    ("last_error_at", |row| cell(last_error(row).map(|error| time(&error.at)).as_ref())),
    ("contact_told_at", |row| cell(row.contact.as_ref().map(|known| time(&known.told_at)).as_ref())),
    ("used_cpu_cores", |row| cell(row.load.used_cpu_cores.known.as_ref())),
    ("used_memory_mb", |row| cell(row.load.used_memory_mb.known.as_ref())),
    ("peak_cpu_cores", |row| cell(row.load.peak_cpu_cores.known.as_ref())),
    ("peak_memory_mb", |row| cell(row.load.peak_memory_mb.known.as_ref())),
];

fn last_error(row: &LoadedWorker) -> Option<&ContactFailure> {
    row.contact.as_ref()?.last_error.as_ref()
}

fn shortages(pressure: Option<&NewestPressure>) -> String {
    let names = pressure.into_iter().flat_map(|newest| &newest.short_of).map(|shortage| shortage.name());
    names.collect::<Vec<_>>().join(" ")
}

/// A part of what was read of a worker; empty where it is unknown.
fn reading<T: ToString>(row: &LoadedWorker, part: fn(&WorkerPressure) -> Option<T>) -> String {
    cell(row.worker.pressure.as_ref().and_then(|newest| part(&newest.reading)).as_ref())
}
