//! `POST /api/proposals/{id}/dismiss`: a proposal is not wanted.

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

/// Why a proposal is not wanted.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct ProposalDismissal(ReasonedStep);

impl RequestBody for ProposalDismissal {
    const COMMAND: Option<CommandName> = Some(CommandName::DismissProposal);
}

pub(crate) async fn dismiss(
    State(commands): State<Commands>,
    State(queries): State<Queries>,
    _: Caller<Asking>,
    Id(id): Id<ProposalId>,
    version: IfMatch<REQUIRED>,
    submission: Submission<ProposalDismissal>,
) -> Result<Found<Written<WrittenProposal>>, Problem> {
    let Submission { body: ProposalDismissal(step), origin, warnings } = submission;
    let (definition_id, step) = FreeStep::from(step).about(id.clone(), &queries).await?;
    let done = commands.dismiss_proposal(&definition_id, step, &version.expected, &origin).await;
    answer(&settled(done, warnings)?, id)
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("dismiss_proposal")
        .tag("advice")
        .summary("Say that a proposal is not wanted")
        .description("The same size is not proposed again until another one is stated.")
}
