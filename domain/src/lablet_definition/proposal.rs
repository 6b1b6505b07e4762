//! What is proposed of a definition, and what is asked of proposals.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MOST_EVIDENCE, ResourceRequirements};
use crate::advice_policy::Promise;
use crate::demand::ByResource;
use crate::ids::{EventId, ProposalId};
use crate::list::List;
use crate::text::{Line, Prose};

/// What is found of what is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It is too little for the promise.
    UnderProvisioned,
    /// It is more than the promise needs.
    OverProvisioned,
    /// It is what the promise needs, or near enough.
    RightSized,
    /// Fewer sessions are known than the policy wants.
    InsufficientEvidence,
}

/// What a proposal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProposalKind {
    /// The size that keeps the promise.
    Size,
    /// The size before a proposal that did not hold.
    RollBack,
}

/// Where a proposal is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProposalStatus {
    /// It waits for somebody, and follows the evidence.
    Open,
    /// Somebody takes care of it: it changes no more.
    Claimed,
    /// It became a revision.
    Applied,
    /// Whoever claimed it could not apply it.
    Failed,
    /// It is not wanted.
    Dismissed,
    /// The evidence moved on, or the definition was revised without it.
    Superseded,
}

impl ProposalStatus {
    /// All of them, in the order of their life.
    pub const ALL: [Self; 6] =
        [Self::Open, Self::Claimed, Self::Applied, Self::Failed, Self::Dismissed, Self::Superseded];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Claimed => "claimed",
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Dismissed => "dismissed",
            Self::Superseded => "superseded",
        }
    }
}

impl fmt::Display for ProposalStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What is proposed, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    /// The proposal.
    pub proposal_id: ProposalId,
    /// What it is for.
    pub kind: ProposalKind,
    /// What the definition states now.
    pub before: ResourceRequirements,
    /// What it would state.
    pub after: ResourceRequirements,
    /// What is found of what it states now.
    pub finding: Finding,
    /// The share of future sessions to cover.
    pub promise: Promise,
    /// The position of the log up to which everything is known that it rests on.
    pub as_of: String,
    /// Sessions that it rests on.
    pub sessions: u64,
    /// Why, in a sentence.
    pub reason: String,
    /// The events that set it.
    pub evidence: Vec<EventId>,
    /// The proposal that did not hold; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolls_back: Option<ProposalId>,
}

/// What the sessions after a proposal was applied say of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Whether it held.
    pub held: bool,
    /// Sessions of the revision that it became, whose demand is known.
    pub sessions: u64,
    /// Those of them that needed more than is stated.
    pub sessions_short: ByResource<u64>,
    /// The readings that say so: the newest, at most 1,000.
    pub evidence: Vec<EventId>,
}

/// A proposal as it arrives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewProposal {
    /// Its id; minted when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal_id: Option<ProposalId>,
    /// What it is for.
    pub kind: ProposalKind,
    /// What the definition would state.
    pub after: ResourceRequirements,
    /// What is found of what it states now.
    pub finding: Finding,
    /// The share of future sessions to cover.
    pub promise: Promise,
    /// The position of the log up to which everything is known that it rests on.
    pub as_of: Line<1, 64>,
    /// Sessions that it rests on.
    pub sessions: u64,
    /// Why, in a sentence.
    pub reason: Prose<1, 2_000>,
    /// The events that set it.
    #[serde(default)]
    pub evidence: List<EventId, MOST_EVIDENCE>,
    /// The proposal that did not hold; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolls_back: Option<ProposalId>,
}

/// What is asked of a proposal, with the version of it that was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProposalStep {
    /// The proposal.
    pub proposal_id: ProposalId,
    /// The version of the proposal that was seen; absent: whichever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Why; claiming and applying need no reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose<1, 2_000>>,
}

/// A verification as it arrives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewVerification {
    /// The proposal.
    pub proposal_id: ProposalId,
    /// Whether it held.
    pub held: bool,
    /// Sessions of the revision that it became, whose demand is known.
    pub sessions: u64,
    /// Those of them that needed more than is stated.
    pub sessions_short: ByResource<u64>,
    /// The readings that say so.
    #[serde(default)]
    pub evidence: List<EventId, MOST_EVIDENCE>,
}
