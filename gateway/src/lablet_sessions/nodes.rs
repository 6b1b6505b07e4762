//! `GET /api/lablet-sessions/{id}/nodes`: the nodes of an observation, page by page.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::SessionId;
use domain::lablet_session::LabletSession;
use projections::ReadModel;
use projections::read_models::observations::{NodeFilter, NodeRow, NodesSource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::caller::{Caller, Viewing};
use crate::paging::{ListPage, Paging, check_text};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which nodes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeQuery {
    /// Of the observation with this event; of the newest unless stated.
    observation: Option<Uuid>,
    /// Whose id, label, definition, image or state contains this, in whatever case.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    text: Option<String>,
    /// Most rows of the page, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before. It stays with the observation of that page.
    #[schemars(length(min = 1), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    cursor: Option<String>,
}

/// Some nodes of one observation of a session.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Nodes {
    /// The observation; null: there is none.
    observation: Option<NodesSource>,
    /// How many of its listed nodes are asked for, on all pages together.
    matching: u64,
    /// The page, in the order of the observation.
    #[serde(flatten)]
    page: ListPage<NodeRow>,
}

pub(crate) async fn nodes(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<SessionId>,
    Query(query): Query<NodeQuery>,
) -> Result<Json<Nodes>, Problem> {
    let filter = NodeFilter { observation: query.observation, text: check_text("text", query.text)? };
    let request = Paging { limit: query.limit, cursor: query.cursor }.request()?;
    since.reached(&queries, &[ReadModel::Observations]).await?;
    let nodes = queries.session_nodes(&id, &filter, &request).await?;
    if nodes.observation.is_none() {
        if !queries.knows::<LabletSession>(id.as_str()).await? {
            return Err(Problem::not_found("session", id.as_str()));
        }
        if let Some(observation) = filter.observation.filter(|_| nodes.page.unreadable.is_empty()) {
            return Err(Problem::not_found("observation", &observation.to_string()));
        }
    }
    Ok(Json(Nodes { observation: nodes.observation, matching: nodes.matching, page: nodes.page.into() }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_lablet_session_nodes")
        .tag("sessions")
        .summary("Nodes of a session's newest observation, or of the one named")
        .description("Interfaces and tags are with each node for itself.")
}
