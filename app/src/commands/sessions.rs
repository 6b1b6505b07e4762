//! Commands about sessions.

use domain::lablet_session::{
    AcknowledgementWithdrawal, AllocationCorrection, DriftAcknowledgement, EvidenceReason, LabletSession,
    LabletSessionCommand, LabletSessionError, NewSession, ObservationFailure, ObservationReport, SessionIds,
    SessionStatus, Transition,
};
use domain::{RequestId, SessionId};

use super::advice::ADVICE_WITHIN;
use super::{Answer, CommandError, Commands, CompletedCommand, Permitted, actor, from_execute_error};
use crate::command::{CommandName, ObservationRequest};
use crate::log::{Expected, Origin};
use crate::warning::Warning;

impl Commands {
    /// Begins a session of a definition, in the version and revision that the definition has now.
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid`, `NotFound` (the definition), `Exists`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_session.create", level = "debug", skip_all,
        fields(session.id = new.id.as_ref().map(SessionId::as_str), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn create_session(
        &self,
        new: NewSession,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletSession>, CommandError> {
        let origin = self.permit(CommandName::CreateLabletSession, origin)?;
        let definition = self.definition(&new.definition_id).await?;
        let session_id = match new.id {
            Some(id) => id,
            None => SessionId::parse(self.new_id("session", &origin))?,
        };
        let command = LabletSessionCommand::Create {
            ids: SessionIds {
                session_id: session_id.clone(),
                definition_id: definition.id,
                definition_version: definition.version,
                definition_revision: definition.revision,
            },
            owner_id: new.owner_id,
            timeslot: new.timeslot,
            now: self.clock.now(),
        };
        self.on_session(&session_id, command, Expected::Any, origin).await
    }

    /// Moves a session on in its life. `expected` are the sequences that the caller had seen (`If-Match`).
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid`, `NotFound` (session or worker), `Refused`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_session.transition", level = "debug", skip_all,
        fields(session.id = session_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn transition_session(
        &self,
        session_id: &SessionId,
        transition: Transition,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletSession>, CommandError> {
        let origin = self.permit(CommandName::TransitionLabletSession, origin)?;
        if let Some(worker_id) = &transition.worker_id {
            self.check_worker(worker_id).await?;
        }
        let allocates = transition.allocated_ports.is_some()
            || transition.worker_id.is_some()
            || transition.new_status == SessionStatus::Running;
        let command = LabletSessionCommand::Transition { transition, now: self.clock.now() };
        let mut done = self.on_session(session_id, command, expected, origin).await?;
        if allocates {
            done.warnings.extend(self.advice(&done).await);
        }
        Ok(done)
    }

    /// The advisor's warnings, where they come in time: no command fails for lack of them.
    async fn advice(&self, done: &CompletedCommand<LabletSession>) -> Vec<Warning> {
        let (Some(advisor), Some(session)) = (&self.advisor, done.state.present()) else { return Vec::new() };
        tokio::time::timeout(ADVICE_WITHIN, advisor.advise(session, done.position)).await.unwrap_or_else(|_| {
            tracing::warn!(session.id = done.aggregate_id, "allocation advice timed out");
            Vec::new()
        })
    }

    /// Asks for an observation; answers with the request's id.
    ///
    /// # Errors
    /// `NotAuthorized`, `NotFound`, `Refused` (unless running with a lab and a worker), `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_session.request_resource_observation", level = "debug", skip_all,
        fields(session.id = session_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn request_observation(
        &self,
        session_id: &SessionId,
        request: ObservationRequest,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<(RequestId, CompletedCommand<LabletSession>), CommandError> {
        let origin = self.permit(CommandName::RequestResourceObservation, origin)?;
        let request_id = match request.request_id {
            Some(id) => id,
            None => RequestId::parse(self.new_id("request", &origin))?,
        };
        // The sender's own name comes first, so that nobody can ask in another one's.
        let requested_by = match request.requested_by {
            None => actor(&origin.actor)?,
            Some(behalf) => actor(&format!("{}/{behalf}", origin.actor))?,
        };
        let command = LabletSessionCommand::RequestObservation {
            request_id: request_id.clone(),
            requested_by,
            now: self.clock.now(),
        };
        let done = self.on_session(session_id, command, expected, origin).await?;
        Ok((request_id, done))
    }

    /// Records an observation.
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid`, `NotFound`, `Refused` (unless running or collecting), `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_session.record_resource_observation", level = "debug", skip_all,
        fields(session.id = session_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn record_observation(
        &self,
        session_id: &SessionId,
        report: ObservationReport,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletSession>, CommandError> {
        let origin = self.permit(CommandName::RecordResourceObservation, origin)?;
        let command = LabletSessionCommand::RecordObservation {
            report: Box::new(report),
            reported_by: actor(&origin.actor)?,
            now: self.clock.now(),
        };
        self.on_session(session_id, command, expected, origin).await
    }

    /// Records that a session could not be observed, or was skipped.
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid`, `NotFound`, `Refused` (unknown request), `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_session.record_observation_failure", level = "debug", skip_all,
        fields(session.id = session_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn record_observation_failure(
        &self,
        session_id: &SessionId,
        failure: ObservationFailure,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletSession>, CommandError> {
        let origin = self.permit(CommandName::RecordObservationFailure, origin)?;
        let command = LabletSessionCommand::RecordObservationFailure { failure, now: self.clock.now() };
        self.on_session(session_id, command, Expected::Any, origin).await
    }

    /// Counts what was measured in a session no longer as evidence of what its definition needs.
    ///
    /// # Errors
    /// `NotAuthorized`, `NotFound`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_session.exclude_session_evidence", level = "debug", skip_all,
        fields(session.id = session_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn exclude_session_evidence(
        &self,
        session_id: &SessionId,
        reason: EvidenceReason,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletSession>, CommandError> {
        let origin = self.permit(CommandName::ExcludeSessionEvidence, origin)?;
        self.change_evidence(session_id, false, reason, expected, origin).await
    }

    /// Counts it again.
    ///
    /// # Errors
    /// `NotAuthorized`, `NotFound`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_session.include_session_evidence", level = "debug", skip_all,
        fields(session.id = session_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn include_session_evidence(
        &self,
        session_id: &SessionId,
        reason: EvidenceReason,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletSession>, CommandError> {
        let origin = self.permit(CommandName::IncludeSessionEvidence, origin)?;
        self.change_evidence(session_id, true, reason, expected, origin).await
    }

    async fn change_evidence(
        &self,
        session_id: &SessionId,
        counts: bool,
        reason: EvidenceReason,
        expected: impl Into<Expected>,
        origin: Permitted<'_>,
    ) -> Result<CompletedCommand<LabletSession>, CommandError> {
        let command =
            LabletSessionCommand::ChangeEvidence { counts, reason, by: origin.actor.clone(), now: self.clock.now() };
        self.on_session(session_id, command, expected, origin).await
    }

    /// Leaves a session's drifted ports as they are for a while.
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid` (until when), `NotFound`, `Refused` (no drift is known), `Stale`, `KeyReused`,
    /// `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_session.acknowledge_port_drift", level = "debug", skip_all,
        fields(session.id = session_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn acknowledge_port_drift(
        &self,
        session_id: &SessionId,
        acknowledgement: DriftAcknowledgement,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletSession>, CommandError> {
        let origin = self.permit(CommandName::AcknowledgePortDrift, origin)?;
        let (by, now) = (origin.actor.clone(), self.clock.now());
        let command = LabletSessionCommand::AcknowledgeDrift { acknowledgement, by, now };
        self.on_session(session_id, command, expected, origin).await
    }

    /// Lets drifted ports that were acknowledged be open again.
    ///
    /// # Errors
    /// `NotAuthorized`, `NotFound`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_session.withdraw_port_drift_acknowledgement", level = "debug", skip_all,
        fields(session.id = session_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn withdraw_port_drift_acknowledgement(
        &self,
        session_id: &SessionId,
        withdrawal: AcknowledgementWithdrawal,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletSession>, CommandError> {
        let origin = self.permit(CommandName::WithdrawPortDriftAcknowledgement, origin)?;
        let (by, now) = (origin.actor.clone(), self.clock.now());
        let command = LabletSessionCommand::WithdrawAcknowledgement { withdrawal, by, now };
        self.on_session(session_id, command, expected, origin).await
    }

    /// Allocates other ports to a session, as its lab has others than were allocated. Warns of ports that another session
    /// holds at the same time.
    ///
    /// # Errors
    /// `NotAuthorized`, `NotFound`, `Refused` (it holds no ports, or none were observed), `Stale`, `KeyReused`,
    /// `Unavailable`.
    #[tracing::instrument(
        name = "command.lablet_session.correct_allocation", level = "debug", skip_all,
        fields(session.id = session_id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn correct_allocation(
        &self,
        session_id: &SessionId,
        correction: AllocationCorrection,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<CompletedCommand<LabletSession>, CommandError> {
        let origin = self.permit(CommandName::CorrectAllocation, origin)?;
        let (by, now) = (origin.actor.clone(), self.clock.now());
        let command = LabletSessionCommand::CorrectAllocation { correction, by, now };
        let mut done = self.on_session(session_id, command, expected, origin).await?;
        done.warnings.extend(self.advice(&done).await);
        Ok(done)
    }

    async fn on_session(
        &self,
        session_id: &SessionId,
        command: LabletSessionCommand,
        expected: impl Into<Expected>,
        origin: Permitted<'_>,
    ) -> Result<CompletedCommand<LabletSession>, CommandError> {
        self.execute(session_id.as_str(), command, expected, origin)
            .await
            .map_err(|error| from_execute_error(error, |error| from_session_error(error, session_id)))
    }
}

fn from_session_error(error: LabletSessionError, id: &SessionId) -> CommandError {
    match error {
        LabletSessionError::Invalid(invalid) => CommandError::Invalid(invalid),
        LabletSessionError::Absent => CommandError::NotFound { what: "session", id: id.to_string() },
        LabletSessionError::Exists => CommandError::Exists { what: "session", id: id.to_string() },
        refused @ (LabletSessionError::TransitionNotAllowed { .. }
        | LabletSessionError::BoundElsewhere { .. }
        | LabletSessionError::NotObservable { .. }
        | LabletSessionError::NothingToObserve { .. }
        | LabletSessionError::TooManyRequests { .. }
        | LabletSessionError::UnknownRequest { .. }
        | LabletSessionError::Ports(_)) => CommandError::Refused(refused),
    }
}

impl CompletedCommand<LabletSession> {
    pub(super) fn answer(&self) -> Answer {
        let answer = self.plain_answer("session_id");
        match self.state.present() {
            Some(session) => answer
                .with("session_status", session.status.as_str().into())
                .with("observation_count", session.observations.count.into())
                .with("port_drift_detected", session.observations.drift_detected().into()),
            None => answer,
        }
    }
}
