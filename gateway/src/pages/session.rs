//! `GET /sessions/{id}`: everything about one session, and the button that asks for an observation of it.

mod allocation;
pub(crate) mod compare;
mod downloads;
mod drift;
mod life_bars;
mod node;
mod observe;
mod usage;
mod withdrawal;

pub(crate) use self::allocation::{correct as correct_allocation, show as review_allocation};
pub(crate) use self::drift::acknowledge as acknowledge_drift;
pub(crate) use self::node::show as show_node;
pub(crate) use self::observe::observe;
pub(crate) use self::usage::show as show_usage;
pub(crate) use self::withdrawal::{show as review_withdrawal, withdraw as withdraw_acknowledgement};

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use domain::lablet_session::{LabletSession, SessionStatus};
use domain::observation::Phase;
use domain::{SessionId, WorkerId};
use projections::page::MOST_ROWS;
use projections::read_models::observation_requests::{ObservationRequestRow, RequestFilter};
use projections::read_models::observations::nodes::{NodeFilter, SessionNodes};
use projections::read_models::observations::{ObservationFilter, ObservationRow};
use projections::read_models::session_history::{EventOrder, EventRow, HistoryView, SessionLife};
use projections::read_models::sessions::{PortComparison, PortRow, SessionRow, compare_ports};
use projections::read_models::workers::NewestPressure;
use projections::{PageRequest, ReadError, ReadModel};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::drift::{AcknowledgementForm, DriftPanel, Span};
use self::life_bars::LifeBars;
use self::usage::Usage;
use super::advice::evidence::SessionEvidence;
use super::charts::{Chart, InUse, Measured, Point};
use super::parts::{self, Badge, CopyId, LabName, NamedLink, When};
use super::pressure::{self, ShortWorker};
use super::query::{PageQuery, address};
use super::shell::{Section, Shell, page};
use super::table::Format;
use super::visit::{Permit, Visit};
use crate::authentication::Role;
use crate::caller::{Caller, Viewing};
use crate::controllers::ControllerWatch;
use crate::paging::{ListPage, Paging};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::sign_in::Site;

/// Nodes, observations and events of a page. A session may have thousands.
const NODES: u32 = 25;
const OBSERVATIONS: u32 = 12;
const EVENTS: u32 = 20;
const NEWEST_REQUESTS: u32 = 5;
/// Events as the tables show them: what they say may weigh half a megabyte each.
const HEADLINES: HistoryView = HistoryView { order: EventOrder::Newest, data: false };

/// After this time the newest observation of a session that is still running says little.
const OLD: TimeDelta = TimeDelta::hours(1);

/// Which part of the session is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionQuery {
    /// The request that the visitor has just made.
    request: Option<String>,
    /// Every node instead of some, for paper.
    rows: Option<Rows>,
    /// Cursors of the tables.
    nodes: Option<String>,
    observations: Option<String>,
    events: Option<String>,
    /// One of the tables, to be downloaded.
    table: Option<Table>,
    format: Option<Format>,
    /// What the form to acknowledge a drift was filled in with, by somebody who had to sign in again.
    reason: Option<String>,
    span: Option<Span>,
    date: Option<String>,
}

impl SessionQuery {
    fn acknowledgement(&self) -> AcknowledgementForm {
        AcknowledgementForm {
            reason: self.reason.clone().unwrap_or_default(),
            span: self.span.unwrap_or_default(),
            date: self.date.clone().unwrap_or_default(),
        }
    }
}

/// How many rows of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rows {
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Table {
    Requests,
    Ports,
    Nodes,
    Life,
    Observations,
    Usage,
    Events,
}

#[derive(Template)]
#[template(path = "session.html")]
struct SessionPage {
    shell: Shell,
    csrf_token: String,
    idempotency_key: Uuid,
    observe: Permit,
    /// What keeps a request from being answered now, as far as is known.
    obstacle: Option<String>,
    /// The definition's name and when the session starts.
    title: String,
    /// Where what is printed comes from.
    address: String,
    session: SessionRow,
    verdict_is_old: Option<DateTime<Utc>>,
    is_old: bool,
    ports: Vec<PortRow>,
    /// What drifted; `None`: nothing that is known.
    drift: Option<DriftPanel>,
    focus: Option<String>,
    requests: Vec<ObservationRequestRow>,
    life: SessionLife,
    life_bars: Option<LifeBars>,
    observations: Vec<ObservationRow>,
    observations_next: Option<String>,
    history: Chart,
    /// Whether it is sampled, or will be.
    sampling: bool,
    usage: Option<Usage>,
    /// What it says of its definition's need; `None`: it never ran.
    evidence: Option<SessionEvidence>,
    /// That the worker was short, by any observation of the page.
    short_worker: Option<ShortWorker>,
    /// What the worker is short of now.
    short_now: Option<NewestPressure>,
    nodes: SessionNodes,
    nodes_next: Option<String>,
    /// Whether all nodes are here, for paper; they stand without what opens only on a screen.
    has_all_nodes: bool,
    /// The same page with all nodes, where it has some of them.
    with_all_nodes: Option<String>,
    events: Vec<EventRow>,
    events_are_older: bool,
    events_next: Option<String>,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    (State(controllers), State(site)): (State<ControllerWatch>, State<Site>),
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<SessionId>,
    PageQuery(query): PageQuery<SessionQuery>,
) -> Result<Response, Problem> {
    let models = [
        ReadModel::Sessions,
        ReadModel::Observations,
        ReadModel::ObservationRequests,
        ReadModel::Demands,
        ReadModel::Advice,
    ];
    since.reached(&queries, &models).await?;
    let reads = &queries;
    let ask = || reads.session_summary(&id);
    let session = queries.row::<LabletSession, _, _>(ReadModel::Sessions, ("session", id.as_str()), ask).await?;
    let of_session = ObservationFilter { session_id: Some(id.clone()), definition_id: None };
    if query.format == Some(Format::Csv) {
        return downloads::csv(&queries, &session, query.table.unwrap_or(Table::Events)).await;
    }
    let cursor = |limit, cursor: &Option<String>| Paging { limit: Some(limit), cursor: cursor.clone() }.request();
    let observations =
        ListPage::from(reads.observations(&of_session, &cursor(OBSERVATIONS, &query.observations)?).await?);
    let requests = RequestFilter { session_id: Some(id.clone()), ..RequestFilter::default() };
    let requests = reads.observation_requests(&requests, &PageRequest::first(NEWEST_REQUESTS)).await?;
    let has_all_nodes = query.rows == Some(Rows::All);
    let nodes = match query.rows {
        Some(Rows::All) => all_nodes(reads, &id).await?,
        None => reads.session_nodes(&id, &NodeFilter::default(), &cursor(NODES, &query.nodes)?).await?,
    };
    let events = ListPage::from(reads.session_events(&id, HEADLINES, &cursor(EVENTS, &query.events)?).await?);
    // What was used is one part of the page: where it cannot be read the others are shown.
    let (profile, unreadable_profile) = match reads.newest_profile(&id).await {
        Ok(profile) => (profile, Vec::new()),
        Err(ReadError::Unreadable { row, .. }) => (None, vec![row]),
        Err(error) => return Err(error.into()),
    };
    let (evidence, unreadable_evidence) = match SessionEvidence::read(reads, &visit, &id).await {
        Ok(evidence) => (evidence, Vec::new()),
        Err(ReadError::Unreadable { row, .. }) => (None, vec![row]),
        Err(error) => return Err(error.into()),
    };
    let next = |query: SessionQuery, part: &str| format!("{}#{part}", address(&format!("/sessions/{id}"), &query));
    let at_rest = SessionQuery { request: query.request.clone(), ..SessionQuery::default() };
    let short_now = match &session.worker_id {
        Some(worker) if is_sampled(session.status) => pressure_of(reads, worker).await?,
        _ => None,
    };
    let life = reads.session_life(&id).await?;
    let observed_times: Vec<DateTime<Utc>> = observations.items.iter().map(|row| row.observed_at).collect();
    let newest = observations.items.first().map(|observation| observation.observed_at);
    let mut ports =
        compare_ports(session.allocated_ports.as_ref(), session.observed_ports.as_ref(), session.port_drift.as_ref());
    // What changed comes first, in a list that a phone shows a part of.
    ports.sort_by_key(|port| !differs(&port.comparison));
    let drift = DriftPanel::read(reads, &visit, &session, &ports, query.acknowledgement()).await?;
    let shell = Shell::new(&visit, Section::Sessions)
        .twin(format!("/api/lablet-sessions/{id}"))
        .parked(&session.parked)
        .without(observations.unreadable)
        .without(requests.unreadable)
        .without(unreadable_profile)
        .without(unreadable_evidence)
        .without(nodes.page.unreadable.clone());
    page(&SessionPage {
        // What is meant for paper stays as it was asked for.
        shell: if has_all_nodes { shell } else { shell.live(format!("/api/stream?session_id={id}")) },
        title: format!("{} UTC", parts::session_name(&session)),
        // Without its scheme it is no link, and pages have none to elsewhere.
        address: format!("{}/sessions/{id}", site.address().split_once("://").map_or("", |(_, address)| address)),
        obstacle: match (observable(&session).refusal, &session.worker_id) {
            (None, Some(worker)) => controllers.obstacle(worker),
            (Some(_), _) | (_, None) => None,
        },
        observe: visit.may(Role::Operator).and(observable(&session)),
        verdict_is_old: session
            .port_drift_observed_at
            .filter(|at| session.observed_at.is_some_and(|newest| newest > *at)),
        is_old: session.status == SessionStatus::Running && newest.is_some_and(|at| visit.now - at > OLD),
        ports,
        drift,
        focus: query.request.clone(),
        requests: requests.items,
        life_bars: LifeBars::new(&life.steps, &observed_times, visit.now),
        life,
        history: history(&observations.items),
        sampling: is_sampled(session.status),
        short_worker: ShortWorker::from_observations(&observations.items),
        short_now,
        evidence,
        usage: profile.map(|observed| Usage::new(&observed)),
        observations_next: observations
            .next_cursor
            .map(|cursor| next(SessionQuery { observations: Some(cursor), ..at_rest.clone() }, "history")),
        observations: observations.items,
        with_all_nodes: (nodes.matching > nodes.page.items.len() as u64)
            .then(|| address(&format!("/sessions/{id}"), &SessionQuery { rows: Some(Rows::All), ..at_rest.clone() })),
        nodes_next: ListPage::from(nodes.page.clone())
            .next_cursor
            .map(|cursor| next(SessionQuery { nodes: Some(cursor), ..at_rest.clone() }, "nodes")),
        has_all_nodes,
        nodes,
        events_are_older: query.events.is_some(),
        events_next: events
            .next_cursor
            .map(|cursor| next(SessionQuery { events: Some(cursor), ..at_rest.clone() }, "events")),
        events: events.items,
        csrf_token: visit.csrf_token.clone(),
        idempotency_key: visit.idempotency_key,
        session,
    })
}

/// Every node of the session's newest observation, which has no more than [`MOST_NODES`](domain::observation::MOST_NODES).
async fn all_nodes(queries: &Queries, id: &SessionId) -> Result<SessionNodes, ReadError> {
    let mut request = PageRequest::first(MOST_ROWS);
    let mut all = queries.session_nodes(id, &NodeFilter::default(), &request).await?;
    while let Some(cursor) = all.page.next.take() {
        request.cursor = Some(cursor);
        let more = queries.session_nodes(id, &NodeFilter::default(), &request).await?;
        all.page.items.extend(more.page.items);
        all.page.unreadable.extend(more.page.unreadable);
        all.page.next = more.page.next;
    }
    Ok(all)
}

/// How much of a worker is free; `None`: nobody told, or it cannot be read, which holds up no page about a session.
async fn pressure_of(reads: &Queries, worker: &WorkerId) -> Result<Option<NewestPressure>, ReadError> {
    match reads.worker(worker).await {
        Ok(worker) => Ok(worker.and_then(|worker| worker.pressure)),
        Err(ReadError::Unreadable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Each chart of live samples: what it shows of a sample, and its name.
const LIVE_CHARTS: [(&str, &str); 3] = [("cpu_cores", "CPU"), ("memory_mb", "Memory"), ("storage_mb", "Storage")];

/// Whether a session is sampled, or will be when it runs.
fn is_sampled(status: SessionStatus) -> bool {
    match status {
        SessionStatus::Pending
        | SessionStatus::Scheduled
        | SessionStatus::Instantiating
        | SessionStatus::Ready
        | SessionStatus::Running => true,
        SessionStatus::Collecting
        | SessionStatus::Grading
        | SessionStatus::Stopping
        | SessionStatus::Stopped
        | SessionStatus::Archived
        | SessionStatus::Terminated
        | SessionStatus::Expired => false,
    }
}

/// Whether the session can be observed now, as the domain will decide it.
fn observable(session: &SessionRow) -> Permit {
    if session.status != SessionStatus::Running {
        return Permit::refused(format!("Only a running session can be observed; this one is {}.", session.status));
    }
    match (&session.worker_id, &session.cml_lab_id) {
        (Some(_), Some(_)) => Permit::granted(),
        (None, _) => Permit::refused("The session has no worker, so there is nothing to observe."),
        (_, None) => Permit::refused("The session has no lab, so there is nothing to observe."),
    }
}

/// How many nodes' share of a nominal and of a used amount is unknown, in words.
fn unknown_nodes(nominal: &Option<u32>, used: &Option<u32>) -> String {
    let said = |count: &Option<u32>, what: &str| match count {
        Some(0) => None,
        Some(count) => Some(format!("{what} of {}", parts::counted(&u64::from(*count), "node"))),
        None => Some(format!("{what} unknown")),
    };
    let said: Vec<String> = [said(nominal, "nominal"), said(used, "used")].into_iter().flatten().collect();
    if said.is_empty() { "nothing".to_owned() } else { said.join(", ") }
}

fn phase(phase: &Option<Phase>) -> &'static str {
    match phase {
        Some(Phase::Boot) => "booting",
        Some(Phase::Steady) => "steady",
        Some(Phase::Stopped) => "stopped",
        Some(Phase::Unknown) | None => "unknown",
    }
}

/// The newest observations as a chart of nominal memory, the oldest first.
fn history(observations: &[ObservationRow]) -> Chart {
    let points: Vec<Point> = observations
        .iter()
        .rev()
        .map(|observation| Point {
            name: observation.observer.clone().unwrap_or_else(|| "an unnamed observer".to_owned()),
            when: parts::to_minute(observation.observed_at),
            value: observation.nominal.memory_mb.map(parts::gigabytes),
            used: observation
                .used
                .memory_mb
                .map(|used| InUse { amount: parts::gigabytes(used), measured: Measured::Then }),
            ..Point::default()
        })
        .collect();
    Chart::bars("history-chart", "Nominal and used memory by observation", "GB", &points)
}

/// Whether such a row is worth a mark.
fn differs(comparison: &PortComparison) -> bool {
    matches!(comparison, PortComparison::Added | PortComparison::Removed | PortComparison::Changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_of_nodes_is_said_for_both_amounts() {
        assert_eq!(unknown_nodes(&Some(0), &Some(0)), "nothing");
        assert_eq!(unknown_nodes(&Some(2), &Some(0)), "nominal of 2 nodes");
        assert_eq!(unknown_nodes(&None, &Some(1)), "nominal unknown, used of 1 node");
    }
}
