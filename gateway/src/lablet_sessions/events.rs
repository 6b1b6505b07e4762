//! `GET /api/lablet-sessions/{id}/events`: everything that happened to a session, straight from the log.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::SessionId;
use domain::lablet_session::LabletSession;
use projections::read_models::session_history::{EventOrder, EventRow, HistoryView};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::caller::{Caller, Viewing};
use crate::paging::{ListPage, Paging};
use crate::path::Id;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which part of the history.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    /// From which end; the oldest first unless stated. A cursor belongs to one order.
    order: Option<EventOrder>,
    /// False: without what happened, which may be much; `data` is null then.
    data: Option<bool>,
    /// Most rows of the page, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(length(min = 1), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    cursor: Option<String>,
}

pub(crate) async fn events(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    Id(id): Id<SessionId>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<ListPage<EventRow>>, Problem> {
    let view = HistoryView { order: query.order.unwrap_or_default(), data: query.data.unwrap_or(true) };
    let request = Paging { limit: query.limit, cursor: query.cursor }.request()?;
    let page = queries.session_events(&id, view, &request).await?;
    if page.items.is_empty() && !queries.knows::<LabletSession>(id.as_str()).await? {
        return Err(Problem::not_found("session", id.as_str()));
    }
    Ok(Json(page.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_lablet_session_events")
        .tag("sessions")
        .summary("A session's history, oldest first unless asked otherwise")
        .description("Straight from the log, so it is never behind.")
}
