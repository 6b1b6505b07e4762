//! `GET /sessions`: sessions with filters, page by page; everything that is chosen is in the address.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::lablet_session::SessionStatus;
use domain::{DefinitionId, Invalid, WorkerId};
use projections::ReadModel;
use projections::read_models::sessions::{DriftFilter, SessionFilter, SessionRow, SessionSort};
use serde::{Deserialize, Serialize};

use super::parts::{self, Badge, NamedLink, SessionLink, When};
use super::query::{PageQuery, address};
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, cell, csv, ports, time};
use super::visit::Visit;
use crate::caller::{Caller, Viewing};
use crate::paging::{ListPage, Paging, check_text};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionsQuery {
    /// A state, several separated by commas, or `up`.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    definition_id: Option<DefinitionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<WorkerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<DriftFilter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<SessionSort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

impl SessionsQuery {
    fn filter(&self) -> Result<SessionFilter, Invalid> {
        let named = self.status.as_deref().unwrap_or_default().split(',').map(str::trim);
        let mut status = Vec::new();
        for name in named.filter(|name| !name.is_empty()) {
            match name {
                "up" => status.extend(SessionStatus::UP),
                _ => status.push(name.parse::<SessionStatus>().map_err(|invalid| invalid.within("status"))?),
            }
        }
        Ok(SessionFilter {
            status,
            definition_id: self.definition_id.clone(),
            worker_id: self.worker_id.clone(),
            drift: self.drift,
            text: check_text("text", self.text.clone())?,
            timeslot_ended_before: None,
            sort: self.sort.unwrap_or_default(),
        })
    }

    /// The same from the first page on.
    fn at_the_start(&self) -> Self {
        Self { cursor: None, format: None, ..self.clone() }
    }

    fn is_filtered(&self) -> bool {
        self.status.is_some()
            || self.definition_id.is_some()
            || self.worker_id.is_some()
            || self.drift.is_some()
            || self.text.is_some()
    }

    /// The same question to the API.
    fn twin(&self, filter: &SessionFilter) -> String {
        let names: Vec<&str> = filter.status.iter().map(|status| status.as_str()).collect();
        let status = (!names.is_empty()).then(|| names.join(","));
        address("/api/lablet-sessions", &Self { status, format: None, ..self.clone() })
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

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    shell: Shell,
    query: SessionsQuery,
    text: String,
    statuses: Vec<Choice>,
    drifts: Vec<Choice>,
    sorts: Vec<Choice>,
    sessions: Vec<SessionRow>,
    is_filtered: bool,
    first: String,
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

pub(crate) async fn list(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    PageQuery(query): PageQuery<SessionsQuery>,
) -> Result<Response, Problem> {
    let filter = query.filter()?;
    since.reached(&queries, &[ReadModel::Sessions]).await?;
    let json = query.twin(&filter);
    let request = Paging { limit: query.limit, cursor: query.cursor.clone() }.request()?;
    if query.format == Some(Format::Csv) {
        let (reads, filter) = (&queries, &filter);
        return csv("sessions", &COLUMNS, |request| async move { reads.sessions(filter, &request).await }).await;
    }
    let found = ListPage::from(queries.sessions(&filter, &request).await?);
    let start = query.at_the_start();
    let next =
        found.next_cursor.map(|cursor| address("/sessions", &SessionsQuery { cursor: Some(cursor), ..start.clone() }));
    let statuses = SessionStatus::ALL.map(|status| (status.as_str(), status.as_str()));
    let status_choices = [("", "Any"), ("up", "Running (instantiating to stopping)")].into_iter().chain(statuses);
    let sort = query.sort.unwrap_or_default().as_str();
    page(&SessionsPage {
        shell: Shell::new(&visit, Section::Sessions)
            .twin(json.clone())
            .live("/api/stream?aggregate=lablet_session")
            .without(found.unreadable)
            .parked(found.items.iter().flat_map(|row| &row.parked)),
        text: query.text.clone().unwrap_or_default(),
        statuses: choices(query.status.as_deref(), status_choices),
        drifts: choices(query.drift.map(DriftFilter::as_str), DRIFTS),
        sorts: choices(Some(sort), SORTS),
        is_filtered: query.is_filtered(),
        first: address("/sessions", &start),
        csv: address("/sessions", &SessionsQuery { format: Some(Format::Csv), ..start }),
        next,
        json,
        sessions: found.items,
        query,
    })
}

/// The columns of the list as CSV.
const COLUMNS: [Column<SessionRow>; 23] = [
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
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_is_every_state_in_which_the_lab_is_up() {
        let query = SessionsQuery { status: Some("up,pending".to_owned()), ..SessionsQuery::default() };
        let filter = query.filter().unwrap();
        assert_eq!(filter.status.len(), SessionStatus::UP.len() + 1);
        assert_eq!(
            query.twin(&filter),
            "/api/lablet-sessions?status=instantiating%2Cready%2Crunning%2Ccollecting%2Cgrading%2Cstopping%2Cpending"
        );
        let wrong = SessionsQuery { status: Some("flying".to_owned()), ..SessionsQuery::default() };
        assert_eq!(wrong.filter().unwrap_err().field, "status");
    }
}
