//! `GET /activity`: who changed what and when, with filters, page by page.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::Invalid;
use serde::{Deserialize, Serialize};

use super::event::aggregate_page;
use super::parts::When;
use super::query::{PageQuery, address};
use super::saved_views::ViewsBar;
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, cell, csv, time};
use super::visit::Visit;
use crate::activity::{ActivityQuery, Change, ChangedKind, changes};
use crate::caller::{Caller, Viewing};
use crate::paging::{ListPage, Paging};
use crate::problem::Problem;
use crate::queries::Queries;
use crate::recent::{Recent, typed};

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActivityPageQuery {
    actor: Option<String>,
    kind: Option<ChangedKind>,
    id: Option<String>,
    last: Option<Recent>,
    from: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
    format: Option<Format>,
}

impl ActivityPageQuery {
    /// The same question to the API.
    fn asked(&self) -> Result<ActivityQuery, Invalid> {
        let from = typed("from", self.from.as_deref())?;
        Ok(ActivityQuery {
            actor: self.actor.clone(),
            kind: self.kind,
            id: self.id.clone(),
            last: self.last.filter(|_| from.is_none()),
            from,
            before: typed("before", self.before.as_deref())?,
            limit: self.limit,
            cursor: self.cursor.clone(),
        })
    }

    fn is_filtered(&self) -> bool {
        let Self { actor, kind, id, last, from, before, .. } = self;
        [actor, id, from, before].iter().any(|text| text.is_some()) || kind.is_some() || last.is_some()
    }
}

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityPage {
    shell: Shell,
    views: ViewsBar,
    query: ActivityPageQuery,
    is_filtered: bool,
    kinds: Vec<(&'static str, &'static str, bool)>,
    lasts: Vec<(&'static str, &'static str, bool)>,
    changes: Vec<Change>,
    first: String,
    next: Option<String>,
    csv: String,
    json: String,
}

impl ActivityPage {
    fn page_of(change: &Change) -> Option<String> {
        aggregate_page(&change.row.aggregate_type, &change.row.aggregate_id)
    }

    fn called(change: &Change) -> &str {
        match (&change.row.name, change.row.aggregate_type.as_str()) {
            (Some(name), _) => name,
            (None, "advice_policy") => "the default advice policy",
            (None, _) => &change.row.aggregate_id,
        }
    }

    /// The same by this actor alone.
    fn of_actor(&self, actor: &str) -> String {
        let actor = Some(actor.to_owned());
        address("/activity", &ActivityPageQuery { actor, cursor: None, ..self.query.clone() })
    }
}

pub(crate) async fn list(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    visit: Visit,
    views: ViewsBar,
    PageQuery(query): PageQuery<ActivityPageQuery>,
) -> Result<Response, Problem> {
    let asked = query.asked()?;
    let filter = asked.filter(visit.now)?;
    if query.format == Some(Format::Csv) {
        let (queries, filter) = (&queries, &filter);
        return csv("activity", &COLUMNS, |request| async move { changes(queries, filter, &request).await }).await;
    }
    let request = Paging { limit: query.limit, cursor: query.cursor.clone() }.request()?;
    let found = ListPage::from(changes(&queries, &filter, &request).await?);
    let start = ActivityPageQuery { cursor: None, format: None, ..query.clone() };
    let at = |cursor| address("/activity", &ActivityPageQuery { cursor: Some(cursor), ..start.clone() });
    let json = address("/api/activity", &asked);
    page(&ActivityPage {
        shell: Shell::new(&visit, Section::Operations).twin(json.clone()).live("/api/stream"),
        views,
        is_filtered: query.is_filtered(),
        kinds: ChangedKind::ALL.map(|(kind, name, words)| (name, words, query.kind == Some(kind))).to_vec(),
        lasts: Recent::ALL.map(|last| (last.as_str(), last.words(), asked.last == Some(last))).to_vec(),
        changes: found.items,
        first: address("/activity", &start),
        next: found.next_cursor.map(at),
        csv: address("/activity", &ActivityPageQuery { format: Some(Format::Csv), ..start.clone() }),
        json,
        query,
    })
}

/// The columns of the list as CSV.
const COLUMNS: [Column<Change>; 9] = [
    ("recorded_at", |change| time(&change.row.recorded_at)),
    ("actor", |change| cell(change.row.actor.as_ref())),
    ("words", |change| change.row.words.clone()),
    ("reason", |change| cell(change.row.reason.as_ref())),
    ("type", |change| change.row.event_type.clone()),
    ("aggregate_type", |change| change.row.aggregate_type.clone()),
    ("aggregate_id", |change| change.row.aggregate_id.clone()),
    ("name", |change| cell(change.row.name.as_ref())),
    ("event_id", |change| change.row.event_id.to_string()),
];
