//! Error codes of commands for programs: one table for HTTP and for the bus.

use domain::lablet_definition::LabletDefinitionError;
use domain::lablet_session::LabletSessionError;
use schemars::JsonSchema;
use serde::Serialize;

use super::CommandError;

/// A class of failures, for programs: the same over HTTP and on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The sender may not send the command, or may not ask for that.
    Forbidden,
    /// Nobody is signed in. HTTP only.
    Unauthenticated,
    /// The input is not valid; `errors` names each field.
    Invalid,
    /// The subject names no team or no command. Bus only.
    UnknownSubject,
    /// The message is no CloudEvent. Bus only.
    NotAnEvent,
    /// The event's type is not that of the subject's command, or the command is not known. Bus only.
    UnknownType,
    /// What the command is about, or refers to, does not exist.
    NotFound,
    /// The path exists, the method does not. HTTP only.
    MethodNotAllowed,
    /// Something else has the id.
    Exists,
    /// The state of the session does not allow it.
    Refused,
    /// The session is bound to something else.
    BoundElsewhere,
    /// The state of the proposal does not allow it.
    ProposalState,
    /// It contradicts what is there. HTTP only.
    Conflict,
    /// The thing is in another version than was expected.
    Stale,
    /// A change has to name the version that it rests on. HTTP only.
    VersionRequired,
    /// The key, or the event's source and id, was used for another command.
    KeyReused,
    /// The body is too large. HTTP only.
    TooLarge,
    /// The body is not of a form that is read here. HTTP only.
    UnsupportedMediaType,
    /// The sender has as much under way as one may have; see `Retry-After`. HTTP only.
    TooManyAtOnce,
    /// The read model is not yet at the position that was asked for; see `Retry-After`. HTTP only.
    ReadModelBehind,
    /// Something that is needed is away; the same command may work later.
    Unavailable,
    /// It was not handled in time, and may have taken effect; sent again with the same key it takes effect once.
    TimedOut,
    /// A fault of Lablet itself.
    Broken,
    /// It is there and cannot be read: a stored row, or a message whose headers no client can read.
    Unreadable,
    /// Handling it ended with a fault each time. Bus only.
    Crashed,
    /// It was delivered repeatedly and never finished. Bus only.
    Unfinished,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 26] = [
        Self::Forbidden,
        Self::Unauthenticated,
        Self::Invalid,
        Self::UnknownSubject,
        Self::NotAnEvent,
        Self::UnknownType,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Exists,
        Self::Refused,
        Self::BoundElsewhere,
        Self::ProposalState,
        Self::Conflict,
        Self::Stale,
        Self::VersionRequired,
        Self::KeyReused,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::TooManyAtOnce,
        Self::ReadModelBehind,
        Self::Unavailable,
        Self::TimedOut,
        Self::Broken,
        Self::Unreadable,
        Self::Crashed,
        Self::Unfinished,
    ];

    /// The code in replies, problem documents, metrics and dead letters, the class of problem documents, and the status
    /// over HTTP and in a micro service's error.
    fn row(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::Forbidden => ("forbidden", "forbidden", 403),
            Self::Unauthenticated => ("unauthenticated", "unauthenticated", 401),
            Self::Invalid => ("invalid", "invalid-input", 400),
            Self::UnknownSubject => ("unknown_subject", "invalid-input", 400),
            Self::NotAnEvent => ("not_an_event", "invalid-input", 400),
            Self::UnknownType => ("unknown_type", "invalid-input", 400),
            Self::NotFound => ("not_found", "not-found", 404),
            Self::MethodNotAllowed => ("method_not_allowed", "method-not-allowed", 405),
            Self::Exists => ("exists", "conflict", 409),
            Self::Refused => ("refused", "wrong-state", 400),
            Self::BoundElsewhere => ("bound_elsewhere", "conflict", 409),
            Self::ProposalState => ("proposal_state", "conflict", 409),
            Self::Conflict => ("conflict", "conflict", 409),
            Self::Stale => ("stale", "stale-version", 412),
            Self::VersionRequired => ("version_required", "version-required", 428),
            Self::KeyReused => ("key_reused", "idempotency-key-reused", 409),
            Self::TooLarge => ("too_large", "too-large", 413),
            Self::UnsupportedMediaType => ("unsupported_media_type", "unsupported-media-type", 415),
            Self::TooManyAtOnce => ("too_many_at_once", "too-many-at-once", 429),
            Self::ReadModelBehind => ("read_model_behind", "read-model-behind", 503),
            Self::Unavailable => ("unavailable", "unavailable", 503),
            Self::TimedOut => ("timed_out", "timed-out", 504),
            Self::Broken => ("broken", "internal", 500),
            Self::Unreadable => ("unreadable", "unreadable", 500),
            Self::Crashed => ("crashed", "internal", 500),
            Self::Unfinished => ("unfinished", "internal", 500),
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
                | LabletSessionError::TooManyRequests { .. }
                | LabletSessionError::Ports(_) => ErrorCode::Refused,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_published_names_are_those_of_the_table() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        let names: BTreeSet<&str> = ErrorCode::ALL.map(ErrorCode::as_str).into();
        assert_eq!(names.len(), ErrorCode::ALL.len());
    }
}
