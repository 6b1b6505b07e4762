//! `GET /definitions`: definitions, each with a sign of what was observed of it; everything that is chosen is in the
//! address.

use askama::Template;
use askama::filters::HtmlSafe;
use axum::response::Response;
use domain::Invalid;
use domain::resource::Resource;
use projections::ReadModel;
use projections::read_models::definitions::{DefinitionFilter, DefinitionRow, DefinitionSort, ObservationIndicator};
use serde::{Deserialize, Serialize};

use super::parts::{self, Badge, Tone, When};
use super::query::{PageQuery, address};
use super::saved_views::ViewsBar;
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, cell, csv, time};
use super::verdict;
use super::visit::{Permit, Visit};
use crate::authentication::Role;
use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::paging::{ListPage, Paging, check_text};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefinitionsQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<DefinitionSort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

impl DefinitionsQuery {
    fn filter(&self) -> Result<DefinitionFilter, Invalid> {
        Ok(DefinitionFilter {
            text: check_text("text", self.text.clone())?,
            observed: self.observed,
            drift: self.drift,
            sort: self.sort.unwrap_or_default(),
        })
    }

    /// The same from the first page on.
    fn at_the_start(&self) -> Self {
        Self { cursor: None, format: None, ..self.clone() }
    }

    fn is_filtered(&self) -> bool {
        self.text.is_some() || self.observed.is_some() || self.drift.is_some()
    }
}

#[derive(Template)]
#[template(path = "definitions.html")]
struct DefinitionsPage {
    shell: Shell,
    views: ViewsBar,
    query: DefinitionsQuery,
    text: String,
    definitions: Vec<DefinitionRow>,
    /// Whether the visitor may make a new one.
    create: Permit,
    is_filtered: bool,
    first: String,
    next: Option<String>,
    csv: String,
    json: String,
}

pub(crate) async fn list(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    views: ViewsBar,
    PageQuery(query): PageQuery<DefinitionsQuery>,
) -> Result<Response, Problem> {
    let (visit, views, query) = (&visit, &views, &query);
    let ask = |queries: Queries| async move { answer(&queries, visit, views.clone(), query.clone()).await };
    let models = [ReadModel::Definitions, ReadModel::Advice];
    reads.showing(visit.freshness.position).read(since, &models, ask).await
}

async fn answer(
    queries: &Queries,
    visit: &Visit,
    views: ViewsBar,
    query: DefinitionsQuery,
) -> Result<Response, Problem> {
    let filter = query.filter()?;
    if query.format == Some(Format::Csv) {
        let filter = &filter;
        return csv("definitions", &COLUMNS, |request| async move { queries.definitions(filter, &request).await })
            .await;
    }
    let request = Paging { limit: query.limit, cursor: query.cursor.clone() }.request()?;
    let found = ListPage::from(queries.definitions(&filter, &request).await?);
    let start = query.at_the_start();
    let at = |cursor| address("/definitions", &DefinitionsQuery { cursor: Some(cursor), ..start.clone() });
    let json = address("/api/lablet-definitions", &DefinitionsQuery { format: None, ..query.clone() });
    page(&DefinitionsPage {
        views,
        shell: Shell::new(visit, Section::Definitions)
            .twin(json.clone())
            .live("/api/stream")
            .without(found.unreadable)
            .parked(found.items.iter().flat_map(|row| &row.parked)),
        text: query.text.clone().unwrap_or_default(),
        is_filtered: query.is_filtered(),
        first: address("/definitions", &start),
        next: found.next_cursor.map(at),
        csv: address("/definitions", &DefinitionsQuery { format: Some(Format::Csv), ..start }),
        json,
        definitions: found.items,
        create: visit.may(Role::Admin),
        query,
    })
}

/// What was observed of a definition, in a sign and in words. That ports drifted goes before that anything was seen.
pub(super) fn indicator(observations: &ObservationIndicator) -> Badge {
    let observed = parts::counted(&observations.observed_sessions, "session");
    match (observations.observed_sessions, observations.drift_sessions) {
        (0, _) => Badge::new(Tone::Calm, "○", "none yet"),
        (_, 0) => Badge::new(Tone::Good, "●", format!("{observed} observed")),
        (_, drifted) => Badge::new(Tone::Warn, "▲", format!("drift in {drifted} of {observed}")),
    }
}

/// The most that a session used of a resource, in cores or GB, with what 95 % of them did not exceed at hand.
fn used(row: &DefinitionRow, resource: Resource) -> MostUsed {
    let used = resource.part(&row.used);
    let told = |amount: Option<f64>| parts::known(&amount.map(|amount| amount / resource.unit()));
    let sessions = parts::counted(&used.known_sessions, "session");
    MostUsed {
        words: format!("used {}", told(used.max)),
        spread: format!("the most of {sessions}; 95 % used no more than {}", told(used.p95)),
    }
}

/// What sessions used of a resource.
#[derive(Debug, Template)]
#[template(source = r#"<span class="quiet" title="{{ spread }}">{{ words }}</span>"#, ext = "html")]
struct MostUsed {
    words: String,
    spread: String,
}

impl HtmlSafe for MostUsed {}

fn verdict_of(row: &DefinitionRow, resource: Resource) -> String {
    row.sizing.as_ref().map_or("unknown", |sizing| resource.part(sizing).verdict.as_str()).to_owned()
}

/// The columns of the list as CSV. Amounts carry their unit; what is unknown is empty.
const COLUMNS: [Column<DefinitionRow>; 25] = [
    ("definition_id", |row| row.id.to_string()),
    ("name", |row| row.name.clone()),
    ("version", |row| row.version.as_str().to_owned()),
    ("revision", |row| row.revision.to_string()),
    ("configured_cpu_cores", |row| row.resource_requirements.cpu_cores.to_string()),
    ("configured_memory_gb", |row| row.resource_requirements.memory_gb.to_string()),
    ("configured_storage_gb", |row| row.resource_requirements.storage_gb.to_string()),
    ("configured_node_count", |row| cell(row.node_count.as_ref())),
    ("verdict", |row| row.verdict.as_str().to_owned()),
    ("cpu_cores_verdict", |row| verdict_of(row, Resource::CpuCores)),
    ("memory_verdict", |row| verdict_of(row, Resource::MemoryMb)),
    ("storage_verdict", |row| verdict_of(row, Resource::StorageMb)),
    ("observation_count", |row| row.observations.observation_count.to_string()),
    ("observed_sessions", |row| row.observations.observed_sessions.to_string()),
    ("drift_sessions", |row| row.observations.drift_sessions.to_string()),
    ("last_observed_at", |row| cell(row.observations.last_observed_at.as_ref().map(time).as_ref())),
    ("last_event_id", |row| cell(row.observations.last_event_id.as_ref())),
    ("created_at", |row| time(&row.created_at)),
    ("updated_at", |row| time(&row.updated_at)),
    ("max_used_cpu_cores", |row| cell(row.used.cpu_cores.max.as_ref())),
    ("p95_used_cpu_cores", |row| cell(row.used.cpu_cores.p95.as_ref())),
    ("max_used_memory_mb", |row| cell(row.used.memory_mb.max.as_ref())),
    ("p95_used_memory_mb", |row| cell(row.used.memory_mb.p95.as_ref())),
    ("max_used_storage_mb", |row| cell(row.used.storage_mb.max.as_ref())),
    ("p95_used_storage_mb", |row| cell(row.used.storage_mb.p95.as_ref())),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indicator_says_in_words_what_was_seen_and_never_that_nothing_drifted() {
        let told = |observed_sessions, drift_sessions| {
            indicator(&ObservationIndicator {
                observation_count: observed_sessions * 2,
                observed_sessions,
                drift_sessions,
                last_observed_at: None,
                last_event_id: None,
            })
            .words
        };
        assert_eq!(told(0, 0), "none yet");
        assert_eq!(told(1, 0), "1 session observed");
        assert_eq!(told(14, 3), "drift in 3 of 14 sessions");
    }

    #[test]
    fn everything_that_is_chosen_is_in_the_address() {
        let query = DefinitionsQuery {
            text: Some("a&b".to_owned()),
            drift: Some(true),
            cursor: Some("x".to_owned()),
            ..DefinitionsQuery::default()
        };
        assert_eq!(address("/definitions", &query), "/definitions?cursor=x&drift=true&text=a%26b");
        assert_eq!(address("/definitions", &query.at_the_start()), "/definitions?drift=true&text=a%26b");
    }
}
