//! `GET /sessions/{id}/nodes/{node_id}`: one node with its interfaces and tags, as the newest observation saw it. The
//! session's page puts it into place on demand.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::SessionId;
use domain::lablet_session::LabletSession;
use domain::observation::NodeObservation;
use projections::ReadModel;

use crate::caller::{Caller, Viewing};
use crate::pages::parts;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::Visit;
use crate::path::{NodeId, Within};
use crate::problem::Problem;
use crate::queries::Queries;

#[derive(Template)]
#[template(path = "session/node.html")]
struct NodePage {
    shell: Shell,
    session_id: SessionId,
    node: NodeObservation,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    visit: Visit,
    Within(session_id, node_id): Within<SessionId, NodeId>,
) -> Result<Response, Problem> {
    let ask = || queries.session_summary(&session_id);
    queries.row::<LabletSession, _, _>(ReadModel::Sessions, ("session", session_id.as_str()), ask).await?;
    let found = queries.session_node(&session_id, None, node_id.as_str()).await?;
    let node = found.ok_or_else(|| Problem::not_found("node of this session", node_id.as_str()))?.node;
    let twin = format!("/api/lablet-sessions/{session_id}/nodes/{}", parts::encoded(&node_id));
    page(&NodePage { shell: Shell::new(&visit, Section::Sessions).twin(twin), session_id, node })
}
