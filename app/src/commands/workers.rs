//! Commands about workers.

use domain::WorkerId;
use domain::worker::{NewWorker, PressureReport, Worker, WorkerChange, WorkerCommand, WorkerError};

use super::{Answer, CommandError, Commands, CompletedCommand, actor, from_execute_error};
use crate::command::CommandName;
use crate::log::{Expected, Origin};

impl Commands {
    /// Begins a worker.
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid`, `Exists` (the id is taken by another profile), `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.worker.register", level = "debug", skip_all,
        fields(worker.id = new.id.as_ref().map(WorkerId::as_str), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn register_worker(
        &self,
        new: NewWorker,
        origin: &Origin,
    ) -> Result<CompletedCommand<Worker>, CommandError> {
        let origin = self.permit(CommandName::RegisterWorker, origin)?;
        let id = match &new.id {
            Some(id) => id.clone(),
            None => WorkerId::parse(self.new_id("worker", &origin))?,
        };
        let command = WorkerCommand::Register { id: id.clone(), new, now: self.clock.now() };
        self.execute(id.as_str(), command, None, origin)
            .await
            .map_err(|error| from_execute_error(error, |error| from_worker_error(error, &id)))
    }

    /// Changes a worker. `expected` are the sequences that the caller had seen (`If-Match`).
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid`, `NotFound`, `Stale`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.worker.change", level = "debug", skip_all,
        fields(worker.id = id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn change_worker(
        &self,
        id: &WorkerId,
        change: WorkerChange,
        expected: impl Into<Expected>,
        origin: &Origin,
    ) -> Result<CompletedCommand<Worker>, CommandError> {
        let origin = self.permit(CommandName::ChangeWorker, origin)?;
        let command = WorkerCommand::Change { change, now: self.clock.now() };
        self.execute(id.as_str(), command, expected, origin)
            .await
            .map_err(|error| from_execute_error(error, |error| from_worker_error(error, id)))
    }

    /// Records how much of a worker is free, and what it is short of.
    ///
    /// # Errors
    /// `NotAuthorized`, `Invalid`, `NotFound`, `KeyReused`, `Unavailable`.
    #[tracing::instrument(
        name = "command.worker.record_pressure", level = "debug", skip_all,
        fields(worker.id = id.as_str(), correlation.id = origin.correlation_id, traceparent = origin.traceparent)
    )]
    pub async fn record_worker_pressure(
        &self,
        id: &WorkerId,
        report: PressureReport,
        origin: &Origin,
    ) -> Result<CompletedCommand<Worker>, CommandError> {
        let origin = self.permit(CommandName::RecordWorkerPressure, origin)?;
        let command =
            WorkerCommand::RecordPressure { report, reported_by: actor(&origin.actor)?, now: self.clock.now() };
        self.execute(id.as_str(), command, Expected::Any, origin)
            .await
            .map_err(|error| from_execute_error(error, |error| from_worker_error(error, id)))
    }

    /// Makes sure that a worker exists.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub(super) async fn check_worker(&self, id: &WorkerId) -> Result<(), CommandError> {
        match *self.load::<Worker>(id.as_str()).await? {
            Worker::Present { .. } => Ok(()),
            Worker::Absent => Err(not_found(id)),
        }
    }
}

fn not_found(id: &WorkerId) -> CommandError {
    CommandError::NotFound { what: "worker", id: id.to_string() }
}

fn from_worker_error(error: WorkerError, id: &WorkerId) -> CommandError {
    match error {
        WorkerError::Absent => not_found(id),
        WorkerError::Invalid(invalid) => CommandError::Invalid(invalid),
        WorkerError::Exists { id } => CommandError::Exists { what: "worker", id: id.to_string() },
    }
}

impl CompletedCommand<Worker> {
    pub(super) fn answer(&self) -> Answer {
        self.plain_answer("worker_id")
    }
}
