//! `/operations/dead-letters/discarded`: what was done without, by whom, when and why, with filters, page by page.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::Invalid;
use projections::discarded_letters::DiscardedLetter;
use serde::{Deserialize, Serialize};

use super::dead_letters::{beginning, kind, sender};
use crate::caller::{Caller, Operating};
use crate::dead_letters::discarded::DiscardedQuery;
use crate::dead_letters::list::LetterKind;
use crate::pages::event::aggregate_page;
use crate::pages::parts::{self, When};
use crate::pages::query::{PageQuery, address};
use crate::pages::shell::{Section, Shell, page};
use crate::pages::table::{Column, Format, cell, csv, time};
use crate::pages::visit::Visit;
use crate::paging::{ListPage, Paging};
use crate::problem::Problem;
use crate::queries::Queries;
use crate::recent::{Recent, typed};

const PATH: &str = "/operations/dead-letters/discarded";

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscardedPageQuery {
    kind: Option<LetterKind>,
    source: Option<String>,
    discarded_by: Option<String>,
    last: Option<Recent>,
    from: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
    format: Option<Format>,
}

impl DiscardedPageQuery {
    /// The same question to the API.
    fn asked(&self) -> Result<DiscardedQuery, Invalid> {
        let from = typed("from", self.from.as_deref())?;
        Ok(DiscardedQuery {
            kind: self.kind,
            source: self.source.clone(),
            discarded_by: self.discarded_by.clone(),
            last: self.last.filter(|_| from.is_none()),
            from,
            before: typed("before", self.before.as_deref())?,
            limit: self.limit,
            cursor: self.cursor.clone(),
        })
    }

    fn is_filtered(&self) -> bool {
        let Self { kind, source, discarded_by, last, from, before, .. } = self;
        [source, discarded_by, from, before].iter().any(|text| text.is_some()) || kind.is_some() || last.is_some()
    }
}

#[derive(Template)]
#[template(path = "operations/discarded.html")]
struct DiscardedPage {
    shell: Shell,
    query: DiscardedPageQuery,
    is_filtered: bool,
    kinds: Vec<(&'static str, &'static str, bool)>,
    lasts: Vec<(&'static str, &'static str, bool)>,
    letters: Vec<DiscardedLetter>,
    first: String,
    next: Option<String>,
    csv: String,
    json: String,
}

impl DiscardedPage {
    /// The same by this one alone.
    fn by(&self, discarded_by: &str) -> String {
        let discarded_by = Some(discarded_by.to_owned());
        address(PATH, &DiscardedPageQuery { discarded_by, cursor: None, ..self.query.clone() })
    }
}

/// What a kind is called where there are several.
fn words(kind: LetterKind) -> &'static str {
    match kind {
        LetterKind::Command => "Commands",
        LetterKind::Webhook => "Events of webhooks",
        LetterKind::Event => "Events of read models",
    }
}

/// Where a letter is to be looked at: an event that a read model does without is no letter any more.
pub(super) fn page_of(letter: &DiscardedLetter) -> String {
    match (letter.kind, letter.event_id) {
        (LetterKind::Event, Some(event_id)) => format!("/events/{event_id}"),
        _ => format!("/operations/dead-letters/{}", letter.id),
    }
}

/// Where the page of a letter's aggregate is.
fn about(letter: &DiscardedLetter) -> Option<String> {
    aggregate_page(letter.aggregate_type.as_deref()?, letter.aggregate_id.as_deref()?)
}

/// Why it was here, as short as a table has it.
pub(super) fn excuse(letter: &DiscardedLetter) -> String {
    letter.reason.as_deref().map_or_else(|| "unknown".to_owned(), beginning)
}

pub(crate) async fn list(
    State(queries): State<Queries>,
    _: Caller<Operating>,
    visit: Visit,
    PageQuery(query): PageQuery<DiscardedPageQuery>,
) -> Result<Response, Problem> {
    let asked = query.asked()?;
    let filter = asked.filter(visit.now)?;
    if query.format == Some(Format::Csv) {
        let (queries, filter) = (&queries, &filter);
        return csv("discarded-letters", &COLUMNS, |request| async move {
            queries.discarded_letters(filter, &request).await
        })
        .await;
    }
    let request = Paging { limit: query.limit, cursor: query.cursor.clone() }.request()?;
    let found = ListPage::from(queries.discarded_letters(&filter, &request).await?);
    let start = DiscardedPageQuery { cursor: None, format: None, ..query.clone() };
    let at = |cursor| address(PATH, &DiscardedPageQuery { cursor: Some(cursor), ..start.clone() });
    let json = address("/api/discarded-letters", &asked);
    page(&DiscardedPage {
        shell: Shell::new(&visit, Section::Operations).twin(json.clone()).refreshed().without(found.unreadable),
        is_filtered: query.is_filtered(),
        kinds: LetterKind::ALL.map(|kind| (kind.as_str(), words(kind), query.kind == Some(kind))).to_vec(),
        lasts: Recent::ALL.map(|last| (last.as_str(), last.words(), asked.last == Some(last))).to_vec(),
        letters: found.items,
        first: address(PATH, &start),
        next: found.next_cursor.map(at),
        csv: address(PATH, &DiscardedPageQuery { format: Some(Format::Csv), ..start.clone() }),
        json,
        query,
    })
}

/// The columns of the list as CSV.
const COLUMNS: [Column<DiscardedLetter>; 13] = [
    ("id", |row| row.id.clone()),
    ("kind", |row| row.kind.as_str().to_owned()),
    ("source", |row| row.source.clone()),
    ("reason", |row| cell(row.reason.as_ref())),
    ("aggregate_type", |row| cell(row.aggregate_type.as_ref())),
    ("aggregate_id", |row| cell(row.aggregate_id.as_ref())),
    ("event_id", |row| cell(row.event_id.as_ref())),
    ("event_type", |row| cell(row.event_type.as_ref())),
    ("attempts", |row| cell(row.attempts.as_ref())),
    ("since", |row| cell(row.since.as_ref().map(time).as_ref())),
    ("discarded_by", |row| cell(row.discarded_by.as_ref())),
    ("discarded_at", |row| time(&row.discarded_at)),
    ("discarded_because", |row| cell(row.discarded_because.as_ref())),
];
