//! `GET /api/lablet-sessions/{id}/events`: everything that happened to a session, straight from the log.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::SessionId;
use domain::lablet_session::LabletSession;
use projections::ReadError;
use projections::read_models::session_history::EventRow;

use crate::caller::{Caller, Viewing};
use crate::paging::{Page, Paging};
use crate::path::Id;
use crate::problem::Problem;
use crate::query::Query;
use crate::state::Shared;

pub(crate) async fn events(
    State(shared): State<Shared>,
    _: Caller<Viewing>,
    Id(id): Id<SessionId>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<EventRow>>, Problem> {
    let page = shared.reads.session_events(&id, &paging.request()?).await?;
    if page.items.is_empty() && shared.log.load::<LabletSession>(id.as_str()).await.map_err(ReadError::Log)?.is_none() {
        return Err(Problem::not_found("session", id.as_str()));
    }
    Ok(Json(page.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_lablet_session_events")
        .tag("sessions")
        .summary("A session's history, oldest first")
        .description("Straight from the log, so it is never behind.")
}
