//! Error codes of commands for programs: one table for HTTP and for the bus.

use domain::lablet_definition::LabletDefinitionError;
use domain::lablet_session::LabletSessionError;

use super::CommandError;

/// A class of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// The sender may not send the command.
    Forbidden,
    /// The input is not valid.
    Invalid,
    /// What the command is about, or refers to, does not exist.
    NotFound,
    /// Something else has the id.
    Exists,
    /// The state of the session does not allow it.
    Refused,
    /// The session is bound to something else.
    BoundElsewhere,
    /// The state of the proposal does not allow it.
    ProposalState,
    /// The thing is in another version than was expected.
    Stale,
    /// The key was used for another command.
    KeyReused,
    /// Something that is needed is away.
    Unavailable,
    /// It was not handled in time.
    TimedOut,
    /// A fault of Lablet itself.
    Broken,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::Forbidden,
        Self::Invalid,
        Self::NotFound,
        Self::Exists,
        Self::Refused,
        Self::BoundElsewhere,
        Self::ProposalState,
        Self::Stale,
        Self::KeyReused,
        Self::Unavailable,
        Self::TimedOut,
        Self::Broken,
    ];

    /// The code in replies, problem documents, metrics and dead letters, the class of problem documents, and the status
    /// over HTTP and in a micro service's error.
    fn row(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::Forbidden => ("forbidden", "forbidden", 403),
            Self::Invalid => ("invalid", "invalid-input", 400),
            Self::NotFound => ("not_found", "not-found", 404),
            Self::Exists => ("exists", "conflict", 409),
            Self::Refused => ("refused", "wrong-state", 400),
            Self::BoundElsewhere => ("bound_elsewhere", "conflict", 409),
            Self::ProposalState => ("proposal_state", "conflict", 409),
            Self::Stale => ("stale", "stale-version", 412),
            Self::KeyReused => ("key_reused", "idempotency-key-reused", 409),
            Self::Unavailable => ("unavailable", "unavailable", 503),
            Self::TimedOut => ("timed_out", "timed-out", 504),
            Self::Broken => ("broken", "internal", 500),
        }
    }

    /// The code, e.g. `not_found`.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The class of problem documents, e.g. `not-found`.
    pub fn problem(self) -> &'static str {
        self.row().1
    }

    /// The status of HTTP.
    pub fn status(self) -> u16 {
        self.row().2
    }
}

impl CommandError {
    /// The class of the failure.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::NotAuthorized(_) | Self::ProposalRefused(LabletDefinitionError::NotApplier { .. }) => {
                ErrorCode::Forbidden
            }
            Self::ProposalRefused(_) => ErrorCode::ProposalState,
            Self::Invalid(_) => ErrorCode::Invalid,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Exists { .. } => ErrorCode::Exists,
            Self::Refused(refused) => match refused {
                LabletSessionError::Invalid(_) | LabletSessionError::UnknownRequest { .. } => ErrorCode::Invalid,
                LabletSessionError::TransitionNotAllowed { .. }
                | LabletSessionError::NotObservable { .. }
                | LabletSessionError::NothingToObserve { .. }
                | LabletSessionError::TooManyRequests { .. } => ErrorCode::Refused,
                LabletSessionError::BoundElsewhere { .. } => ErrorCode::BoundElsewhere,
                LabletSessionError::Exists => ErrorCode::Exists,
                LabletSessionError::Absent => ErrorCode::NotFound,
            },
            Self::Stale { .. } => ErrorCode::Stale,
            Self::KeyReused { .. } => ErrorCode::KeyReused,
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Broken(_) => ErrorCode::Broken,
        }
    }
}
