//! `POST /api/internal/lablet-sessions`: a session begins to exist.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use axum::extract::State;
use domain::lablet_session::NewSession;

use super::shape::WrittenSession;
use crate::answer::{Created, Written};
use crate::body::RequestBody;
use crate::caller::{Caller, Internal};
use crate::command::{present, settled, written};
use crate::problem::Problem;
use crate::submission::Submission;

impl RequestBody for NewSession {
    const COMMAND: Option<CommandName> = Some(CommandName::CreateLabletSession);
}

pub(crate) async fn create(
    State(commands): State<Commands>,
    _: Caller<Internal>,
    submission: Submission<NewSession>,
) -> Result<Created<Written<WrittenSession>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = settled(commands.create_session(body, &origin).await, warnings)?;
    let session = WrittenSession::new(present(done.state.present())?, done.sequence, done.position);
    let path = format!("/api/lablet-sessions/{}", session.id);
    Ok(written(&done, session.in_full()).located_at(&path))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("create_lablet_session").tag("sessions").summary("Create a session, pending")
}
