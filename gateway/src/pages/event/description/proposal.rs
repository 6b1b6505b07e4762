//! What became of a proposal, in a sentence.

use domain::lablet_definition::{LabletDefinitionEvent, ProposalKind, ResourceRequirements};

use super::{EventDescription, MOST_LISTED, counted, from_to};

/// The description of an event in the life of a proposal.
pub(super) fn describe(event: &LabletDefinitionEvent) -> EventDescription {
    match event {
        LabletDefinitionEvent::ProposalOpened { proposal, opened_by, .. } => {
            let mut told = EventDescription::new(match proposal.kind {
                ProposalKind::Size => format!("Another size was proposed by {opened_by}."),
                ProposalKind::RollBack => format!("The size before was proposed by {opened_by}."),
            })
            .with_id("Proposal", Some(&proposal.proposal_id))
            .with("Why", &proposal.reason)
            .with("Promise", format!("{:.1} %", 100.0 * proposal.promise.share()))
            .with("Sessions", proposal.sessions.to_string());
            for (name, was, is) in sizes(&proposal.before, &proposal.after) {
                told = told.with(name, from_to(&was, &is));
            }
            for event in proposal.evidence.iter().take(MOST_LISTED) {
                told = told.with_page("Rests on", event.to_string(), format!("/events/{event}"));
            }
            told
        }
        LabletDefinitionEvent::ProposalClaimed { proposal_id, reason, claimed_by, .. } => {
            EventDescription::new(format!("{claimed_by} takes care of the proposal. It changes no more."))
                .with_id("Proposal", Some(proposal_id))
                .with_some("Why", reason.clone())
        }
        LabletDefinitionEvent::ProposalApplied { proposal_id, revision, applied_by, policy_set_by, .. } => {
            EventDescription::new(format!("The proposal was applied by {applied_by}: it became revision {revision}."))
                .with_id("Proposal", Some(proposal_id))
                .with_some("By the policy of", policy_set_by.clone())
        }
        LabletDefinitionEvent::ProposalFailed { proposal_id, reason, failed_by, .. } => {
            EventDescription::new(format!("The proposal could not be applied, says {failed_by}."))
                .with_id("Proposal", Some(proposal_id))
                .with("Why", reason)
        }
        LabletDefinitionEvent::ProposalDismissed { proposal_id, reason, dismissed_by, .. } => {
            EventDescription::new(format!("The proposal was dismissed by {dismissed_by}."))
                .with_id("Proposal", Some(proposal_id))
                .with("Why", reason)
        }
        LabletDefinitionEvent::ProposalSuperseded { proposal_id, superseded_by, reason, .. } => {
            EventDescription::new("The proposal holds no more.")
                .with_id("Proposal", Some(proposal_id))
                .with_id("In its place", superseded_by.as_ref())
                .with("Why", reason)
        }
        LabletDefinitionEvent::ProposalVerified { proposal_id, revision, verification, .. } => {
            let short = &verification.sessions_short;
            let verdict = if verification.held { "held" } else { "did not hold" };
            EventDescription::new(format!(
                "The proposal {verdict}: {} of revision {revision} are known.",
                counted(&verification.sessions, "session")
            ))
            .with_id("Proposal", Some(proposal_id))
            .with("Short of CPU", short.cpu_cores.to_string())
            .with("Short of memory", short.memory_mb.to_string())
            .with("Short of storage", short.storage_mb.to_string())
        }
        LabletDefinitionEvent::Created { .. }
        | LabletDefinitionEvent::Revised { .. }
        | LabletDefinitionEvent::PolicySet { .. } => EventDescription::new("The definition changed."),
    }
}

fn sizes(was: &ResourceRequirements, is: &ResourceRequirements) -> impl Iterator<Item = (&'static str, u32, u32)> {
    let all = [
        ("CPU cores", was.cpu_cores.get(), is.cpu_cores.get()),
        ("Memory GB", was.memory_gb.get(), is.memory_gb.get()),
        ("Storage GB", was.storage_gb.get(), is.storage_gb.get()),
    ];
    all.into_iter().filter(|(_, was, is)| was != is)
}
