//! What the steps of a proposal have in common: their bodies, whose step it is, and the answer.

use aide::OperationInput;
use app::commands::{CompletedCommand, ProposalState};
use app::log::{Outcome, Position};
use axum::extract::FromRequestParts;
use domain::advice_policy::Applier;
use domain::lablet_definition::{LabletDefinition, ProposalStatus, ProposalStep};
use domain::text::Prose;
use domain::{DefinitionId, ProposalId};
use http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::{Found, Written};
use crate::authentication::{Principal, Role};
use crate::caller::principal;
use crate::command::present;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::version::etag;

/// What is said to a step that needs no reason.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(crate) struct FreeStep {
    /// The definition of which it is a proposal; absent: whose it is known to be.
    #[serde(default)]
    definition_id: Option<DefinitionId>,
    /// Why.
    #[serde(default)]
    reason: Option<Prose<1, 2_000>>,
}

/// What is said to a step that needs a reason.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct ReasonedStep {
    /// The definition of which it is a proposal; absent: whose it is known to be.
    #[serde(default)]
    definition_id: Option<DefinitionId>,
    /// Why.
    reason: Prose<1, 2_000>,
}

impl From<ReasonedStep> for FreeStep {
    fn from(ReasonedStep { definition_id, reason }: ReasonedStep) -> Self {
        Self { definition_id, reason: Some(reason) }
    }
}

impl FreeStep {
    /// The step, and the definition: as stated, else as the read model knows it.
    ///
    /// # Errors
    /// 404 when the read model knows no such proposal.
    pub(crate) async fn about(
        self,
        proposal_id: ProposalId,
        queries: &Queries,
    ) -> Result<(DefinitionId, ProposalStep), Problem> {
        let Self { definition_id, reason } = self;
        let definition_id = match definition_id {
            Some(id) => id,
            None => super::show::row(queries, &proposal_id).await?.definition_id,
        };
        Ok((definition_id, ProposalStep { proposal_id, version: None, reason }))
    }
}

/// As whom the caller applies a proposal: admins as such, everybody else as an operator does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct As(pub(crate) Applier);

impl<S: Send + Sync> FromRequestParts<S> for As {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(match principal(parts)? {
            Principal::Admin { role: Role::Admin, .. } => Applier::Admin,
            Principal::Admin { .. } | Principal::Service { .. } => Applier::Operator,
        }))
    }
}

impl OperationInput for As {}

/// A proposal as it is after a step.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WrittenProposal {
    /// The proposal.
    pub(crate) id: ProposalId,
    /// The definition.
    pub(crate) definition_id: DefinitionId,
    /// Where it is in its life.
    pub(crate) status: ProposalStatus,
    /// The definition's revision now.
    pub(crate) revision: u32,
    /// Where in the log the write is. A read that names it waits until the read models are there.
    pub(crate) position: Position,
    /// The proposal's version, for `If-Match`; null: it has an outcome, and takes no more steps.
    pub(crate) etag: Option<String>,
}

/// The answer to a step.
pub(crate) fn answer(
    done: &CompletedCommand<LabletDefinition>,
    id: ProposalId,
) -> Result<Found<Written<WrittenProposal>>, Problem> {
    let definition = present(done.state.present())?;
    let ProposalState { status, version } = *present(done.proposal(&id).as_ref())?;
    let etag = version.map(|version| etag(version.into()));
    let body = WrittenProposal {
        id,
        definition_id: definition.id.clone(),
        status,
        revision: definition.revision,
        position: done.position,
        etag: etag.clone(),
    };
    let answer = Found::new(Written { body, warnings: done.warnings.clone() })
        .at_position(&done.position.to_string())
        .replayed(matches!(done.outcome, Outcome::Repeated));
    Ok(match etag {
        Some(etag) => answer.at_etag(&etag),
        None => answer,
    })
}
