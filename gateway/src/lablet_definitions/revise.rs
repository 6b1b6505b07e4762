//! `PATCH /api/lablet-definitions/{id}`: a definition's content changes, with why and on what evidence.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use axum::extract::State;
use domain::DefinitionId;
use domain::lablet_definition::DefinitionRevision;

use super::shape::WrittenDefinition;
use crate::answer::{Found, Written};
use crate::body::{LONGEST_WITH_TOPOLOGY, RequestBody};
use crate::caller::{Administering, Caller};
use crate::command::{present, settled, written};
use crate::path::Id;
use crate::problem::Problem;
use crate::submission::Submission;
use crate::version::{IfMatch, REQUIRED};

impl RequestBody for DefinitionRevision {
    const COMMAND: Option<CommandName> = Some(CommandName::ReviseLabletDefinition);
    const LONGEST: usize = LONGEST_WITH_TOPOLOGY;
}

pub(crate) async fn revise(
    State(commands): State<Commands>,
    _: Caller<Administering>,
    Id(id): Id<DefinitionId>,
    version: IfMatch<REQUIRED>,
    submission: Submission<DefinitionRevision>,
) -> Result<Found<Written<WrittenDefinition>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = commands.revise_definition(&id, body, version.expected, &origin).await;
    let done = settled(done, warnings)?;
    let definition = WrittenDefinition::new(present(done.state.present())?, done.version(), done.position);
    Ok(written(&done, definition))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("revise_lablet_definition")
        .tag("definitions")
        .summary("Revise a definition")
        .description("What is absent stays as it is. The revision records who, why, and the events that it rests on.")
}
