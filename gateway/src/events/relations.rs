//! `GET /api/events/{event_id}/relations`: what led to an event, and what came of it.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use projections::ReadModel;
use projections::read_models::event_relations::EventRelations;

use crate::caller::{Caller, Viewing};
use crate::path::{Id, Uuid};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

pub(crate) async fn relations(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(Uuid(event_id)): Id<Uuid>,
) -> Result<Json<EventRelations>, Problem> {
    since.reached(&queries, &[ReadModel::ObservationRequests, ReadModel::Definitions]).await?;
    let event = queries.event(event_id).await?;
    let event = event.ok_or_else(|| Problem::not_found("event", &event_id.to_string()))?;
    Ok(Json(queries.event_relations(&event).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("show_event_relations").tag("events").summary("What led to an event, and what came of it")
}
