//! `GET` and `PUT /api/advice-policy`: the policy of definitions that have none of their own.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use app::log::Position;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::advice_policy::{AdvicePolicy, NewPolicy, Policy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::{Found, Written};
use crate::body::RequestBody;
use crate::caller::{Administering, Caller, Viewing};
use crate::command::{settled, written};
use crate::problem::Problem;
use crate::submission::Submission;
use crate::version::{IfMatch, REQUIRED, etag};

/// The default policy that is to be set.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct NewDefaultPolicy(NewPolicy);

impl RequestBody for NewDefaultPolicy {
    const COMMAND: Option<CommandName> = Some(CommandName::SetDefaultPolicy);
}

/// The policy of definitions that have none of their own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DefaultPolicy {
    /// The policy that applies.
    pub(crate) policy: Policy,
    /// Who set it; null: nobody has, or it was given up.
    pub(crate) set_by: Option<String>,
    /// When; null: nobody has, or it was given up.
    pub(crate) set_at: Option<DateTime<Utc>>,
    /// Its version, for `If-Match`.
    pub(crate) etag: String,
}

/// The policy as it is after a write.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WrittenDefaultPolicy {
    /// The policy.
    #[serde(flatten)]
    pub(crate) policy: DefaultPolicy,
    /// Where in the log the write is. A read that names it waits until the read models are there.
    pub(crate) position: Position,
}

impl DefaultPolicy {
    fn new(state: &AdvicePolicy, version: i64) -> Self {
        let set = state.set.as_ref();
        Self {
            policy: state.policy(),
            set_by: set.map(|set| set.set_by.clone()),
            set_at: set.map(|set| set.set_at),
            etag: etag(version),
        }
    }
}

pub(crate) async fn show(
    State(commands): State<Commands>,
    _: Caller<Viewing>,
) -> Result<Found<DefaultPolicy>, Problem> {
    let (state, version) = commands.default_policy().await?;
    Ok(Found::new(DefaultPolicy::new(&state, version)).at_version(version))
}

pub(crate) async fn set(
    State(commands): State<Commands>,
    _: Caller<Administering>,
    version: IfMatch<REQUIRED>,
    submission: Submission<NewDefaultPolicy>,
) -> Result<Found<Written<WrittenDefaultPolicy>>, Problem> {
    let Submission { body: NewDefaultPolicy(new), origin, warnings } = submission;
    let done = settled(commands.set_default_policy(new, version.expected, &origin).await, warnings)?;
    let policy = DefaultPolicy::new(&done.state, done.version());
    Ok(written(&done, WrittenDefaultPolicy { policy, position: done.position }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_advice_policy")
        .tag("advice")
        .summary("The policy of definitions that have none of their own")
        .description("Nobody having set one, it is the usual one, in the version \"0\".")
}

pub(crate) fn describe_setting(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("set_advice_policy")
        .tag("advice")
        .summary("Set the policy of definitions that have none of their own")
        .description("What is absent in a policy is as usual; a policy that is absent or null gives up what was set.")
}
