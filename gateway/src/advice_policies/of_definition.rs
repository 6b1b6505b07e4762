//! `GET` and `PUT /api/lablet-definitions/{id}/advice-policy`: the policy by which a definition is advised.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use app::log::Position;
use axum::extract::State;
use domain::DefinitionId;
use domain::advice_policy::{AdvicePolicy, NewPolicy, Policy, SetPolicy};
use domain::lablet_definition::PresentDefinition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::{Found, Written};
use crate::body::RequestBody;
use crate::caller::{Administering, Caller, Viewing};
use crate::command::{present, settled, written};
use crate::path::Id;
use crate::problem::Problem;
use crate::submission::Submission;
use crate::version::{IfMatch, REQUIRED, etag};

/// A definition's policy that is to be set.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct NewDefinitionPolicy(NewPolicy);

impl RequestBody for NewDefinitionPolicy {
    const COMMAND: Option<CommandName> = Some(CommandName::SetDefinitionPolicy);
}

/// The policy by which a definition is advised.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DefinitionPolicy {
    /// The definition.
    pub(crate) definition_id: DefinitionId,
    /// The policy that applies: its own, else the default one.
    pub(crate) policy: Policy,
    /// Its own, with who set it; null: it has none.
    pub(crate) own: Option<SetPolicy>,
    /// The default one, with who set it; null: nobody has set one.
    pub(crate) default: Option<SetPolicy>,
    /// The definition's version, for `If-Match`.
    pub(crate) etag: String,
}

/// The policy as it is after a write.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WrittenDefinitionPolicy {
    /// The policy.
    #[serde(flatten)]
    pub(crate) policy: DefinitionPolicy,
    /// Where in the log the write is. A read that names it waits until the read models are there.
    pub(crate) position: Position,
}

impl DefinitionPolicy {
    fn new(definition: &PresentDefinition, default: &AdvicePolicy) -> Self {
        let own = definition.policy.clone();
        Self {
            definition_id: definition.id.clone(),
            policy: own.as_ref().map_or_else(|| default.policy(), |own| own.policy),
            own,
            default: default.set.clone(),
            etag: etag(definition.content_sequence),
        }
    }
}

pub(crate) async fn show(
    State(commands): State<Commands>,
    _: Caller<Viewing>,
    Id(id): Id<DefinitionId>,
) -> Result<Found<DefinitionPolicy>, Problem> {
    let definition = commands.definition(&id).await?;
    let (default, _) = commands.default_policy().await?;
    let version = definition.content_sequence;
    Ok(Found::new(DefinitionPolicy::new(&definition, &default)).at_version(version))
}

pub(crate) async fn set(
    State(commands): State<Commands>,
    _: Caller<Administering>,
    Id(id): Id<DefinitionId>,
    version: IfMatch<REQUIRED>,
    submission: Submission<NewDefinitionPolicy>,
) -> Result<Found<Written<WrittenDefinitionPolicy>>, Problem> {
    let Submission { body: NewDefinitionPolicy(new), origin, warnings } = submission;
    let done = settled(commands.set_definition_policy(&id, new, version.expected, &origin).await, warnings)?;
    let (default, _) = commands.default_policy().await?;
    let policy = DefinitionPolicy::new(present(done.state.present())?, &default);
    Ok(written(&done, WrittenDefinitionPolicy { policy, position: done.position }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_lablet_definition_advice_policy")
        .tag("advice")
        .summary("The policy by which a definition is advised")
}

pub(crate) fn describe_setting(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("set_lablet_definition_advice_policy")
        .tag("advice")
        .summary("Set the policy by which a definition is advised")
        .description(
            "What is absent in a policy is as usual; with a policy that is absent or null, the default one applies. The \
             version is that of the definition.",
        )
}
