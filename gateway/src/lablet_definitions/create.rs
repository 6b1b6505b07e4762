//! `POST /api/lablet-definitions`: a definition begins to exist.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use axum::extract::State;
use domain::lablet_definition::NewDefinition;

use super::shape::WrittenDefinition;
use crate::answer::{Created, Written};
use crate::body::{LONGEST_WITH_TOPOLOGY, RequestBody};
use crate::caller::{Administering, Caller};
use crate::command::{present, settled, written};
use crate::problem::Problem;
use crate::submission::Submission;

impl RequestBody for NewDefinition {
    const COMMAND: Option<CommandName> = Some(CommandName::CreateLabletDefinition);
    const LONGEST: usize = LONGEST_WITH_TOPOLOGY;
}

pub(crate) async fn create(
    State(commands): State<Commands>,
    _: Caller<Administering>,
    submission: Submission<NewDefinition>,
) -> Result<Created<Written<WrittenDefinition>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = settled(commands.create_definition(body, &origin).await, warnings)?;
    let definition = WrittenDefinition::new(present(done.state.present())?, done.version(), done.position);
    let path = format!("/api/lablet-definitions/{}", definition.id);
    Ok(written(&done, definition).located_at(&path))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("create_lablet_definition").tag("definitions").summary("Create a definition, at revision 1")
}
