//! Whether an applied proposal held, by the sessions after it.

use domain::EventId;
use domain::advice_policy::Promise;
use domain::demand::ByResource;
use domain::lablet_definition::{AppliedProposal, Finding, NewProposal, NewVerification, ProposalKind};
use domain::resource::Resource;
use special::Beta as _;

use super::{Situation, as_of, first_of_each, prose, requirements};

/// With so many sessions it is told whether a proposal held, though some of them were short.
const ENOUGH: u64 = 20;
/// What happens less often than this by chance is surprising.
const SURPRISING: f64 = 0.05;

/// What a session needed after a proposal was applied.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionAfter {
    /// Cores or MB; `None`: unknown.
    pub demand: ByResource<Option<f64>>,
    /// The readings that say so.
    pub readings: ByResource<Option<EventId>>,
}

/// What the sessions say, and what follows.
pub(super) struct VerificationOutcome {
    pub(super) verification: NewVerification,
    /// The size before, where it was larger in what was short.
    pub(super) roll_back: Option<NewProposal>,
}

/// Sessions of one resource.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    known: u64,
    short: u64,
}

/// What is to be told of an applied proposal. `None`: more sessions have to be waited for.
pub(super) fn outcome(applied: &AppliedProposal, situation: &Situation<'_>) -> Option<VerificationOutcome> {
    let AppliedProposal { proposal, revision } = applied;
    let size = |resource: Resource| f64::from(resource.configured(situation.stated)) * resource.unit();
    let is_short = |resource: Resource, session: &SessionAfter| {
        resource.part(&session.demand).is_some_and(|demand| demand > size(resource))
    };
    let counted = Resource::each(|resource| {
        let known = situation.after.iter().filter(|session| resource.part(&session.demand).is_some());
        Counted {
            known: known.clone().count() as u64,
            short: known.filter(|session| is_short(resource, session)).count() as u64,
        }
    });
    let knows_any = |session: &&SessionAfter| Resource::ALL.iter().any(|one| one.part(&session.demand).is_some());
    let known: Vec<&SessionAfter> = situation.after.iter().filter(knows_any).collect();
    let sessions = known.len() as u64;

    let not_kept: Vec<Resource> =
        Resource::ALL.into_iter().filter(|one| is_surprising(*one.part(&counted), proposal.promise)).collect();
    let changed = Resource::ALL
        .into_iter()
        .filter(|resource| resource.configured(&proposal.before) != resource.configured(&proposal.after));
    let is_enough = |resource: Resource| {
        let Counted { known, short } = *resource.part(&counted);
        known >= ENOUGH || (short == 0 && known >= situation.minimum_sessions())
    };
    let held = not_kept.is_empty();
    if held && sessions < ENOUGH && !changed.into_iter().all(is_enough) {
        return None;
    }
    let readings = |session: &&SessionAfter, wanted: &dyn Fn(Resource, &SessionAfter) -> bool| -> Vec<EventId> {
        let told = Resource::ALL.into_iter().filter(|resource| wanted(*resource, session));
        told.filter_map(|resource| resource.part(&session.readings).clone()).collect()
    };
    // Where sessions were short, their readings say so; where none was, all do.
    let any_short = Resource::ALL.iter().any(|resource| resource.part(&counted).short > 0);
    let is_told = |resource: Resource, session: &SessionAfter| !any_short || is_short(resource, session);
    let evidence: Vec<EventId> = known.iter().flat_map(|session| readings(session, &is_told)).collect();
    let verification = NewVerification {
        proposal_id: proposal.proposal_id.clone(),
        held,
        sessions,
        sessions_short: counted.map(|counted| counted.short),
        evidence: first_of_each(evidence.iter()),
    };
    let roll_back = || {
        let cap = |resource: Resource| {
            let cap = resource.part(&situation.recommendation.policy.limits).cap;
            cap.map_or(u32::MAX, |cap| resource.rounded_down(cap.get()))
        };
        let after = requirements(&Resource::each(|resource| {
            let (stated, before) = (resource.configured(situation.stated), resource.configured(&proposal.before));
            if not_kept.contains(&resource) { stated.max(before.min(cap(resource))) } else { stated }
        }))?;
        let told: Vec<String> = not_kept.iter().map(|resource| told(*resource, *resource.part(&counted))).collect();
        let reason =
            format!("By revision {revision} it did not hold: {}. The size before is proposed again.", told.join("; "));
        Some(NewProposal {
            proposal_id: None,
            kind: ProposalKind::RollBack,
            after,
            finding: Finding::UnderProvisioned,
            promise: proposal.promise,
            as_of: as_of(situation.recommendation)?,
            sessions: situation.sessions(),
            reason: prose(&reason)?,
            evidence: first_of_each(evidence.iter()),
            rolls_back: Some(proposal.proposal_id.clone()),
        })
    };
    let roll_back = if held { None } else { roll_back() };
    Some(VerificationOutcome { verification, roll_back })
}

fn told(resource: Resource, Counted { known, short }: Counted) -> String {
    let name = match resource {
        Resource::CpuCores => "CPU",
        Resource::MemoryMb => "memory",
        Resource::StorageMb => "storage",
    };
    format!("{short} of {known} sessions were short of {name}")
}

/// Whether so many sessions would rarely be short if the promise were kept.
fn is_surprising(Counted { known, short }: Counted, promise: Promise) -> bool {
    at_least(short, known, 1.0 - promise.share()) < SURPRISING
}

/// The probability that at least so many of a number of sessions are short, each with this probability.
fn at_least(short: u64, sessions: u64, probability: f64) -> f64 {
    if short == 0 {
        return 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a definition has fewer than 2^53 sessions")]
    let (short, rest) = (short as f64, (sessions - short) as f64 + 1.0);
    probability.inc_beta(short, rest, short.ln_beta(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_the_binomial_distribution() {
        for (short, sessions, probability, expected) in [
            (0, 0, 0.05, 1.0),
            (1, 1, 0.05, 0.05),
            (1, 3, 0.05, 0.142_625),
            (2, 2, 0.05, 0.0025),
            (3, 20, 0.05, 0.075_48),
        ] {
            let found = at_least(short, sessions, probability);
            assert!((found - expected).abs() < 1e-5, "{short} of {sessions}: {found}");
        }
    }

    #[test]
    fn one_short_session_is_no_surprise_and_two_of_two_are() {
        let promise = Promise::default();
        assert!(!is_surprising(Counted { known: 1, short: 1 }, promise));
        assert!(is_surprising(Counted { known: 2, short: 2 }, promise));
        assert!(!is_surprising(Counted { known: 20, short: 3 }, promise));
        assert!(is_surprising(Counted { known: 20, short: 4 }, promise));
    }
}
