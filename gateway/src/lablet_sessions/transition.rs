//! `POST /api/internal/lablet-sessions/{id}/transition`: a session goes on in its life.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use axum::extract::State;
use domain::SessionId;
use domain::lablet_session::Transition;

use super::shape::WrittenSession;
use crate::answer::{Found, Written};
use crate::body::RequestBody;
use crate::caller::{Caller, Internal};
use crate::command::{present, settled, written};
use crate::path::Id;
use crate::problem::Problem;
use crate::submission::Submission;
use crate::version::{IfMatch, OPTIONAL};

impl RequestBody for Transition {
    const COMMAND: Option<CommandName> = Some(CommandName::TransitionLabletSession);
}

pub(crate) async fn transition(
    State(commands): State<Commands>,
    _: Caller<Internal>,
    Id(session_id): Id<SessionId>,
    version: IfMatch<OPTIONAL>,
    submission: Submission<Transition>,
) -> Result<Found<Written<WrittenSession>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = commands.transition_session(&session_id, body, version.expected, &origin).await;
    let done = settled(done, warnings)?;
    let session = WrittenSession::new(present(done.state.present())?, done.sequence, done.position);
    Ok(written(&done, session))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("transition_lablet_session").tag("sessions").summary("Move a session on in its life").description(
        "400 names the state and the ones that may follow, where the step is not allowed. \
         Repeating a step that was taken is no error.",
    )
}
