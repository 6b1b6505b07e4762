//! `GET /api/lablet-sessions/{id}/life`: the steps of a session's life so far, straight from the log.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::SessionId;
use projections::read_models::session_history::SessionLife;
use schemars::JsonSchema;
use serde::Serialize;

use crate::caller::{Caller, Viewing};
use crate::path::Id;
use crate::problem::Problem;
use crate::queries::Queries;

/// A session's life so far.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Life {
    /// The session.
    session_id: SessionId,
    /// Its steps.
    #[serde(flatten)]
    life: SessionLife,
}

pub(crate) async fn life(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    Id(session_id): Id<SessionId>,
) -> Result<Json<Life>, Problem> {
    let life = queries.session_life(&session_id).await?;
    if life.steps.is_empty() {
        return Err(Problem::not_found("session", session_id.as_str()));
    }
    Ok(Json(Life { session_id, life }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_lablet_session_life")
        .tag("sessions")
        .summary("The steps of a session's life so far, oldest first")
        .description("Straight from the log, so it is never behind. Other events are not among them.")
}
