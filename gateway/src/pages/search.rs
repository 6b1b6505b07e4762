//! `GET /search`: straight to what has the id, else what contains the text, by kind.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::{DefinitionId, SessionId, WorkerId};
use projections::ReadModel;
use projections::read_models::sessions::SessionTitles;
use projections::search::{EVENTS_LOOKED_THROUGH, SearchDepth, SearchHit, SearchKind, SearchResults};
use serde::{Deserialize, Serialize};

use super::parts::{NamedLink, SessionLink, counted, encoded, short_id};
use super::query::{PageQuery, address};
use super::saved_views::ViewsBar;
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, cell, csv_without};
use super::visit::Visit;
use crate::authentication::Role;
use crate::caller::{Caller, Viewing};
use crate::cells::CellWatch;
use crate::heavy_reads::HeavyReads;
use crate::paging::check_text;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::search::pages_of_hits::{kind as kind_of, page_of};

/// Most hits of each kind.
const HITS: u32 = 20;
/// Most characters of what else tells a hit.
const LONGEST_DETAIL: usize = 120;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    shell: Shell,
    views: ViewsBar,
    text: String,
    events_looked_through: i64,
    sees_dead_letters: bool,
    groups: Vec<Group>,
    titles: SessionTitles,
    csv: String,
    json: String,
    /// The same search in all cells, where this gateway knows of others.
    in_cells: Option<String>,
}

/// Hits of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    id: &'static str,
    title: &'static str,
    /// What the columns are called; an empty one is left out.
    heads: [&'static str; 3],
    hits: Vec<SearchHit>,
    /// Whether there are more than are listed.
    cut: bool,
    /// Where the rest of them is.
    more: Option<String>,
}

impl Group {
    fn has_sessions(&self) -> bool {
        self.hits.iter().any(|hit| hit.session_id.is_some())
    }
}

pub(crate) async fn show(
    reads: HeavyReads,
    State(cells): State<CellWatch>,
    since: Since,
    _: Caller<Viewing>,
    visit: Visit,
    views: ViewsBar,
    PageQuery(query): PageQuery<SearchQuery>,
) -> Result<Response, Problem> {
    let (visit, views, query, is_console) = (&visit, &views, &query, cells.is_console());
    let ask = |queries: Queries| async move { answer(&queries, visit, views.clone(), query.clone(), is_console).await };
    reads.showing(visit.freshness.position).read(since, &ReadModel::ALL, ask).await
}

async fn answer(
    queries: &Queries,
    visit: &Visit,
    views: ViewsBar,
    query: SearchQuery,
    is_console: bool,
) -> Result<Response, Problem> {
    let text = check_text("text", query.text.map(|text| text.trim().to_owned()))?.unwrap_or_default();
    let dead_letters = visit.role >= Role::Operator;
    let results = queries.search(&text, HITS, SearchDepth { dead_letters, history: true }).await?;
    if query.format == Some(Format::Csv) {
        let rows: Vec<SearchHit> = results.exact.into_iter().chain(results.containing).collect();
        return csv_without("search", &COLUMNS, &rows, &results.unreadable);
    }
    if let [only] = results.exact.as_slice() {
        return Ok(Redirect::to(&page_of(only)).into_response());
    }
    let shown = results.exact.iter().chain(&results.containing);
    let ids = shown.filter_map(|hit| session_of(hit).or_else(|| hit.session_id.clone())).collect();
    let titles = queries.session_titles(ids).await?;
    let asked = SearchQuery { text: (!text.is_empty()).then(|| text.clone()), format: None };
    let json = address("/api/search", &asked);
    let shell = Shell::new(visit, Section::Elsewhere).without(results.unreadable.clone());
    let shell = if text.is_empty() { shell } else { shell.twin(json.clone()) };
    page(&SearchPage {
        views,
        shell: Shell { sought: text.clone(), ..shell },
        groups: groups(results, &text),
        titles,
        events_looked_through: EVENTS_LOOKED_THROUGH,
        sees_dead_letters: dead_letters,
        csv: address("/search", &SearchQuery { format: Some(Format::Csv), ..asked }),
        json,
        in_cells: is_console.then(|| format!("/cells?text={}", encoded(&text))),
        text,
    })
}

/// What was found, by kind: what has exactly this id first, and no kind of which there is nothing.
fn groups(results: SearchResults, text: &str) -> Vec<Group> {
    let SearchResults { exact, containing, more, unreadable: _ } = results;
    let of = |kind, id, title, heads, list: Option<&str>| Group {
        id,
        title,
        heads,
        hits: containing.iter().filter(|hit| hit.kind == kind).cloned().collect(),
        cut: more.contains(&kind),
        more: list.filter(|_| more.contains(&kind)).map(|list| format!("{list}?text={}", encoded(text))),
    };
    let groups = [
        Group {
            id: "exact",
            title: "Exactly this",
            heads: ["What", "About", "More"],
            hits: exact,
            cut: more.contains(&SearchKind::Event),
            more: None,
        },
        of(
            SearchKind::Definition,
            "definitions",
            "Definitions",
            ["Definition", "", "Description"],
            Some("/definitions"),
        ),
        of(SearchKind::Worker, "workers", "Workers", ["Worker", "", "Address"], None),
        of(SearchKind::Session, "sessions", "Sessions", ["Session", "Lab", "Status"], Some("/sessions")),
        of(SearchKind::Port, "ports", "Ports that are held now", ["Port", "Name", "How"], None),
        of(SearchKind::Node, "nodes", "Nodes of sessions that hold ports", ["Node", "Label", "Definition"], None),
        of(SearchKind::Owner, "owners", "Owners", ["Owner", "Sessions", ""], Some("/sessions")),
        of(SearchKind::Request, "requests", "Failed observation requests", ["Request", "Reason", "Requested by"], None),
        of(SearchKind::DeadLetter, "letters", "Dead letters that wait", ["Letter", "Reason", "Source"], None),
        of(SearchKind::Event, "events", "Events", ["Id", "Type", "Of"], None),
    ];
    groups.into_iter().filter(|group| !group.hits.is_empty()).collect()
}

fn kind(kind: &SearchKind) -> &'static str {
    kind_of(*kind)
}

/// The session that a hit is.
fn session_of(hit: &SearchHit) -> Option<SessionId> {
    (hit.kind == SearchKind::Session).then(|| SessionId::parse(hit.id.as_str()).ok())?
}

/// The definition or the worker that a hit is, by name.
fn named(hit: &SearchHit) -> Option<NamedLink> {
    let name = Some(&hit.title);
    match hit.kind {
        SearchKind::Definition => {
            Some(NamedLink::definition(&DefinitionId::parse(hit.id.as_str()).ok()?, name).with_id())
        }
        SearchKind::Worker => Some(NamedLink::worker(&WorkerId::parse(hit.id.as_str()).ok()?, name).with_id()),
        SearchKind::Session
        | SearchKind::Event
        | SearchKind::Port
        | SearchKind::Node
        | SearchKind::Owner
        | SearchKind::Request
        | SearchKind::DeadLetter => None,
    }
}

/// What the first column does not say of a hit: the title, of what is called by it the id, of a session its lab.
fn about(hit: &SearchHit) -> &str {
    match hit.kind {
        SearchKind::Session => hit.lab_title.as_deref().unwrap_or("unknown"),
        SearchKind::Definition | SearchKind::Worker => &hit.id,
        SearchKind::Event
        | SearchKind::Port
        | SearchKind::Node
        | SearchKind::Owner
        | SearchKind::Request
        | SearchKind::DeadLetter => &hit.title,
    }
}

/// What else tells it, on one line; that a definition has no description is said.
fn detail(hit: &SearchHit) -> String {
    match (hit.kind, &hit.detail) {
        (SearchKind::Definition, None) => "none".to_owned(),
        (_, None) => String::new(),
        (_, Some(text)) => {
            let line = text.lines().next().unwrap_or_default();
            let cut: String = line.chars().take(LONGEST_DETAIL).collect();
            if cut.len() < text.len() { format!("{cut}…") } else { cut }
        }
    }
}

/// What was chosen by somebody whole, the rest by its end.
fn shown_id(hit: &SearchHit) -> String {
    match hit.kind {
        SearchKind::Session
        | SearchKind::Event
        | SearchKind::Definition
        | SearchKind::Worker
        | SearchKind::Port
        | SearchKind::Owner => hit.id.clone(),
        SearchKind::Node | SearchKind::Request | SearchKind::DeadLetter => short_id(&hit.id),
    }
}

const COLUMNS: [Column<SearchHit>; 8] = [
    ("kind", |hit| kind(&hit.kind).to_owned()),
    ("id", |hit| hit.id.clone()),
    ("title", |hit| hit.title.clone()),
    ("detail", |hit| cell(hit.detail.as_ref())),
    ("page", page_of),
    ("session_id", |hit| cell(hit.session_id.as_ref())),
    ("worker_id", |hit| cell(hit.worker_id.as_ref())),
    ("lab_title", |hit| cell(hit.lab_title.as_ref())),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(kind: SearchKind, id: &str) -> SearchHit {
        SearchHit {
            kind,
            id: id.to_owned(),
            title: "a title".to_owned(),
            detail: None,
            lab_title: None,
            session_id: None,
            worker_id: None,
        }
    }

    #[test]
    fn what_was_found_is_in_groups_and_the_rest_of_a_kind_is_linked() {
        let results = SearchResults {
            exact: Vec::new(),
            containing: vec![hit(SearchKind::Session, "s1"), hit(SearchKind::Worker, "w1")],
            more: vec![SearchKind::Session, SearchKind::Worker],
            unreadable: Vec::new(),
        };
        let found: Vec<_> = groups(results, "a&b").into_iter().map(|group| (group.title, group.more)).collect();
        let mut definition = hit(SearchKind::Definition, "d1");
        assert_eq!(detail(&definition), "none");
        definition.detail = Some(format!("Three routers.\n{}", "x".repeat(2_000)));
        assert_eq!(detail(&definition), "Three routers.…");
        assert_eq!(found, [("Workers", None), ("Sessions", Some("/sessions?text=a%26b".to_owned()))]);
    }
}
