//! When another size is proposed, taken back, applied, and whether it held.
//!
//! Level-triggered: from what is known of a definition now to the steps that it needs now. Taking them leads to a definition
//! that needs none, however often and by however many it is looked at.

mod verification;

use domain::advice_policy::Applier;
use domain::demand::ByResource;
use domain::lablet_definition::{
    CurrentProposal, Finding, NewProposal, NewVerification, ProposalKind, ProposalStep, Proposals, ResourceRequirements,
};
use domain::list::List;
use domain::resource::Resource;
use domain::text::{Line, Prose};
use domain::{EventId, Whole};

pub use self::verification::SessionAfter;
use crate::recommendation::{Recommendation, RecommendationKind, ResourceRecommendation};

/// Sessions by which a roll-back has to be overtaken before another size takes its place, at least.
const FEWEST_SESSIONS: u64 = 3;

/// What is known of a definition.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// What it states.
    pub stated: &'a ResourceRequirements,
    /// Its proposals.
    pub proposals: &'a Proposals,
    /// What is recommended of it.
    pub recommendation: &'a Recommendation,
    /// The sessions of the revision that the applied proposal became, and of those after it, newest first.
    pub after: &'a [SessionAfter],
}

/// A step that a definition needs.
#[derive(Debug, Clone, PartialEq)]
pub enum ProposerStep {
    /// Propose another size.
    Open(Box<NewProposal>),
    /// Take the open proposal back.
    Withdraw(ProposalStep),
    /// Apply the open proposal, as the policy says that it applies by itself.
    Apply(ProposalStep),
    /// Say whether the applied proposal held.
    Verify(Box<NewVerification>),
}

impl Situation<'_> {
    /// The steps that the definition needs now, in their order.
    ///
    /// A roll-back is proposed before its verification is told, so that none is lost between the two.
    pub fn steps(&self) -> Vec<ProposerStep> {
        if let Some(applied) = self.proposals.applied.as_deref()
            && let Some(outcome) = verification::outcome(applied, self)
        {
            let roll_back = outcome.roll_back.filter(|new| self.may_open(new));
            let opened = roll_back.map(|new| ProposerStep::Open(Box::new(new)));
            return opened.into_iter().chain([ProposerStep::Verify(Box::new(outcome.verification))]).collect();
        }
        let step = match self.proposals.current.as_deref() {
            Some(current) if current.claimed_by.is_some() => None,
            Some(current) if self.stands(current) => self.applies_by_itself(current),
            current => match self.candidate() {
                Ok(new) if current.is_some_and(|current| current.proposal.after == new.after) => {
                    current.and_then(|current| self.applies_by_itself(current))
                }
                Ok(new) => Some(ProposerStep::Open(Box::new(new))),
                Err(why) => current.map(|current| ProposerStep::Withdraw(step(current, Some(why)))),
            },
        };
        step.into_iter().collect()
    }

    /// Sessions on which the recommendation rests.
    fn sessions(&self) -> u64 {
        Resource::ALL
            .into_iter()
            .map(|resource| resource.part(&self.recommendation.resources).sessions)
            .max()
            .unwrap_or(0)
    }

    /// Sessions from which on a definition is judged, as a proposal is.
    fn minimum_sessions(&self) -> u64 {
        FEWEST_SESSIONS.max(u64::from(self.recommendation.policy.minimum_sessions))
    }

    /// Whether an open proposal is left alone: a roll-back, until more sessions are known.
    fn stands(&self, current: &CurrentProposal) -> bool {
        let enough = current.proposal.sessions.saturating_add(self.minimum_sessions());
        current.proposal.kind == ProposalKind::RollBack && self.sessions() < enough
    }

    fn applies_by_itself(&self, current: &CurrentProposal) -> Option<ProposerStep> {
        let is_automatic = self.recommendation.policy.applier == Applier::Automatic;
        is_automatic.then(|| ProposerStep::Apply(step(current, None)))
    }

    /// Whether the definition would take this proposal.
    fn may_open(&self, new: &NewProposal) -> bool {
        let Proposals { current, dismissed, .. } = self.proposals;
        let current = current.as_deref();
        new.after != *self.stated
            && *dismissed != Some(new.after)
            && current.is_none_or(|current| current.claimed_by.is_none() && current.proposal.after != new.after)
    }

    /// The proposal that the evidence asks for, else why it asks for none.
    fn candidate(&self) -> Result<NewProposal, &'static str> {
        let is_unverified = self.proposals.applied.is_some();
        let changes = |finding: Option<Finding>| match finding {
            Some(Finding::UnderProvisioned) => true,
            Some(Finding::OverProvisioned) => !is_unverified,
            Some(Finding::RightSized | Finding::InsufficientEvidence) | None => false,
        };
        let recommended = &self.recommendation.resources;
        let changed: Vec<Resource> = Resource::ALL
            .into_iter()
            .filter(|resource| {
                let of = resource.part(recommended);
                changes(of.finding) && of.requirement.is_some_and(|value| value != resource.configured(self.stated))
            })
            .collect();
        if changed.is_empty() {
            return Err(match self.recommendation.finding {
                Some(Finding::OverProvisioned) if is_unverified => "The proposal that was applied is not verified yet.",
                Some(Finding::InsufficientEvidence) | None => "Too few sessions are known now.",
                Some(_) => "What the definition states is right sized now.",
            });
        }
        let value = |resource: Resource| {
            let stated = resource.configured(self.stated);
            let of = resource.part(recommended);
            if changed.contains(&resource) { of.requirement.unwrap_or(stated) } else { stated }
        };
        let after = requirements(&Resource::each(value)).ok_or("What is recommended cannot be stated.")?;
        if self.proposals.dismissed == Some(after) {
            return Err("The size that the evidence asks for now was dismissed.");
        }
        let sessions = self.sessions();
        if self.proposals.failed.is_some_and(|failed| failed.after == after && failed.sessions >= sessions) {
            return Err("The size that the evidence asks for now could not be applied, or did not hold.");
        }
        let is_short =
            changed.iter().any(|resource| resource.part(recommended).finding == Some(Finding::UnderProvisioned));
        let told: Vec<String> = changed
            .iter()
            .map(|resource| sentence(*resource, resource.part(recommended), self.recommendation.promise))
            .collect();
        let evidence = changed.iter().flat_map(|resource| resource.part(recommended).evidence.iter());
        Ok(NewProposal {
            proposal_id: None,
            kind: ProposalKind::Size,
            after,
            finding: if is_short { Finding::UnderProvisioned } else { Finding::OverProvisioned },
            promise: self.recommendation.policy.promise,
            as_of: as_of(self.recommendation).ok_or("It is unknown up to where evidence is known.")?,
            sessions,
            reason: prose(&told.join(" ")).ok_or("No reason can be given.")?,
            evidence: first_of_each(evidence),
            rolls_back: None,
        })
    }
}

fn step(current: &CurrentProposal, reason: Option<&str>) -> ProposalStep {
    ProposalStep {
        proposal_id: current.proposal.proposal_id.clone(),
        version: Some(current.version),
        reason: reason.and_then(prose),
    }
}

/// What a resource's number says, e.g. "A size of 6 GB of memory keeps 95 of 100 sessions within it: 23 sessions are known,
/// and the largest needed 5.4 GB."
pub fn sentence(resource: Resource, of: &ResourceRecommendation, promise: f64) -> String {
    let name = match resource {
        Resource::CpuCores => "CPU",
        Resource::MemoryMb => "memory",
        Resource::StorageMb => "storage",
    };
    let unit = resource.unit_name();
    let Some(requirement) = of.requirement else { return format!("Of {name} nothing is known.") };
    let stated = if requirement == 1 { unit.trim_end_matches('s') } else { unit };
    // Rounded, so that a share such as 0.57 is told as it is stated.
    let share = (promise * 100_000.0).round() / 1_000.0;
    let keeps = match of.kind {
        RecommendationKind::Capped => "is what the policy allows, though it keeps fewer than".to_owned(),
        RecommendationKind::Floored => "is the least that the policy allows, and keeps at least".to_owned(),
        RecommendationKind::Calibrated
        | RecommendationKind::FromTopology
        | RecommendationKind::DistributionFree
        | RecommendationKind::Insufficient => "keeps".to_owned(),
    };
    let sessions = match of.sessions {
        0 => "no session is known".to_owned(),
        1 => "1 session is known".to_owned(),
        sessions => format!("{sessions} sessions are known"),
    };
    let largest = of
        .demand
        .max
        .map_or_else(String::new, |max| format!(", and the largest needed {:.1} {unit}", max / resource.unit()));
    let boot = if of.includes_boot() { ", boot included" } else { "" };
    format!(
        "A size of {requirement} {stated} of {name} {keeps} {share} of 100 sessions within it{boot}: {sessions}{largest}."
    )
}

/// A definition's requirements of whole cores and GB. `None`: they cannot be stated.
fn requirements(of: &ByResource<u32>) -> Option<ResourceRequirements> {
    Some(ResourceRequirements {
        cpu_cores: Whole::new(of.cpu_cores).ok()?,
        memory_gb: Whole::new(of.memory_mb).ok()?,
        storage_gb: Whole::new(of.storage_mb).ok()?,
    })
}

fn as_of(recommendation: &Recommendation) -> Option<Line<1, 64>> {
    Line::parse(recommendation.as_of.clone()).ok()
}

fn prose(text: &str) -> Option<Prose<1, 2_000>> {
    Prose::parse(text.to_owned()).ok()
}

fn first_of_each<'a, const MOST: usize>(events: impl Iterator<Item = &'a EventId>) -> List<EventId, MOST> {
    let mut found: Vec<EventId> = Vec::new();
    for event in events {
        if found.len() < MOST && !found.contains(event) {
            found.push(event.clone());
        }
    }
    List::first(found)
}

#[cfg(test)]
mod tests;
