//! `POST /api/proposals/{id}/claim`: somebody takes care of a proposal.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use axum::extract::State;
use domain::ProposalId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::step::{FreeStep, WrittenProposal, answer};
use crate::answer::{Found, Written};
use crate::body::RequestBody;
use crate::caller::{Asking, Caller};
use crate::command::settled;
use crate::path::Id;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::submission::Submission;
use crate::version::{IfMatch, REQUIRED};

/// What is said to a claim.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct ProposalClaim(FreeStep);

impl RequestBody for ProposalClaim {
    const COMMAND: Option<CommandName> = Some(CommandName::ClaimProposal);

    fn when_empty() -> Option<Self> {
        Some(Self(FreeStep::default()))
    }
}

pub(crate) async fn claim(
    State(commands): State<Commands>,
    State(queries): State<Queries>,
    _: Caller<Asking>,
    Id(id): Id<ProposalId>,
    version: IfMatch<REQUIRED>,
    submission: Submission<ProposalClaim>,
) -> Result<Found<Written<WrittenProposal>>, Problem> {
    let Submission { body: ProposalClaim(step), origin, warnings } = submission;
    let (definition_id, step) = step.about(id.clone(), &queries).await?;
    let done = commands.claim_proposal(&definition_id, step, &version.expected, &origin).await;
    answer(&settled(done, warnings)?, id)
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("claim_proposal")
        .tag("advice")
        .summary("Take care of a proposal")
        .description("It changes no more, whatever the evidence says, until it is applied, failed or dismissed.")
}
