//! Proposals with their life.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::lablet_definition::{LabletDefinitionEvent, Proposal, ProposalStatus, Verification};
use domain::{DefinitionId, ProposalId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rows::Rows;
use super::stored::StoredProposal;
use crate::page::{self, Page, PageRequest};
use crate::projector::Recorded;
use crate::refused::{Refused, integer};
use crate::table::cell::Json;
use crate::{Projections, ReadError, names};

/// A proposal with its life. Null is what has not happened, or what nobody said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProposalRow {
    /// The definition.
    pub definition_id: DefinitionId,
    /// The definition's name; null: its read model does not show it yet.
    #[serde(default)]
    pub definition_name: Option<String>,
    /// Where it is in its life.
    pub status: ProposalStatus,
    /// What is proposed, and why.
    #[serde(flatten, deserialize_with = "page::flattened")]
    pub proposal: Proposal,
    /// Counted from 1, raised by each step.
    pub version: u32,
    /// Its version for `If-Match`.
    pub etag: String,
    /// Who proposed it.
    pub opened_by: String,
    /// When.
    pub opened_at: DateTime<Utc>,
    /// The event.
    pub opened_event_id: Uuid,
    /// Who claimed it.
    pub claimed_by: Option<String>,
    /// When.
    pub claimed_at: Option<DateTime<Utc>>,
    /// Why, where somebody said so.
    pub claim_reason: Option<String>,
    /// The event.
    pub claimed_event_id: Option<Uuid>,
    /// Who applied it, said that it failed, or dismissed it; null where it was superseded.
    pub ended_by: Option<String>,
    /// When it was applied, failed, dismissed or superseded.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it failed, was dismissed or superseded.
    pub end_reason: Option<String>,
    /// The event.
    pub ended_event_id: Option<Uuid>,
    /// The revision that it became.
    pub revision: Option<u32>,
    /// Who set the policy by which it applied by itself; null: somebody applied it, or nobody did.
    pub policy_set_by: Option<String>,
    /// The proposal in its place.
    pub superseded_by: Option<ProposalId>,
    /// What the sessions after it say.
    pub verification: Option<Verification>,
    /// Who verified it.
    pub verified_by: Option<String>,
    /// When.
    pub verified_at: Option<DateTime<Utc>>,
    /// The event.
    pub verified_event_id: Option<Uuid>,
    /// Position of its last event.
    pub position: Position,
}

impl ProposalRow {
    /// The definition by its name, or by its id where its name is not shown yet.
    pub fn definition(&self) -> &str {
        self.definition_name.as_deref().unwrap_or(self.definition_id.as_str())
    }
}

/// Which proposals are asked for; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProposalFilter {
    /// Of this definition.
    #[serde(default)]
    pub definition_id: Option<DefinitionId>,
    /// In this state.
    #[serde(default)]
    pub status: Option<ProposalStatus>,
}

/// What the rows are called in an alarm.
const LIST: &str = "proposals";

/// Begins a statement that selects proposals; `) r` ends it.
fn select() -> String {
    let name = names::definition("p.definition_id");
    page::select("proposal_id", "opened_position")
        + &format!(
            "
    SELECT proposal_id, proposal || jsonb_build_object(
               'definition_id', definition_id, 'definition_name', {name}, 'status', status, 'version', version,
               'etag', '\"' || version || '\"', 'opened_by', opened_by, 'opened_at', opened_at,
               'opened_event_id', opened_event_id,
               'claimed_by', claimed_by, 'claimed_at', claimed_at, 'claim_reason', claim_reason,
               'claimed_event_id', claimed_event_id, 'ended_by', ended_by, 'ended_at', ended_at,
               'end_reason', end_reason, 'ended_event_id', ended_event_id, 'revision', revision,
               'policy_set_by', policy_set_by, 'superseded_by', superseded_by, 'verification', verification,
               'verified_by', verified_by, 'verified_at', verified_at, 'verified_event_id', verified_event_id,
               'position', position) AS proposal, opened_position
      FROM read_advice.proposals p WHERE true"
        )
}

/// A row as it is selected.
#[derive(Deserialize)]
struct Selected {
    proposal: ProposalRow,
}

impl Projections {
    /// Proposals, newest first.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn proposals(
        &self,
        filter: &ProposalFilter,
        request: &PageRequest,
    ) -> Result<Page<ProposalRow>, ReadError> {
        let mut query = sqlx::QueryBuilder::new(select());
        if let Some(definition) = &filter.definition_id {
            query.push(" AND definition_id = ").push_bind(definition.to_string());
        }
        if let Some(status) = filter.status {
            query.push(" AND status = ").push_bind(status.as_str());
        }
        if let Some(after) = request.position().map_err(ReadError::Invalid)? {
            query.push(" AND opened_position < ").push_bind(after);
        }
        query.push(" ORDER BY opened_position DESC LIMIT ").push_bind(request.fetch()).push(") r");
        let page: Page<Selected> = self.page_of(LIST, query, request).await?;
        let items = page.items.into_iter().map(|row| row.proposal).collect();
        Ok(Page { items, next: page.next, unreadable: page.unreadable })
    }

    /// One proposal.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn proposal(&self, id: &ProposalId) -> Result<Option<ProposalRow>, ReadError> {
        let mut query = sqlx::QueryBuilder::new(select());
        query.push(" AND proposal_id = ").push_bind(id.to_string()).push(") r");
        let row: Option<Selected> = self.row_of(LIST, query).await?;
        Ok(row.map(|row| row.proposal))
    }
}

/// The proposal that an event is about.
fn proposal_id(event: &LabletDefinitionEvent) -> Option<&ProposalId> {
    match event {
        LabletDefinitionEvent::ProposalOpened { proposal, .. } => Some(&proposal.proposal_id),
        LabletDefinitionEvent::ProposalClaimed { proposal_id, .. }
        | LabletDefinitionEvent::ProposalApplied { proposal_id, .. }
        | LabletDefinitionEvent::ProposalFailed { proposal_id, .. }
        | LabletDefinitionEvent::ProposalDismissed { proposal_id, .. }
        | LabletDefinitionEvent::ProposalSuperseded { proposal_id, .. }
        | LabletDefinitionEvent::ProposalVerified { proposal_id, .. } => Some(proposal_id),
        LabletDefinitionEvent::Created { .. }
        | LabletDefinitionEvent::Revised { .. }
        | LabletDefinitionEvent::PolicySet { .. } => None,
    }
}

/// How a proposal ended.
struct End<'a> {
    status: ProposalStatus,
    by: Option<&'a String>,
    at: DateTime<Utc>,
    reason: Option<&'a String>,
}

impl StoredProposal {
    fn end(&mut self, end: &End<'_>, recorded: &Recorded) {
        end.status.as_str().clone_into(&mut self.status);
        self.ended_by = end.by.cloned();
        self.ended_at = Some(end.at);
        self.end_reason = end.reason.cloned();
        self.ended_event_id = Some(recorded.event_id());
    }
}

impl Rows {
    pub(super) fn want_proposal(&mut self, event: &LabletDefinitionEvent) {
        if let Some(id) = proposal_id(event) {
            self.proposals.want((id.to_string(),));
        }
    }

    pub(super) fn fold_proposal(&mut self, event: &LabletDefinitionEvent, recorded: &Recorded) -> Result<(), Refused> {
        let Some(key) = proposal_id(event).map(|id| (id.to_string(),)) else { return Ok(()) };
        if let LabletDefinitionEvent::ProposalOpened { definition_id, proposal, opened_by, opened_at } = event {
            return self.proposals.insert(
                StoredProposal {
                    proposal_id: key.0,
                    definition_id: definition_id.to_string(),
                    status: ProposalStatus::Open.as_str().to_owned(),
                    proposal: Json(proposal.as_ref().clone()),
                    version: 1,
                    opened_by: opened_by.clone(),
                    opened_at: *opened_at,
                    opened_event_id: recorded.event_id(),
                    claimed_by: None,
                    claimed_at: None,
                    claim_reason: None,
                    claimed_event_id: None,
                    ended_by: None,
                    ended_at: None,
                    end_reason: None,
                    ended_event_id: None,
                    revision: None,
                    policy_set_by: None,
                    superseded_by: None,
                    verification: None,
                    verified_by: None,
                    verified_at: None,
                    verified_event_id: None,
                    opened_position: recorded.position(),
                    position: recorded.position(),
                },
                "a proposal is opened",
            );
        }
        let known = self.proposals.get(&key)?;
        let Some(mut row) = known.cloned() else {
            return Err(Refused::new(format!("there is no proposal {}", key.0)));
        };
        row.position = recorded.position();
        row.version += 1;
        match event {
            LabletDefinitionEvent::ProposalClaimed { reason, claimed_by, claimed_at, .. } => {
                ProposalStatus::Claimed.as_str().clone_into(&mut row.status);
                (row.claimed_by, row.claimed_at) = (Some(claimed_by.clone()), Some(*claimed_at));
                (row.claim_reason, row.claimed_event_id) = (reason.clone(), Some(recorded.event_id()));
            }
            LabletDefinitionEvent::ProposalApplied { revision, applied_by, policy_set_by, applied_at, .. } => {
                row.revision = Some(integer(*revision, "revision")?);
                row.policy_set_by.clone_from(policy_set_by);
                let status = ProposalStatus::Applied;
                row.end(&End { status, by: Some(applied_by), at: *applied_at, reason: None }, recorded);
            }
            LabletDefinitionEvent::ProposalFailed { reason, failed_by, failed_at, .. } => {
                let status = ProposalStatus::Failed;
                row.end(&End { status, by: Some(failed_by), at: *failed_at, reason: Some(reason) }, recorded);
            }
            LabletDefinitionEvent::ProposalDismissed { reason, dismissed_by, dismissed_at, .. } => {
                let status = ProposalStatus::Dismissed;
                row.end(&End { status, by: Some(dismissed_by), at: *dismissed_at, reason: Some(reason) }, recorded);
            }
            LabletDefinitionEvent::ProposalSuperseded { superseded_by, reason, superseded_at, .. } => {
                row.superseded_by = superseded_by.as_ref().map(ToString::to_string);
                let status = ProposalStatus::Superseded;
                row.end(&End { status, by: None, at: *superseded_at, reason: Some(reason) }, recorded);
            }
            LabletDefinitionEvent::ProposalVerified { verification, verified_by, verified_at, .. } => {
                row.verification = Some(Json(verification.clone()));
                (row.verified_by, row.verified_at) = (Some(verified_by.clone()), Some(*verified_at));
                row.verified_event_id = Some(recorded.event_id());
            }
            LabletDefinitionEvent::ProposalOpened { .. }
            | LabletDefinitionEvent::Created { .. }
            | LabletDefinitionEvent::Revised { .. }
            | LabletDefinitionEvent::PolicySet { .. } => {}
        }
        self.proposals.put(row)
    }
}
