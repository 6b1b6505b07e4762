//! `POST /api/proposals/{id}/apply`: a proposal becomes a revision.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use axum::extract::State;
use domain::ProposalId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::step::{As, FreeStep, WrittenProposal, answer};
use crate::answer::{Found, Written};
use crate::body::RequestBody;
use crate::caller::{Asking, Caller};
use crate::command::settled;
use crate::path::Id;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::submission::Submission;
use crate::version::{IfMatch, REQUIRED};

/// What is said to an application.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct ProposalApplication(FreeStep);

impl RequestBody for ProposalApplication {
    const COMMAND: Option<CommandName> = Some(CommandName::ApplyProposal);

    fn when_empty() -> Option<Self> {
        Some(Self(FreeStep::default()))
    }
}

pub(crate) async fn apply(
    State(commands): State<Commands>,
    State(queries): State<Queries>,
    _: Caller<Asking>,
    As(applier): As,
    Id(id): Id<ProposalId>,
    version: IfMatch<REQUIRED>,
    submission: Submission<ProposalApplication>,
) -> Result<Found<Written<WrittenProposal>>, Problem> {
    let Submission { body: ProposalApplication(step), origin, warnings } = submission;
    let (definition_id, step) = step.about(id.clone(), &queries).await?;
    let done = commands.apply_proposal(&definition_id, step, applier, &version.expected, &origin).await;
    answer(&settled(done, warnings)?, id)
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("apply_proposal")
        .tag("advice")
        .summary("Make a revision of a proposal")
        .description("The policy of the definition says whether an operator or an internal key may; admins always may. Applied again, it stays as it is.")
}
