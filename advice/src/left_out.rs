//! What of a definition's sessions is no evidence, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why something does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutCode {
    /// The session runs.
    StillRunning,
    /// The session was never observed.
    NeverObserved,
    /// Nothing of it ran.
    NoEvidence,
    /// Some of its totals contradict its own nodes.
    Contradiction,
    /// Of some of its resources no demand is known.
    UnknownDemand,
    /// Somebody excluded it.
    Excluded,
    /// It needed more while it booted than afterwards.
    Boot,
}

/// Something that does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// For programs.
    pub code: LeftOutCode,
    /// For people.
    pub text: String,
    /// Sessions that it is about, of the newest 500 that ended.
    pub sessions: u64,
}

impl LeftOut {
    /// What is left out of so many sessions; `None`: of none.
    pub fn new(code: LeftOutCode, sessions: u64) -> Option<Self> {
        let counted = if sessions == 1 { "1 session".to_owned() } else { format!("{sessions} sessions") };
        let text = match code {
            LeftOutCode::StillRunning => "still running: counted once nothing of it can be observed any more",
            LeftOutCode::NeverObserved => "never observed: what was needed is unknown",
            LeftOutCode::NoEvidence => "observed while nothing ran: that tells of no need",
            LeftOutCode::Contradiction => "with a total that contradicts its own nodes: that total is not taken",
            LeftOutCode::UnknownDemand => {
                "of which the demand of some resource is unknown: it says nothing of that one"
            }
            LeftOutCode::Excluded => "excluded by somebody, with a reason",
            LeftOutCode::Boot => "needed more while booting than afterwards: what booting needs is not counted",
        };
        (sessions > 0).then(|| Self { code, text: format!("{counted} {text}."), sessions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_says_of_how_many_sessions_and_nothing_where_there_is_none() {
        assert_eq!(LeftOut::new(LeftOutCode::Boot, 0), None);
        let one = LeftOut::new(LeftOutCode::Excluded, 1).unwrap();
        assert_eq!((one.text.as_str(), one.sessions), ("1 session excluded by somebody, with a reason.", 1));
    }
}
