//! What happens to a definition.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::proposal::{Proposal, Verification};
use super::{DefinitionContent, DefinitionVersion};
use crate::advice_policy::Policy;
use crate::ids::{DefinitionId, EventId, ProposalId};

/// What happened to a definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum LabletDefinitionEvent {
    /// It began to exist, at revision 1.
    #[serde(rename = "lablet_definition.created.v1")]
    Created {
        /// The definition.
        definition_id: DefinitionId,
        /// Its name.
        name: String,
        /// The author's version.
        version: DefinitionVersion,
        /// Its content.
        #[serde(flatten)]
        content: DefinitionContent,
        /// Number of nodes, where the author states it.
        #[serde(default)]
        node_count: Option<u32>,
        /// When.
        created_at: DateTime<Utc>,
    },
    /// Its content changed.
    #[serde(rename = "lablet_definition.revised.v1")]
    Revised {
        /// The definition.
        definition_id: DefinitionId,
        /// The new revision, counted from 1.
        revision: u32,
        /// The content before.
        before: DefinitionContent,
        /// The content from now on.
        after: DefinitionContent,
        /// Why.
        reason: String,
        /// The events that it rests on.
        evidence: Vec<EventId>,
        /// The proposal that it applies; absent: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proposal_id: Option<ProposalId>,
        /// Who.
        revised_by: String,
        /// When.
        revised_at: DateTime<Utc>,
    },
    /// Its policy of advice was set, or given up.
    #[serde(rename = "lablet_definition.policy_set.v1")]
    PolicySet {
        /// The definition.
        definition_id: DefinitionId,
        /// Its policy before; null: the default one.
        before: Option<Policy>,
        /// Its policy from now on; null: the default one.
        policy: Option<Policy>,
        /// Why.
        reason: String,
        /// Who.
        set_by: String,
        /// When.
        set_at: DateTime<Utc>,
    },
    /// Another size was proposed.
    #[serde(rename = "lablet_definition.proposal_opened.v1")]
    ProposalOpened {
        /// The definition.
        definition_id: DefinitionId,
        /// What is proposed, and why.
        #[serde(flatten)]
        proposal: Box<Proposal>,
        /// Who proposes.
        opened_by: String,
        /// When.
        opened_at: DateTime<Utc>,
    },
    /// Somebody takes care of a proposal: it changes no more.
    #[serde(rename = "lablet_definition.proposal_claimed.v1")]
    ProposalClaimed {
        /// The definition.
        definition_id: DefinitionId,
        /// The proposal.
        proposal_id: ProposalId,
        /// Why, where somebody said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Who.
        claimed_by: String,
        /// When.
        claimed_at: DateTime<Utc>,
    },
    /// A proposal was applied: the revision before this event.
    #[serde(rename = "lablet_definition.proposal_applied.v1")]
    ProposalApplied {
        /// The definition.
        definition_id: DefinitionId,
        /// The proposal.
        proposal_id: ProposalId,
        /// The revision that it became.
        revision: u32,
        /// Who applied it.
        applied_by: String,
        /// Who set the policy that lets it apply by itself; null: somebody applied it.
        policy_set_by: Option<String>,
        /// When.
        applied_at: DateTime<Utc>,
    },
    /// Whoever claimed a proposal could not apply it.
    #[serde(rename = "lablet_definition.proposal_failed.v1")]
    ProposalFailed {
        /// The definition.
        definition_id: DefinitionId,
        /// The proposal.
        proposal_id: ProposalId,
        /// Why.
        reason: String,
        /// Who says so.
        failed_by: String,
        /// When.
        failed_at: DateTime<Utc>,
    },
    /// A proposal is not wanted.
    #[serde(rename = "lablet_definition.proposal_dismissed.v1")]
    ProposalDismissed {
        /// The definition.
        definition_id: DefinitionId,
        /// The proposal.
        proposal_id: ProposalId,
        /// Why.
        reason: String,
        /// Who.
        dismissed_by: String,
        /// When.
        dismissed_at: DateTime<Utc>,
    },
    /// A proposal holds no more: the evidence moved on, or the definition was revised without it.
    #[serde(rename = "lablet_definition.proposal_superseded.v1")]
    ProposalSuperseded {
        /// The definition.
        definition_id: DefinitionId,
        /// The proposal.
        proposal_id: ProposalId,
        /// The proposal in its place; null: none.
        superseded_by: Option<ProposalId>,
        /// Why.
        reason: String,
        /// When.
        superseded_at: DateTime<Utc>,
    },
    /// The sessions after a proposal was applied say whether it held.
    #[serde(rename = "lablet_definition.proposal_verified.v1")]
    ProposalVerified {
        /// The definition.
        definition_id: DefinitionId,
        /// The proposal.
        proposal_id: ProposalId,
        /// The revision that it became.
        revision: u32,
        /// What the sessions say.
        #[serde(flatten)]
        verification: Verification,
        /// Who verified it.
        verified_by: String,
        /// When.
        verified_at: DateTime<Utc>,
    },
}

impl DomainEvent for LabletDefinitionEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Created { .. } => "lablet_definition.created",
            Self::Revised { .. } => "lablet_definition.revised",
            Self::PolicySet { .. } => "lablet_definition.policy_set",
            Self::ProposalOpened { .. } => "lablet_definition.proposal_opened",
            Self::ProposalClaimed { .. } => "lablet_definition.proposal_claimed",
            Self::ProposalApplied { .. } => "lablet_definition.proposal_applied",
            Self::ProposalFailed { .. } => "lablet_definition.proposal_failed",
            Self::ProposalDismissed { .. } => "lablet_definition.proposal_dismissed",
            Self::ProposalSuperseded { .. } => "lablet_definition.proposal_superseded",
            Self::ProposalVerified { .. } => "lablet_definition.proposal_verified",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        match self {
            Self::Created { .. }
            | Self::Revised { .. }
            | Self::PolicySet { .. }
            | Self::ProposalOpened { .. }
            | Self::ProposalClaimed { .. }
            | Self::ProposalApplied { .. }
            | Self::ProposalFailed { .. }
            | Self::ProposalDismissed { .. }
            | Self::ProposalSuperseded { .. }
            | Self::ProposalVerified { .. } => "1",
        }
        .to_owned()
    }
}
