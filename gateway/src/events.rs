//! `GET /api/events/{event_id}`: one event in full, as it is stored.

pub(crate) mod data;
pub(crate) mod list;
pub(crate) mod relations;

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use projections::read_models::session_history::EventRow;

use crate::caller::{Caller, Viewing};
use crate::path::{Id, Uuid};
use crate::problem::Problem;
use crate::queries::Queries;

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    Id(Uuid(event_id)): Id<Uuid>,
) -> Result<Json<EventRow>, Problem> {
    let event = queries.event(event_id).await?;
    event.map(Json).ok_or_else(|| Problem::not_found("event", &event_id.to_string()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("show_event").tag("events").summary("One event in full")
}
