//! Commands about proposals of other sizes.

use domain::advice_policy::{AdvicePolicy, Applier};
use domain::lablet_definition::{
    LabletDefinition, LabletDefinitionCommand, NewProposal, NewVerification, ProposalCommand, ProposalStatus,
    ProposalStep,
};
use domain::{DefinitionId, ProposalId};

use super::definitions::from_definition_error;
use super::{Answer, CommandError, Commands, CompletedCommand, Permitted, from_execute_error};
use crate::command::CommandName;
use crate::log::{Expected, Origin};

/// Where a proposal is in its life, as far as its definition remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposalState {
    /// Open, claimed, or its outcome.
    pub status: ProposalStatus,
    /// Its version, for `If-Match`; `None`: it has an outcome, and takes no more steps.
    pub version: Option<u32>,
}

impl Commands {
    /// Proposes another size; answers with the proposal that is open for it: this one, or one that proposes the same. There is
    /// none where the definition states that size already, or it was dismissed. Another one that is open is superseded.
    ///
    /// # Errors
    /// `NotAuthorized`, `NotFound`, `ProposalRefused` (somebody claimed another), `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_definition.open_proposal", level = "debug", skip_all,
        fields(definition.id = id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn open_proposal(
        &self,
        id: &DefinitionId,
        new: NewProposal,
        origin: &Origin,
    ) -> Result<(Option<ProposalId>, CompletedCommand<LabletDefinition>), CommandError> {
        let origin = self.permit(CommandName::OpenProposal, origin)?;
        let proposal_id = match &new.proposal_id {
            Some(id) => id.clone(),
            None => ProposalId::parse(self.new_id("proposal", &origin))?,
        };
        let after = new.after;
        let command = ProposalCommand::Open { id: proposal_id.clone(), new: Box::new(new) };
        let done = self.on_proposal(id, command, origin).await?;
        let current =
            || done.state.present()?.proposals.current.as_deref().filter(|current| current.proposal.after == after);
        let opened = match done.proposal(&proposal_id) {
            Some(_) => Some(proposal_id),
            None => current().map(|current| current.proposal.proposal_id.clone()),
        };
        Ok((opened, done))
    }

    /// Takes back an open proposal, as the evidence asks for it no longer.
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid` (no reason), `NotFound`, `ProposalRefused` (claimed), `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_definition.withdraw_proposal", level = "debug", skip_all,
        fields(definition.id = id.as_str(), proposal.id = step.proposal_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn withdraw_proposal(
        &self,
        id: &DefinitionId,
        step: ProposalStep,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletDefinition>, CommandError> {
        let origin = self.permit(CommandName::WithdrawProposal, origin)?;
        self.on_proposal(id, ProposalCommand::Withdraw(step), origin).await
    }

    /// Takes care of a proposal: it changes no more. `expected` are the versions of the proposal that the caller had seen.
    ///
    /// # Errors
    /// `NotAuthorized`, `NotFound`, `ProposalRefused`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_definition.claim_proposal", level = "debug", skip_all,
        fields(definition.id = id.as_str(), proposal.id = step.proposal_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn claim_proposal(
        &self,
        id: &DefinitionId,
        step: ProposalStep,
        expected: &Expected,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletDefinition>, CommandError> {
        let origin = self.permit(CommandName::ClaimProposal, origin)?;
        let step = self.at_version(id, step, expected).await?;
        self.on_proposal(id, ProposalCommand::Claim(step), origin).await
    }

    /// Makes a revision of a proposal, as far as the policy lets this applier.
    ///
    /// # Errors
    /// `NotAuthorized`, `NotFound`, `ProposalRefused`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_definition.apply_proposal", level = "debug", skip_all,
        fields(definition.id = id.as_str(), proposal.id = step.proposal_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn apply_proposal(
        &self,
        id: &DefinitionId,
        step: ProposalStep,
        applier: Applier,
        expected: &Expected,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletDefinition>, CommandError> {
        let origin = self.permit(CommandName::ApplyProposal, origin)?;
        let step = self.at_version(id, step, expected).await?;
        let (default_policy, _) = self.default_policy().await?;
        let command = ProposalCommand::Apply { step, applier, default_policy: AdvicePolicy::clone(&default_policy) };
        self.on_proposal(id, command, origin).await
    }

    /// Says that a claimed proposal could not be applied.
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid` (no reason), `NotFound`, `ProposalRefused`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_definition.fail_proposal", level = "debug", skip_all,
        fields(definition.id = id.as_str(), proposal.id = step.proposal_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn fail_proposal(
        &self,
        id: &DefinitionId,
        step: ProposalStep,
        expected: &Expected,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletDefinition>, CommandError> {
        let origin = self.permit(CommandName::FailProposal, origin)?;
        let step = self.at_version(id, step, expected).await?;
        self.on_proposal(id, ProposalCommand::Fail(step), origin).await
    }

    /// Says that a proposal is not wanted.
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid` (no reason), `NotFound`, `ProposalRefused`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_definition.dismiss_proposal", level = "debug", skip_all,
        fields(definition.id = id.as_str(), proposal.id = step.proposal_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn dismiss_proposal(
        &self,
        id: &DefinitionId,
        step: ProposalStep,
        expected: &Expected,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletDefinition>, CommandError> {
        let origin = self.permit(CommandName::DismissProposal, origin)?;
        let step = self.at_version(id, step, expected).await?;
        self.on_proposal(id, ProposalCommand::Dismiss(step), origin).await
    }

    /// Says whether an applied proposal held.
    ///
    /// # Errors
    /// `NotAuthorized`, `NotFound`, `ProposalRefused`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_definition.verify_proposal", level = "debug", skip_all,
        fields(definition.id = id.as_str(), proposal.id = new.proposal_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn verify_proposal(
        &self,
        id: &DefinitionId,
        new: NewVerification,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletDefinition>, CommandError> {
        let origin = self.permit(CommandName::VerifyProposal, origin)?;
        self.on_proposal(id, ProposalCommand::Verify(new), origin).await
    }

    async fn on_proposal(
        &self,
        id: &DefinitionId,
        command: ProposalCommand,
        origin: Permitted<'_>,
    ) -> Result<CompletedCommand<LabletDefinition>, CommandError> {
        let command = LabletDefinitionCommand::Proposal { command, by: origin.actor.clone(), now: self.clock.now() };
        self.execute(id.as_str(), command, Expected::Any, origin)
            .await
            .map_err(|error| from_execute_error(error, |error| from_definition_error(error, id)))
    }

    /// The step, on the version of the proposal that the caller had seen: of several, the one that it has now.
    async fn at_version(
        &self,
        id: &DefinitionId,
        step: ProposalStep,
        expected: &Expected,
    ) -> Result<ProposalStep, CommandError> {
        let Expected::OneOf(versions) = expected else { return Ok(step) };
        let definition = self.load::<LabletDefinition>(id.as_str()).await?;
        let current = proposal_state(&definition, &step.proposal_id).and_then(|state| state.version);
        let seen = current.filter(|current| versions.contains(&i64::from(*current)));
        let newest = versions.iter().copied().max().unwrap_or_default();
        Ok(ProposalStep { version: seen.or(Some(u32::try_from(newest).unwrap_or(u32::MAX))), ..step })
    }
}

impl CompletedCommand<LabletDefinition> {
    /// Where a proposal of this definition is in its life; `None`: the definition does not know it.
    pub fn proposal(&self, id: &ProposalId) -> Option<ProposalState> {
        proposal_state(&self.state, id)
    }

    pub(super) fn answer_about(&self, id: &ProposalId) -> Answer {
        let answer = self.answer().with("proposal_id", id.to_string().into());
        match self.proposal(id) {
            Some(ProposalState { status, version }) => {
                answer.with("proposal_status", status.as_str().into()).with("proposal_version", version.into())
            }
            None => answer,
        }
    }
}

fn proposal_state(definition: &LabletDefinition, id: &ProposalId) -> Option<ProposalState> {
    let proposals = &definition.present()?.proposals;
    match proposals.current.as_deref().filter(|current| current.proposal.proposal_id == *id) {
        Some(current) => {
            let status = if current.claimed_by.is_some() { ProposalStatus::Claimed } else { ProposalStatus::Open };
            Some(ProposalState { status, version: Some(current.version) })
        }
        None => proposals.outcome(id).map(|status| ProposalState { status, version: None }),
    }
}
