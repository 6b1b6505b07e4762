use chrono::DateTime;
use cqrs_es::Aggregate as _;
use domain::advice_policy::AdvicePolicy;
use domain::lablet_definition::{
    DefinitionRevision, LabletDefinition, LabletDefinitionCommand, PresentDefinition, ProposalCommand,
};
use domain::{Decide as _, Decision, ProposalId};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::recommendation::{Reason, ReasonCode};

/// A definition with its proposals, and what is known of it.
struct Known {
    definition: LabletDefinition,
    policy: Value,
    /// Of CPU, memory and storage: what is recommended, in cores and GB, and how many sessions are known.
    recommended: [u32; 3],
    sessions: u64,
    after: Vec<SessionAfter>,
    opened: u32,
}

fn size(cpu_cores: u32, memory_gb: u32, storage_gb: u32) -> Value {
    json!({"cpu_cores": cpu_cores, "memory_gb": memory_gb, "storage_gb": storage_gb})
}

impl Known {
    /// A definition of 4 cores, 16 GB of memory and 20 GB of storage, of which 23 sessions needed this.
    fn new(recommended: [u32; 3]) -> Self {
        let mut known = Self {
            definition: LabletDefinition::default(),
            policy: json!({}),
            recommended,
            sessions: 23,
            after: Vec::new(),
            opened: 0,
        };
        let new = json!({"name": "OSPF", "version": "1", "resource_requirements": size(4, 16, 20)});
        let (id, new) = ("ospf".parse().unwrap(), serde_json::from_value(new).unwrap());
        known.carry_out(LabletDefinitionCommand::Create { id, new, now: DateTime::UNIX_EPOCH });
        known
    }

    fn with_policy(self, policy: Value) -> Self {
        Self { policy, ..self }
    }

    fn present(&self) -> &PresentDefinition {
        self.definition.present().unwrap()
    }

    fn carry_out(&mut self, command: LabletDefinitionCommand) {
        if let Decision::Record(events) = self.definition.decide(command).unwrap() {
            events.into_iter().for_each(|event| self.definition.apply(event));
        }
    }

    fn tell(&mut self, command: ProposalCommand) {
        let by = "admin:ada".to_owned();
        self.carry_out(LabletDefinitionCommand::Proposal { command, by, now: DateTime::UNIX_EPOCH });
    }

    fn recommendation(&self) -> Recommendation {
        let policy: domain::advice_policy::Policy = serde_json::from_value(self.policy.clone()).unwrap();
        let of = |resource: Resource, index: usize| {
            let stated = resource.configured(&self.present().content.resource_requirements);
            let value = self.recommended[index];
            let finding = match value.cmp(&stated) {
                _ if self.sessions < u64::from(policy.minimum_sessions) => Finding::InsufficientEvidence,
                std::cmp::Ordering::Less => Finding::OverProvisioned,
                std::cmp::Ordering::Equal => Finding::RightSized,
                std::cmp::Ordering::Greater => Finding::UnderProvisioned,
            };
            let max = f64::from(value) * resource.unit() * 0.9;
            json!({
                "configured": null, "nominal": null, "demand": {"max": max, "median": null, "latest": null},
                "sessions": self.sessions, "unknown_sessions": 0, "value": max, "requirement": value,
                "finding": finding, "kind": "calibrated", "reasons": [], "covers_next": null,
                "sessions_to_90_percent": 0, "evidence": [format!("e-{index}"), "e-all"]
            })
        };
        let [cpu, memory, storage] =
            [(Resource::CpuCores, 0), (Resource::MemoryMb, 1), (Resource::StorageMb, 2)].map(|(one, at)| of(one, at));
        let recommendation: Recommendation = serde_json::from_value(json!({
            "definition_id": "ospf", "revision": self.present().revision, "as_of": "0000000001-7",
            "promise": policy.promise, "policy": policy, "finding": null,
            "resources": {"cpu_cores": cpu, "memory_mb": memory, "storage_mb": storage},
            "topology": {"source": "unknown", "nodes": [], "node_count": 0, "assumed": []},
            "mixed": [], "left_out": []
        }))
        .unwrap();
        Recommendation {
            finding: crate::recommendation::finding_of_definition(&recommendation.resources),
            ..recommendation
        }
    }

    fn steps(&self) -> Vec<ProposerStep> {
        let present = self.present();
        let situation = Situation {
            stated: &present.content.resource_requirements,
            proposals: &present.proposals,
            recommendation: &self.recommendation(),
            after: &self.after,
        };
        situation.steps()
    }

    /// Takes the steps until there are none, and tells which they were.
    fn settle(&mut self) -> Vec<String> {
        let mut taken = Vec::new();
        loop {
            let steps = self.steps();
            if steps.is_empty() {
                return taken;
            }
            assert!(taken.len() < 10, "it never ends: {taken:?}");
            for step in steps {
                taken.push(self.take(step));
            }
        }
    }

    fn take(&mut self, step: ProposerStep) -> String {
        match step {
            ProposerStep::Open(new) => {
                self.opened += 1;
                let id = ProposalId::parse(format!("p-{}", self.opened)).unwrap();
                let stated = new.after;
                let kind = if new.rolls_back.is_some() { "roll back" } else { "open" };
                self.tell(ProposalCommand::Open { id, new });
                format!("{kind} {}/{}/{}", stated.cpu_cores.get(), stated.memory_gb.get(), stated.storage_gb.get())
            }
            ProposerStep::Withdraw(step) => {
                let why = step.reason.clone().map(String::from).unwrap();
                self.tell(ProposalCommand::Withdraw(step));
                format!("withdraw: {why}")
            }
            ProposerStep::Apply(step) => {
                self.apply_as(Applier::Admin, step);
                "apply".to_owned()
            }
            ProposerStep::Verify(new) => {
                let told = format!("held {}, {} of {}", new.held, new.sessions_short.memory_mb, new.sessions);
                self.tell(ProposalCommand::Verify(*new));
                told
            }
        }
    }

    fn apply_as(&mut self, applier: Applier, step: ProposalStep) {
        // No session of the new revision has run yet.
        self.after.clear();
        self.tell(ProposalCommand::Apply { step, applier, default_policy: AdvicePolicy::default() });
    }

    fn current_step(&self) -> ProposalStep {
        step(self.present().proposals.current.as_deref().unwrap(), Some("because"))
    }

    fn apply(&mut self) {
        let step = self.current_step();
        self.apply_as(Applier::Admin, step);
    }

    /// A session after the proposal was applied, which needed this much memory.
    fn session(&mut self, memory_gb: f64) {
        let memory_mb = Some(memory_gb * 1024.0);
        let number = self.after.len();
        let reading = EventId::parse(format!("r-{number}")).unwrap();
        self.after.insert(
            0,
            SessionAfter {
                demand: ByResource { cpu_cores: Some(1.0), memory_mb, storage_mb: None },
                readings: ByResource { cpu_cores: None, memory_mb: Some(reading), storage_mb: None },
            },
        );
        self.sessions += 1;
    }
}

#[test]
fn a_definition_that_is_too_large_is_proposed_once_with_its_evidence_in_a_sentence() {
    let known = Known::new([2, 6, 20]);
    let [ProposerStep::Open(new)] = &known.steps()[..] else { panic!("{:?}", known.steps()) };
    assert_eq!(serde_json::to_value(new.after).unwrap(), size(2, 6, 20));
    assert_eq!((new.finding, new.sessions, new.kind), (Finding::OverProvisioned, 23, ProposalKind::Size));
    assert_eq!(
        String::from(new.reason.clone()),
        "A size of 2 cores of CPU keeps 95 of 100 sessions within it: 23 sessions are known, and the largest needed 1.8 \
         cores. A size of 6 GB of memory keeps 95 of 100 sessions within it: 23 sessions are known, and the largest needed \
         5.4 GB."
    );
    let evidence: Vec<&str> = new.evidence.iter().map(EventId::as_str).collect();
    assert_eq!(evidence, ["e-0", "e-all", "e-1"]);
    let mut known = known;
    assert_eq!(known.settle(), ["open 2/6/20"]);
    assert_eq!(known.settle(), [""; 0], "looked at again, it needs nothing");
}

#[test]
fn a_resource_that_is_right_sized_or_unknown_stays_and_what_is_short_comes_first() {
    let mut known = Known::new([4, 24, 20]);
    let [ProposerStep::Open(new)] = &known.steps()[..] else { panic!("{:?}", known.steps()) };
    assert_eq!((new.finding, new.after.cpu_cores.get()), (Finding::UnderProvisioned, 4));
    known.sessions = 2;
    assert_eq!(known.steps(), [], "fewer sessions than the policy wants");
    assert_eq!(Known::new([4, 16, 20]).steps(), []);
}

#[test]
fn a_new_requirement_supersedes_the_open_one_and_one_that_is_right_sized_withdraws_it() {
    let mut known = Known::new([4, 6, 20]);
    known.settle();
    known.recommended = [4, 7, 20];
    assert_eq!(known.settle(), ["open 4/7/20"]);
    known.recommended = [4, 16, 20];
    assert_eq!(known.settle(), ["withdraw: What the definition states is right sized now."]);
    known.recommended = [4, 7, 20];
    known.settle();
    known.sessions = 1;
    assert_eq!(known.settle(), ["withdraw: Too few sessions are known now."], "evidence was excluded");
}

#[test]
fn a_claimed_proposal_is_left_alone() {
    let mut known = Known::new([4, 6, 20]);
    known.settle();
    let step = known.current_step();
    known.tell(ProposalCommand::Claim(step));
    for recommended in [[4, 9, 20], [4, 16, 20]] {
        known.recommended = recommended;
        assert_eq!(known.settle(), [""; 0]);
    }
}

#[test]
fn what_was_dismissed_or_failed_is_not_proposed_again_by_the_same_sessions() {
    let mut known = Known::new([4, 6, 20]);
    known.settle();
    let step = known.current_step();
    known.tell(ProposalCommand::Dismiss(step));
    assert_eq!(known.settle(), [""; 0]);
    known.sessions += 1;
    assert_eq!(known.settle(), [""; 0]);
    known.recommended = [4, 7, 20];
    assert_eq!(known.settle(), ["open 4/7/20"]);
    known.recommended = [4, 6, 20];
    assert_eq!(known.settle(), ["withdraw: The size that the evidence asks for now was dismissed."]);

    let mut known = Known::new([4, 6, 20]);
    known.settle();
    let step = known.current_step();
    known.tell(ProposalCommand::Claim(step));
    let step = known.current_step();
    known.tell(ProposalCommand::Fail(step));
    assert_eq!(known.settle(), [""; 0]);
    known.sessions += 1;
    assert_eq!(known.settle(), ["open 4/6/20"]);
}

#[test]
fn it_applies_by_itself_under_a_policy_that_says_so_and_under_no_other() {
    let mut known = Known::new([2, 6, 20]).with_policy(json!({"applier": "automatic"}));
    assert_eq!(known.settle(), ["open 2/6/20", "apply"]);
    assert_eq!(known.present().revision, 2);
    for applier in ["operator", "admin"] {
        let mut known = Known::new([2, 6, 20]).with_policy(json!({ "applier": applier }));
        assert_eq!(known.settle(), ["open 2/6/20"]);
    }
}

#[test]
fn whoever_takes_over_between_opening_and_applying_goes_on() {
    let mut known = Known::new([2, 6, 20]);
    known.settle();
    known.policy = json!({"applier": "automatic"});
    assert_eq!(known.settle(), ["apply"]);
}

#[test]
fn what_was_applied_held_when_enough_sessions_fit() {
    let mut known = Known::new([4, 6, 20]);
    known.settle();
    known.apply();
    assert_eq!(known.settle(), [""; 0]);
    for _ in 0..2 {
        known.session(5.0);
        assert_eq!(known.settle(), [""; 0], "three are waited for");
    }
    // Meanwhile nothing is proposed, unless something is short.
    known.recommended = [4, 5, 20];
    assert_eq!(known.settle(), [""; 0]);
    known.recommended = [8, 5, 20];
    assert_eq!(known.settle(), ["open 8/6/20"], "what is too large waits");
    known.recommended = [4, 6, 20];
    assert_eq!(known.settle(), ["withdraw: What the definition states is right sized now."]);
    known.session(6.0);
    assert_eq!(known.settle(), ["held true, 0 of 3"]);
}

#[test]
fn sessions_that_know_nothing_verify_nothing() {
    let mut known = Known::new([4, 6, 20]);
    known.settle();
    known.apply();
    known.after = vec![SessionAfter::default(); 50];
    assert_eq!(known.settle(), [""; 0]);
}

#[test]
fn a_policy_with_more_sessions_waits_for_as_many() {
    let mut known = Known::new([4, 6, 20]).with_policy(json!({"minimum_sessions": 5}));
    known.settle();
    known.apply();
    for _ in 0..4 {
        known.session(5.0);
        assert_eq!(known.settle(), [""; 0]);
    }
    known.session(5.0);
    assert_eq!(known.settle(), ["held true, 0 of 5"]);
}

#[test]
fn one_short_session_is_waited_with_until_it_is_known_to_be_no_surprise() {
    let mut known = Known::new([4, 6, 20]);
    known.settle();
    known.apply();
    known.session(7.0);
    for _ in 0..18 {
        known.session(5.0);
        assert_eq!(known.settle(), [""; 0]);
    }
    known.session(5.0);
    assert_eq!(known.settle(), ["held true, 1 of 20"]);
}

#[test]
fn what_did_not_hold_is_rolled_back_in_what_was_short() {
    let mut known = Known::new([2, 6, 20]);
    known.settle();
    known.apply();
    known.session(7.0);
    known.session(7.0);
    let steps = known.steps();
    let [ProposerStep::Open(new), ProposerStep::Verify(verification)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(
        String::from(new.reason.clone()),
        "By revision 2 it did not hold: 2 of 2 sessions were short of memory. The size before is proposed again."
    );
    assert_eq!((new.rolls_back.as_ref().unwrap().as_str(), verification.held), ("p-1", false));
    assert_eq!(verification.evidence.len(), 2);
    known.recommended = [2, 9, 20];
    assert_eq!(known.settle(), ["roll back 2/16/20", "held false, 2 of 2"], "cores were enough");
    // It stands until more sessions say what is needed.
    assert_eq!(known.settle(), [""; 0]);
    known.sessions += 3;
    assert_eq!(known.settle(), ["open 2/9/20"]);
}

#[test]
fn a_roll_back_that_was_opened_before_a_crash_is_followed_by_its_verification() {
    let mut known = Known::new([2, 6, 20]);
    known.settle();
    known.apply();
    known.session(7.0);
    known.session(7.0);
    let first = known.steps().remove(0);
    known.take(first);
    assert_eq!(known.settle(), ["held false, 2 of 2"]);
    assert_eq!(known.present().proposals.current.as_ref().unwrap().proposal.kind, ProposalKind::RollBack);
}

#[test]
fn what_was_too_small_before_as_well_is_followed_by_the_ordinary_proposal() {
    let mut known = Known::new([4, 24, 20]);
    known.settle();
    known.apply();
    known.session(30.0);
    known.session(30.0);
    known.recommended = [4, 36, 20];
    assert_eq!(known.settle(), ["held false, 2 of 2", "open 4/36/20"]);
}

#[test]
fn a_roll_back_goes_no_further_than_the_cap_of_the_policy() {
    let mut known = Known::new([4, 6, 20]).with_policy(json!({"limits": {"memory_mb": {"cap": 8192}}}));
    known.settle();
    known.apply();
    known.session(9.0);
    known.session(9.0);
    assert_eq!(known.settle(), ["roll back 4/8/20", "held false, 2 of 2"]);
}

#[test]
fn a_revision_by_hand_ends_what_was_to_be_verified() {
    let mut known = Known::new([4, 6, 20]);
    known.settle();
    known.apply();
    let revision = json!({"resource_requirements": size(4, 8, 20), "reason": "by hand"});
    let revision: DefinitionRevision = serde_json::from_value(revision).unwrap();
    let (revised_by, now) = ("admin:ada".to_owned(), DateTime::UNIX_EPOCH);
    known.carry_out(LabletDefinitionCommand::Revise { revision, revised_by, now });
    known.session(7.0);
    known.session(9.0);
    known.recommended = [4, 8, 20];
    assert_eq!(known.settle(), [""; 0]);
}

#[test]
fn a_share_is_told_as_it_is_stated() {
    let known = Known::new([2, 6, 20]);
    let of = known.recommendation().resources.memory_mb;
    for (promise, told) in [(0.95, "keeps 95 of 100"), (0.57, "keeps 57 of 100"), (0.999, "keeps 99.9 of 100")] {
        assert!(sentence(Resource::MemoryMb, &of, promise).contains(told));
    }
    let boot = Reason { code: ReasonCode::BootIncluded, text: "It covers the boot.".to_owned() };
    let with_boot = ResourceRecommendation { reasons: vec![boot], ..of.clone() };
    assert!(sentence(Resource::MemoryMb, &with_boot, 0.95).contains("within it, boot included: "));
    let capped = ResourceRecommendation { kind: RecommendationKind::Capped, ..of };
    assert!(sentence(Resource::MemoryMb, &capped, 0.95).contains("is what the policy allows"));
}

proptest! {
    #[test]
    fn whatever_is_known_comes_to_rest(
        moves in prop::collection::vec((1_u32..8, 1_u32..40, 1_u32..30, 0.5_f64..40.0, 0_u8..5), 1..30),
        automatic in any::<bool>(),
    ) {
        let policy = json!({"applier": if automatic { "automatic" } else { "admin" }});
        let mut known = Known::new([4, 16, 20]).with_policy(policy);
        for (cpu, memory, storage, demand, what) in moves {
            match what {
                0 | 1 => known.recommended = [cpu, memory, storage],
                2 => known.session(demand),
                3 if known.present().proposals.current.is_some() => {
                    known.apply();
                }
                4 if known.present().proposals.current.is_some() => {
                    let step = known.current_step();
                    known.tell(ProposalCommand::Dismiss(step));
                }
                _ => {}
            }
            let revision = known.present().revision;
            known.settle();
            if known.present().revision != revision {
                prop_assert!(automatic, "nothing applies by itself unless a policy says so");
            }
        }
    }
}
