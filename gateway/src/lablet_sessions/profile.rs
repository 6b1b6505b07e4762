//! `GET /api/lablet-sessions/{id}/profile`: what a session used while it was sampled, and what it needed by that.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::SessionId;
use domain::lablet_session::LabletSession;
use projections::ReadModel;
use projections::read_models::demands::SessionProfile;

use crate::caller::{Caller, Viewing};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

pub(crate) async fn profile(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<SessionId>,
) -> Result<Json<SessionProfile>, Problem> {
    since.reached(&queries, &[ReadModel::Demands]).await?;
    let profile = queries.session_profile(&id).await?;
    if profile.position.is_none() && !queries.knows::<LabletSession>(id.as_str()).await? {
        return Err(Problem::not_found("session", id.as_str()));
    }
    Ok(Json(profile))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_lablet_session_profile")
        .tag("sessions")
        .summary("What a session used while it was sampled, and what it needed of each resource")
        .description(
            "The demand of a resource is the greatest amount in use over the steady phase: by the profile, or, where there \
             is none, by the snapshots of single observations. Each names the event that it rests on.",
        )
}
