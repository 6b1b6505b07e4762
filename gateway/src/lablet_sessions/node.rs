//! `GET /api/lablet-sessions/{id}/nodes/{node_id}`: one node of an observation, with its interfaces and tags.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::SessionId;
use projections::ReadModel;
use projections::read_models::observations::NodeDetail;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::caller::{Caller, Viewing};
use crate::path::{NodeId, Within};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Of which observation.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneNodeQuery {
    /// Of the observation with this event; of the newest unless stated.
    observation: Option<Uuid>,
}

pub(crate) async fn node(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Within(id, node_id): Within<SessionId, NodeId>,
    Query(query): Query<OneNodeQuery>,
) -> Result<Json<NodeDetail>, Problem> {
    since.reached(&queries, &[ReadModel::Observations]).await?;
    let node = queries.session_node(&id, query.observation, node_id.as_str()).await?;
    node.map(Json).ok_or_else(|| Problem::not_found("node", node_id.as_str()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_lablet_session_node")
        .tag("sessions")
        .summary("One node of a session's newest observation, or of the one named, with its interfaces and tags")
}
