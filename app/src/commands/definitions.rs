//! Commands about definitions.

use domain::DefinitionId;
use domain::lablet_definition::{
    DefinitionRevision, LabletDefinition, LabletDefinitionCommand, LabletDefinitionError, NewDefinition,
    PresentDefinition,
};

use super::{Answer, CommandError, Commands, CompletedCommand, from_execute_error};
use crate::command::CommandName;
use crate::log::{Expected, Origin};

impl Commands {
    /// Begins a definition, at revision 1.
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid`, `Exists` (the id is taken by other content), `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_definition.create", level = "debug", skip_all,
        fields(definition.id = new.id.as_ref().map(DefinitionId::as_str), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn create_definition(
        &self,
        new: NewDefinition,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletDefinition>, CommandError> {
        let origin = self.permit(CommandName::CreateLabletDefinition, origin)?;
        let id = match &new.id {
            Some(id) => id.clone(),
            None => DefinitionId::parse(self.new_id("definition", &origin))?,
        };
        let command = LabletDefinitionCommand::Create { id: id.clone(), new, now: self.clock.now() };
        self.execute(id.as_str(), command, None, origin)
            .await
            .map_err(|error| from_execute_error(error, |error| from_definition_error(error, &id)))
    }

    /// Changes a definition and raises its revision. `expected` are the sequences that the caller had seen (`If-Match`).
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid`, `NotFound`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_definition.revise", level = "debug", skip_all,
        fields(definition.id = id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn revise_definition(
        &self,
        id: &DefinitionId,
        revision: DefinitionRevision,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletDefinition>, CommandError> {
        let origin = self.permit(CommandName::ReviseLabletDefinition, origin)?;
        let command =
            LabletDefinitionCommand::Revise { revision, revised_by: origin.actor.clone(), now: self.clock.now() };
        self.execute(id.as_str(), command, expected, origin)
            .await
            .map_err(|error| from_execute_error(error, |error| from_definition_error(error, id)))
    }

    /// A definition as it is now.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn definition(&self, id: &DefinitionId) -> Result<PresentDefinition, CommandError> {
        let loaded = self.load::<LabletDefinition>(id.as_str()).await?;
        loaded.present().cloned().ok_or_else(|| not_found(id))
    }
}

fn not_found(id: &DefinitionId) -> CommandError {
    CommandError::NotFound { what: "definition", id: id.to_string() }
}

pub(super) fn from_definition_error(error: LabletDefinitionError, id: &DefinitionId) -> CommandError {
    match error {
        LabletDefinitionError::Invalid(invalid) => CommandError::Invalid(invalid),
        LabletDefinitionError::Absent => not_found(id),
        LabletDefinitionError::Exists { id } => CommandError::Exists { what: "definition", id: id.to_string() },
        LabletDefinitionError::UnknownProposal { id } => {
            CommandError::NotFound { what: "proposal", id: id.to_string() }
        }
        LabletDefinitionError::ProposalChanged { expected, actual } => {
            CommandError::Stale { expected: expected.into(), actual: actual.into() }
        }
        LabletDefinitionError::ProposalEnded { .. }
        | LabletDefinitionError::ProposalClaimed { .. }
        | LabletDefinitionError::ProposalNotClaimed { .. }
        | LabletDefinitionError::NotApplier { .. } => CommandError::ProposalRefused(error),
    }
}

impl CompletedCommand<LabletDefinition> {
    pub(super) fn answer(&self) -> Answer {
        let answer = self.plain_answer("definition_id");
        match self.state.present() {
            Some(definition) => answer.with("revision", definition.revision.into()),
            None => answer,
        }
    }
}
