//! `GET /drift`: ports that are not as allocated, by definition, port and how they differ.

use askama::Template;
use axum::response::Response;
use domain::ports::PortNumber;
use domain::{DefinitionId, WorkerId};
use projections::ReadModel;
use projections::port_drift::{DriftKind, DriftedPort, KnownDrift};
use projections::read_models::sessions::SessionTitles;
use serde::{Deserialize, Serialize};

use super::parts::{self, Badge, NamedLink, SessionLink, Tone, When};
use super::query::{PageQuery, address};
use super::saved_views::ViewsBar;
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, cell, csv_without, time};
use super::visit::Visit;
use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::port_drift::PortDriftQuery;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// What the page is asked for: what the API is asked for, and in which form.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DriftQuery {
    definition_id: Option<DefinitionId>,
    worker_id: Option<WorkerId>,
    port: Option<String>,
    kind: Option<DriftKind>,
    state: Option<KnownDrift>,
    ended: Option<bool>,
    format: Option<Format>,
}

impl DriftQuery {
    fn of_api(&self) -> PortDriftQuery {
        let Self { definition_id, worker_id, port, kind, state, ended, format: _ } = self.clone();
        PortDriftQuery { definition_id, worker_id, port, kind, state, ended }
    }

    fn is_filtered(&self) -> bool {
        self.definition_id.is_some()
            || self.worker_id.is_some()
            || self.port.is_some()
            || self.kind.is_some()
            || self.state.is_some()
    }
}

/// A value to choose, its words, and whether it is chosen.
type Choice = (&'static str, &'static str, bool);

#[derive(Template)]
#[template(path = "port_drift.html")]
struct DriftPage {
    shell: Shell,
    views: ViewsBar,
    query: DriftQuery,
    kinds: Vec<Choice>,
    states: Vec<Choice>,
    ports: Vec<DriftedPort>,
    titles: SessionTitles,
    is_filtered: bool,
    ended: bool,
    cut: bool,
    csv: String,
    json: String,
}

pub(crate) async fn list(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    views: ViewsBar,
    PageQuery(query): PageQuery<DriftQuery>,
) -> Result<Response, Problem> {
    let (visit, views, query) = (&visit, &views, &query);
    let ask = |queries: Queries| async move { answer(&queries, visit, views.clone(), query.clone()).await };
    let models = [ReadModel::Sessions, ReadModel::Definitions];
    reads.showing(visit.freshness.position).read(since, &models, ask).await
}

async fn answer(queries: &Queries, visit: &Visit, views: ViewsBar, query: DriftQuery) -> Result<Response, Problem> {
    let of_api = query.of_api();
    let filter = of_api.filter()?;
    let found = queries.drifted_ports(&filter).await?;
    if query.format == Some(Format::Csv) {
        return csv_without("port-drift", &COLUMNS, &found.items, &found.unreadable);
    }
    let json = address("/api/port-drift", &of_api);
    let chosen = |value: Option<&'static str>, of: &str| value.unwrap_or_default() == of;
    let (kind, state) = (query.kind.map(DriftKind::as_str), query.state.map(KnownDrift::as_str));
    page(&DriftPage {
        views,
        shell: Shell::new(visit, Section::Sessions).twin(json.clone()).live("/api/stream").without(found.unreadable),
        kinds: KINDS.map(|(value, words)| (value, words, chosen(kind, value))).to_vec(),
        states: STATES.map(|(value, words)| (value, words, chosen(state, value))).to_vec(),
        is_filtered: query.is_filtered(),
        ended: query.ended == Some(true),
        titles: queries.session_titles(found.items.iter().map(|port| port.session_id.clone()).collect()).await?,
        ports: found.items,
        cut: found.cut,
        csv: address("/drift", &DriftQuery { format: Some(Format::Csv), ..query.clone() }),
        json,
        query,
    })
}

const KINDS: [(&str, &str); 4] = [("", "Any"), ("changed", "Other number"), ("removed", "Removed"), ("added", "Added")];

const STATES: [(&str, &str); 3] = [("", "Any"), ("open", "Open"), ("acknowledged", "Acknowledged")];

/// The numbers of a port in all sessions: one, or from which to which.
fn numbers(least: &Option<PortNumber>, most: &Option<PortNumber>) -> String {
    match (least, most) {
        (Some(least), Some(most)) if least == most => least.to_string(),
        (Some(least), Some(most)) => format!("{least} to {most}"),
        _ => "none".to_owned(),
    }
}

fn kind(kind: &DriftKind) -> Badge {
    match kind {
        DriftKind::Changed => Badge::new(Tone::Warn, "≠", "changed"),
        DriftKind::Removed => Badge::new(Tone::Warn, "−", "removed"),
        DriftKind::Added => Badge::new(Tone::Warn, "+", "added"),
    }
}

/// Whether somebody knows of it, with how many do not where only some do.
fn state(port: &DriftedPort) -> Badge {
    match port.state {
        KnownDrift::Acknowledged => Badge::new(Tone::Calm, "✓", "acknowledged"),
        KnownDrift::Open if port.open_sessions < port.sessions => {
            Badge::new(Tone::Warn, "▲", format!("{} of {} open", port.open_sessions, port.sessions))
        }
        KnownDrift::Open => Badge::new(Tone::Warn, "▲", "open"),
    }
}

/// The columns of the list as CSV; what is unknown or none is empty.
const COLUMNS: [Column<DriftedPort>; 18] = [
    ("definition_id", |row| row.definition_id.to_string()),
    ("definition_name", |row| cell(row.definition_name.as_ref())),
    ("port", |row| row.port.to_string()),
    ("kind", |row| row.kind.as_str().to_owned()),
    ("allocated_least", |row| cell(row.allocated_least.as_ref())),
    ("allocated_most", |row| cell(row.allocated_most.as_ref())),
    ("observed_least", |row| cell(row.observed_least.as_ref())),
    ("observed_most", |row| cell(row.observed_most.as_ref())),
    ("sessions", |row| row.sessions.to_string()),
    ("open_sessions", |row| row.open_sessions.to_string()),
    ("state", |row| row.state.as_str().to_owned()),
    ("workers", |row| row.workers.to_string()),
    ("since", |row| cell(row.since.as_ref().map(time).as_ref())),
    ("last_observed_at", |row| cell(row.last_observed_at.as_ref().map(time).as_ref())),
    ("session_id", |row| row.session_id.to_string()),
    ("acknowledgement_reason", |row| cell(row.acknowledgement_reason.as_ref())),
    ("acknowledged_by", |row| cell(row.acknowledged_by.as_ref())),
    ("acknowledged_until", |row| cell(row.acknowledged_until.as_ref().map(time).as_ref())),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_said_and_of_several_the_ends() {
        let number = |number| PortNumber::new(number).ok();
        assert_eq!(numbers(&number(5041), &number(5041)), "5041");
        assert_eq!(numbers(&number(5041), &number(5050)), "5041 to 5050");
        assert_eq!(numbers(&None, &None), "none");
    }
}
