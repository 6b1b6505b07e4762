//! `GET /search`: straight to what has the id, else what contains the text, by kind.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use projections::search::{SearchHit, SearchKind, SearchResults};
use serde::{Deserialize, Serialize};

use super::parts::{counted, encoded};
use super::query::{PageQuery, address};
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, cell, csv_without};
use super::visit::Visit;
use crate::caller::{Caller, Viewing};
use crate::paging::check_text;
use crate::problem::Problem;
use crate::queries::Queries;

/// Most hits of each kind.
const HITS: u32 = 20;

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
    text: String,
    groups: Vec<Group>,
    csv: String,
    json: String,
}

/// Hits of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    id: &'static str,
    title: &'static str,
    hits: Vec<SearchHit>,
    /// Where the rest of them is.
    more: Option<String>,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    visit: Visit,
    PageQuery(query): PageQuery<SearchQuery>,
) -> Result<Response, Problem> {
    let text = check_text("text", query.text.map(|text| text.trim().to_owned()))?.unwrap_or_default();
    let results = queries.search(&text, HITS).await?;
    if query.format == Some(Format::Csv) {
        let rows: Vec<SearchHit> = results.exact.into_iter().chain(results.containing).collect();
        return csv_without("search", &COLUMNS, &rows, &results.unreadable);
    }
    if let [only] = results.exact.as_slice() {
        return Ok(Redirect::to(&page_of(only)).into_response());
    }
    let asked = SearchQuery { text: (!text.is_empty()).then(|| text.clone()), format: None };
    let json = address("/api/search", &asked);
    let shell = Shell::new(&visit, Section::Elsewhere).without(results.unreadable.clone());
    let shell = if text.is_empty() { shell } else { shell.twin(json.clone()) };
    page(&SearchPage {
        shell: Shell { sought: text.clone(), ..shell },
        groups: groups(results, &text),
        csv: address("/search", &SearchQuery { format: Some(Format::Csv), ..asked }),
        json,
        text,
    })
}

/// What was found, by kind: what has exactly this id first, and no kind of which there is nothing.
fn groups(results: SearchResults, text: &str) -> Vec<Group> {
    let SearchResults { exact, containing, more, unreadable: _ } = results;
    let of = |kind, id, title, list: Option<&str>| Group {
        id,
        title,
        hits: containing.iter().filter(|hit| hit.kind == kind).cloned().collect(),
        more: list.filter(|_| more.contains(&kind)).map(|list| format!("{list}?text={}", encoded(text))),
    };
    let groups = [
        Group { id: "exact", title: "With exactly this id", hits: exact, more: None },
        of(SearchKind::Definition, "definitions", "Definitions", Some("/definitions")),
        of(SearchKind::Worker, "workers", "Workers", None),
        of(SearchKind::Session, "sessions", "Sessions", Some("/sessions")),
        of(SearchKind::Event, "events", "Events", None),
    ];
    groups.into_iter().filter(|group| !group.hits.is_empty()).collect()
}

/// Where a hit's page is.
fn page_of(hit: &SearchHit) -> String {
    let folder = match hit.kind {
        SearchKind::Session => "sessions",
        SearchKind::Definition => "definitions",
        SearchKind::Worker => "workers",
        SearchKind::Event => "events",
    };
    format!("/{folder}/{}", encoded(&hit.id))
}

fn kind(kind: &SearchKind) -> &'static str {
    match kind {
        SearchKind::Session => "session",
        SearchKind::Definition => "definition",
        SearchKind::Worker => "worker",
        SearchKind::Event => "event",
    }
}

const COLUMNS: [Column<SearchHit>; 5] = [
    ("kind", |hit| kind(&hit.kind).to_owned()),
    ("id", |hit| hit.id.clone()),
    ("title", |hit| hit.title.clone()),
    ("detail", |hit| cell(hit.detail.as_ref())),
    ("page", page_of),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(kind: SearchKind, id: &str) -> SearchHit {
        SearchHit { kind, id: id.to_owned(), title: "a title".to_owned(), detail: None }
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
        assert_eq!(found, [("Workers", None), ("Sessions", Some("/sessions?text=a%26b".to_owned()))]);
    }
}
