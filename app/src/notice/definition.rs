//! Notices about definitions.

use chrono::{DateTime, Utc};
use domain::lablet_definition::{
    DefinitionContent, DefinitionVersion, LabletDefinitionEvent, Proposal, ProposalStatus, ResourceRequirements,
    Verification,
};
use domain::{DefinitionId, EventId, ProposalId};
use schemars::JsonSchema;
use serde::Serialize;

use super::proposal::{DefinitionPolicySet, ProposalMoved, ProposalOpened, ProposalVerified};
use super::{Draft, Notice, NoticeError, NoticeSchema};

/// A definition began to exist, at revision 1.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DefinitionCreated {
    /// The definition.
    pub definition_id: DefinitionId,
    /// Its name.
    pub name: String,
    /// The author's version.
    pub version: DefinitionVersion,
    /// What it needs.
    pub resource_requirements: ResourceRequirements,
    /// Ports and description.
    pub content: DefinitionContent,
    /// Number of nodes; null where the author does not state it.
    pub node_count: Option<u32>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A definition's content changed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DefinitionRevised {
    /// The definition.
    pub definition_id: DefinitionId,
    /// The new revision, counted from 1.
    pub revision: u32,
    /// What it needs from now on.
    pub resource_requirements: ResourceRequirements,
    /// The content before.
    pub before: DefinitionContent,
    /// The content from now on.
    pub after: DefinitionContent,
    /// Why.
    pub reason: String,
    /// The events that it rests on.
    pub evidence: Vec<EventId>,
    /// The proposal that it applies; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal_id: Option<ProposalId>,
    /// Who.
    pub revised_by: String,
    /// When.
    pub revised_at: DateTime<Utc>,
}

pub(super) fn announce(event: LabletDefinitionEvent, draft: &Draft<'_>) -> Result<Notice, NoticeError> {
    let moved = |definition_id, proposal_id, status, at| ProposalMoved {
        definition_id,
        proposal_id,
        status,
        revision: None,
        superseded_by: None,
        policy_set_by: None,
        reason: None,
        by: None,
        at,
    };
    match event {
        LabletDefinitionEvent::Created { definition_id, name, version, content, node_count, created_at } => {
            let created = DefinitionCreated {
                definition_id,
                name,
                version,
                resource_requirements: content.resource_requirements,
                content,
                node_count,
                created_at,
            };
            draft.notice(created_at, &created)
        }
        LabletDefinitionEvent::Revised {
            definition_id,
            revision,
            before,
            after,
            reason,
            evidence,
            proposal_id,
            revised_by,
            revised_at,
        } => {
            let revised = DefinitionRevised {
                definition_id,
                revision,
                resource_requirements: after.resource_requirements,
                before,
                after,
                reason,
                evidence,
                proposal_id,
                revised_by,
                revised_at,
            };
            draft.notice(revised_at, &revised)
        }
        LabletDefinitionEvent::PolicySet { definition_id, before, policy, reason, set_by, set_at } => {
            DefinitionPolicySet { definition_id, before, policy, reason, set_by, set_at }.announce(draft)
        }
        LabletDefinitionEvent::ProposalOpened { definition_id, proposal, opened_by, opened_at } => {
            let Proposal {
                proposal_id,
                kind,
                before,
                after,
                finding,
                promise,
                as_of,
                sessions,
                reason,
                evidence,
                rolls_back,
            } = *proposal;
            let promise = promise.share();
            let opened = ProposalOpened {
                definition_id,
                proposal_id,
                kind,
                before,
                after,
                finding,
                promise,
                as_of,
                sessions,
                reason,
                evidence,
                rolls_back,
                opened_by,
                opened_at,
            };
            opened.announce(draft)
        }
        LabletDefinitionEvent::ProposalClaimed { definition_id, proposal_id, reason, claimed_by, claimed_at } => {
            let claimed = moved(definition_id, proposal_id, ProposalStatus::Claimed, claimed_at);
            ProposalMoved { reason, by: Some(claimed_by), ..claimed }.announce(draft)
        }
        LabletDefinitionEvent::ProposalApplied {
            definition_id,
            proposal_id,
            revision,
            applied_by,
            policy_set_by,
            applied_at,
        } => {
            let applied = moved(definition_id, proposal_id, ProposalStatus::Applied, applied_at);
            let by = Some(applied_by);
            ProposalMoved { revision: Some(revision), policy_set_by, by, ..applied }.announce(draft)
        }
        LabletDefinitionEvent::ProposalFailed { definition_id, proposal_id, reason, failed_by, failed_at } => {
            let failed = moved(definition_id, proposal_id, ProposalStatus::Failed, failed_at);
            ProposalMoved { reason: Some(reason), by: Some(failed_by), ..failed }.announce(draft)
        }
        LabletDefinitionEvent::ProposalDismissed { definition_id, proposal_id, reason, dismissed_by, dismissed_at } => {
            let dismissed = moved(definition_id, proposal_id, ProposalStatus::Dismissed, dismissed_at);
            ProposalMoved { reason: Some(reason), by: Some(dismissed_by), ..dismissed }.announce(draft)
        }
        LabletDefinitionEvent::ProposalSuperseded {
            definition_id,
            proposal_id,
            superseded_by,
            reason,
            superseded_at,
        } => {
            let superseded = moved(definition_id, proposal_id, ProposalStatus::Superseded, superseded_at);
            ProposalMoved { superseded_by, reason: Some(reason), ..superseded }.announce(draft)
        }
        LabletDefinitionEvent::ProposalVerified {
            definition_id,
            proposal_id,
            revision,
            verification,
            verified_by,
            verified_at,
        } => {
            let Verification { held, sessions, sessions_short, evidence } = verification;
            let verified = ProposalVerified {
                definition_id,
                proposal_id,
                revision,
                held,
                sessions,
                sessions_short,
                evidence,
                verified_by,
                verified_at,
            };
            verified.announce(draft)
        }
    }
}

pub(super) fn schemas() -> Vec<NoticeSchema> {
    fn schema<T: JsonSchema>(event_type: &'static str, says: &'static str) -> NoticeSchema {
        NoticeSchema { event_type, event_version: "1", says, schema: |generator| generator.root_schema_for::<T>() }
    }
    vec![
        schema::<DefinitionCreated>("lablet_definition.created", "A definition began to exist, at revision 1."),
        schema::<DefinitionRevised>("lablet_definition.revised", "A definition's content changed."),
    ]
}
