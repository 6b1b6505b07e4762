//! Why a session refuses a command.

use super::ports::PortsRefused;
use super::status::{self, SessionStatus};
use crate::ids::RequestId;
use crate::invalid::Invalid;

/// Most requests for an observation that have no outcome yet. Each is served once a controller runs.
pub(crate) const MOST_OPEN_REQUESTS: usize = 64;

/// Why a session refused a command.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LabletSessionError {
    /// The input is not valid.
    #[error("{0}")]
    Invalid(Invalid),
    /// There is no such session.
    #[error("the session does not exist")]
    Absent,
    /// Another session has this id.
    #[error("a session with this id exists already with another definition, owner or timeslot")]
    Exists,
    /// The life cycle has no such step.
    #[error("a session that is {from} cannot become {to}; from {from} it may become: {allowed}", allowed = next_of(*.from))]
    TransitionNotAllowed {
        /// Where the session is.
        from: SessionStatus,
        /// Where it was to go.
        to: SessionStatus,
    },
    /// The session is bound to another worker or lab.
    #[error("the session is bound to {what} {bound}, not to {refused}")]
    BoundElsewhere {
        /// `worker` or `lab`.
        what: &'static str,
        /// What it is bound to.
        bound: String,
        /// What the command named.
        refused: String,
    },
    /// An observation of a session that is neither running nor collecting.
    #[error("a session that is {status} cannot be observed; it must be one of: {allowed}", allowed = status::list(.allowed))]
    NotObservable {
        /// Where the session is.
        status: SessionStatus,
        /// Where it would have to be.
        allowed: &'static [SessionStatus],
    },
    /// An observation was asked for where there is no lab or no worker.
    #[error("the session has no {missing}, so there is nothing to observe")]
    NothingToObserve {
        /// `worker` or `lab`.
        missing: &'static str,
    },
    /// An outcome for a request that the session never got, or whose outcome it recorded long ago.
    #[error("the session has no observation request {request_id}")]
    UnknownRequest {
        /// The request that the command named.
        request_id: RequestId,
    },
    /// An observation was asked for while too many requests have no outcome.
    #[error("the session has {open} observation requests without an outcome; it may have at most {MOST_OPEN_REQUESTS}")]
    TooManyRequests {
        /// How many it has.
        open: usize,
    },
    /// A command about its ports that the session refuses.
    #[error("{0}")]
    Ports(PortsRefused),
}

impl LabletSessionError {
    /// The field of the command that is wrong, where it is one field.
    pub fn invalid(&self) -> Option<Invalid> {
        match self {
            Self::Invalid(invalid) => Some(invalid.clone()),
            Self::TransitionNotAllowed { from, to } => {
                let problem = format!("is {to}, while the session is {from}");
                Some(Invalid::new("new_status", problem, format!("one of: {}", next_of(*from))))
            }
            Self::BoundElsewhere { what, bound, refused } => {
                let field = if *what == "worker" { "worker_id" } else { "cml_lab_id" };
                let problem = format!("is {refused}, while the session is bound to {what} {bound}");
                Some(Invalid::new(field, problem, format!("{bound}, or nothing")))
            }
            Self::UnknownRequest { request_id } => {
                let expected = "an open observation request of this session, or nothing";
                Some(Invalid::new("request_id", format!("is {request_id}"), expected))
            }
            Self::Absent
            | Self::Exists
            | Self::NotObservable { .. }
            | Self::NothingToObserve { .. }
            | Self::TooManyRequests { .. }
            | Self::Ports(_) => None,
        }
    }
}

impl From<Invalid> for LabletSessionError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<PortsRefused> for LabletSessionError {
    fn from(refused: PortsRefused) -> Self {
        Self::Ports(refused)
    }
}

fn next_of(status: SessionStatus) -> String {
    if status.next().is_empty() { "nothing".to_owned() } else { status::list(status.next()) }
}
