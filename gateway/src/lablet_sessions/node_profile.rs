//! `GET /api/lablet-sessions/{id}/nodes/{node_id}/profile`: what one node used, and what it needed by that.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::SessionId;
use projections::ReadModel;
use projections::read_models::demands::SessionNodeProfile;

use crate::caller::{Caller, Viewing};
use crate::path::{NodeId, Within};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

pub(crate) async fn node_profile(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Within(id, node_id): Within<SessionId, NodeId>,
) -> Result<Json<SessionNodeProfile>, Problem> {
    since.reached(&queries, &[ReadModel::Demands]).await?;
    let profile = queries.session_node_profile(&id, node_id.as_str()).await?;
    profile.map(Json).ok_or_else(|| Problem::not_found("node", node_id.as_str()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_lablet_session_node_profile")
        .tag("sessions")
        .summary("What a node of a session used while it was sampled, and what it needed of each resource")
        .description("The phases are the node's own: a node that restarts boots while the others are steady.")
}
