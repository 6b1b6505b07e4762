//! `GET /sessions`: sessions with filters, counts by state, orders, page by page; everything that is chosen is in the
//! address.

mod chips;

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::{DefinitionId, Invalid, WorkerId};
use projections::ReadModel;
use projections::names::NamedThing;
use projections::read_models::sessions::{
    DriftFilter, SessionFilter, SessionRow, SessionSort, SessionTime, SessionUnknown,
};
use serde::{Deserialize, Serialize};

use self::chips::{Chip, ColumnHead, GROUPS, StatusGroup};
use super::parts::{self, Badge, NamedLink, SessionLink, When};
use super::query::{PageQuery, address};
use super::saved_views::ViewsBar;
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, cell, csv, ports, time};
use super::visit::Visit;
use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::lablet_sessions::filter::SessionQuery;
use crate::paging::{ListPage, Paging, opaque};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::recent::{Recent, typed};

/// Names that a field offers to choose from, the first by name; others are typed.
const OFFERED: u32 = 200;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionsQuery {
    /// A state, several separated by commas, or the name of a group of them.
    status: Option<String>,
    definition_id: Option<DefinitionId>,
    definition: Option<String>,
    worker_id: Option<WorkerId>,
    worker: Option<String>,
    owner_id: Option<String>,
    drift: Option<DriftFilter>,
    unknown: Option<String>,
    text: Option<String>,
    time: Option<SessionTime>,
    last: Option<Recent>,
    from: Option<String>,
    before: Option<String>,
    sort: Option<SessionSort>,
    limit: Option<u32>,
    cursor: Option<String>,
    format: Option<Format>,
}

impl SessionsQuery {
    /// The same question to the API.
    fn asked(&self) -> Result<SessionQuery, Invalid> {
        let from = typed("from", self.from.as_deref())?;
        Ok(SessionQuery {
            status: self.states(),
            definition_id: self.definition_id.clone(),
            definition: self.definition.clone(),
            worker_id: self.worker_id.clone(),
            worker: self.worker.clone(),
            owner_id: self.owner_id.clone(),
            drift: self.drift,
            unknown: self.unknown.clone(),
            text: self.text.clone(),
            timeslot_ended_before: None,
            time: self.time,
            // The fields stand beside each other: what was typed says more than what was chosen.
            last: self.last.filter(|_| from.is_none()),
            from,
            before: typed("before", self.before.as_deref())?,
            sort: self.sort,
            limit: self.limit,
            cursor: self.cursor.clone(),
        })
    }

    /// The states, each by its own name.
    fn states(&self) -> Option<String> {
        let named = self.status.as_deref()?.split(',').map(str::trim).filter(|name| !name.is_empty());
        let mut states = Vec::new();
        for name in named {
            match GROUPS.iter().find(|group| group.name == name) {
                Some(StatusGroup { states: of_group, .. }) => {
                    states.extend(of_group.iter().map(|state| state.as_str()))
                }
                None => states.push(name),
            }
        }
        (!states.is_empty()).then(|| states.join(","))
    }

    /// The same from the first page on.
    fn at_the_start(&self) -> Self {
        Self { cursor: None, format: None, ..self.clone() }
    }

    fn is_filtered(&self) -> bool {
        let Self { status, definition_id, definition, worker_id, worker, owner_id, text, .. } = self;
        let texts = [status, definition, worker, owner_id, text];
        texts.iter().any(|text| text.is_some())
            || definition_id.is_some()
            || worker_id.is_some()
            || self.last.is_some()
            || self.is_filtered_further()
    }

    /// Whether something is asked for that stands among the further filters.
    fn is_filtered_further(&self) -> bool {
        self.drift.is_some()
            || self.unknown.is_some()
            || self.owner_id.is_some()
            || self.time.is_some()
            || self.from.is_some()
            || self.before.is_some()
    }

    /// The same with other states.
    fn with_status(&self, status: Option<String>) -> String {
        address("/sessions", &Self { status, ..self.at_the_start() })
    }

    /// The same in another order.
    fn with_sort(&self, sort: &SessionSort) -> String {
        let sort = (*sort != SessionSort::default()).then_some(*sort);
        address("/sessions", &Self { sort, ..self.at_the_start() })
    }
}

/// One choice of a list to choose from.
struct Choice {
    value: String,
    words: String,
    chosen: bool,
}

fn choices<'a>(chosen: Option<&str>, values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Choice> {
    values
        .into_iter()
        .map(|(value, words)| Choice {
            value: value.to_owned(),
            words: words.to_owned(),
            chosen: chosen.unwrap_or_default() == value,
        })
        .collect()
}

/// A field for a time, as browsers write it.
fn field(at: Option<DateTime<Utc>>) -> String {
    at.map(|at| parts::to_minute(at).replacen(' ', "T", 1)).unwrap_or_default()
}

/// What the fields of the filter hold, and what they offer.
struct FilterFields {
    text: String,
    definition: String,
    definitions: Vec<NamedThing>,
    worker: String,
    workers: Vec<NamedThing>,
    owner: String,
    drifts: Vec<Choice>,
    unknowns: Vec<Choice>,
    lasts: Vec<Choice>,
    times: Vec<Choice>,
    from: String,
    before: String,
    sorts: Vec<Choice>,
    is_open: bool,
}

impl FilterFields {
    async fn read(queries: &Queries, query: &SessionsQuery, asked: &SessionQuery) -> Result<Self, Problem> {
        // An id was followed from somewhere else; where its name says the same, that is shown.
        let definition = match (&query.definition, &query.definition_id) {
            (Some(typed), _) => typed.clone(),
            (None, Some(id)) => queries.unique_definition_name(id).await?.unwrap_or_else(|| id.to_string()),
            (None, None) => String::new(),
        };
        let worker = match (&query.worker, &query.worker_id) {
            (Some(typed), _) => typed.clone(),
            (None, Some(id)) => queries.unique_worker_name(id).await?.unwrap_or_else(|| id.to_string()),
            (None, None) => String::new(),
        };
        let recent = Recent::ALL.map(|recent| (recent.as_str(), recent.words()));
        Ok(Self {
            text: query.text.clone().unwrap_or_default(),
            definition,
            definitions: queries.definition_names(OFFERED).await?,
            worker,
            workers: queries.worker_names(OFFERED).await?,
            owner: query.owner_id.clone().unwrap_or_default(),
            drifts: choices(query.drift.map(DriftFilter::as_str), DRIFTS),
            unknowns: choices(query.unknown.as_deref(), UNKNOWNS),
            lasts: choices(asked.last.map(Recent::as_str), [("", "Any time")].into_iter().chain(recent)),
            times: choices(Some(query.time.unwrap_or_default().as_str()), TIMES),
            from: field(asked.from.map(|at| at.at())),
            before: field(asked.before.map(|at| at.at())),
            sorts: choices(Some(query.sort.unwrap_or_default().as_str()), SORTS),
            is_open: query.is_filtered_further(),
        })
    }
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    shell: Shell,
    views: ViewsBar,
    query: SessionsQuery,
    fields: FilterFields,
    chips: Vec<Chip>,
    heads: Vec<ColumnHead>,
    total: String,
    sessions: Vec<SessionRow>,
    is_filtered: bool,
    first: String,
    previous: Option<String>,
    next: Option<String>,
    csv: String,
    json: String,
}

const SORTS: [(&str, &str); 6] = [
    ("newest", "Newest first"),
    ("oldest", "Oldest first"),
    ("changed", "Last changed first"),
    ("definition", "By definition"),
    ("timeslot_end", "Timeslot ending soonest"),
    ("observed", "Last observed first"),
];

const DRIFTS: [(&str, &str); 6] = [
    ("", "Any"),
    ("open", "Drifted, open"),
    ("acknowledged", "Drifted, acknowledged"),
    ("true", "Drifted"),
    ("false", "As planned"),
    ("unknown", "Unknown"),
];

const UNKNOWNS: [(&str, &str); 6] = [
    ("", "Nothing in particular"),
    (SessionUnknown::Worker.as_str(), "Worker: not assigned"),
    (SessionUnknown::Owner.as_str(), "Owner: unknown"),
    (SessionUnknown::Timeslot.as_str(), "Timeslot: none"),
    (SessionUnknown::Ports.as_str(), "Ports: unknown"),
    (SessionUnknown::Observation.as_str(), "Usage: never observed"),
];

const TIMES: [(&str, &str); 3] = [
    (SessionTime::Created.as_str(), "Created"),
    (SessionTime::Changed.as_str(), "Last changed"),
    (SessionTime::Timeslot.as_str(), "Timeslot"),
];

pub(crate) async fn list(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    views: ViewsBar,
    PageQuery(query): PageQuery<SessionsQuery>,
) -> Result<Response, Problem> {
    // What a form sends of itself is no choice, and stands in no address.
    let query = SessionsQuery {
        time: query.time.filter(|time| *time != SessionTime::default()),
        sort: query.sort.filter(|sort| *sort != SessionSort::default()),
        ..query
    };
    let (visit, views, query) = (&visit, &views, &query);
    let ask = |queries: Queries| async move { answer(&queries, visit, views.clone(), query.clone()).await };
    reads.showing(visit.freshness.position).read(since, &[ReadModel::Sessions], ask).await
}

async fn answer(queries: &Queries, visit: &Visit, views: ViewsBar, query: SessionsQuery) -> Result<Response, Problem> {
    let asked = query.asked()?;
    let filter: SessionFilter = asked.filter(visit.now)?;
    let json = address("/api/lablet-sessions", &asked);
    let request = Paging { limit: query.limit, cursor: query.cursor.clone() }.request()?;
    if query.format == Some(Format::Csv) {
        let filter = &filter;
        return csv("sessions", &COLUMNS, |request| async move { queries.sessions(filter, &request).await }).await;
    }
    let found = ListPage::from(queries.sessions(&filter, &request).await?);
    let counts = queries.session_status_counts(&filter).await?;
    let start = query.at_the_start();
    let at = |cursor: Option<String>| address("/sessions", &SessionsQuery { cursor, ..start.clone() });
    let previous = match &query.cursor {
        Some(_) => Some(at(queries.sessions_page_before(&filter, &request).await?.map(opaque))),
        None => None,
    };
    page(&SessionsPage {
        views,
        shell: Shell::new(visit, Section::Sessions)
            .twin(json.clone())
            .live("/api/stream?aggregate=lablet_session")
            .without(found.unreadable)
            .parked(found.items.iter().flat_map(|row| &row.parked)),
        fields: FilterFields::read(queries, &query, &asked).await?,
        chips: chips::chips(&counts, query.status.as_deref(), &filter.status),
        heads: chips::heads(filter.sort),
        total: chips::total(&counts.total(&filter.status)),
        is_filtered: query.is_filtered(),
        first: at(None),
        csv: address("/sessions", &SessionsQuery { format: Some(Format::Csv), ..start.clone() }),
        previous,
        next: found.next_cursor.map(|cursor| at(Some(cursor))),
        json,
        sessions: found.items,
        query,
    })
}

/// The columns of the list as CSV.
const COLUMNS: [Column<SessionRow>; 27] = [
    ("session_id", |row| row.id.to_string()),
    ("status", |row| row.status.to_string()),
    ("status_since", |row| time(&row.status_since)),
    ("definition_id", |row| row.definition_id.to_string()),
    ("definition_name", |row| cell(row.definition_name.as_ref())),
    ("definition_version", |row| row.definition_version.as_str().to_owned()),
    ("definition_revision", |row| row.definition_revision.to_string()),
    ("owner_id", |row| cell(row.owner_id.as_ref())),
    ("worker_id", |row| cell(row.worker_id.as_ref())),
    ("worker_name", |row| cell(row.worker_name.as_ref())),
    ("cml_lab_id", |row| cell(row.cml_lab_id.as_ref())),
    ("lab_title", |row| cell(row.lab_title.as_ref())),
    ("allocated_ports", |row| ports(row.allocated_ports.as_ref())),
    ("observed_ports", |row| ports(row.observed_ports.as_ref())),
    ("port_drift_detected", |row| cell(row.port_drift_detected.as_ref())),
    ("port_drift_since", |row| cell(row.port_drift_since.as_ref().map(time).as_ref())),
    ("observation_count", |row| row.observation_count.to_string()),
    ("observed_at", |row| cell(row.observed_at.as_ref().map(time).as_ref())),
    ("nominal_cpu_cores", |row| cell(row.nominal_cpu_cores.as_ref())),
    ("nominal_memory_mb", |row| cell(row.nominal_memory_mb.as_ref())),
    ("timeslot_end", |row| cell(row.timeslot.as_ref().map(|slot| time(&slot.end())).as_ref())),
    ("created_at", |row| time(&row.created_at)),
    ("port_drift_acknowledged_until", |row| {
        cell(row.port_drift_acknowledgement.as_ref().map(|said| time(&said.until)).as_ref())
    }),
    ("port_drift_acknowledgement_reason", |row| cell(row.port_drift_acknowledgement.as_ref().map(|said| &said.reason))),
    ("used_cpu_cores", |row| cell(row.used.cpu_cores.as_ref())),
    ("used_memory_mb", |row| cell(row.used.memory_mb.as_ref())),
    ("used_storage_mb", |row| cell(row.used.storage_mb.as_ref())),
];

#[cfg(test)]
mod tests {
    use domain::lablet_session::SessionStatus;

    use super::*;

    fn twin(query: &SessionsQuery) -> String {
        address("/api/lablet-sessions", &query.asked().unwrap())
    }

    #[test]
    fn a_group_is_every_state_that_it_stands_for() {
        let query = SessionsQuery { status: Some("up,pending".to_owned()), ..SessionsQuery::default() };
        let filter = query.asked().unwrap().filter(DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(filter.status.len(), SessionStatus::UP.len() + 1);
        assert_eq!(
            twin(&query),
            "/api/lablet-sessions?status=instantiating%2Cready%2Crunning%2Ccollecting%2Cgrading%2Cstopping%2Cpending"
        );
        let failed = SessionsQuery { status: Some("failed".to_owned()), ..SessionsQuery::default() };
        assert_eq!(twin(&failed), "/api/lablet-sessions?status=terminated%2Cexpired");
        let wrong = SessionsQuery { status: Some("flying".to_owned()), ..SessionsQuery::default() };
        assert_eq!(wrong.asked().unwrap().filter(DateTime::UNIX_EPOCH).unwrap_err().field, "status");
    }

    #[test]
    fn a_time_that_was_typed_says_more_than_one_that_was_chosen() {
        let query = SessionsQuery {
            last: Some(Recent::Day),
            from: Some("2026-03-01T10:00".to_owned()),
            ..SessionsQuery::default()
        };
        assert_eq!(twin(&query), "/api/lablet-sessions?from=2026-03-01T10%3A00%3A00Z");
        let query = SessionsQuery { from: None, ..query };
        assert_eq!(twin(&query), "/api/lablet-sessions?last=day");
    }

    #[test]
    fn another_order_begins_at_its_first_page() {
        let query = SessionsQuery {
            cursor: Some("abc".to_owned()),
            sort: Some(SessionSort::Oldest),
            text: Some("a".to_owned()),
            ..SessionsQuery::default()
        };
        assert_eq!(query.with_sort(&SessionSort::Changed), "/sessions?sort=changed&text=a");
        assert_eq!(query.with_sort(&SessionSort::Newest), "/sessions?text=a");
        assert_eq!(query.with_status(Some("ready".to_owned())), "/sessions?sort=oldest&status=ready&text=a");
    }
}
