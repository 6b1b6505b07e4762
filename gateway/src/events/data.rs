//! `GET /api/events/{event_id}/data`: the data of an event's notice, whatever its size. The `dataref` of a notice points
//! here.

use aide::transform::TransformOperation;
use app::notice;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use crate::caller::{Caller, Viewing};
use crate::path::{Id, Uuid};
use crate::problem::{Problem, ProblemKind};
use crate::stream::Streams;

pub(crate) async fn show(
    State(streams): State<Streams>,
    _: Caller<Viewing>,
    Id(Uuid(event_id)): Id<Uuid>,
) -> Result<Response, Problem> {
    let event = streams.event(event_id).await?;
    let event = event.ok_or_else(|| Problem::not_found("event", &event_id.to_string()))?;
    let data =
        notice::data(&event).map_err(|error| Problem::internal("event cannot be rendered as a notice", &error))?;
    let data = data.ok_or_else(|| {
        let detail =
            format!("A newer version wrote the event {event_id}; its stored form is at /api/events/{event_id}.");
        Problem::new(ProblemKind::Unreadable, detail)
    })?;
    Ok(([(CONTENT_TYPE, "application/json")], data.get().to_owned()).into_response())
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_event_data")
        .tag("events")
        .summary("The data of an event's notice, whatever its size")
        .description(
            "What the `dataref` of a notice without data points to. The schema is the one that its `dataschema` names.",
        )
        .response::<200, axum::Json<serde_json::Map<String, serde_json::Value>>>()
}
