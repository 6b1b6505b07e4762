//! `POST /api/lablet-definitions`: a definition begins to exist.

use aide::transform::TransformOperation;
use app::commands::CommandName;
use axum::extract::State;
use domain::lablet_definition::NewDefinition;

use super::shape::WrittenDefinition;
use crate::answer::{Created, Written};
use crate::body::RequestBody;
use crate::caller::{Administering, Caller};
use crate::command::{present, written};
use crate::problem::Problem;
use crate::state::Shared;
use crate::submission::Submission;

impl RequestBody for NewDefinition {
    const COMMAND: Option<CommandName> = Some(CommandName::CreateLabletDefinition);
}

pub(crate) async fn create(
    State(shared): State<Shared>,
    _: Caller<Administering>,
    submission: Submission<NewDefinition>,
) -> Result<Created<Written<WrittenDefinition>>, Problem> {
    let done = shared.commands.create_definition(submission.body, &submission.origin).await?;
    let definition = WrittenDefinition::of(present(done.state.present())?, done.sequence, done.position);
    let path = format!("/api/lablet-definitions/{}", definition.id);
    Ok(written(&done, definition).located_at(&path))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("create_lablet_definition").tag("definitions").summary("Create a definition, at revision 1")
}
