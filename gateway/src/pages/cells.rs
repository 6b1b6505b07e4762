//! `GET /cells`: every cell that this console knows, and a search through all of them.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::parts::counted;
use super::query::{PageQuery, address};
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, cell, csv_of};
use super::visit::Visit;
use crate::caller::{Caller, Viewing};
use crate::cells::CellWatch;
use crate::cells::summary::{CellHits, CellNumbers, CellSummary};
use crate::paging::check_text;
use crate::problem::Problem;
use crate::search::pages_of_hits::kind;

/// Most hits of each kind and cell.
const HITS: u32 = 10;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CellsQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

#[derive(Template)]
#[template(path = "cells.html")]
struct CellsPage<'a> {
    shell: Shell,
    is_console: bool,
    cells: &'a [CellSummary],
    running: u64,
    drifted: u64,
    unreachable: usize,
    text: String,
    found: Vec<CellHits>,
}

impl CellsPage<'_> {
    fn attention(numbers: &CellNumbers) -> &'static str {
        match (numbers.attention_bad, numbers.attention_warn) {
            (0, 0) => "good",
            (0, _) => "warn",
            _ => "bad",
        }
    }
}

pub(crate) async fn show(
    State(watch): State<CellWatch>,
    _: Caller<Viewing>,
    visit: Visit,
    PageQuery(query): PageQuery<CellsQuery>,
) -> Result<Response, Problem> {
    let cells = watch.summaries().await?;
    if query.format == Some(Format::Csv) {
        return csv_of("cells", &COLUMNS, &cells);
    }
    let text = check_text("text", query.text.map(|text| text.trim().to_owned()))?.unwrap_or_default();
    let found = match text.is_empty() {
        true => Vec::new(),
        false => watch.hits(&text, HITS).await?,
    };
    let twin = match text.is_empty() {
        true => "/api/cells".to_owned(),
        false => address("/api/cell-hits", &CellsQuery { text: Some(text.clone()), format: None }),
    };
    let numbers = || cells.iter().filter_map(|cell| cell.numbers.as_ref());
    page(&CellsPage {
        shell: Shell::new(&visit, Section::Operations).twin(twin).live("/api/stream").refreshed(),
        is_console: watch.is_console(),
        running: numbers().map(|numbers| numbers.running_sessions).sum(),
        drifted: numbers().map(|numbers| numbers.drifted_sessions).sum(),
        unreachable: cells.iter().filter(|cell| cell.numbers.is_none()).count(),
        cells: &cells,
        text,
        found,
    })
}

/// A number of a cell; empty where it did not answer.
fn number(cell: &CellSummary, part: fn(&CellNumbers) -> u64) -> String {
    self::cell(cell.numbers.as_ref().map(part).as_ref())
}

const COLUMNS: [Column<CellSummary>; 12] = [
    ("cell", |row| row.name.clone()),
    ("region", |row| cell(row.region.as_ref())),
    ("gateway", |row| row.gateway.clone()),
    ("running_sessions", |row| number(row, |numbers| numbers.running_sessions)),
    ("sessions", |row| number(row, |numbers| numbers.sessions)),
    ("drifted_sessions", |row| number(row, |numbers| numbers.drifted_sessions)),
    ("open_requests", |row| number(row, |numbers| numbers.open_requests)),
    ("failed_requests_last_24_hours", |row| number(row, |numbers| numbers.failed_requests_last_24_hours)),
    ("attention_bad", |row| number(row, |numbers| numbers.attention_bad)),
    ("attention_warn", |row| number(row, |numbers| numbers.attention_warn)),
    ("events_behind", |row| number(row, |numbers| numbers.events_behind)),
    ("problem", |row| cell(row.problem.as_ref())),
];
