//! Notices about policies of advice and about proposals.

use chrono::{DateTime, Utc};
use domain::advice_policy::{AdvicePolicyEvent, Policy};
use domain::demand::ByResource;
use domain::lablet_definition::{Finding, ProposalKind, ProposalStatus, ResourceRequirements};
use domain::{DefinitionId, EventId, ProposalId};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Draft, Notice, NoticeError, NoticeSchema};

/// The policy of definitions that have none of their own was set.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DefaultPolicySet {
    /// `default`.
    pub policy_id: String,
    /// The policy before; null: nobody had set one.
    pub before: Option<Policy>,
    /// The policy from now on; null: as where nobody has set one.
    pub policy: Option<Policy>,
    /// Why.
    pub reason: String,
    /// Who.
    pub set_by: String,
    /// When.
    pub set_at: DateTime<Utc>,
}

/// A definition's policy of advice was set, or given up.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DefinitionPolicySet {
    /// The definition.
    pub definition_id: DefinitionId,
    /// Its policy before; null: the default one.
    pub before: Option<Policy>,
    /// Its policy from now on; null: the default one.
    pub policy: Option<Policy>,
    /// Why.
    pub reason: String,
    /// Who.
    pub set_by: String,
    /// When.
    pub set_at: DateTime<Utc>,
}

/// Another size was proposed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ProposalOpened {
    /// The definition.
    pub definition_id: DefinitionId,
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
    pub promise: f64,
    /// The position of the log up to which everything is known that it rests on.
    pub as_of: String,
    /// Sessions that it rests on.
    pub sessions: u64,
    /// Why, in a sentence.
    pub reason: String,
    /// The events that set it.
    pub evidence: Vec<EventId>,
    /// The proposal that did not hold; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolls_back: Option<ProposalId>,
    /// Who proposes.
    pub opened_by: String,
    /// When.
    pub opened_at: DateTime<Utc>,
}

/// A proposal went on in its life.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ProposalMoved {
    /// The definition.
    pub definition_id: DefinitionId,
    /// The proposal.
    pub proposal_id: ProposalId,
    /// Where it is in its life now.
    pub status: ProposalStatus,
    /// The revision that it became; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// The proposal in its place; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<ProposalId>,
    /// Who set the policy by which it applied by itself; absent: somebody applied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_set_by: Option<String>,
    /// Why; absent: nobody said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who; absent: it followed from another event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// The sessions after a proposal was applied say whether it held.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ProposalVerified {
    /// The definition.
    pub definition_id: DefinitionId,
    /// The proposal.
    pub proposal_id: ProposalId,
    /// The revision that it became.
    pub revision: u32,
    /// Whether it held.
    pub held: bool,
    /// Sessions of that revision whose demand is known.
    pub sessions: u64,
    /// Those of them that needed more than is stated.
    pub sessions_short: ByResource<u64>,
    /// The readings that say so.
    pub evidence: Vec<EventId>,
    /// Who verified it.
    pub verified_by: String,
    /// When.
    pub verified_at: DateTime<Utc>,
}

pub(super) fn announce_default_policy(event: AdvicePolicyEvent, draft: &Draft<'_>) -> Result<Notice, NoticeError> {
    let AdvicePolicyEvent::Set { policy_id, before, policy, reason, set_by, set_at } = event;
    let set = DefaultPolicySet { policy_id, before, policy, reason, set_by, set_at };
    draft.notice(set_at, &set)
}

impl DefinitionPolicySet {
    pub(super) fn announce(&self, draft: &Draft<'_>) -> Result<Notice, NoticeError> {
        draft.notice(self.set_at, self)
    }
}

impl ProposalOpened {
    pub(super) fn announce(&self, draft: &Draft<'_>) -> Result<Notice, NoticeError> {
        draft.notice(self.opened_at, self)
    }
}

impl ProposalMoved {
    pub(super) fn announce(&self, draft: &Draft<'_>) -> Result<Notice, NoticeError> {
        draft.notice(self.at, self)
    }
}

impl ProposalVerified {
    pub(super) fn announce(&self, draft: &Draft<'_>) -> Result<Notice, NoticeError> {
        draft.notice(self.verified_at, self)
    }
}

pub(super) fn schemas() -> Vec<NoticeSchema> {
    fn schema<T: JsonSchema>(event_type: &'static str, says: &'static str) -> NoticeSchema {
        NoticeSchema { event_type, event_version: "1", says, schema: |generator| generator.root_schema_for::<T>() }
    }
    vec![
        schema::<DefinitionPolicySet>("lablet_definition.policy_set", "A definition's policy of advice was set."),
        schema::<ProposalOpened>("lablet_definition.proposal_opened", "Another size was proposed."),
        schema::<ProposalMoved>("lablet_definition.proposal_claimed", "Somebody takes care of a proposal."),
        schema::<ProposalMoved>("lablet_definition.proposal_applied", "A proposal became a revision."),
        schema::<ProposalMoved>("lablet_definition.proposal_failed", "A proposal could not be applied."),
        schema::<ProposalMoved>("lablet_definition.proposal_dismissed", "A proposal is not wanted."),
        schema::<ProposalMoved>("lablet_definition.proposal_superseded", "A proposal holds no more."),
        schema::<ProposalVerified>(
            "lablet_definition.proposal_verified",
            "The sessions after a proposal was applied say whether it held.",
        ),
        schema::<DefaultPolicySet>(
            "advice_policy.set",
            "The policy of definitions that have none of their own was set.",
        ),
    ]
}
