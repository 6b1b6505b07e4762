//! `GET /workers/{id}`: one worker, what its sessions take of it, and which of them holds which port.

mod port_map;
mod timeline;

use app::log::HistoryPage;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::WorkerId;
use domain::lablet_session::SessionStatus;
use domain::worker::Worker;
use projections::projector::AggregateKind;
use projections::read_models::session_history::EventRow;
use projections::read_models::sessions::{SessionFilter, SessionRow, SessionTitles, WorkerLoad};
use projections::read_models::workers::WorkerRow;
use projections::{PageRequest, ReadError, ReadModel};
use serde::{Deserialize, Serialize};

use self::port_map::{PortFilter, PortMapView, ports_as_csv};
use self::timeline::{LOOKED_AT, Span, Timeline};
use super::contact::ContactPanel;
use super::meter::Meter;
use super::parts::{self, Badge, CopyId, SessionLink, When};
use super::pressure::{self, PressurePanel};
use super::query::{PageQuery, address};
use super::shell::{Section, Shell, page};
use super::table::Format;
use super::visit::Visit;
use super::workers::RESTS_ON;
use crate::caller::{Caller, Viewing};
use crate::controllers::ControllerWatch;
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Sessions and events of a page.
const SESSIONS: u32 = 10;
const EVENTS: i64 = 5;
/// Spells of pressure of a page.
const SPELLS: u32 = 10;

/// Which part of the worker is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerQuery {
    /// Ports that are marked so, alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    marked: Option<port_map::Marked>,
    /// Ports of this number, or whose session, definition or name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// How much time the timeline shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    span: Option<Span>,
    /// Ports after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

#[derive(Template)]
#[template(path = "worker.html")]
struct WorkerPage {
    shell: Shell,
    worker: WorkerRow,
    load: Option<WorkerLoad>,
    contact: ContactPanel,
    pressure: PressurePanel,
    timeline: Timeline,
    /// Each with its address, and whether it is shown.
    spans: Vec<(&'static str, String, bool)>,
    ports: PortMapView,
    /// Of the sessions that hold them.
    titles: SessionTitles,
    marks: Vec<(&'static str, &'static str, bool)>,
    text: String,
    is_filtered: bool,
    is_later_page: bool,
    first: String,
    next: Option<String>,
    csv: String,
    sessions: Vec<SessionRow>,
    more_sessions: bool,
    events: Vec<EventRow>,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    State(controllers): State<ControllerWatch>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<WorkerId>,
    PageQuery(query): PageQuery<WorkerQuery>,
) -> Result<Response, Problem> {
    let filter = PortFilter::from_query(&query)?;
    since.reached(&queries, &RESTS_ON).await?;
    let reads = &queries;
    let ask = || reads.worker(&id);
    let worker = queries.row::<Worker, _, _>(ReadModel::Workers, ("worker", id.as_str()), ask).await?;
    let held = reads.port_map(&id).await?;
    if query.format == Some(Format::Csv) {
        return ports_as_csv(&queries, &id, &held, &filter).await;
    }
    let ports = PortMapView::new(&held, &filter);
    let titles = reads.session_titles(ports.rows.iter().map(|row| row.holder.session_id.clone()).collect()).await?;
    let here = |query: &WorkerQuery| format!("{}#port-map", address(&format!("/workers/{id}"), query));
    let start = WorkerQuery { after: None, format: None, ..query.clone() };
    let status: Vec<SessionStatus> = SessionStatus::UP.into_iter().chain([SessionStatus::Scheduled]).collect();
    let of_worker = SessionFilter { worker_id: Some(id.clone()), status, ..SessionFilter::default() };
    let sessions = reads.sessions(&of_worker, &PageRequest::first(SESSIONS)).await?;
    let of_worker = SessionFilter { worker_id: Some(id.clone()), ..SessionFilter::default() };
    let newest_sessions = reads.sessions(&of_worker, &PageRequest::first(LOOKED_AT)).await?;
    let span = query.span.unwrap_or_default();
    let at = |span| {
        format!(
            "{}#timeline",
            address(&format!("/workers/{id}"), &WorkerQuery { span: Some(span), ..WorkerQuery::default() })
        )
    };
    let newest = HistoryPage { newest_first: true, beyond: None, payloads: false, limit: EVENTS };
    let events = queries
        .log()
        .history_page(AggregateKind::Worker.as_str(), id.as_str(), newest)
        .await
        .map_err(ReadError::Log)?;
    let spells = reads.pressure_spells(&id, &PageRequest::first(SPELLS)).await?;
    let mut loads = reads.worker_load(std::slice::from_ref(&id)).await?;
    page(&WorkerPage {
        shell: Shell::new(&visit, Section::Workers)
            .twin(format!("/api/workers/{id}"))
            .live("/api/stream")
            .refreshed()
            .parked(&worker.parked)
            .parked(sessions.items.iter().flat_map(|row| &row.parked))
            .without(held.unreadable)
            .without(sessions.unreadable)
            .without(loads.unreadable)
            .without(spells.unreadable),
        contact: ContactPanel::new(id.clone(), controllers.contact(&id), controllers.presence(), visit.now),
        pressure: PressurePanel::new(
            id.clone(),
            worker.pressure.clone(),
            spells.items,
            spells.next.is_some(),
            visit.now,
        ),
        load: loads.items.pop(),
        timeline: Timeline::new(&newest_sessions.items, worker.profile.capacity.memory_gb.get(), span, visit.now),
        spans: Span::ALL.map(|(choice, words)| (words, at(choice), choice == span)).into(),
        marks: port_map::marks(query.marked),
        text: query.text.clone().unwrap_or_default(),
        is_filtered: query.marked.is_some() || query.text.is_some(),
        is_later_page: query.after.is_some(),
        first: here(&start),
        next: ports.next.clone().map(|after| here(&WorkerQuery { after: Some(after), ..start.clone() })),
        csv: address(&format!("/workers/{id}"), &WorkerQuery { format: Some(Format::Csv), ..start }),
        ports,
        titles,
        more_sessions: sessions.next.is_some(),
        sessions: sessions.items,
        events: events.events.into_iter().map(EventRow::from).collect(),
        worker,
    })
}
