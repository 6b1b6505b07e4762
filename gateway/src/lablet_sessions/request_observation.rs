//! `POST /api/lablet-sessions/{id}/observe-resources`: somebody asks for an observation.

use aide::transform::TransformOperation;
use app::command::{CommandName, ObservationRequest};
use app::commands::Commands;
use axum::extract::State;
use domain::{RequestId, SessionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::{Accepted, Written};
use crate::body::RequestBody;
use crate::caller::{Asking, Caller};
use crate::command::{settled, written};
use crate::controllers::ControllerWatch;
use crate::path::Id;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::submission::Submission;
use crate::version::{IfMatch, OPTIONAL};

impl RequestBody for ObservationRequest {
    const COMMAND: Option<CommandName> = Some(CommandName::RequestResourceObservation);

    fn when_empty() -> Option<Self> {
        Some(Self::default())
    }
}

/// The request is in the log; a controller takes it from there.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ObservationRequested {
    /// The session.
    pub(crate) session_id: SessionId,
    /// What happens next, in words.
    pub(crate) message: String,
    /// What keeps it from being answered now, in words; null: nothing that is known.
    #[serde(default)]
    pub(crate) obstacle: Option<String>,
    /// The request; its outcome names it.
    pub(crate) request_id: RequestId,
    /// Where in the log it is.
    pub(crate) position: app::log::Position,
}

pub(crate) async fn request_observation(
    State(commands): State<Commands>,
    State(queries): State<Queries>,
    State(controllers): State<ControllerWatch>,
    _: Caller<Asking>,
    Id(session_id): Id<SessionId>,
    version: IfMatch<OPTIONAL>,
    submission: Submission<ObservationRequest>,
) -> Result<Accepted<Written<ObservationRequested>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = commands.request_observation(&session_id, body, version.expected, &origin).await;
    let (request_id, done) = settled(done, warnings)?;
    // It is taken all the same: whoever starts a controller, or corrects it, gets it answered.
    let obstacle = obstacle(&queries, &controllers, &session_id).await;
    let mut message = format!(
        "The observation was asked for. Its outcome appears at /api/observation-requests?session_id={session_id}."
    );
    if let Some(obstacle) = &obstacle {
        message = format!("{message} {obstacle}.");
    }
    Ok(written(&done, ObservationRequested { session_id, message, obstacle, request_id, position: done.position }))
}

/// What keeps an observation of a session from being made, as far as is known. That it cannot be read now fails nothing.
async fn obstacle(queries: &Queries, controllers: &ControllerWatch, session: &SessionId) -> Option<String> {
    let worker = queries.session(session).await.ok().flatten().and_then(|detail| detail.session.worker_id)?;
    controllers.obstacle(&worker)
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("request_resource_observation")
        .tag("sessions")
        .summary("Ask for an observation of a running session")
        .description("Only while the session is running, with a lab and a worker. The body may be absent.")
}
