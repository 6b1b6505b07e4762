//! Commands about policies of advice.

use std::sync::Arc;

use domain::DefinitionId;
use domain::advice_policy::{AdvicePolicy, AdvicePolicyCommand, DEFAULT_POLICY, NewPolicy};
use domain::lablet_definition::{LabletDefinition, LabletDefinitionCommand};

use super::definitions::from_definition_error;
use super::{Answer, CommandError, Commands, CompletedCommand, from_execute_error};
use crate::command::CommandName;
use crate::log::{Expected, Origin};

impl Commands {
    /// Sets the policy of definitions that have none of their own. `expected` are the versions that the caller had seen.
    ///
    /// # Errors
    /// `NotAuthorized`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.advice_policy.set", level = "debug", skip_all,
        fields(correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn set_default_policy(
        &self,
        new: NewPolicy,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<CompletedCommand<AdvicePolicy>, CommandError> {
        let origin = self.permit(CommandName::SetDefaultPolicy, origin)?;
        let command = AdvicePolicyCommand::Set { new, set_by: origin.actor.clone(), now: self.clock.now() };
        self.execute(DEFAULT_POLICY, command, expected, origin)
            .await
            .map_err(|error| from_execute_error(error, |never| match never {}))
    }

    /// Sets a definition's policy, or gives it up. `expected` are the versions of the definition that the caller had seen.
    ///
    /// # Errors
    /// `NotAuthorized`, `NotFound`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_definition.set_policy", level = "debug", skip_all,
        fields(definition.id = id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn set_definition_policy(
        &self,
        id: &DefinitionId,
        new: NewPolicy,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletDefinition>, CommandError> {
        let origin = self.permit(CommandName::SetDefinitionPolicy, origin)?;
        let command = LabletDefinitionCommand::SetPolicy { new, set_by: origin.actor.clone(), now: self.clock.now() };
        self.execute(id.as_str(), command, expected, origin)
            .await
            .map_err(|error| from_execute_error(error, |error| from_definition_error(error, id)))
    }

    /// The policy of definitions that have none of their own, with its version; 0 where nobody has set one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn default_policy(&self) -> Result<(Arc<AdvicePolicy>, i64), CommandError> {
        let loaded = self.log.load::<AdvicePolicy>(DEFAULT_POLICY).await?;
        Ok(loaded.map(|(policy, version, _)| (policy, version)).unwrap_or_default())
    }
}

impl CompletedCommand<AdvicePolicy> {
    pub(super) fn answer(&self) -> Answer {
        self.plain_answer("policy_id")
    }
}
