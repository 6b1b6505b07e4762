use cqrs_es::test::TestFramework;
use serde_json::{Value, json};

use super::*;
use crate::ids::{DefinitionId, SessionId};
use crate::lablet_definition::DefinitionVersion;

mod ports;

type Given = TestFramework<LabletSession>;

fn now() -> DateTime<Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn ids() -> SessionIds {
    SessionIds {
        session_id: SessionId::parse("s1").unwrap(),
        definition_id: DefinitionId::parse("ospf").unwrap(),
        definition_version: DefinitionVersion::parse("1.0").unwrap(),
        definition_revision: 1,
    }
}

fn created() -> LabletSessionEvent {
    LabletSessionEvent::Created { ids: ids(), owner_id: None, timeslot: None, created_at: now() }
}

fn worker() -> WorkerId {
    WorkerId::parse("cml-1").unwrap()
}

fn lab() -> LabId {
    LabId::parse("863799a0-3d09-4af4-be26-cad997b6ab27").unwrap()
}

fn ports(value: Value) -> PortMap {
    serde_json::from_value(value).unwrap()
}

fn step(worker_id: Option<WorkerId>, cml_lab_id: Option<LabId>) -> LifeStep {
    LifeStep { ids: ids(), worker_id, allocated_ports: None, timeslot: None, cml_lab_id, reason: None, at: now() }
}

fn scheduled(allocated: Value) -> LabletSessionEvent {
    LabletSessionEvent::Scheduled(LifeStep { allocated_ports: Some(ports(allocated)), ..step(Some(worker()), None) })
}

/// The history of a running session with these ports allocated.
fn running_with(allocated: Value) -> Vec<LabletSessionEvent> {
    vec![
        created(),
        scheduled(allocated),
        LabletSessionEvent::Instantiating(step(Some(worker()), None)),
        LabletSessionEvent::Ready(step(Some(worker()), None)),
        LabletSessionEvent::Running(step(Some(worker()), Some(lab()))),
    ]
}

fn running() -> Vec<LabletSessionEvent> {
    running_with(json!({"PC_serial": 5041}))
}

fn requested(id: &str) -> LabletSessionEvent {
    LabletSessionEvent::ObserveResourcesRequested {
        ids: ids(),
        request_id: RequestId::parse(id).unwrap(),
        worker_id: worker(),
        cml_lab_id: lab(),
        requested_by: "admin:ada".into(),
        requested_at: now(),
    }
}

fn transition(value: Value) -> LabletSessionCommand {
    LabletSessionCommand::Transition { transition: serde_json::from_value(value).unwrap(), now: now() }
}

fn request(id: &str) -> LabletSessionCommand {
    LabletSessionCommand::RequestObservation {
        request_id: RequestId::parse(id).unwrap(),
        requested_by: "admin:ada".parse().unwrap(),
        now: now(),
    }
}

fn report(value: Value) -> LabletSessionCommand {
    LabletSessionCommand::RecordObservation {
        report: Box::new(serde_json::from_value(value).unwrap()),
        reported_by: "service:grading".parse().unwrap(),
        now: now(),
    }
}

fn failure(value: Value) -> LabletSessionCommand {
    LabletSessionCommand::RecordObservationFailure { failure: serde_json::from_value(value).unwrap(), now: now() }
}

fn decide(
    given: Vec<LabletSessionEvent>,
    when: LabletSessionCommand,
) -> Result<Vec<LabletSessionEvent>, LabletSessionError> {
    Given::with(()).given(given).when(when).inspect_result()
}

fn state_after(history: impl IntoIterator<Item = LabletSessionEvent>) -> PresentSession {
    let mut session = LabletSession::default();
    history.into_iter().for_each(|event| session.apply(event));
    session.present().unwrap().clone()
}

fn types(events: &[LabletSessionEvent]) -> Vec<String> {
    events.iter().map(cqrs_es::DomainEvent::event_type).collect()
}

#[test]
fn a_session_is_created_once() {
    let create = LabletSessionCommand::Create { ids: ids(), owner_id: None, timeslot: None, now: now() };
    Given::with(()).given_no_previous_events().when(create.clone()).then_expect_events(vec![created()]);
    Given::with(()).given(vec![created()]).when(create).then_expect_events(vec![]);
    let other = LabletSessionCommand::Create {
        ids: ids(),
        owner_id: Some(Line::parse("bob").unwrap()),
        timeslot: None,
        now: now(),
    };
    Given::with(()).given(vec![created()]).when(other).then_expect_error(LabletSessionError::Exists);
}

#[test]
fn nothing_happens_to_a_session_that_does_not_exist() {
    for command in [
        transition(json!({"new_status": "scheduled", "worker_id": "w"})),
        request("r1"),
        report(json!({"observed_resources": {"total_cpu_cores": 1}})),
        failure(json!({"outcome": "failed", "reason": "x"})),
    ] {
        Given::with(()).given_no_previous_events().when(command).then_expect_error(LabletSessionError::Absent);
    }
}

#[test]
fn the_whole_life_can_be_lived() {
    let mut history = vec![created()];
    for (to, extra) in [
        ("scheduled", json!({"worker_id": "cml-1", "allocated_ports": {"PC_serial": 5041}})),
        ("instantiating", json!({})),
        ("ready", json!({})),
        ("running", json!({"cml_lab_id": lab().as_str()})),
        ("collecting", json!({})),
        ("grading", json!({})),
        ("stopping", json!({})),
        ("stopped", json!({})),
        ("archived", json!({"reason": "done"})),
    ] {
        let mut body = extra;
        body["new_status"] = json!(to);
        let events = decide(history.clone(), transition(body)).unwrap();
        assert_eq!(types(&events), [format!("lablet_session.{to}")]);
        history.extend(events);
    }
}

#[test]
fn a_step_that_the_life_cycle_lacks_is_refused_with_both_sides() {
    let refused = decide(vec![created()], transition(json!({"new_status": "running"}))).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a session that is pending cannot become running; from pending it may become: scheduled, terminated"
    );
    let ended = vec![created(), LabletSessionEvent::Terminated(step(None, None))];
    assert!(
        decide(ended, transition(json!({"new_status": "scheduled", "worker_id": "w"})))
            .unwrap_err()
            .to_string()
            .ends_with("nothing")
    );
}

#[test]
fn scheduling_needs_a_worker_and_running_a_lab() {
    let field = |result: Result<_, LabletSessionError>| match result {
        Err(LabletSessionError::Invalid(invalid)) => invalid.field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(decide(vec![created()], transition(json!({"new_status": "scheduled"})))), "worker_id");
    let mut ready = running();
    ready.pop();
    assert_eq!(field(decide(ready.clone(), transition(json!({"new_status": "running"})))), "cml_lab_id");
    assert!(decide(ready, transition(json!({"new_status": "running", "cml_lab_id": "lab"}))).is_ok());
}

#[test]
fn a_lab_may_be_known_before_it_runs() {
    let mut history = running();
    history.truncate(2);
    history.extend(
        decide(history.clone(), transition(json!({"new_status": "instantiating", "cml_lab_id": "lab-1"}))).unwrap(),
    );
    history.extend(decide(history.clone(), transition(json!({"new_status": "ready"}))).unwrap());
    let events = decide(history, transition(json!({"new_status": "running"}))).unwrap();
    let (_, step) = events[0].life_step().unwrap();
    assert_eq!(step.cml_lab_id.as_ref().unwrap().as_str(), "lab-1");
}

#[test]
fn the_same_step_again_is_already_done_but_not_with_another_lab_or_worker() {
    Given::with(()).given(running()).when(transition(json!({"new_status": "running"}))).then_expect_events(vec![]);
    Given::with(())
        .given(running())
        .when(transition(json!({"new_status": "running", "cml_lab_id": "other"})))
        .then_expect_error(LabletSessionError::BoundElsewhere {
            what: "lab",
            bound: lab().to_string(),
            refused: "other".into(),
        });
    assert!(decide(running(), transition(json!({"new_status": "collecting", "worker_id": "other"}))).is_err());
}

#[test]
fn a_step_to_the_status_that_a_session_has_records_what_is_new_and_nothing_twice() {
    let slot = json!({"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T14:00:00Z"});
    let mut instantiating = running();
    instantiating.truncate(3);
    for (given, body) in [
        (running(), json!({"new_status": "running", "allocated_ports": {"PC_serial": 5042}})),
        (running(), json!({"new_status": "running", "timeslot": slot})),
        (running(), json!({"new_status": "running", "reason": "the learner came back"})),
        (instantiating.clone(), json!({"new_status": "instantiating", "cml_lab_id": "lab-1"})),
        (
            vec![created(), LabletSessionEvent::Terminated(step(None, None))],
            json!({"new_status": "terminated", "worker_id": "cml-1"}),
        ),
    ] {
        let events = decide(given.clone(), transition(body.clone())).unwrap();
        let (status, step) = events[0].life_step().unwrap();
        assert_eq!((events.len(), &json!(status)), (1, &body["new_status"]), "{body}");
        let recorded = serde_json::to_value(step).unwrap();
        for (field, value) in body.as_object().unwrap().iter().filter(|(field, _)| *field != "new_status") {
            assert_eq!(&recorded[field], value, "{body}");
        }
        let before = state_after(given.clone());
        let after: Vec<_> = given.into_iter().chain(events).collect();
        let state = state_after(after.clone());
        assert_eq!(state.status, before.status);
        assert_eq!(state.allocated_ports.is_some(), before.allocated_ports.is_some(), "what is not given stays");
        assert_eq!(decide(after, transition(body)).unwrap(), vec![], "given again it is recorded already");
    }
}

#[test]
fn a_step_that_gives_all_that_is_recorded_is_already_done() {
    let slot = json!({"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T14:00:00Z"});
    let body = json!({"new_status": "scheduled", "worker_id": "cml-1", "allocated_ports": {"PC_serial": 5041},
                      "timeslot": slot, "reason": "booked"});
    let mut history = vec![created()];
    history.extend(decide(history.clone(), transition(body.clone())).unwrap());
    assert_eq!(decide(history.clone(), transition(body)).unwrap(), vec![]);
    assert_eq!(decide(history, transition(json!({"new_status": "scheduled"}))).unwrap(), vec![]);
}

#[test]
fn what_no_step_can_record_of_a_pending_session_is_refused_by_field() {
    let slot = json!({"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T14:00:00Z"});
    let booked = LabletSessionEvent::Created {
        ids: ids(),
        owner_id: None,
        timeslot: Some(serde_json::from_value(slot.clone()).unwrap()),
        created_at: now(),
    };
    let again = transition(json!({"new_status": "pending", "timeslot": slot}));
    assert_eq!(decide(vec![booked.clone()], again).unwrap(), vec![]);
    let later = json!({"start": "2026-03-01T15:00:00Z", "end": "2026-03-01T16:00:00Z"});
    let refused = decide(vec![booked], transition(json!({"new_status": "pending", "timeslot": later}))).unwrap_err();
    insta::assert_snapshot!(refused, @"timeslot is given with no step, while that of the pending session is 2026-03-01T12:00:00Z to 2026-03-01T14:00:00Z; expected what is recorded, or nothing, or a step that can record it: scheduled, terminated");
    let refused = decide(vec![created()], transition(json!({"new_status": "pending", "worker_id": "w"}))).unwrap_err();
    assert_eq!(refused.invalid().unwrap().field, "worker_id");
}

#[test]
fn what_a_session_is_bound_to_is_told_with_the_field_that_names_another() {
    let told = |body: Value| decide(running(), transition(body)).unwrap_err().invalid().unwrap().to_string();
    let told = [
        told(json!({"new_status": "running", "cml_lab_id": "other"})),
        told(json!({"new_status": "collecting", "worker_id": "cml-2"})),
        told(json!({"new_status": "ready"})),
    ];
    insta::assert_snapshot!(told.join("\n"), @r"
    cml_lab_id is other, while the session is bound to lab 863799a0-3d09-4af4-be26-cad997b6ab27; expected 863799a0-3d09-4af4-be26-cad997b6ab27, or nothing
    worker_id is cml-2, while the session is bound to worker cml-1; expected cml-1, or nothing
    new_status is ready, while the session is running; expected one of: collecting, stopping, terminated, expired
    ");
}

#[test]
fn an_observation_is_asked_for_only_of_a_running_session() {
    assert_eq!(decide(running(), request("r1")).unwrap(), vec![requested("r1")]);
    let refused = decide(vec![created()], request("r1")).unwrap_err();
    assert_eq!(refused.to_string(), "a session that is pending cannot be observed; it must be one of: running");
    let mut collecting = running();
    collecting.push(LabletSessionEvent::Collecting(step(Some(worker()), Some(lab()))));
    assert!(matches!(decide(collecting, request("r1")), Err(LabletSessionError::NotObservable { .. })));
}

#[test]
fn the_same_request_is_recorded_once() {
    let mut given = running();
    given.push(requested("r1"));
    Given::with(()).given(given).when(request("r1")).then_expect_events(vec![]);
}

#[test]
fn an_observation_with_the_planned_ports_is_one_event_without_drift() {
    let events = decide(
        running(),
        report(json!({"observed_resources": {"total_cpu_cores": 2}, "observed_ports": {"PC_serial": 5041}})),
    )
    .unwrap();
    let [LabletSessionEvent::ResourcesObserved { port_drift_detected, observed_resources, observed_at, .. }] =
        events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!(*port_drift_detected, Some(false));
    assert_eq!(observed_resources.observer.as_deref(), Some("service:grading"));
    assert_eq!((*observed_at, observed_resources.observed_at.map(BoundedTime::at)), (now(), Some(now())));
}

#[test]
fn a_drifted_port_is_a_second_event_of_the_same_command() {
    let events =
        decide(running(), report(json!({"observed_resources": {}, "observed_ports": {"PC_serial": 5999}}))).unwrap();
    assert_eq!(types(&events), ["lablet_session.resources_observed", "lablet_session.port_drift_detected"]);
    let LabletSessionEvent::PortDriftDetected { drift_details, .. } = &events[1] else { panic!() };
    assert_eq!(
        serde_json::to_value(drift_details).unwrap(),
        json!({"added": {}, "removed": {}, "changed": {"PC_serial": {"allocated": 5041, "observed": 5999}}})
    );
}

#[test]
fn ports_inside_the_observation_count_where_none_stand_beside_it() {
    let events = decide(
        running(),
        report(json!({"observed_resources": {"observed_ports": {"PC_serial": 5041, "x_vnc": 5042}}})),
    )
    .unwrap();
    assert_eq!(events.len(), 2);
}

#[test]
fn without_an_allocation_ports_are_unallocated_and_not_drift() {
    let events =
        decide(running_with(json!({})), report(json!({"observed_resources": {}, "observed_ports": {"a_vnc": 2001}})))
            .unwrap();
    let [LabletSessionEvent::ResourcesObserved { port_drift_detected, unallocated, .. }] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!((*port_drift_detected, unallocated.as_ref()), (Some(false), Some(&ports(json!({"a_vnc": 2001})))));
}

#[test]
fn unreadable_tags_leave_the_earlier_verdict() {
    let mut history = running();
    history.extend(decide(history.clone(), report(json!({"observed_resources": {}, "observed_ports": {}}))).unwrap());
    let events =
        decide(history.clone(), report(json!({"observed_resources": {"observer": "x", "total_cpu_cores": 1}})))
            .unwrap();
    let [LabletSessionEvent::ResourcesObserved { port_drift_detected, .. }] = events.as_slice() else { panic!() };
    assert_eq!(*port_drift_detected, None);
    history.extend(events);
    let mut session = LabletSession::default();
    history.into_iter().for_each(|event| session.apply(event));
    let observations = &session.present().unwrap().observations;
    assert_eq!((observations.count, observations.drift_detected()), (2, Some(true)));
    assert_eq!(observations.drift.as_ref().unwrap().details.removed, ports(json!({"PC_serial": 5041})));
}

#[test]
fn only_running_and_collecting_sessions_are_observed() {
    let body = json!({"observed_resources": {"total_cpu_cores": 1}});
    let refused = decide(vec![created()], report(body.clone())).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a session that is pending cannot be observed; it must be one of: running, collecting"
    );
    let mut collecting = running();
    collecting.push(LabletSessionEvent::Collecting(step(Some(worker()), Some(lab()))));
    assert!(decide(collecting, report(body)).is_ok());
}

#[test]
fn the_same_observer_at_the_same_instant_made_the_same_observation() {
    let body = json!({"observed_resources": {"observer": "grading", "observed_at": "2026-03-01T10:00:00Z", "nodes": [{"node_id": "n"}]}});
    let mut history = running();
    history.extend(decide(history.clone(), report(body.clone())).unwrap());
    assert_eq!(decide(history.clone(), report(body)).unwrap(), vec![]);
    let later = json!({"observed_resources": {"observer": "grading", "observed_at": "2026-03-01T10:00:01Z", "nodes": [{"node_id": "n"}]}});
    assert_eq!(decide(history, report(later)).unwrap().len(), 1);
}

#[test]
fn an_absurd_observation_is_refused_by_field() {
    let absurd = json!({"observed_resources": {"total_memory_mb": -1}});
    let refused = serde_path_to_error::deserialize::<_, ObservationReport>(absurd).unwrap_err();
    assert_eq!(refused.path().to_string(), "observed_resources.total_memory_mb");
}

#[test]
fn every_request_ends_in_one_outcome() {
    let mut given = running();
    given.push(requested("r1"));
    let recorded =
        decide(given.clone(), report(json!({"observed_resources": {"total_cpu_cores": 1}, "request_id": "r1"})))
            .unwrap();
    let failed = decide(
        given.clone(),
        failure(json!({"request_id": "r1", "outcome": "failed", "reason": "CML did not answer"})),
    )
    .unwrap();
    let LabletSessionEvent::ObservationFailed { requested_by, .. } = &failed[0] else { panic!() };
    assert_eq!(requested_by.as_deref(), Some("admin:ada"));
    for outcome in [recorded, failed] {
        let mut answered = given.clone();
        answered.extend(outcome);
        for again in [
            report(json!({"observed_resources": {"total_cpu_cores": 1}, "request_id": "r1"})),
            failure(json!({"request_id": "r1", "outcome": "skipped", "reason": "moved on"})),
            request("r1"),
        ] {
            assert_eq!(decide(answered.clone(), again).unwrap(), vec![]);
        }
    }
}

#[test]
fn an_outcome_may_come_when_the_session_has_moved_on() {
    let mut given = running();
    given.push(requested("r1"));
    given.push(LabletSessionEvent::Stopping(step(Some(worker()), Some(lab()))));
    assert!(
        decide(given.clone(), report(json!({"observed_resources": {"total_cpu_cores": 1}, "request_id": "r1"})))
            .is_err()
    );
    assert_eq!(
        decide(given, failure(json!({"request_id": "r1", "outcome": "skipped", "reason": "the session is stopping"})))
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn an_outcome_of_an_unknown_request_is_refused() {
    let expected = LabletSessionError::UnknownRequest { request_id: RequestId::parse("r9").unwrap() };
    assert_eq!(
        decide(running(), report(json!({"observed_resources": {"total_cpu_cores": 1}, "request_id": "r9"})))
            .unwrap_err(),
        expected
    );
    assert_eq!(
        decide(running(), failure(json!({"request_id": "r9", "outcome": "failed", "reason": "x"}))).unwrap_err(),
        expected
    );
}

#[test]
fn state_survives_a_snapshot() {
    let mut history = running();
    history.push(requested("r1"));
    history.extend(decide(history.clone(), report(json!({"observed_resources": {}, "observed_ports": {}}))).unwrap());
    let mut session = LabletSession::default();
    history.into_iter().for_each(|event| session.apply(event));
    let snapshot = serde_json::to_value(&session).unwrap();
    assert_eq!(serde_json::from_value::<LabletSession>(snapshot).unwrap(), session);
}

#[test]
fn an_observation_in_which_nothing_is_known_is_refused() {
    for nothing in [
        json!({"observed_resources": {}}),
        json!({"observed_resources": {"observed_at": "2026-03-01T10:00:00Z", "observer": "grading"}}),
        json!({"observed_resources": {"total_cpu_cores": null}, "observed_ports": null}),
    ] {
        let refused = decide(running(), report(nothing)).unwrap_err().to_string();
        assert!(refused.starts_with("observed_resources says nothing that is known; expected "), "{refused}");
    }
    assert!(decide(running(), report(json!({"observed_resources": {}, "observed_ports": {}}))).is_ok());
}

#[test]
fn a_clock_that_is_ahead_buries_no_later_observation() {
    let mut history = running();
    // As it was stored before anybody looked at the time.
    let mut ahead = decide(
        history.clone(),
        report(json!({"observed_resources": {"observer": "a"}, "observed_ports": {"PC_serial": 5041}})),
    )
    .unwrap();
    let LabletSessionEvent::ResourcesObserved { observed_at, .. } = &mut ahead[0] else { panic!() };
    *observed_at = "2099-01-01T00:00:00Z".parse().unwrap();
    history.extend(ahead);
    history.extend(
        decide(
            history.clone(),
            report(json!({"observed_resources": {"observer": "b"}, "observed_ports": {"PC_serial": 5999}})),
        )
        .unwrap(),
    );
    let mut session = LabletSession::default();
    history.into_iter().for_each(|event| session.apply(event));
    let observations = &session.present().unwrap().observations;
    assert_eq!((observations.drift_detected(), observations.newest_at()), (Some(true), Some(now())));
    assert_eq!(observations.drift.as_ref().unwrap().details.changed.len(), 1);
}

#[test]
fn an_observation_that_arrives_late_is_recorded_with_its_verdict_and_alarms_nobody() {
    let at = |time: &str, port: u16| {
        report(json!({"observed_resources": {"observed_at": time}, "observed_ports": {"PC_serial": port}}))
    };
    let mut history = running();
    history.extend(decide(history.clone(), at("2026-03-01T11:00:00Z", 5041)).unwrap());
    let late = decide(history.clone(), at("2026-03-01T10:00:00Z", 5999)).unwrap();
    let [LabletSessionEvent::ResourcesObserved { port_drift_detected, late_drift, .. }] = late.as_slice() else {
        panic!("{late:?}");
    };
    assert_eq!(*port_drift_detected, Some(true), "what it saw");
    let changed = json!({"PC_serial": {"allocated": 5041, "observed": 5999}});
    assert_eq!(serde_json::to_value(late_drift).unwrap(), json!({"added": {}, "removed": {}, "changed": changed}));
    // As it was recorded before: with an event of its own for a drift that is history.
    let mut of_old = late.clone();
    of_old.push(LabletSessionEvent::PortDriftDetected {
        ids: ids(),
        worker_id: Some(worker()),
        allocated_ports: ports(json!({"PC_serial": 5041})),
        observed_ports: ports(json!({"PC_serial": 5999})),
        drift_details: serde_json::from_value(json!({"removed": {"PC_serial": 5041}})).unwrap(),
        detected_at: now(),
    });
    for late in [late, of_old] {
        let session = state_after(history.iter().cloned().chain(late));
        let observations = &session.observations;
        assert_eq!((observations.count, observations.drift_detected()), (2, Some(false)));
        assert_eq!(observations.newest_at(), Some("2026-03-01T11:00:00Z".parse().unwrap()));
        assert!(observations.drift.as_ref().unwrap().details.is_none());
    }
}

#[test]
fn a_late_verdict_counts_where_no_newer_observation_could_read_the_tags() {
    let mut history = running();
    let newest = json!({"observed_resources": {"observed_at": "2026-03-01T11:00:00Z", "total_cpu_cores": 1}});
    history.extend(decide(history.clone(), report(newest)).unwrap());
    let late = json!({"observed_resources": {"observed_at": "2026-03-01T10:00:00Z"}, "observed_ports": {}});
    let late = decide(history.clone(), report(late)).unwrap();
    assert_eq!(types(&late), ["lablet_session.resources_observed", "lablet_session.port_drift_detected"]);
    let session = state_after(history.into_iter().chain(late));
    assert_eq!(session.observations.drift_detected(), Some(true));
    assert_eq!(session.observations.newest_at(), Some("2026-03-01T11:00:00Z".parse().unwrap()));
}

#[test]
fn a_session_weighs_as_much_after_12_000_observations_as_after_200() {
    let mut session = LabletSession::default();
    running().into_iter().for_each(|event| session.apply(event));
    let weight = |session: &LabletSession| serde_json::to_string(session).unwrap().len();
    let mut after_200 = 0;
    for number in 0..12_000_i64 {
        let observed_at = now() - chrono::TimeDelta::seconds(20_000 - number);
        let request = format!("r-{number:05}");
        session.apply(requested(&request));
        let body = json!({
            "observed_resources": {"observer": format!("team-{}", number % 40), "observed_at": observed_at, "total_cpu_cores": 1},
            "observed_ports": {"PC_serial": 5041}, "request_id": request
        });
        let Decision::Record(events) = session.decide(report(body)).unwrap() else { panic!("nothing is recorded") };
        events.into_iter().for_each(|event| session.apply(event));
        if number == 999 {
            after_200 = weight(&session);
        }
    }
    assert_eq!(session.present().unwrap().observations.count, 12_000);
    assert!(weight(&session) <= after_200 + 16, "{} bytes after {after_200}", weight(&session));
}

#[test]
fn what_was_observed_long_ago_and_comes_again_changes_nothing_that_is_newest() {
    let mut history = running();
    let of_minute = |minute: usize| {
        report(json!({"observed_resources": {"observer": "grading", "total_cpu_cores": 1 + minute,
                                             "observed_at": format!("2026-03-01T10:{minute:02}:00Z")}}))
    };
    for minute in 0..59 {
        history.extend(decide(history.clone(), of_minute(minute)).unwrap());
    }
    for recognised in [58, 40, 27] {
        assert_eq!(decide(history.clone(), of_minute(recognised)).unwrap(), vec![], "{recognised}");
    }
    let before = state_after(history.clone());
    history.extend(decide(history.clone(), of_minute(3)).unwrap());
    let after = state_after(history);
    assert_eq!(after.observations.count, before.observations.count + 1);
    assert_eq!(
        (after.observations.newest, after.observations.cpu_cores),
        (before.observations.newest, before.observations.cpu_cores)
    );
}

#[test]
fn requests_without_an_outcome_are_bounded() {
    let mut history = running();
    history.extend((0..MOST_OPEN_REQUESTS).map(|number| requested(&format!("r-{number}"))));
    assert_eq!(decide(history.clone(), request("r-0")).unwrap(), vec![], "the same request again is no further one");
    let refused = decide(history.clone(), request("r-more")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the session has 64 observation requests without an outcome; it may have at most 64"
    );
    history.extend(
        decide(history.clone(), failure(json!({"request_id": "r-5", "outcome": "failed", "reason": "x"}))).unwrap(),
    );
    assert!(decide(history, request("r-more")).is_ok());
}

#[test]
fn the_same_port_by_another_name_is_told_and_no_drift() {
    let events =
        decide(running(), report(json!({"observed_resources": {}, "observed_ports": {"PC_tcp": 5041}}))).unwrap();
    let [LabletSessionEvent::ResourcesObserved { port_drift_detected, renamed_ports, .. }] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(*port_drift_detected, Some(false));
    assert_eq!(
        serde_json::to_value(renamed_ports).unwrap(),
        json!({"PC_serial": {"observed_name": "PC_tcp", "port": 5041}})
    );
}

#[test]
fn a_time_that_cannot_be_shown_is_refused_by_field_and_what_is_stored_stays_readable() {
    let seen_at = |at: &str| json!({"observed_resources": {"observed_at": at, "total_cpu_cores": 1}});
    let ahead = decide(running(), report(seen_at("2099-01-01T00:00:00Z"))).unwrap_err();
    let LabletSessionError::Invalid(invalid) = ahead else { panic!("{ahead:?}") };
    assert_eq!(invalid.field, "observed_resources.observed_at");
    for bad in ["0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-05:00"] {
        let refused = serde_path_to_error::deserialize::<_, ObservationReport>(seen_at(bad)).unwrap_err();
        assert_eq!(refused.path().to_string(), "observed_resources.observed_at");
    }
    for old in ["0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-05:00", "2099-01-01T00:00:00Z"] {
        let mut recorded = decide(running(), report(json!({"observed_resources": {"total_cpu_cores": 1}}))).unwrap();
        let LabletSessionEvent::ResourcesObserved { observed_at, observed_resources, .. } = &mut recorded[0] else {
            panic!()
        };
        *observed_at = old.parse().unwrap();
        observed_resources.observed_at = Some(BoundedTime::nearest(*observed_at));
        let mut stored = serde_json::to_value(&recorded[0]).unwrap();
        stored["observed_resources"]["observed_at"] = old.into();
        let read = crate::stored::read::<LabletSessionEvent>(&stored.to_string()).unwrap();
        assert_eq!(read, recorded[0], "{old}");
    }
}

#[test]
fn evidence_is_excluded_and_included_with_a_reason_once_each() {
    let change = |counts| LabletSessionCommand::ChangeEvidence {
        counts,
        reason: serde_json::from_value(json!({"reason": "a stress test"})).unwrap(),
        by: "admin:ada".to_owned(),
        now: now(),
    };
    let mut session = LabletSession::default();
    session.apply(created());
    assert_eq!(session.decide(change(true)).unwrap(), Decision::AlreadyDone);
    for counts in [false, true] {
        let Decision::Record(events) = session.decide(change(counts)).unwrap() else { panic!("nothing happened") };
        events.into_iter().for_each(|event| session.apply(event));
        assert_eq!(session.present().unwrap().evidence_excluded, !counts);
        assert_eq!(session.decide(change(counts)).unwrap(), Decision::AlreadyDone);
    }
    assert_eq!(LabletSession::default().decide(change(false)), Err(LabletSessionError::Absent));
}
