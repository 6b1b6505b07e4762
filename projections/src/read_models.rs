//! The read models, one file each: rows, fold, queries.

pub mod advice;
pub mod definitions;
pub mod demands;
pub mod event_relations;
#[cfg(test)]
pub(crate) mod given;
pub mod observation_requests;
pub mod observations;
pub mod session_history;
pub mod sessions;
pub mod workers;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::projector::Projector;

macro_rules! read_models {
    ($($(#[$meta:meta])* $name:ident = $projector:path,)*) => {
        /// Every read model.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ReadModel {
            $($(#[$meta])* $name,)*
        }

        impl ReadModel {
            /// All of them.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];

            pub(crate) fn projector(self) -> &'static Projector {
                match self {
                    $(Self::$name => &$projector,)*
                }
            }
        }
    };
}

read_models! {
    /// Sessions: the board and the detail.
    Sessions = sessions::PROJECTOR,
    /// Definitions, their revisions, and whether anything was observed of them.
    Definitions = definitions::PROJECTOR,
    /// Every observation, and the newest of each session.
    Observations = observations::PROJECTOR,
    /// What sessions, nodes and kinds of nodes needed.
    Demands = demands::PROJECTOR,
    /// Requests for observations and their outcomes.
    ObservationRequests = observation_requests::PROJECTOR,
    /// Workers.
    Workers = workers::PROJECTOR,
    /// What definitions need, how advice did, and proposals.
    Advice = advice::PROJECTOR,
}

impl ReadModel {
    /// The name, as in `lablet rebuild NAME`.
    pub fn name(self) -> &'static str {
        self.projector().name
    }

    /// Revision of its fold in this build. Rows of an earlier one are made anew by whoever runs the projections.
    pub fn revision(self) -> i32 {
        self.projector().revision
    }

    /// What it costs beside the others.
    pub(crate) fn weight(self) -> u32 {
        self.projector().weight
    }

    /// The schema of its tables.
    pub(crate) fn schema(self) -> &'static str {
        self.projector().schema
    }
}

impl fmt::Display for ReadModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl std::str::FromStr for ReadModel {
    type Err = domain::Invalid;
    fn from_str(text: &str) -> Result<Self, domain::Invalid> {
        Self::ALL.into_iter().find(|model| model.name() == text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let names = Self::ALL.map(Self::name).join(", ");
            domain::Invalid::new("read_model", format!("is {shown:?}"), format!("one of {names}"))
        })
    }
}
