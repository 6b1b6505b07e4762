use serde_json::{Value, json};

use super::*;

/// A running session whose console was observed on another port than the allocated one.
fn drifted() -> Vec<LabletSessionEvent> {
    let mut history = running();
    let observed = json!({"observed_ports": {"PC_serial": 5141}, "observed_resources": {"total_cpu_cores": 1}});
    history.extend(decide(history.clone(), report(observed)).unwrap());
    history
}

fn acknowledge(reason: &str, until: &str) -> LabletSessionCommand {
    let acknowledgement = serde_json::from_value(json!({"reason": reason, "until": until})).unwrap();
    LabletSessionCommand::AcknowledgeDrift { acknowledgement, by: "admin:ada".to_owned(), now: now() }
}

fn correct(correction: Value) -> LabletSessionCommand {
    let correction = serde_json::from_value(correction).unwrap();
    LabletSessionCommand::CorrectAllocation { correction, by: "admin:ada".to_owned(), now: now() }
}

#[test]
fn a_drift_is_acknowledged_for_a_while_and_once() {
    let known = acknowledge("the guide names it", "2026-03-08T12:00:00Z");
    let events = decide(drifted(), known.clone()).unwrap();
    let [LabletSessionEvent::PortDriftAcknowledged { drift_details, reason, acknowledged_by, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        (drift_details.changed.len(), reason.as_str(), acknowledged_by.as_str()),
        (1, "the guide names it", "admin:ada")
    );
    let history: Vec<_> = drifted().into_iter().chain(events).collect();
    assert_eq!(decide(history.clone(), known).unwrap(), [], "already done");
    let longer = decide(history, acknowledge("the guide names it", "2026-03-09T12:00:00Z")).unwrap();
    assert_eq!(types(&longer), ["lablet_session.port_drift_acknowledged"]);
}

#[test]
fn only_a_drift_is_acknowledged_and_not_for_ever() {
    let refused = |history, until: &str| decide(history, acknowledge("known", until)).unwrap_err();
    let tomorrow = "2026-03-02T12:00:00Z";
    assert_eq!(refused(running(), tomorrow), LabletSessionError::Ports(PortsRefused::DriftUnknown));
    let mut planned = running();
    let observed = json!({"observed_ports": {"PC_serial": 5041}, "observed_resources": {"total_cpu_cores": 1}});
    planned.extend(decide(running(), report(observed)).unwrap());
    assert_eq!(refused(planned, tomorrow), LabletSessionError::Ports(PortsRefused::NoDrift));
    for until in ["2026-03-01T12:00:00Z", "2026-05-30T12:00:01Z"] {
        assert_eq!(refused(drifted(), until).invalid().unwrap().field, "until");
    }
    assert!(decide(drifted(), acknowledge("known", "2026-05-30T12:00:00Z")).is_ok());
}

#[test]
fn an_acknowledgement_is_withdrawn_once_and_the_drift_is_open_again() {
    let withdraw = |now| {
        let withdrawal = serde_json::from_value(json!({"reason": "the guide was corrected"})).unwrap();
        LabletSessionCommand::WithdrawAcknowledgement { withdrawal, by: "admin:grace".to_owned(), now }
    };
    assert_eq!(decide(drifted(), withdraw(now())).unwrap(), [], "it is open");
    assert_eq!(decide(running(), withdraw(now())).unwrap(), [], "there is none");
    let known = acknowledge("the guide names it", "2026-03-08T12:00:00Z");
    let acknowledged: Vec<_> = drifted().into_iter().chain(decide(drifted(), known.clone()).unwrap()).collect();
    let over = "2026-03-08T12:00:00Z".parse().unwrap();
    assert_eq!(decide(acknowledged.clone(), withdraw(over)).unwrap(), [], "its time is over");
    let events = decide(acknowledged.clone(), withdraw(now())).unwrap();
    let [LabletSessionEvent::PortDriftAcknowledgementWithdrawn { drift_details, reason, withdrawn_by, .. }] =
        &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(
        (drift_details.changed.len(), reason.as_str(), withdrawn_by.as_str()),
        (1, "the guide was corrected", "admin:grace")
    );
    let history: Vec<_> = acknowledged.into_iter().chain(events).collect();
    let drift = state_after(history.clone()).observations.drift.unwrap();
    assert!(drift.detected && drift.acknowledgement.is_none());
    assert_eq!(decide(history.clone(), withdraw(now())).unwrap(), [], "already done");
    assert_eq!(types(&decide(history, known).unwrap()), ["lablet_session.port_drift_acknowledged"], "known once more");
}

#[test]
fn an_allocation_is_corrected_to_what_was_observed_and_nothing_has_drifted() {
    let events = decide(drifted(), correct(json!({"reason": "imported so"}))).unwrap();
    let [LabletSessionEvent::AllocationCorrected { before, after, port_drift_detected, drift_details, .. }] =
        &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(
        (before.as_ref(), after),
        (Some(&ports(json!({"PC_serial": 5041}))), &ports(json!({"PC_serial": 5141})))
    );
    assert_eq!((*port_drift_detected, drift_details.is_none()), (Some(false), true));
    let history: Vec<_> = drifted().into_iter().chain(events).collect();
    let session = state_after(history.clone());
    assert_eq!(session.observations.drift_detected(), Some(false));
    assert_eq!(session.allocated_ports, Some(ports(json!({"PC_serial": 5141}))));
    assert_eq!(decide(history, correct(json!({"reason": "again"}))).unwrap(), [], "already done");
}

#[test]
fn an_allocation_that_is_corrected_to_something_else_is_judged_by_the_same_rule() {
    let given = correct(json!({"reason": "by hand", "allocated_ports": {"PC_serial": 5242}}));
    let known = decide(drifted(), acknowledge("known", "2026-03-02T12:00:00Z")).unwrap();
    let acknowledged: Vec<_> = drifted().into_iter().chain(known).collect();
    let events = decide(acknowledged.clone(), given.clone()).unwrap();
    let session = state_after(acknowledged.into_iter().chain(events));
    let drift = session.observations.drift.unwrap();
    assert!(drift.detected && drift.acknowledgement.is_none(), "another drift than the acknowledged one");
    let unseen = decide(running(), given).unwrap();
    assert!(matches!(unseen[..], [LabletSessionEvent::AllocationCorrected { port_drift_detected: None, .. }]));
}

#[test]
fn ports_that_nobody_holds_are_not_corrected() {
    let nothing = correct(json!({"reason": "why not"}));
    assert_eq!(decide(running(), nothing.clone()).unwrap_err(), PortsRefused::NothingObserved.into());
    let stopped = decide(drifted(), transition(json!({"new_status": "terminated"}))).unwrap();
    let ended = drifted().into_iter().chain(stopped).collect();
    let refused = decide(ended, nothing).unwrap_err();
    assert_eq!(refused, PortsRefused::HoldsNoPorts { status: SessionStatus::Terminated }.into());
}
