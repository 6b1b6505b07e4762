//! `GET /requests`: requests for observations with filters, page by page; those that failed are grouped by their reason.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::{DefinitionId, SessionId, WorkerId};
use projections::read_models::observation_requests::{ObservationRequestRow, RequestFilter, RequestOutcome};
use projections::read_models::sessions::SessionTitles;
use projections::{PageRequest, ReadModel};
use serde::{Deserialize, Serialize};

use super::parts::{Badge, NamedLink, SessionLink, When, counted};
use super::query::{PageQuery, address};
use super::request_file::csv_of_requests;
use super::saved_views::ViewsBar;
use super::shell::{Section, Shell, page};
use super::table::Format;
use super::visit::Visit;
use crate::caller::{Caller, Viewing};
use crate::dead_letters::cause::cause;
use crate::paging::{ListPage, Paging};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Failed requests whose reasons are grouped, the newest.
const GROUPED: u32 = 200;
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
    from: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

impl RequestsQuery {
    fn filter(&self) -> RequestFilter {
        RequestFilter {
            session_id: self.session_id.clone(),
            outcome: self.status,
            definition_id: self.definition_id.clone(),
            worker_id: self.worker_id.clone(),
            requested_from: self.from,
            requested_before: self.before,
        }
    }

    fn is_filtered(&self) -> bool {
        self.filter() != RequestFilter::default()
    }

    fn is_chosen(&self, status: &RequestOutcome) -> bool {
        self.status == Some(*status)
    }
}

/// Why requests failed, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FailureGroup {
    reason: String,
    count: u64,
    newest: ObservationRequestRow,
}

#[derive(Template)]
#[template(path = "requests.html")]
struct RequestsPage {
    shell: Shell,
    views: ViewsBar,
    query: RequestsQuery,
    is_filtered: bool,
    groups: Vec<FailureGroup>,
    requests: Vec<ObservationRequestRow>,
    titles: SessionTitles,
    first: String,
    next: Option<String>,
    csv: String,
    json: String,
}

pub(crate) async fn list(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    views: ViewsBar,
    PageQuery(query): PageQuery<RequestsQuery>,
) -> Result<Response, Problem> {
    let filter = query.filter();
    since.reached(&queries, &[ReadModel::ObservationRequests]).await?;
    if query.format == Some(Format::Csv) {
        return csv_of_requests(&queries, "requests", &filter).await;
    }
    let request = Paging { limit: query.limit, cursor: query.cursor.clone() }.request()?;
    let found = ListPage::from(queries.observation_requests(&filter, &request).await?);
    let groups = match query.status {
        None | Some(RequestOutcome::Failed) if query.cursor.is_none() => {
            let failed = RequestFilter { outcome: Some(RequestOutcome::Failed), ..filter };
            by_reason(queries.observation_requests(&failed, &PageRequest::first(GROUPED)).await?.items)
        }
        _ => Vec::new(),
    };
    let named = found.items.iter().chain(groups.iter().map(|group| &group.newest));
    let titles = queries.session_titles(named.map(|request| request.session_id.clone()).collect()).await?;
    let start = RequestsQuery { cursor: None, format: None, ..query.clone() };
    let at = |cursor| address("/requests", &RequestsQuery { cursor: Some(cursor), ..start.clone() });
    page(&RequestsPage {
        views,
        shell: Shell::new(&visit, Section::Sessions)
            .twin(address("/api/observation-requests", &start))
            .live("/api/stream?aggregate=lablet_session")
            .without(found.unreadable),
        is_filtered: query.is_filtered(),
        groups,
        titles,
        first: address("/requests", &start),
        next: found.next_cursor.map(at),
        csv: address("/requests", &RequestsQuery { format: Some(Format::Csv), ..start.clone() }),
        json: address("/api/observation-requests", &start),
        requests: found.items,
        query,
    })
}

/// Failed requests, newest first, by what their reasons have in common; the most frequent first.
fn by_reason(failed: Vec<ObservationRequestRow>) -> Vec<FailureGroup> {
    let mut groups: BTreeMap<String, FailureGroup> = BTreeMap::new();
    for request in failed {
        let reason = request.reason.clone().unwrap_or_else(|| "no reason is known".to_owned());
        groups.entry(cause(&reason)).and_modify(|group| group.count += 1).or_insert(FailureGroup {
            reason,
            count: 1,
            newest: request,
        });
    }
    let mut groups: Vec<FailureGroup> = groups.into_values().collect();
    groups.sort_by(|one, other| other.count.cmp(&one.count).then(other.newest.position.cmp(&one.newest.position)));
    groups.truncate(MOST_REASONS);
    groups
}
