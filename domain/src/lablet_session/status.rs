//! The life of a session and its allowed transitions.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionStatus {
    /// Created, no worker yet.
    Pending,
    /// A worker and ports are allocated.
    Scheduled,
    /// The lab is being brought up.
    Instantiating,
    /// The lab is up, the learner is not there yet.
    Ready,
    /// The learner works.
    Running,
    /// Evidence for grading is collected.
    Collecting,
    /// The work is being graded.
    Grading,
    /// The lab is being stopped.
    Stopping,
    /// The lab is stopped.
    Stopped,
    /// Nothing is left but the record.
    Archived,
    /// Ended before its natural end.
    Terminated,
    /// Overtaken by the end of its timeslot.
    Expired,
}

use SessionStatus::{
    Archived, Collecting, Expired, Grading, Instantiating, Pending, Ready, Running, Scheduled, Stopped, Stopping,
    Terminated,
};

impl SessionStatus {
    /// Every status, in the order of a life.
    pub const ALL: [Self; 12] = [
        Pending,
        Scheduled,
        Instantiating,
        Ready,
        Running,
        Collecting,
        Grading,
        Stopping,
        Stopped,
        Archived,
        Terminated,
        Expired,
    ];

    /// The status in its wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Pending => "pending",
            Scheduled => "scheduled",
            Instantiating => "instantiating",
            Ready => "ready",
            Running => "running",
            Collecting => "collecting",
            Grading => "grading",
            Stopping => "stopping",
            Stopped => "stopped",
            Archived => "archived",
            Terminated => "terminated",
            Expired => "expired",
        }
    }

    /// Where a session may go from here, in the order of a life.
    pub fn next(self) -> &'static [Self] {
        match self {
            Pending => &[Scheduled, Terminated],
            Scheduled => &[Instantiating, Terminated],
            Instantiating => &[Ready, Terminated, Expired],
            Ready => &[Running, Terminated, Expired],
            Running => &[Collecting, Stopping, Terminated, Expired],
            Collecting => &[Grading, Stopping, Terminated, Expired],
            Grading => &[Stopping, Terminated, Expired],
            Stopping => &[Stopped, Terminated],
            Stopped => &[Archived, Terminated],
            Archived | Expired => &[Terminated],
            Terminated => &[],
        }
    }

    /// Whether a session may go from here to `to`.
    pub(crate) fn may_become(self, to: Self) -> bool {
        self.next().contains(&to)
    }

    /// States in which a session's lab is up.
    pub const UP: [Self; 6] = [Instantiating, Ready, Running, Collecting, Grading, Stopping];

    /// Where the ports that are allocated to a session are held for it: from the worker's choice until its lab is stopped.
    pub const HOLDING_PORTS: [Self; 7] = [Scheduled, Instantiating, Ready, Running, Collecting, Grading, Stopping];

    /// Whether an observation may be recorded: while the lab is running or evidence is collected.
    pub fn is_observable(self) -> bool {
        matches!(self, Running | Collecting)
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl std::str::FromStr for SessionStatus {
    type Err = crate::Invalid;
    fn from_str(text: &str) -> Result<Self, crate::Invalid> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            crate::Invalid::new("", format!("is {shown:?}"), format!("one of {}", list(&Self::ALL)))
        })
    }
}

/// Statuses as a text: `running, collecting`.
pub(crate) fn list(statuses: &[SessionStatus]) -> String {
    statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_cycle_is_the_designed_one() {
        let drawn = SessionStatus::ALL
            .iter()
            .map(|status| format!("{status} -> {}", list(status.next())))
            .collect::<Vec<_>>()
            .join("\n");
        insta::assert_snapshot!(drawn, @r"
        pending -> scheduled, terminated
        scheduled -> instantiating, terminated
        instantiating -> ready, terminated, expired
        ready -> running, terminated, expired
        running -> collecting, stopping, terminated, expired
        collecting -> grading, stopping, terminated, expired
        grading -> stopping, terminated, expired
        stopping -> stopped, terminated
        stopped -> archived, terminated
        archived -> terminated
        terminated -> 
        expired -> terminated
        ");
    }

    #[test]
    fn wire_names_are_lower_case() {
        for status in SessionStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
            assert_eq!(status.as_str().parse::<SessionStatus>().unwrap(), status);
        }
        assert!("Running".parse::<SessionStatus>().is_err());
    }
}
