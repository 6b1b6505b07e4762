//! Which sizes are off, by what that costs: the gap of each resource of each definition, times the sessions that it has in a
//! week.

use advice::sizing::{SizeVerdict, Sizing};
use domain::lablet_definition::DefinitionVersion;
use domain::resource::Resource;
use domain::{DefinitionId, SessionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most gaps of one answer.
pub const MOST_GAPS: u32 = 10_000;

/// One resource of a definition, sized against what its sessions used. Amounts are cores or MB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SizingGap {
    /// The definition.
    pub definition_id: DefinitionId,
    /// Its name.
    pub definition_name: String,
    /// The author's version.
    pub version: DefinitionVersion,
    /// Counted from 1, raised by each revision.
    pub revision: u32,
    /// The resource.
    pub resource: Resource,
    /// Whether its size is too small, fits or is too large, and by how much.
    pub sizing: Sizing,
    /// Its sessions that ended in the last four weeks.
    pub sessions_in_4_weeks: u64,
    /// The same, a week.
    pub sessions_a_week: f64,
    /// The difference, whichever way, times the sessions of a week: core·sessions or MB·sessions. Null: unknown.
    pub weekly_gap: Option<f64>,
    /// That as a share of what all definitions state of this resource for their sessions of a week, so that resources can be
    /// compared: 0 to 1, and more where much is lacking. Null: unknown, or no session ended.
    pub share: Option<f64>,
    /// The largest use of all its sessions that ended; null: unknown.
    pub largest_use: Option<LargestUse>,
}

/// The largest use of a resource by a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LargestUse {
    /// Cores or MB.
    pub value: f64,
    /// The session.
    pub session_id: SessionId,
    /// The event of the observation that says so.
    pub event_id: Uuid,
}

/// All gaps of one resource with one verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SizingTotal {
    /// The verdict.
    pub verdict: SizeVerdict,
    /// The resource.
    pub resource: Resource,
    /// Definitions of which it is said.
    pub definitions: u64,
    /// Their gaps times the sessions of a week: core·sessions or MB·sessions. Null: unknown.
    pub weekly_gap: Option<f64>,
    /// That as a share of what all definitions state for their sessions of a week. Null: unknown, or no session ended.
    pub share: Option<f64>,
}

/// Which gaps are asked for, in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SizingGapFilter {
    /// With this verdict; `None`: those that are too small or too large.
    pub verdict: Option<SizeVerdict>,
    /// Of this resource.
    pub resource: Option<Resource>,
    /// Of definitions whose id, name, version or description contains this, in whatever case.
    pub text: Option<String>,
    /// In this order.
    pub sort: SizingGapSort,
}

/// The order of gaps. What is too small comes first in each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SizingGapSort {
    /// The one whose gap in a week is the largest share of what is configured for all sessions comes first.
    #[default]
    Cost,
    /// CPU, memory, storage; within each the costliest first.
    Resource,
    /// The one with most sessions comes first.
    Sessions,
    /// By the definition's name, in whatever case.
    Name,
}
