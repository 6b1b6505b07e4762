//! Whatever a command's JSON holds: it is refused naming a field, or its events can be stored, shown and read back.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::lablet_definition::{LabletDefinition, LabletDefinitionCommand, LabletDefinitionError};
use domain::lablet_session::{LabletSession, LabletSessionCommand, LabletSessionError, SessionIds, Transition};
use domain::worker::{Worker, WorkerCommand, WorkerError};
use domain::{Decide, Decision, Invalid};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::hostile::{changed, changes, samples};

fn now() -> DateTime<Utc> {
    "2026-02-26T00:00:00Z".parse().unwrap()
}

fn read<T: DeserializeOwned>(body: Value) -> Option<T> {
    // As it arrives, as text: what is not JSON is refused before anything of ours.
    serde_json::from_str(&body.to_string()).ok()
}

/// What came of a command: the events as JSON, or the complaint.
fn decided<A: Decide>(
    state: &A,
    command: A::Command,
    invalid: fn(A::Error) -> Option<Invalid>,
) -> Result<Vec<Value>, Option<Invalid>>
where
    A::Event: Serialize + DeserializeOwned,
{
    match state.decide(command) {
        Err(refused) => Err(invalid(refused)),
        Ok(Decision::AlreadyDone) => Ok(Vec::new()),
        Ok(Decision::Record(events)) => {
            let mut after = state.clone();
            let mut written = Vec::new();
            for event in events {
                let text = serde_json::to_string(&event).unwrap();
                assert!(serde_json::from_str::<A::Event>(&text).is_ok(), "{text}");
                after.apply(event);
                written.push(serde_json::from_str(&text).unwrap());
            }
            Ok(written)
        }
    }
}

fn running() -> LabletSession {
    let ids = SessionIds {
        session_id: "s-1".parse().unwrap(),
        definition_id: "ospf".parse().unwrap(),
        definition_version: serde_json::from_value(json!("1.0")).unwrap(),
        definition_revision: 1,
    };
    let mut session = LabletSession::default();
    let mut tell = |command: LabletSessionCommand| {
        let Decision::Record(events) = session.decide(command).unwrap() else { panic!("nothing happened") };
        events.into_iter().for_each(|event| session.apply(event));
    };
    tell(LabletSessionCommand::Create { ids, owner_id: None, timeslot: None, now: now() });
    for step in [
        json!({"new_status": "scheduled", "worker_id": "cml-1", "allocated_ports": {"PC_serial": 5041}}),
        json!({"new_status": "instantiating"}),
        json!({"new_status": "ready"}),
        json!({"new_status": "running", "cml_lab_id": "lab-1"}),
    ] {
        let transition: Transition = serde_json::from_value(step).unwrap();
        tell(LabletSessionCommand::Transition { transition, now: now() });
    }
    session
}

fn of_session(command: LabletSessionCommand, state: &LabletSession) -> Result<Vec<Value>, Option<Invalid>> {
    decided(state, command, |refused| match refused {
        LabletSessionError::Invalid(invalid) => Some(invalid),
        _ => None,
    })
}

fn outcome(name: &str, body: Value) -> Option<Result<Vec<Value>, Option<Invalid>>> {
    let of_definition = |state: &LabletDefinition, command| {
        decided(state, command, |refused| match refused {
            LabletDefinitionError::Invalid(invalid) => Some(invalid),
            LabletDefinitionError::Absent
            | LabletDefinitionError::Exists { .. }
            | LabletDefinitionError::UnknownProposal { .. }
            | LabletDefinitionError::ProposalEnded { .. }
            | LabletDefinitionError::ProposalClaimed { .. }
            | LabletDefinitionError::ProposalNotClaimed { .. }
            | LabletDefinitionError::ProposalChanged { .. }
            | LabletDefinitionError::NotApplier { .. } => None,
        })
    };
    let of_worker = |state: &Worker, command| {
        decided(state, command, |refused| match refused {
            WorkerError::Invalid(invalid) => Some(invalid),
            WorkerError::Absent | WorkerError::Exists { .. } => None,
        })
    };
    let sample = |wanted: &str| samples().into_iter().find(|(name, _)| *name == wanted).unwrap().1;
    Some(match name {
        "record_resource_observation" => {
            let report = Box::new(read(body)?);
            let command =
                LabletSessionCommand::RecordObservation { report, reported_by: "team:x".parse().unwrap(), now: now() };
            of_session(command, &running())
        }
        "record_observation_failure" => {
            of_session(LabletSessionCommand::RecordObservationFailure { failure: read(body)?, now: now() }, &running())
        }
        "transition_lablet_session" => {
            of_session(LabletSessionCommand::Transition { transition: read(body)?, now: now() }, &running())
        }
        "create_lablet_session" => {
            let new: domain::lablet_session::NewSession = read(body)?;
            let ids = SessionIds {
                session_id: new.id.unwrap_or("s-2".parse().unwrap()),
                definition_id: new.definition_id,
                definition_version: serde_json::from_value(json!("1.0")).unwrap(),
                definition_revision: 1,
            };
            let (owner_id, timeslot) = (new.owner_id, new.timeslot);
            let create = LabletSessionCommand::Create { ids, owner_id, timeslot, now: now() };
            of_session(create, &LabletSession::default())
        }
        "create_lablet_definition" => {
            let command = LabletDefinitionCommand::Create { id: "d-2".parse().unwrap(), new: read(body)?, now: now() };
            of_definition(&LabletDefinition::default(), command)
        }
        "revise_lablet_definition" => {
            let mut state = LabletDefinition::default();
            let new = serde_json::from_value(sample("create_lablet_definition")).unwrap();
            let create = LabletDefinitionCommand::Create { id: "d-2".parse().unwrap(), new, now: now() };
            let Decision::Record(events) = state.decide(create).unwrap() else { panic!("nothing happened") };
            events.into_iter().for_each(|event| state.apply(event));
            let revision = read(body)?;
            of_definition(&state, LabletDefinitionCommand::Revise { revision, revised_by: "x".into(), now: now() })
        }
        "register_worker" => of_worker(
            &Worker::default(),
            WorkerCommand::Register { id: "w-2".parse().unwrap(), new: read(body)?, now: now() },
        ),
        "change_worker" | "record_worker_pressure" => {
            let mut state = Worker::default();
            let new = serde_json::from_value(sample("register_worker")).unwrap();
            let register = WorkerCommand::Register { id: "w-2".parse().unwrap(), new, now: now() };
            let Decision::Record(events) = state.decide(register).unwrap() else { panic!("nothing happened") };
            events.into_iter().for_each(|event| state.apply(event));
            let command = if name == "change_worker" {
                WorkerCommand::Change { change: read(body)?, now: now() }
            } else {
                let reported_by = "team:x".parse().unwrap();
                WorkerCommand::RecordPressure { report: read(body)?, reported_by, now: now() }
            };
            of_worker(&state, command)
        }
        other => panic!("no such command: {other}"),
    })
}

/// What no event may hold, wherever it came from.
fn check_stored(value: &Value, place: &str) {
    match value {
        Value::String(text) => {
            assert!(!text.contains('\0'), "{place}: {text:?}");
            // What is passed on as CML answered it is nobody's text.
            let passed_on = place.contains("simulation_stats");
            let controls = |character: char| character.is_control() && !matches!(character, '\n' | '\r' | '\t');
            assert!(passed_on || !text.chars().any(controls), "{place}: {text:?}");
            assert!(passed_on || text.chars().count() <= 4_000, "{place} has {} characters", text.chars().count());
            if place.ends_with("_at") || place.ends_with("/start") || place.ends_with("/end") {
                let at: DateTime<Utc> = text.parse().unwrap();
                assert!(domain::time::check(at).is_ok(), "{place}: {text}");
            }
        }
        Value::Number(number) => {
            let fits = number.as_f64().is_some_and(|number| number.abs() <= 9_007_199_254_740_992.0);
            assert!(place.contains("simulation_stats") || fits, "{place}: {number}");
        }
        Value::Array(entries) => entries.iter().for_each(|entry| check_stored(entry, place)),
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            assert!(!name.contains('\0'), "{place}: {name:?}");
            check_stored(member, &format!("{place}/{name}"));
        }),
        Value::Null | Value::Bool(_) => {}
    }
}

#[test]
fn every_sample_is_accepted() {
    for (name, body) in samples() {
        let events = outcome(name, body).unwrap_or_else(|| panic!("{name} is not read")).unwrap();
        assert!(!events.is_empty(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn whatever_a_command_holds_it_is_refused_naming_a_field_or_its_events_can_be_stored(
        which in any::<prop::sample::Index>(), changes in changes(),
    ) {
        let all = samples();
        let (name, sample) = which.get(&all);
        match outcome(name, changed(sample.clone(), &changes)) {
            // It is not of the command's form, which the deserialiser says with the path.
            None => {}
            Some(Err(invalid)) => {
                // A rule of the session's life may refuse it too.
                prop_assert!(invalid.is_none_or(|invalid| !invalid.field.is_empty() && !invalid.expected.is_empty()));
            }
            Some(Ok(events)) => events.iter().for_each(|event| check_stored(event, "")),
        }
    }
}
