//! The life of proposals: open → claimed → applied, failed or dismissed.
//!
//! An open one may be applied or dismissed at once, and is superseded when the evidence moves on; both are superseded when
//! the definition is revised without them. A definition has at most one that is open or claimed.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::LabletDefinitionEvent;
use super::proposal::{
    NewProposal, NewVerification, Proposal, ProposalKind, ProposalStatus, ProposalStep, Verification,
};
use super::{LabletDefinitionError, PresentDefinition, ResourceRequirements};
use crate::advice_policy::{AdvicePolicy, Applier, SetPolicy};
use crate::decision::Decision;
use crate::ids::{DefinitionId, ProposalId};
use crate::invalid::Invalid;

/// Proposals with an outcome that are recognised when the same is asked of them again.
const RECOGNISED: usize = 16;

/// A command about a definition's proposals.
#[derive(Debug, Clone, PartialEq)]
pub enum ProposalCommand {
    /// Propose another size.
    Open {
        /// The proposal's own id.
        id: ProposalId,
        /// What is proposed; its own id is not looked at.
        new: Box<NewProposal>,
    },
    /// Give a proposal up that the evidence no longer supports.
    Withdraw(ProposalStep),
    /// Take care of it.
    Claim(ProposalStep),
    /// Revise the definition as it says.
    Apply {
        /// The proposal.
        step: ProposalStep,
        /// As whom.
        applier: Applier,
        /// The policy of definitions that have none of their own.
        default_policy: AdvicePolicy,
    },
    /// Say that it could not be applied.
    Fail(ProposalStep),
    /// Say that it is not wanted.
    Dismiss(ProposalStep),
    /// Say whether it held.
    Verify(NewVerification),
}

/// A proposal that is open or claimed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurrentProposal {
    /// What is proposed.
    pub proposal: Proposal,
    /// Who claimed it; `None`: it is open.
    pub claimed_by: Option<String>,
    /// Counted from 1, raised by each step.
    pub version: u32,
}

/// A proposal that was applied and has not been verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppliedProposal {
    /// What was proposed.
    pub proposal: Proposal,
    /// The revision that it became.
    pub revision: u32,
}

/// A proposal that could not be applied, or did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedProposal {
    /// What was proposed.
    pub after: ResourceRequirements,
    /// It is not proposed again before more sessions than these are known.
    pub sessions: u64,
}

/// What a definition knows of its proposals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Proposals {
    /// The one that is open or claimed.
    pub current: Option<Box<CurrentProposal>>,
    /// The newest that was applied, until it is verified or the definition is revised again.
    pub applied: Option<Box<AppliedProposal>>,
    /// What was last dismissed: it is not proposed again.
    pub dismissed: Option<ResourceRequirements>,
    /// What last could not be applied, or did not hold: it is not proposed again by the same sessions.
    pub failed: Option<FailedProposal>,
    /// How the newest ended.
    outcomes: VecDeque<(ProposalId, ProposalStatus)>,
}

impl Proposals {
    /// How a proposal ended; `None`: it did not, or too many did after it.
    pub fn outcome(&self, id: &ProposalId) -> Option<ProposalStatus> {
        self.outcomes.iter().rev().find(|(known, _)| known == id).map(|(_, status)| *status)
    }

    /// What its parts take in memory, about.
    pub(super) fn weight(&self) -> usize {
        const ENTRY: usize = 128;
        let evidence = |proposal: &Proposal| proposal.evidence.len();
        let current = self.current.as_ref().map_or(0, |current| evidence(&current.proposal));
        let applied = self.applied.as_ref().map_or(0, |applied| evidence(&applied.proposal));
        2 * (size_of::<Proposal>() + 2_000) + (current + applied + self.outcomes.len()) * ENTRY
    }

    /// The current proposal, where it is the named one in the version that was seen.
    fn current(&self, step: &ProposalStep) -> Result<&CurrentProposal, LabletDefinitionError> {
        let Some(current) = self.current.as_deref().filter(|current| current.proposal.proposal_id == step.proposal_id)
        else {
            let id = step.proposal_id.clone();
            return Err(match self.outcome(&step.proposal_id) {
                Some(status) => LabletDefinitionError::ProposalEnded { id, status },
                None => LabletDefinitionError::UnknownProposal { id },
            });
        };
        match step.version {
            Some(expected) if expected != current.version => {
                Err(LabletDefinitionError::ProposalChanged { expected, actual: current.version })
            }
            _ => Ok(current),
        }
    }

    fn end(&mut self, id: ProposalId, status: ProposalStatus) {
        if self.current.as_ref().is_some_and(|current| current.proposal.proposal_id == id) {
            self.current = None;
        }
        self.outcomes.push_back((id, status));
        while self.outcomes.len() > RECOGNISED {
            self.outcomes.pop_front();
        }
    }

    pub(super) fn open(&mut self, proposal: Proposal) {
        self.current = Some(Box::new(CurrentProposal { proposal, claimed_by: None, version: 1 }));
    }

    pub(super) fn claim(&mut self, by: String) {
        if let Some(current) = &mut self.current {
            current.claimed_by = Some(by);
            current.version += 1;
        }
    }

    pub(super) fn apply(&mut self, id: ProposalId, revision: u32) {
        if let Some(current) = self.current.take() {
            // Another size is stated from now on: what was not wanted beside the one before may be wanted now, but for what
            // did not hold.
            let failed = self.failed.filter(|_| current.proposal.kind == ProposalKind::RollBack);
            self.forget();
            self.failed = failed;
            self.applied = Some(Box::new(AppliedProposal { proposal: current.proposal, revision }));
        }
        self.end(id, ProposalStatus::Applied);
    }

    pub(super) fn fail(&mut self, id: ProposalId) {
        self.failed = self
            .current
            .as_ref()
            .map(|current| FailedProposal { after: current.proposal.after, sessions: current.proposal.sessions });
        self.end(id, ProposalStatus::Failed);
    }

    pub(super) fn dismiss(&mut self, id: ProposalId) {
        self.dismissed = self.current.as_ref().map(|current| current.proposal.after);
        self.end(id, ProposalStatus::Dismissed);
    }

    pub(super) fn supersede(&mut self, id: ProposalId) {
        self.end(id, ProposalStatus::Superseded);
    }

    /// What did not hold is not proposed again before twice as many sessions are known: the estimate that gave it learns little
    /// of a few.
    pub(super) fn verify(&mut self, verification: &Verification) {
        let Some(applied) = self.applied.take() else { return };
        if !verification.held {
            let sessions = applied.proposal.sessions.saturating_add(verification.sessions).saturating_mul(2);
            self.failed = Some(FailedProposal { after: applied.proposal.after, sessions });
        }
    }

    /// The definition states another size, without a proposal.
    pub(super) fn forget(&mut self) {
        (self.applied, self.dismissed, self.failed) = (None, None, None);
    }
}

/// The reason of a step that has to have one.
fn reason(step: &ProposalStep) -> Result<String, LabletDefinitionError> {
    let reason = step.reason.clone().map(String::from);
    reason.ok_or_else(|| Invalid::new("reason", "is absent", "why, in a sentence").into())
}

/// Whoever applies a proposal may do so under a policy: admins always, others where it says so.
fn may_apply(applier: Applier, policy: Applier) -> bool {
    match applier {
        Applier::Admin => true,
        Applier::Operator => policy != Applier::Admin,
        Applier::Automatic => policy == Applier::Automatic,
    }
}

impl PresentDefinition {
    /// Decides on a command about its proposals. The events are in the name of `by`.
    pub(super) fn decide_on_proposal(
        &self,
        command: ProposalCommand,
        by: String,
        now: DateTime<Utc>,
    ) -> Result<Decision<LabletDefinitionEvent>, LabletDefinitionError> {
        let definition_id = self.id.clone();
        match command {
            ProposalCommand::Open { id, new } => self.open_proposal(id, *new, by, now),
            ProposalCommand::Withdraw(step) => {
                let why = reason(&step)?;
                match self.proposals.current(&step) {
                    Ok(current) if current.claimed_by.is_none() => {
                        Ok(Decision::one(superseded(definition_id, step.proposal_id, None, why, now)))
                    }
                    Ok(current) => Err(claimed(&current.proposal, current)),
                    Err(LabletDefinitionError::ProposalEnded { .. }) => Ok(Decision::AlreadyDone),
                    Err(error) => Err(error),
                }
            }
            ProposalCommand::Claim(step) => {
                let current = self.proposals.current.as_deref();
                let is_own = |current: &CurrentProposal| {
                    current.proposal.proposal_id == step.proposal_id && current.claimed_by.as_ref() == Some(&by)
                };
                if current.is_some_and(is_own) {
                    return Ok(Decision::AlreadyDone);
                }
                let current = self.proposals.current(&step)?;
                if current.claimed_by.is_some() {
                    return Err(claimed(&current.proposal, current));
                }
                Ok(Decision::one(LabletDefinitionEvent::ProposalClaimed {
                    definition_id,
                    proposal_id: step.proposal_id,
                    reason: step.reason.map(String::from),
                    claimed_by: by,
                    claimed_at: now,
                }))
            }
            ProposalCommand::Apply { step, applier, default_policy } => {
                self.apply_proposal(step, applier, &default_policy, by, now)
            }
            ProposalCommand::Fail(step) => {
                if self.proposals.outcome(&step.proposal_id) == Some(ProposalStatus::Failed) {
                    return Ok(Decision::AlreadyDone);
                }
                let (why, current) = (reason(&step)?, self.proposals.current(&step)?);
                if current.claimed_by.is_none() {
                    return Err(LabletDefinitionError::ProposalNotClaimed { id: step.proposal_id });
                }
                Ok(Decision::one(LabletDefinitionEvent::ProposalFailed {
                    definition_id,
                    proposal_id: step.proposal_id,
                    reason: why,
                    failed_by: by,
                    failed_at: now,
                }))
            }
            ProposalCommand::Dismiss(step) => {
                if self.proposals.outcome(&step.proposal_id) == Some(ProposalStatus::Dismissed) {
                    return Ok(Decision::AlreadyDone);
                }
                let why = reason(&step)?;
                self.proposals.current(&step)?;
                Ok(Decision::one(LabletDefinitionEvent::ProposalDismissed {
                    definition_id,
                    proposal_id: step.proposal_id,
                    reason: why,
                    dismissed_by: by,
                    dismissed_at: now,
                }))
            }
            ProposalCommand::Verify(new) => self.verify_proposal(new, by, now),
        }
    }

    fn open_proposal(
        &self,
        id: ProposalId,
        new: NewProposal,
        by: String,
        now: DateTime<Utc>,
    ) -> Result<Decision<LabletDefinitionEvent>, LabletDefinitionError> {
        let before = self.content.resource_requirements;
        let current = self.proposals.current.as_deref();
        if new.after == before
            || self.proposals.dismissed == Some(new.after)
            || self.proposals.failed.is_some_and(|failed| failed.after == new.after && failed.sessions >= new.sessions)
            || current.is_some_and(|current| current.proposal.after == new.after)
        {
            return Ok(Decision::AlreadyDone);
        }
        let mut events = Vec::new();
        if let Some(current) = current {
            if current.claimed_by.is_some() {
                return Err(claimed(&current.proposal, current));
            }
            let outdated = current.proposal.proposal_id.clone();
            let why = "the evidence has moved on".to_owned();
            events.push(superseded(self.id.clone(), outdated, Some(id.clone()), why, now));
        }
        let NewProposal {
            proposal_id: _,
            kind,
            after,
            finding,
            promise,
            as_of,
            sessions,
            reason,
            evidence,
            rolls_back,
        } = new;
        let proposal = Box::new(Proposal {
            proposal_id: id,
            kind,
            before,
            after,
            finding,
            promise,
            as_of: as_of.into(),
            sessions,
            reason: reason.into(),
            evidence: evidence.into(),
            rolls_back,
        });
        let definition_id = self.id.clone();
        events.push(LabletDefinitionEvent::ProposalOpened { definition_id, proposal, opened_by: by, opened_at: now });
        Ok(Decision::Record(events))
    }

    fn apply_proposal(
        &self,
        step: ProposalStep,
        applier: Applier,
        default_policy: &AdvicePolicy,
        by: String,
        now: DateTime<Utc>,
    ) -> Result<Decision<LabletDefinitionEvent>, LabletDefinitionError> {
        if self.proposals.outcome(&step.proposal_id) == Some(ProposalStatus::Applied) {
            return Ok(Decision::AlreadyDone);
        }
        let proposal = &self.proposals.current(&step)?.proposal;
        let policy: Option<&SetPolicy> = self.policy.as_ref().or(default_policy.set.as_ref());
        let allowed = policy.map(|set| set.policy.applier).unwrap_or_default();
        if !may_apply(applier, allowed) {
            return Err(LabletDefinitionError::NotApplier { allowed });
        }
        let revision = self.revision + 1;
        let mut after = self.content.clone();
        after.resource_requirements = proposal.after;
        let why = step.reason.map_or_else(|| proposal.reason.clone(), String::from);
        let revised = LabletDefinitionEvent::Revised {
            definition_id: self.id.clone(),
            revision,
            before: self.content.clone(),
            after,
            reason: why,
            evidence: proposal.evidence.clone(),
            proposal_id: Some(step.proposal_id.clone()),
            revised_by: by.clone(),
            revised_at: now,
        };
        let by_itself = policy.filter(|_| applier == Applier::Automatic);
        let applied = LabletDefinitionEvent::ProposalApplied {
            definition_id: self.id.clone(),
            proposal_id: step.proposal_id,
            revision,
            applied_by: by,
            policy_set_by: by_itself.map(|set| set.set_by.clone()),
            applied_at: now,
        };
        Ok(Decision::Record(vec![revised, applied]))
    }

    fn verify_proposal(
        &self,
        new: NewVerification,
        by: String,
        now: DateTime<Utc>,
    ) -> Result<Decision<LabletDefinitionEvent>, LabletDefinitionError> {
        let NewVerification { proposal_id, held, sessions, sessions_short, evidence } = new;
        let Some(applied) = self.proposals.applied.as_deref() else {
            return match self.proposals.outcome(&proposal_id) {
                Some(_) => Ok(Decision::AlreadyDone),
                None => Err(LabletDefinitionError::UnknownProposal { id: proposal_id }),
            };
        };
        if applied.proposal.proposal_id != proposal_id {
            return match self.proposals.outcome(&proposal_id) {
                Some(status) => Err(LabletDefinitionError::ProposalEnded { id: proposal_id, status }),
                None => Err(LabletDefinitionError::UnknownProposal { id: proposal_id }),
            };
        }
        Ok(Decision::one(LabletDefinitionEvent::ProposalVerified {
            definition_id: self.id.clone(),
            proposal_id,
            revision: applied.revision,
            verification: Verification { held, sessions, sessions_short, evidence: evidence.into() },
            verified_by: by,
            verified_at: now,
        }))
    }

    /// That the current proposal holds no more, where another size is stated without it.
    pub(super) fn superseded_by_revision(&self, now: DateTime<Utc>) -> Option<LabletDefinitionEvent> {
        let current = self.proposals.current.as_deref()?;
        let id = current.proposal.proposal_id.clone();
        let why = "the definition was revised without it".to_owned();
        Some(superseded(self.id.clone(), id, None, why, now))
    }
}

fn superseded(
    definition_id: DefinitionId,
    proposal_id: ProposalId,
    superseded_by: Option<ProposalId>,
    reason: String,
    superseded_at: DateTime<Utc>,
) -> LabletDefinitionEvent {
    LabletDefinitionEvent::ProposalSuperseded { definition_id, proposal_id, superseded_by, reason, superseded_at }
}

fn claimed(proposal: &Proposal, current: &CurrentProposal) -> LabletDefinitionError {
    let by = current.claimed_by.clone().unwrap_or_default();
    LabletDefinitionError::ProposalClaimed { id: proposal.proposal_id.clone(), by }
}

#[cfg(test)]
mod tests;
