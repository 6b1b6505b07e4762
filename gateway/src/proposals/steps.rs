//! The steps that people and services take with a proposal: `POST /api/proposals/{id}/claim`, `apply`, `fail` and `dismiss`.

use aide::OperationInput;
use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::{CommandError, Commands, CompletedCommand, ProposalState};
use app::log::{Expected, Origin, Outcome, Position};
use axum::extract::{FromRequestParts, State};
use domain::advice_policy::Applier;
use domain::lablet_definition::{LabletDefinition, ProposalStatus, ProposalStep};
use domain::text::Prose;
use domain::{DefinitionId, ProposalId};
use http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::{Found, Written};
use crate::authentication::{Principal, Role};
use crate::body::RequestBody;
use crate::caller::{Asking, Caller, principal};
use crate::command::{present, settled};
use crate::path::Id;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::submission::Submission;
use crate::version::{IfMatch, REQUIRED, etag};

/// A step of a proposal's life.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StepKind {
    Claim,
    Apply,
    Fail,
    Dismiss,
}

/// How a step is described.
struct StepWords {
    id: &'static str,
    summary: &'static str,
    description: &'static str,
}

impl StepKind {
    const fn command(self) -> CommandName {
        match self {
            Self::Claim => CommandName::ClaimProposal,
            Self::Apply => CommandName::ApplyProposal,
            Self::Fail => CommandName::FailProposal,
            Self::Dismiss => CommandName::DismissProposal,
        }
    }

    fn words(self) -> StepWords {
        let (id, summary, description) = match self {
            Self::Claim => (
                "claim_proposal",
                "Take care of a proposal",
                "It changes no more, whatever the evidence says, until it is applied, failed or dismissed.",
            ),
            Self::Apply => (
                "apply_proposal",
                "Make a revision of a proposal",
                "The policy of the definition says whether an operator or an internal key may; admins always may. Applied again, it stays as it is.",
            ),
            Self::Fail => (
                "fail_proposal",
                "Say that a claimed proposal could not be applied",
                "The definition may be proposed another one at once.",
            ),
            Self::Dismiss => (
                "dismiss_proposal",
                "Say that a proposal is not wanted",
                "The same size is not proposed again until another one is stated.",
            ),
        };
        StepWords { id, summary, description }
    }

    async fn take(
        self,
        commands: &Commands,
        definition_id: &DefinitionId,
        step: ProposalStep,
        applier: Applier,
        expected: &Expected,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletDefinition>, CommandError> {
        match self {
            Self::Claim => commands.claim_proposal(definition_id, step, expected, origin).await,
            Self::Apply => commands.apply_proposal(definition_id, step, applier, expected, origin).await,
            Self::Fail => commands.fail_proposal(definition_id, step, expected, origin).await,
            Self::Dismiss => commands.dismiss_proposal(definition_id, step, expected, origin).await,
        }
    }
}

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

/// What is said to a step, and to which.
pub(crate) trait StepBody: RequestBody + Into<FreeStep> {
    /// The step.
    const KIND: StepKind;
}

/// The body of a step: its name, the step, and what is said to it.
macro_rules! body {
    ($name:ident, $kind:ident, $said:ty, $when_empty:expr) => {
        #[derive(Debug, Clone, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub(crate) struct $name($said);

        impl RequestBody for $name {
            const COMMAND: Option<CommandName> = Some(StepKind::$kind.command());

            fn when_empty() -> Option<Self> {
                $when_empty.map(Self)
            }
        }

        impl StepBody for $name {
            const KIND: StepKind = StepKind::$kind;
        }

        impl From<$name> for FreeStep {
            fn from(body: $name) -> Self {
                body.0.into()
            }
        }
    };
}

body!(ProposalClaim, Claim, FreeStep, Some(FreeStep::default()));
body!(ProposalApplication, Apply, FreeStep, Some(FreeStep::default()));
body!(ProposalFailure, Fail, ReasonedStep, None);
body!(ProposalDismissal, Dismiss, ReasonedStep, None);

/// As whom the caller applies a proposal: admins as such, everybody else as an operator does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct As(Applier);

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

pub(crate) async fn take<B: StepBody>(
    State(commands): State<Commands>,
    State(queries): State<Queries>,
    _: Caller<Asking>,
    As(applier): As,
    Id(id): Id<ProposalId>,
    version: IfMatch<REQUIRED>,
    submission: Submission<B>,
) -> Result<Found<Written<WrittenProposal>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let FreeStep { definition_id, reason } = body.into();
    let definition_id = match definition_id {
        Some(definition_id) => definition_id,
        None => super::show::row(&queries, &id).await?.definition_id,
    };
    let step = ProposalStep { proposal_id: id.clone(), version: None, reason };
    let done = B::KIND.take(&commands, &definition_id, step, applier, &version.expected, &origin).await;
    answer(&settled(done, warnings)?, id)
}

pub(crate) fn describe<B: StepBody>(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let StepWords { id, summary, description } = B::KIND.words();
    operation.id(id).tag("advice").summary(summary).description(description)
}

/// The answer to a step.
fn answer(
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
