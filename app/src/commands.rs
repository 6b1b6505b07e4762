//! The one place where HTTP, NATS and the controller meet the domain.
//!
//! A handler looks up what the decision needs of other aggregates (does the definition exist, and in which version), lets
//! the domain decide and appends the events. One file per group of commands.

mod advice;
mod code;
mod definitions;
mod policies;
mod proposals;
mod sessions;
mod workers;

use std::ops::Deref;
use std::sync::Arc;

use domain::advice_policy::Applier;
use domain::lablet_definition::LabletDefinitionError;
use domain::lablet_session::LabletSessionError;
use domain::{Actor, Decide, Invalid};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

pub use self::advice::AllocationAdvisor;
pub use self::code::ErrorCode;
pub use self::proposals::ProposalState;
use crate::authority::{Authorities, NotAuthorized, Sender};
use crate::body::Handling;
use crate::command::{Command, CommandName};
use crate::database::DatabaseFailure;
use crate::log::{ExecuteError, ExecutedCommand, Expected, Log, LogError, Origin, Outcome, Position};
use crate::warning::Warning;
use bus::clock::{Clock, IdGenerator};

/// The handlers of all commands. Cloning shares the log.
#[derive(Clone)]
pub struct Commands {
    log: Log,
    clock: Clock,
    id_generator: IdGenerator,
    handling: Handling,
    authorities: Arc<Authorities>,
    advisor: Option<Arc<dyn AllocationAdvisor>>,
}

/// An origin whose sender may send the command at hand. Nothing is executed without one, and only
/// [`Commands::permit`] gives it.
#[derive(Clone, Copy)]
struct Permitted<'a>(&'a Origin);

impl Deref for Permitted<'_> {
    type Target = Origin;
    fn deref(&self) -> &Origin {
        self.0
    }
}

/// A command that took effect, now or before.
#[derive(Debug, Clone)]
pub struct CompletedCommand<A: Decide> {
    /// The aggregate's own id.
    pub aggregate_id: String,
    /// Whether events were appended by this call, were not needed, or had been appended for the same key.
    pub outcome: Outcome,
    /// The aggregate's sequence after the command.
    pub sequence: i64,
    /// The position of its newest event.
    pub position: Position,
    /// The aggregate after the command.
    pub state: Arc<A>,
    /// What the sender should look at. Handlers add to it after the command was executed.
    pub warnings: Vec<Warning>,
}

/// The answer to a command's sender, over HTTP and on the bus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// `recorded`, `already_done` or `repeated`.
    pub status: &'static str,
    /// The aggregate's sequence after the command.
    pub sequence: i64,
    /// The position of its newest event.
    pub position: Position,
    /// What the sender should look at, although the command took effect. Left out where there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// Its id under its usual name (`session_id`, `definition_id`, `worker_id`) and what else belongs to the answer.
    #[serde(flatten)]
    pub detail: Map<String, Value>,
}

/// Who can do something about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The caller: the same command will never work.
    Caller,
    /// The caller, after looking again: the state is another one than expected.
    Conflict,
    /// Something that Lablet depends on: the same command may work later.
    Dependency,
    /// Nobody but us: it is a bug, and trying again does not help.
    Internal,
}

/// Why a command did not take effect.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Its sender may not send it.
    #[error(transparent)]
    NotAuthorized(#[from] NotAuthorized),
    /// The input is not valid.
    #[error("{0}")]
    Invalid(Invalid),
    /// What the command is about, or refers to, does not exist.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `session`, `definition`, `proposal` or `worker`.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// Something else has this id.
    #[error("there is another {what} with the id {id}")]
    Exists {
        /// `session`, `definition`, `proposal` or `worker`.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A rule of the session refuses it.
    #[error("{0}")]
    Refused(LabletSessionError),
    /// A rule of proposals refuses it.
    #[error("{0}")]
    ProposalRefused(LabletDefinitionError),
    /// The aggregate is not at the expected sequence.
    #[error(
        "the expected version is \"{expected}\", the current one \"{actual}\"; read it again, and see whether the change still holds"
    )]
    Stale {
        /// What the caller had seen.
        expected: i64,
        /// What it is.
        actual: i64,
    },
    /// The key was used before for another command.
    #[error("this key was used before for another command; use a new key for a new command")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// The log did not answer, or was too busy. The same command may be sent again.
    #[error("the log is not available, and nothing is known to be recorded; send the same again with the same key")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log holds something that cannot be read.
    #[error("the log cannot be read")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CommandError {
    /// Who can do something about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotAuthorized(_) | Self::Invalid(_) | Self::NotFound { .. } | Self::Refused(_) => ErrorClass::Caller,
            Self::ProposalRefused(LabletDefinitionError::NotApplier { .. }) => ErrorClass::Caller,
            Self::Exists { .. } | Self::Stale { .. } | Self::KeyReused { .. } | Self::ProposalRefused(_) => {
                ErrorClass::Conflict
            }
            Self::Unavailable(_) => ErrorClass::Dependency,
            Self::Broken(_) => ErrorClass::Internal,
        }
    }

    /// The field that is wrong, where it is one field.
    pub fn invalid(&self) -> Option<Invalid> {
        match self {
            Self::Invalid(invalid) => Some(invalid.clone()),
            Self::Refused(refused) => refused.invalid(),
            Self::NotAuthorized(_)
            | Self::NotFound { .. }
            | Self::ProposalRefused(_)
            | Self::Exists { .. }
            | Self::Stale { .. }
            | Self::KeyReused { .. }
            | Self::Unavailable(_)
            | Self::Broken(_) => None,
        }
    }

    /// A short name for replies, metrics and dead letters.
    pub fn code(&self) -> &'static str {
        self.error_code().as_str()
    }
}

impl From<Invalid> for CommandError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl Commands {
    /// Handlers over this log, for senders with the default authority.
    pub fn new(log: Log, clock: Clock, id_generator: IdGenerator) -> Self {
        Self { log, clock, id_generator, authorities: Arc::default(), handling: Handling::default(), advisor: None }
    }

    /// The same, for senders with these authorities.
    #[must_use]
    pub fn with_authorities(self, authorities: Authorities) -> Self {
        Self { authorities: Arc::new(authorities), ..self }
    }

    /// Checks that a sender may send a command. Every handler does, before anything else; whoever receives commands
    /// may ask earlier, so as not to read what is refused in any case.
    ///
    /// # Errors
    /// [`NotAuthorized`].
    pub fn check_authority(&self, sender: &Sender, command: CommandName) -> Result<(), NotAuthorized> {
        self.authorities.check(sender, command)
    }

    fn permit<'a>(&self, command: CommandName, origin: &'a Origin) -> Result<Permitted<'a>, NotAuthorized> {
        self.check_authority(&origin.sender, command)?;
        Ok(Permitted(origin))
    }

    /// The same, which handle bodies with unknown members so, over HTTP and on the bus alike.
    #[must_use]
    pub fn handling_bodies(self, handling: Handling) -> Self {
        Self { handling, ..self }
    }

    /// What becomes of bodies with unknown members.
    pub fn handling(&self) -> Handling {
        self.handling
    }

    /// The same, whose answers say what this advisor finds about allocations.
    #[must_use]
    pub fn advised_by(mut self, advisor: Arc<dyn AllocationAdvisor>) -> Self {
        self.advisor = Some(advisor);
        self
    }

    /// The log that the handlers append to.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Handles any command.
    ///
    /// # Errors
    /// [`CommandError`]; its class says whether the same command may work later.
    pub async fn handle(&self, command: Command, origin: &Origin) -> Result<Answer, CommandError> {
        match command {
            Command::CreateLabletDefinition(new) => self.create_definition(new, origin).await.map(|done| done.answer()),
            Command::ReviseLabletDefinition { id, revision } => {
                self.revise_definition(&id, revision, Expected::Any, origin).await.map(|done| done.answer())
            }
            Command::RegisterWorker(new) => self.register_worker(new, origin).await.map(|done| done.answer()),
            Command::ChangeWorker { id, change } => {
                self.change_worker(&id, change, Expected::Any, origin).await.map(|done| done.answer())
            }
            Command::RecordWorkerPressure { id, report } => {
                self.record_worker_pressure(&id, report, origin).await.map(|done| done.answer())
            }
            Command::CreateLabletSession(new) => self.create_session(new, origin).await.map(|done| done.answer()),
            Command::TransitionLabletSession { session_id, transition } => {
                self.transition_session(&session_id, transition, Expected::Any, origin).await.map(|done| done.answer())
            }
            Command::RequestResourceObservation { session_id, request } => {
                let (request_id, done) = self.request_observation(&session_id, request, Expected::Any, origin).await?;
                Ok(done.answer().with("request_id", request_id.to_string().into()))
            }
            Command::RecordResourceObservation { session_id, report } => {
                self.record_observation(&session_id, *report, Expected::Any, origin).await.map(|done| done.answer())
            }
            Command::RecordObservationFailure { session_id, failure } => {
                self.record_observation_failure(&session_id, failure, origin).await.map(|done| done.answer())
            }
            Command::ExcludeSessionEvidence { session_id, reason } => {
                let done = self.exclude_session_evidence(&session_id, reason, Expected::Any, origin).await?;
                Ok(done.answer())
            }
            Command::IncludeSessionEvidence { session_id, reason } => {
                let done = self.include_session_evidence(&session_id, reason, Expected::Any, origin).await?;
                Ok(done.answer())
            }
            Command::AcknowledgePortDrift { session_id, acknowledgement } => {
                let done = self.acknowledge_port_drift(&session_id, acknowledgement, Expected::Any, origin).await?;
                Ok(done.answer())
            }
            Command::WithdrawPortDriftAcknowledgement { session_id, withdrawal } => {
                let expected = Expected::Any;
                let done = self.withdraw_port_drift_acknowledgement(&session_id, withdrawal, expected, origin).await?;
                Ok(done.answer())
            }
            Command::CorrectAllocation { session_id, correction } => {
                self.correct_allocation(&session_id, correction, Expected::Any, origin).await.map(|done| done.answer())
            }
            Command::SetDefaultPolicy(new) => {
                self.set_default_policy(new, Expected::Any, origin).await.map(|done| done.answer())
            }
            Command::SetDefinitionPolicy { id, new } => {
                self.set_definition_policy(&id, new, Expected::Any, origin).await.map(|done| done.answer())
            }
            Command::OpenProposal { id, new } => {
                let (proposal_id, done) = self.open_proposal(&id, *new, origin).await?;
                Ok(proposal_id.map_or_else(|| done.answer(), |id| done.answer_about(&id)))
            }
            Command::WithdrawProposal { id, step } => {
                let proposal_id = step.proposal_id.clone();
                self.withdraw_proposal(&id, step, origin).await.map(|done| done.answer_about(&proposal_id))
            }
            Command::ClaimProposal { id, step } => {
                let proposal_id = step.proposal_id.clone();
                let done = self.claim_proposal(&id, step, &Expected::Any, origin).await?;
                Ok(done.answer_about(&proposal_id))
            }
            Command::ApplyProposal { id, step } => {
                let proposal_id = step.proposal_id.clone();
                // A service applies as an operator does: the policy says whether that is enough.
                let done = self.apply_proposal(&id, step, Applier::Operator, &Expected::Any, origin).await?;
                Ok(done.answer_about(&proposal_id))
            }
            Command::FailProposal { id, step } => {
                let proposal_id = step.proposal_id.clone();
                let done = self.fail_proposal(&id, step, &Expected::Any, origin).await?;
                Ok(done.answer_about(&proposal_id))
            }
            Command::DismissProposal { id, step } => {
                let proposal_id = step.proposal_id.clone();
                let done = self.dismiss_proposal(&id, step, &Expected::Any, origin).await?;
                Ok(done.answer_about(&proposal_id))
            }
            Command::VerifyProposal { id, verification } => {
                let proposal_id = verification.proposal_id.clone();
                let done = self.verify_proposal(&id, verification, origin).await?;
                Ok(done.answer_about(&proposal_id))
            }
        }
    }

    /// An id for something new: derived from the command's key where it has one, so that the same command sent again
    /// speaks of the same thing, and a generated one otherwise.
    fn new_id(&self, purpose: &str, origin: &Origin) -> String {
        match &origin.dedupe {
            Some(key) => Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{purpose}\n{}", key.key()).as_bytes()).to_string(),
            None => self.id_generator.uuid().to_string(),
        }
    }

    async fn execute<A: Decide>(
        &self,
        id: &str,
        command: A::Command,
        expected: impl Into<Expected>,
        origin: Permitted<'_>,
    ) -> Result<CompletedCommand<A>, ExecuteError<A::Error>> {
        let ExecutedCommand { sequence, position, state, outcome, .. } =
            self.log.execute_at::<A>(id, &expected.into(), command, &origin).await?;
        Ok(CompletedCommand { aggregate_id: id.to_owned(), outcome, sequence, position, state, warnings: Vec::new() })
    }

    async fn load<A: Decide>(&self, id: &str) -> Result<Arc<A>, CommandError> {
        Ok(self.log.load::<A>(id).await?.map(|(state, ..)| state).unwrap_or_default())
    }
}

impl Answer {
    #[must_use]
    fn with(mut self, name: &str, value: Value) -> Self {
        self.detail.insert(name.to_owned(), value);
        self
    }
}

impl<A: Decide> CompletedCommand<A> {
    /// The aggregate's version after the command, for `If-Match`.
    pub fn version(&self) -> i64 {
        self.state.version(self.sequence)
    }

    fn plain_answer(&self, id_name: &str) -> Answer {
        let detail = Map::from_iter([(id_name.to_owned(), Value::from(self.aggregate_id.clone()))]);
        let status = match self.outcome {
            Outcome::Recorded => "recorded",
            Outcome::AlreadyDone => "already_done",
            Outcome::Repeated => "repeated",
        };
        Answer { status, sequence: self.sequence, position: self.position, warnings: self.warnings.clone(), detail }
    }
}

impl From<LogError> for CommandError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(ref cause) if DatabaseFailure::from_error(cause).may_pass() => {
                Self::Unavailable(Box::new(error))
            }
            LogError::Unavailable(_) | LogError::Corrupt { .. } => Self::Broken(Box::new(error)),
        }
    }
}

/// The actor of an origin, who reports where a report does not name who observed.
fn actor(text: &str) -> Result<Actor, Invalid> {
    text.parse().map_err(|invalid: Invalid| invalid.within("actor"))
}

/// The failures that are the same for every aggregate.
fn from_execute_error<E>(error: ExecuteError<E>, rejected: impl FnOnce(E) -> CommandError) -> CommandError
where
    E: std::error::Error + Send + Sync + 'static,
{
    match error {
        ExecuteError::Rejected(error) => rejected(error),
        ExecuteError::Stale { expected, actual } => CommandError::Stale { expected, actual },
        ExecuteError::KeyReused { key } => CommandError::KeyReused { key },
        ExecuteError::Conflict => CommandError::Unavailable(Box::new(ExecuteError::<E>::Conflict)),
        ExecuteError::Refused(error) => CommandError::Broken(Box::new(error)),
        ExecuteError::Unavailable(error) => error.into(),
    }
}
