//! `GET /requests`: requests for observations with filters, page by page; those that failed are grouped by their reason.

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::time::BoundedTime;
use domain::{DefinitionId, Invalid, SessionId, WorkerId};
use projections::ReadModel;
use projections::read_models::observation_requests::{ObservationRequestRow, RequestFilter, RequestOutcome};
use projections::read_models::sessions::SessionTitles;
use serde::{Deserialize, Serialize};

use super::parts::{Badge, NamedLink, SessionLink, When, counted};
use super::query::{PageQuery, address};
use super::request_file::csv_of_requests;
use super::saved_views::ViewsBar;
use super::shell::{Section, Shell, page};
use super::table::{Format, time};
use super::visit::Visit;
use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::observation_failures::{FailureGroup, FailureGroups, failures};
use crate::paging::{ListPage, Paging};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::recent::{Recent, typed};

/// Reasons that are shown.
const MOST_REASONS: usize = 8;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestsQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<RequestOutcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    definition_id: Option<DefinitionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<WorkerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Recent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

impl RequestsQuery {
    fn filter(&self, now: DateTime<Utc>) -> Result<RequestFilter, Invalid> {
        let from = typed("from", self.from.as_deref())?;
        Ok(RequestFilter {
            session_id: self.session_id.clone(),
            outcome: self.status,
            definition_id: self.definition_id.clone(),
            worker_id: self.worker_id.clone(),
            // The fields stand beside each other: what was typed says more than what was chosen.
            requested_from: Recent::begin(self.last.filter(|_| from.is_none()), from, now)?,
            requested_before: typed("before", self.before.as_deref())?.map(BoundedTime::at),
        })
    }

    /// The same question to the API, which takes times with their offset.
    fn twin(&self, filter: &RequestFilter) -> String {
        let time = |at: Option<DateTime<Utc>>| at.as_ref().map(time);
        let (from, before) = (time(filter.requested_from), time(filter.requested_before));
        address("/api/observation-requests", &Self { last: None, from, before, format: None, ..self.clone() })
    }

    fn is_filtered(&self) -> bool {
        let filters = Self { limit: None, cursor: None, format: None, ..self.clone() };
        !address("", &filters).is_empty()
    }

    fn is_chosen(&self, status: &RequestOutcome) -> bool {
        self.status == Some(*status)
    }
}

#[derive(Template)]
#[template(path = "requests.html")]
struct RequestsPage {
    shell: Shell,
    views: ViewsBar,
    query: RequestsQuery,
    is_filtered: bool,
    groups: Vec<FailureGroup>,
    /// Whether there are older failures than those that were looked through.
    more_failed: bool,
    lasts: Vec<(&'static str, &'static str, bool)>,
    requests: Vec<ObservationRequestRow>,
    titles: SessionTitles,
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
    PageQuery(query): PageQuery<RequestsQuery>,
) -> Result<Response, Problem> {
    let (visit, views, query) = (&visit, &views, &query);
    let ask = |queries: Queries| async move { answer(&queries, visit, views.clone(), query.clone()).await };
    reads.showing(visit.freshness.position).read(since, &[ReadModel::ObservationRequests], ask).await
}

async fn answer(queries: &Queries, visit: &Visit, views: ViewsBar, query: RequestsQuery) -> Result<Response, Problem> {
    let filter = query.filter(visit.now)?;
    if query.format == Some(Format::Csv) {
        return csv_of_requests(queries, "requests", &filter).await;
    }
    let request = Paging { limit: query.limit, cursor: query.cursor.clone() }.request()?;
    let found = ListPage::from(queries.observation_requests(&filter, &request).await?);
    let mut reasons = match query.status {
        None | Some(RequestOutcome::Failed) if query.cursor.is_none() => failures(queries, filter.clone()).await?,
        _ => FailureGroups { items: Vec::new(), more: false },
    };
    reasons.items.truncate(MOST_REASONS);
    let named = found.items.iter().chain(reasons.items.iter().map(|group| &group.newest));
    let titles = queries.session_titles(named.map(|request| request.session_id.clone()).collect()).await?;
    let start = RequestsQuery { cursor: None, format: None, ..query.clone() };
    let at = |cursor| address("/requests", &RequestsQuery { cursor: Some(cursor), ..start.clone() });
    page(&RequestsPage {
        views,
        shell: Shell::new(visit, Section::Sessions)
            .twin(query.twin(&filter))
            .live("/api/stream?aggregate=lablet_session")
            .without(found.unreadable),
        is_filtered: query.is_filtered(),
        groups: reasons.items,
        more_failed: reasons.more,
        lasts: Recent::ALL.map(|last| (last.as_str(), last.words(), query.last == Some(last))).to_vec(),
        titles,
        first: address("/requests", &start),
        next: found.next_cursor.map(at),
        csv: address("/requests", &RequestsQuery { format: Some(Format::Csv), ..start.clone() }),
        json: query.twin(&filter),
        requests: found.items,
        query,
    })
}

/// Why the newest of a group failed.
fn reason(group: &FailureGroup) -> &str {
    group.newest.reason.as_deref().unwrap_or("no reason is known")
}
