//! `POST /api/proposals/{id}/fail`: whoever claimed a proposal could not apply it.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use axum::extract::State;
use domain::ProposalId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::step::{FreeStep, ReasonedStep, WrittenProposal, answer};
use crate::answer::{Found, Written};
use crate::body::RequestBody;
use crate::caller::{Asking, Caller};
use crate::command::settled;
use crate::path::Id;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::submission::Submission;
use crate::version::{IfMatch, REQUIRED};

/// Why a proposal could not be applied.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct ProposalFailure(ReasonedStep);

impl RequestBody for ProposalFailure {
    const COMMAND: Option<CommandName> = Some(CommandName::FailProposal);
}

pub(crate) async fn fail(
    State(commands): State<Commands>,
    State(queries): State<Queries>,
    _: Caller<Asking>,
    Id(id): Id<ProposalId>,
    version: IfMatch<REQUIRED>,
    submission: Submission<ProposalFailure>,
) -> Result<Found<Written<WrittenProposal>>, Problem> {
    let Submission { body: ProposalFailure(step), origin, warnings } = submission;
    let (definition_id, step) = FreeStep::from(step).about(id.clone(), &queries).await?;
    let done = commands.fail_proposal(&definition_id, step, &version.expected, &origin).await;
    answer(&settled(done, warnings)?, id)
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("fail_proposal")
        .tag("advice")
        .summary("Say that a claimed proposal could not be applied")
        .description("The definition may be proposed another one at once.")
}
