//! The life of a proposal.

use cqrs_es::Aggregate as _;
use serde_json::{Value, json};

use super::*;
use crate::advice_policy::Policy;
use crate::decision::Decide as _;
use crate::lablet_definition::{LabletDefinition, LabletDefinitionCommand};

const ADA: &str = "admin:ada";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_000_000, 0).unwrap()
}

fn id(number: u32) -> ProposalId {
    ProposalId::parse(format!("proposal-{number}")).unwrap()
}

fn requirements(memory_gb: u32) -> ResourceRequirements {
    serde_json::from_value(json!({"cpu_cores": 4, "memory_gb": memory_gb, "storage_gb": 20})).unwrap()
}

/// A definition that states 8 GB of memory.
fn definition() -> LabletDefinition {
    let mut definition = LabletDefinition::default();
    let new = json!({"name": "OSPF", "version": "1", "resource_requirements": requirements(8)});
    let create = LabletDefinitionCommand::Create {
        id: "ospf".parse().unwrap(),
        new: serde_json::from_value(new).unwrap(),
        now: now(),
    };
    carry_out(&mut definition, create).unwrap();
    definition
}

/// Decides and applies; the types of the events without what they have in common.
fn carry_out(
    definition: &mut LabletDefinition,
    command: LabletDefinitionCommand,
) -> Result<Vec<String>, LabletDefinitionError> {
    let Decision::Record(events) = definition.decide(command)? else { return Ok(Vec::new()) };
    let types = events.iter().map(|event| {
        let name = cqrs_es::DomainEvent::event_type(event);
        name.trim_start_matches("lablet_definition.").to_owned()
    });
    let types = types.collect();
    events.into_iter().for_each(|event| definition.apply(event));
    Ok(types)
}

fn tell(definition: &mut LabletDefinition, command: ProposalCommand) -> Result<Vec<String>, LabletDefinitionError> {
    tell_as(definition, ADA, command)
}

fn tell_as(
    definition: &mut LabletDefinition,
    by: &str,
    command: ProposalCommand,
) -> Result<Vec<String>, LabletDefinitionError> {
    carry_out(definition, LabletDefinitionCommand::Proposal { command, by: by.to_owned(), now: now() })
}

fn open(number: u32, memory_gb: u32) -> ProposalCommand {
    open_by_sessions(number, memory_gb, 5)
}

fn open_by_sessions(number: u32, memory_gb: u32, sessions: u64) -> ProposalCommand {
    let new = json!({
        "kind": "size", "after": requirements(memory_gb), "finding": "over_provisioned", "promise": 0.95,
        "as_of": "0000000001-00000000000000000007-0000000000000000007", "sessions": sessions, "reason": "it is enough",
        "evidence": ["e-1"]
    });
    ProposalCommand::Open { id: id(number), new: serde_json::from_value(new).unwrap() }
}

fn step(number: u32, rest: Value) -> ProposalStep {
    let mut step = json!({ "proposal_id": id(number) });
    step.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    serde_json::from_value(step).unwrap()
}

fn why(number: u32) -> ProposalStep {
    step(number, json!({"reason": "because"}))
}

fn apply(number: u32, applier: Applier) -> ProposalCommand {
    ProposalCommand::Apply { step: step(number, json!({})), applier, default_policy: AdvicePolicy::default() }
}

fn verify(number: u32, held: bool) -> ProposalCommand {
    let new = json!({
        "proposal_id": id(number), "held": held, "sessions": 3,
        "sessions_short": {"cpu_cores": 0, "memory_mb": 0, "storage_mb": 0}
    });
    ProposalCommand::Verify(serde_json::from_value(new).unwrap())
}

fn revise(memory_gb: u32) -> LabletDefinitionCommand {
    let revision = json!({"resource_requirements": requirements(memory_gb), "reason": "by hand"});
    let revision = serde_json::from_value(revision).unwrap();
    LabletDefinitionCommand::Revise { revision, revised_by: ADA.to_owned(), now: now() }
}

fn memory(definition: &LabletDefinition) -> u32 {
    definition.present().unwrap().content.resource_requirements.memory_gb.get()
}

#[test]
fn a_proposal_is_opened_claimed_applied_and_verified() {
    let mut definition = definition();
    assert_eq!(tell(&mut definition, open(1, 6)).unwrap(), ["proposal_opened"]);
    assert_eq!(tell(&mut definition, ProposalCommand::Claim(step(1, json!({})))).unwrap(), ["proposal_claimed"]);
    assert_eq!(tell(&mut definition, apply(1, Applier::Admin)).unwrap(), ["revised", "proposal_applied"]);
    assert_eq!((memory(&definition), definition.present().unwrap().revision), (6, 2));
    let applied = definition.present().unwrap().proposals.applied.clone().unwrap();
    assert_eq!((applied.revision, applied.proposal.before), (2, requirements(8)));
    assert_eq!(tell(&mut definition, verify(1, true)).unwrap(), ["proposal_verified"]);
    assert_eq!(definition.present().unwrap().proposals.applied, None);
}

#[test]
fn what_failed_is_proposed_again_when_more_sessions_ask_for_it() {
    let mut definition = definition();
    tell(&mut definition, open(1, 6)).unwrap();
    tell(&mut definition, ProposalCommand::Claim(step(1, json!({})))).unwrap();
    assert_eq!(tell(&mut definition, ProposalCommand::Fail(why(1))).unwrap(), ["proposal_failed"]);
    assert_eq!(tell(&mut definition, open(2, 6)).unwrap(), [""; 0]);
    assert_eq!(tell(&mut definition, open_by_sessions(2, 6, 6)).unwrap(), ["proposal_opened"]);
}

#[test]
fn what_did_not_hold_is_proposed_again_when_twice_as_many_sessions_are_known() {
    let mut definition = definition();
    tell(&mut definition, open(1, 6)).unwrap();
    tell(&mut definition, apply(1, Applier::Admin)).unwrap();
    let mut roll_back = open(2, 8);
    let ProposalCommand::Open { new, .. } = &mut roll_back else { panic!("it is no proposal") };
    new.kind = ProposalKind::RollBack;
    tell(&mut definition, roll_back).unwrap();
    tell(&mut definition, verify(1, false)).unwrap();
    tell(&mut definition, apply(2, Applier::Admin)).unwrap();
    // It rested on 5 sessions, and 3 came after it.
    assert_eq!(tell(&mut definition, open_by_sessions(3, 6, 16)).unwrap(), [""; 0]);
    assert_eq!(tell(&mut definition, open_by_sessions(3, 6, 17)).unwrap(), ["proposal_opened"]);
}

#[test]
fn what_was_dismissed_is_proposed_again_when_another_size_is_stated() {
    let mut definition = definition();
    tell(&mut definition, open(1, 6)).unwrap();
    tell(&mut definition, ProposalCommand::Dismiss(why(1))).unwrap();
    assert_eq!(tell(&mut definition, open(2, 6)).unwrap(), [""; 0]);
    tell(&mut definition, open(2, 10)).unwrap();
    tell(&mut definition, apply(2, Applier::Admin)).unwrap();
    assert_eq!(tell(&mut definition, open(3, 6)).unwrap(), ["proposal_opened"]);
}

#[test]
fn each_step_is_taken_once() {
    let mut definition = definition();
    let done = |definition: &mut LabletDefinition, command: ProposalCommand| {
        assert!(!tell(definition, command.clone()).unwrap().is_empty());
        assert_eq!(tell(definition, command).unwrap(), [""; 0], "again");
    };
    done(&mut definition, open(1, 6));
    done(&mut definition, ProposalCommand::Claim(step(1, json!({}))));
    done(&mut definition, apply(1, Applier::Admin));
    done(&mut definition, verify(1, true));
    done(&mut definition, open(2, 4));
    done(&mut definition, ProposalCommand::Dismiss(why(2)));
    assert_eq!(tell(&mut definition, open(3, 4)).unwrap(), [""; 0], "what was dismissed is not proposed again");
    done(&mut definition, open(4, 5));
    done(&mut definition, ProposalCommand::Withdraw(why(4)));
    done(&mut definition, open(5, 7));
    assert_eq!(tell(&mut definition, ProposalCommand::Claim(step(5, json!({})))).unwrap(), ["proposal_claimed"]);
    done(&mut definition, ProposalCommand::Fail(why(5)));
}

#[test]
fn an_open_proposal_follows_the_evidence_and_a_claimed_one_does_not() {
    let mut definition = definition();
    tell(&mut definition, open(1, 6)).unwrap();
    assert_eq!(tell(&mut definition, open(2, 5)).unwrap(), ["proposal_superseded", "proposal_opened"]);
    let ended = LabletDefinitionError::ProposalEnded { id: id(1), status: ProposalStatus::Superseded };
    assert_eq!(tell(&mut definition, apply(1, Applier::Admin)), Err(ended));
    tell(&mut definition, ProposalCommand::Claim(step(2, json!({})))).unwrap();
    let claimed = LabletDefinitionError::ProposalClaimed { id: id(2), by: ADA.to_owned() };
    assert_eq!(tell(&mut definition, open(3, 4)), Err(claimed.clone()));
    assert_eq!(tell(&mut definition, ProposalCommand::Withdraw(why(2))), Err(claimed.clone()));
    assert_eq!(tell_as(&mut definition, "admin:bob", ProposalCommand::Claim(step(2, json!({})))), Err(claimed));
}

#[test]
fn a_revision_by_hand_supersedes_whatever_was_proposed() {
    for claims in [false, true] {
        let mut definition = definition();
        tell(&mut definition, open(1, 6)).unwrap();
        if claims {
            tell(&mut definition, ProposalCommand::Claim(step(1, json!({})))).unwrap();
        }
        assert_eq!(carry_out(&mut definition, revise(7)).unwrap(), ["revised", "proposal_superseded"]);
        let ended = LabletDefinitionError::ProposalEnded { id: id(1), status: ProposalStatus::Superseded };
        assert_eq!(tell(&mut definition, apply(1, Applier::Admin)), Err(ended));
        assert_eq!(memory(&definition), 7);
    }
    let mut definition = definition();
    tell(&mut definition, open(1, 6)).unwrap();
    let described = serde_json::from_value(json!({"description": "OSPF", "reason": "it had none"})).unwrap();
    let describe = LabletDefinitionCommand::Revise { revision: described, revised_by: ADA.to_owned(), now: now() };
    assert_eq!(carry_out(&mut definition, describe).unwrap(), ["revised"], "no other size is stated");
}

#[test]
fn a_step_may_name_the_version_that_was_seen() {
    let mut definition = definition();
    tell(&mut definition, open(1, 6)).unwrap();
    let claim = |version: u32| ProposalCommand::Claim(step(1, json!({ "version": version })));
    let changed = LabletDefinitionError::ProposalChanged { expected: 2, actual: 1 };
    assert_eq!(tell(&mut definition, claim(2)), Err(changed));
    assert_eq!(tell(&mut definition, claim(1)).unwrap(), ["proposal_claimed"]);
    let dismiss = ProposalCommand::Dismiss(step(1, json!({"version": 1, "reason": "no"})));
    assert_eq!(tell(&mut definition, dismiss), Err(LabletDefinitionError::ProposalChanged { expected: 1, actual: 2 }));
}

#[test]
fn what_is_not_there_or_lacks_a_reason_is_refused() {
    let mut definition = definition();
    let unknown = LabletDefinitionError::UnknownProposal { id: id(9) };
    assert_eq!(tell(&mut definition, apply(9, Applier::Admin)), Err(unknown.clone()));
    assert_eq!(tell(&mut definition, verify(9, true)), Err(unknown));
    tell(&mut definition, open(1, 6)).unwrap();
    let refused = tell(&mut definition, ProposalCommand::Dismiss(step(1, json!({})))).unwrap_err();
    assert!(matches!(&refused, LabletDefinitionError::Invalid(invalid) if invalid.field == "reason"), "{refused:?}");
    let refused = tell(&mut definition, ProposalCommand::Fail(why(1)));
    assert_eq!(refused, Err(LabletDefinitionError::ProposalNotClaimed { id: id(1) }));
    assert_eq!(tell(&mut definition, open(2, 8)).unwrap(), [""; 0], "it states that already");
    assert_eq!(tell(&mut LabletDefinition::default(), open(1, 6)), Err(LabletDefinitionError::Absent));
}

#[test]
fn the_policy_says_who_may_apply_and_nothing_applies_by_itself_unless_it_says_so() {
    let set = |applier: &str| {
        let policy: Policy = serde_json::from_value(json!({ "applier": applier })).unwrap();
        SetPolicy { policy, set_by: "admin:eve".to_owned(), set_at: now() }
    };
    let applied = |policy: Option<SetPolicy>, default: Option<SetPolicy>, applier: Applier| {
        let mut definition = definition();
        tell(&mut definition, open(1, 6)).unwrap();
        if let Some(SetPolicy { policy, .. }) = policy {
            let new = json!({"policy": policy, "reason": "x"});
            let new = serde_json::from_value(new).unwrap();
            let set = LabletDefinitionCommand::SetPolicy { new, set_by: "admin:eve".to_owned(), now: now() };
            assert_eq!(carry_out(&mut definition, set).unwrap(), ["policy_set"]);
        }
        let (step, default_policy) = (step(1, json!({})), AdvicePolicy { set: default });
        let command = ProposalCommand::Apply { step, applier, default_policy };
        let command = LabletDefinitionCommand::Proposal { command, by: "lablet".to_owned(), now: now() };
        definition.decide(command).map(|decision| match decision {
            Decision::Record(events) => serde_json::to_value(&events[1]).unwrap()["policy_set_by"].clone(),
            Decision::AlreadyDone => panic!("it was not applied before"),
        })
    };
    let refused = |allowed| Err(LabletDefinitionError::NotApplier { allowed });
    assert_eq!(applied(None, None, Applier::Automatic), refused(Applier::Admin));
    assert_eq!(applied(None, None, Applier::Operator), refused(Applier::Admin));
    assert_eq!(applied(None, None, Applier::Admin), Ok(Value::Null));
    assert_eq!(applied(Some(set("operator")), Some(set("automatic")), Applier::Automatic), refused(Applier::Operator));
    assert_eq!(applied(Some(set("operator")), None, Applier::Operator), Ok(Value::Null));
    assert_eq!(applied(None, Some(set("automatic")), Applier::Automatic), Ok(json!("admin:eve")));
    assert_eq!(applied(Some(set("automatic")), None, Applier::Operator), Ok(Value::Null));
}

#[test]
fn what_becomes_of_proposals_does_not_outdate_what_a_revision_rests_on() {
    let mut definition = definition();
    tell(&mut definition, open(1, 6)).unwrap();
    assert_eq!((definition.version(2), definition.present().unwrap().sequence), (1, 2));
    tell(&mut definition, apply(1, Applier::Admin)).unwrap();
    assert_eq!(
        definition.version(4),
        3,
        "the revision is the third event, and that it applied the proposal the fourth"
    );
}

#[test]
fn only_the_newest_outcomes_are_recognised() {
    let mut definition = definition();
    for number in 0..40 {
        tell(&mut definition, open(number, 9 + number)).unwrap();
    }
    let proposals = &definition.present().unwrap().proposals;
    assert_eq!(proposals.outcome(&id(38)), Some(ProposalStatus::Superseded));
    assert_eq!((proposals.outcome(&id(0)), proposals.outcomes.len()), (None, RECOGNISED));
}
