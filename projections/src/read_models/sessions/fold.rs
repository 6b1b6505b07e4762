//! How sessions become rows.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::evidence::Evidence;
use domain::lablet_session::{LabletSessionEvent, LifeStep, SessionStatus};
use domain::observation_summary::{Contribution, LatestDrift, NewestObservation, ObservationSummary};
use domain::port_drift::{AcknowledgedDrift, PortDrift};
use domain::time::shown;
use uuid::Uuid;

use crate::projector::{Applied, Event, Fold, Recorded, jsonb};
use crate::refused::{Refused, integer};
use crate::table::cell::Jsonb;
use crate::table::{AnyTable, Table, rows};

rows! {
    /// A session, as it is stored.
    pub(crate) struct StoredSession in "sessions" by (id: String) {
        id: String,
        definition_id: String,
        definition_version: String,
        definition_revision: i32,
        owner_id: Option<String>,
        status: String,
        status_reason: Option<String>,
        status_since: DateTime<Utc>,
        worker_id: Option<String>,
        cml_lab_id: Option<String>,
        allocated_ports: Option<Jsonb>,
        observed_ports: Option<Jsonb>,
        unallocated: Option<Jsonb>,
        port_drift_detected: Option<bool>,
        port_drift: Option<Jsonb>,
        verdict_event_id: Option<Uuid>,
        verdict_sequence: Option<i64>,
        verdict_observed_at: Option<DateTime<Utc>>,
        drift_since: Option<DateTime<Utc>>,
        observation_count: i64,
        observed_at: Option<DateTime<Utc>>,
        observed_event_id: Option<Uuid>,
        observation_complete: Option<bool>,
        ports: Option<Jsonb>,
        nominal_cpu_cores: Option<f64>,
        nominal_memory_mb: Option<f64>,
        open_requests: i64,
        timeslot_start: Option<DateTime<Utc>>,
        timeslot_end: Option<DateTime<Utc>>,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        created_position: Position,
        position: Position,
        sequence: i64,
        /// The drift as it was acknowledged, as are the columns after it of the same event.
        acknowledged_drift: Option<Jsonb>,
        acknowledgement_reason: Option<String>,
        acknowledged_until: Option<DateTime<Utc>>,
        acknowledged_by: Option<String>,
        acknowledged_at: Option<DateTime<Utc>>,
        acknowledgement_event_id: Option<Uuid>,
        lab_title: Option<String>,
    }
}

impl StoredSession {
    /// What the row knows of observations; what it keeps as JSON is left out. `last` is the event before the next one.
    fn summary(&self, last: i64) -> Result<ObservationSummary<Uuid>, Refused> {
        let newest = self.observed_at.zip(self.observed_event_id).map(|(made_at, event)| NewestObservation {
            event,
            made_at,
            complete: self.observation_complete,
            evidence: Evidence::default(),
            contradictions: Vec::new(),
            no_evidence: None,
        });
        let verdict = self.port_drift_detected.zip(self.verdict_event_id).zip(self.verdict_observed_at);
        let acknowledgement = self.acknowledgement()?;
        let drift = verdict.map(|((detected, event), made_at)| LatestDrift {
            detected,
            event,
            made_at,
            since: self.drift_since,
            observed_ports: None,
            unallocated: None,
            details: PortDrift::default(),
            acknowledgement,
            is_recorded_last: self.verdict_sequence == Some(last),
        });
        Ok(ObservationSummary {
            count: self.observation_count.unsigned_abs(),
            newest,
            drift,
            ..ObservationSummary::default()
        })
    }

    fn acknowledgement(&self) -> Result<Option<AcknowledgedDrift<Uuid>>, Refused> {
        let (Some(details), Some(until), Some(at), Some(event)) =
            (&self.acknowledged_drift, self.acknowledged_until, self.acknowledged_at, self.acknowledgement_event_id)
        else {
            return Ok(None);
        };
        let details = details.parse().map_err(|error| Refused::new(format!("acknowledged_drift: {error}")))?;
        let reason = self.acknowledgement_reason.clone().unwrap_or_default();
        let by = self.acknowledged_by.clone().unwrap_or_default();
        Ok(Some(AcknowledgedDrift { details, reason, until, by, at, event }))
    }

    /// Keeps an acknowledgement, or lets it go.
    fn acknowledge(&mut self, acknowledgement: Option<AcknowledgedDrift<Uuid>>) -> Result<(), Refused> {
        self.acknowledged_drift = acknowledgement.as_ref().map(|kept| jsonb(&kept.details)).transpose()?;
        self.acknowledged_until = acknowledgement.as_ref().map(|kept| shown(kept.until));
        self.acknowledged_at = acknowledgement.as_ref().map(|kept| kept.at);
        self.acknowledgement_event_id = acknowledgement.as_ref().map(|kept| kept.event);
        let (reason, by) = acknowledgement.map(|kept| (kept.reason, kept.by)).unzip();
        (self.acknowledgement_reason, self.acknowledged_by) = (reason, by);
        Ok(())
    }
}

/// What an observation says of the ports, as the row keeps it.
struct StoredPorts {
    observed_ports: Option<Jsonb>,
    unallocated: Option<Jsonb>,
    /// Without what the event that follows tells of a drift.
    details: Jsonb,
}

impl StoredPorts {
    fn from_contribution(contribution: &Contribution<'_>) -> Result<Self, Refused> {
        let details = PortDrift { renamed: contribution.renamed_ports.clone(), ..PortDrift::default() };
        Ok(Self {
            observed_ports: contribution.observed_ports.map(jsonb).transpose()?,
            unallocated: contribution.unallocated.map(jsonb).transpose()?,
            details: jsonb(&details)?,
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    sessions: Table<StoredSession>,
}

impl Fold for Rows {
    fn tables(&mut self) -> Vec<&mut dyn AnyTable> {
        vec![&mut self.sessions]
    }

    fn want(&mut self, event: &Event, recorded: &Recorded) {
        let Event::Session(event) = event else { return };
        let key = (recorded.log.aggregate_id.clone(),);
        if matches!(event.as_ref(), LabletSessionEvent::Created { .. }) {
            self.sessions.expect_none(key);
        } else {
            self.sessions.want(key);
        }
    }

    fn fold(&mut self, event: &Event, recorded: &Recorded) -> Result<Applied, Refused> {
        let event = match event {
            Event::Session(event) => event.as_ref(),
            Event::Definition(_) | Event::Worker(_) | Event::AdvicePolicy(_) | Event::Foreign => {
                return Ok(Applied::Ignored);
            }
        };
        match event {
            LabletSessionEvent::Created { ids, owner_id, timeslot, created_at } => {
                let row = StoredSession {
                    id: recorded.log.aggregate_id.clone(),
                    definition_id: ids.definition_id.to_string(),
                    definition_version: ids.definition_version.as_str().to_owned(),
                    definition_revision: integer(ids.definition_revision, "definition_revision")?,
                    owner_id: owner_id.as_ref().map(ToString::to_string),
                    status: SessionStatus::Pending.as_str().to_owned(),
                    status_reason: None,
                    status_since: *created_at,
                    worker_id: None,
                    cml_lab_id: None,
                    allocated_ports: None,
                    observed_ports: None,
                    unallocated: None,
                    port_drift_detected: None,
                    port_drift: None,
                    verdict_event_id: None,
                    verdict_sequence: None,
                    verdict_observed_at: None,
                    drift_since: None,
                    observation_count: 0,
                    observed_at: None,
                    observed_event_id: None,
                    observation_complete: None,
                    ports: None,
                    nominal_cpu_cores: None,
                    nominal_memory_mb: None,
                    open_requests: 0,
                    timeslot_start: timeslot.map(|timeslot| shown(timeslot.start())),
                    timeslot_end: timeslot.map(|timeslot| shown(timeslot.end())),
                    created_at: *created_at,
                    updated_at: *created_at,
                    created_position: recorded.position(),
                    position: recorded.position(),
                    sequence: recorded.sequence(),
                    acknowledged_drift: None,
                    acknowledgement_reason: None,
                    acknowledged_until: None,
                    acknowledged_by: None,
                    acknowledged_at: None,
                    acknowledgement_event_id: None,
                    lab_title: None,
                };
                self.sessions.insert(row, "a session is created")?;
                Ok(Applied::Changed)
            }
            LabletSessionEvent::Scheduled(step) => self.go_on(recorded, SessionStatus::Scheduled, step),
            LabletSessionEvent::Instantiating(step) => self.go_on(recorded, SessionStatus::Instantiating, step),
            LabletSessionEvent::Ready(step) => self.go_on(recorded, SessionStatus::Ready, step),
            LabletSessionEvent::Running(step) => self.go_on(recorded, SessionStatus::Running, step),
            LabletSessionEvent::Collecting(step) => self.go_on(recorded, SessionStatus::Collecting, step),
            LabletSessionEvent::Grading(step) => self.go_on(recorded, SessionStatus::Grading, step),
            LabletSessionEvent::Stopping(step) => self.go_on(recorded, SessionStatus::Stopping, step),
            LabletSessionEvent::Stopped(step) => self.go_on(recorded, SessionStatus::Stopped, step),
            LabletSessionEvent::Archived(step) => self.go_on(recorded, SessionStatus::Archived, step),
            LabletSessionEvent::Terminated(step) => self.go_on(recorded, SessionStatus::Terminated, step),
            LabletSessionEvent::Expired(step) => self.go_on(recorded, SessionStatus::Expired, step),
            LabletSessionEvent::ObserveResourcesRequested { requested_at, .. } => {
                let row = self.touch(recorded, *requested_at, "an observation is requested")?;
                row.open_requests += 1;
                Ok(Applied::Changed)
            }
            LabletSessionEvent::ResourcesObserved { observed_resources, request_id, recorded_at, .. } => {
                let Some(contribution) = recorded.contribution() else {
                    return Err(Refused::new("an observation contributes nothing"));
                };
                let verdict = StoredPorts::from_contribution(&contribution)?;
                let ports = Some(&observed_resources.ports).filter(|ports| !ports.is_empty()).map(jsonb).transpose()?;
                let mut summary = self.summary(recorded)?;
                let row = self.touch(recorded, *recorded_at, "a session is observed")?;
                row.open_requests -= i64::from(request_id.is_some());
                summary.record(recorded.event_id(), &contribution);
                row.observation_count += 1;
                if let Some(newest) = summary.newest.filter(|newest| newest.event == recorded.event_id()) {
                    row.observed_at = Some(newest.made_at);
                    row.observed_event_id = Some(newest.event);
                    row.observation_complete = newest.complete;
                    row.nominal_cpu_cores = newest.evidence.cpu_cores;
                    row.nominal_memory_mb = newest.evidence.memory_mb;
                    row.ports = ports;
                    if let Some(title) = &observed_resources.lab_title {
                        row.lab_title = Some(title.to_string());
                    }
                }
                if let Some(drift) = summary.drift.filter(|drift| drift.event == recorded.event_id()) {
                    row.observed_ports = verdict.observed_ports;
                    row.unallocated = verdict.unallocated;
                    row.port_drift = Some(verdict.details);
                    row.verdict_event_id = Some(drift.event);
                    row.verdict_sequence = Some(recorded.sequence());
                    row.drift_since = drift.since;
                    row.port_drift_detected = Some(drift.detected);
                    row.verdict_observed_at = Some(drift.made_at);
                    row.acknowledge(drift.acknowledgement)?;
                }
                Ok(Applied::Changed)
            }
            LabletSessionEvent::PortDriftDetected { drift_details, detected_at, .. } => {
                let drift = jsonb(drift_details)?;
                let mut summary = self.summary(recorded)?;
                let row = self.touch(recorded, *detected_at, "ports drift")?;
                summary.record_drift(drift_details);
                if let Some(latest) = summary.drift.filter(|drift| drift.is_recorded_last) {
                    row.port_drift = Some(drift);
                    row.acknowledge(latest.acknowledgement)?;
                }
                Ok(Applied::Changed)
            }
            LabletSessionEvent::ObservationFailed { request_id, failed_at, .. } => {
                let row = self.touch(recorded, *failed_at, "an observation fails")?;
                row.open_requests -= i64::from(request_id.is_some());
                Ok(Applied::Changed)
            }
            LabletSessionEvent::EvidenceExcluded { excluded_at: at, .. }
            | LabletSessionEvent::EvidenceIncluded { included_at: at, .. } => {
                self.touch(recorded, *at, "what a session says counts otherwise")?;
                Ok(Applied::Changed)
            }
            LabletSessionEvent::PortDriftAcknowledged {
                drift_details,
                reason,
                until,
                acknowledged_by,
                acknowledged_at,
                ..
            } => {
                let row = self.touch(recorded, *acknowledged_at, "a drift is acknowledged")?;
                row.acknowledge(Some(AcknowledgedDrift {
                    details: drift_details.clone(),
                    reason: reason.clone(),
                    until: *until,
                    by: acknowledged_by.clone(),
                    at: *acknowledged_at,
                    event: recorded.event_id(),
                }))?;
                Ok(Applied::Changed)
            }
            LabletSessionEvent::PortDriftAcknowledgementWithdrawn { withdrawn_at, .. } => {
                self.touch(recorded, *withdrawn_at, "an acknowledgement is withdrawn")?.acknowledge(None)?;
                Ok(Applied::Changed)
            }
            LabletSessionEvent::AllocationCorrected { after, drift_details, corrected_at, .. } => {
                let (allocated, details) = (jsonb(after)?, jsonb(drift_details)?);
                let mut summary = self.summary(recorded)?;
                let row = self.touch(recorded, *corrected_at, "an allocation is corrected")?;
                row.allocated_ports = Some(allocated);
                summary.correct(after, drift_details, *corrected_at);
                if let Some(drift) = summary.drift {
                    row.port_drift_detected = Some(drift.detected);
                    row.drift_since = drift.since;
                    row.port_drift = Some(details);
                    row.unallocated = row.observed_ports.clone().filter(|_| after.is_empty());
                    row.acknowledge(drift.acknowledgement)?;
                }
                Ok(Applied::Changed)
            }
        }
    }
}

impl Rows {
    /// What the session's row knows of observations before this event.
    fn summary(&self, recorded: &Recorded) -> Result<ObservationSummary<Uuid>, Refused> {
        let row = self.sessions.get(&(recorded.log.aggregate_id.clone(),))?;
        row.map_or_else(|| Ok(ObservationSummary::default()), |row| row.summary(recorded.sequence() - 1))
    }

    /// The session's row, which is at this event from now on.
    fn touch(&mut self, recorded: &Recorded, at: DateTime<Utc>, fact: &str) -> Result<&mut StoredSession, Refused> {
        let row = self.sessions.change(&(recorded.log.aggregate_id.clone(),), fact)?;
        row.updated_at = at;
        row.position = recorded.position();
        row.sequence = recorded.sequence();
        Ok(row)
    }

    fn go_on(&mut self, recorded: &Recorded, status: SessionStatus, step: &LifeStep) -> Result<Applied, Refused> {
        let allocated_ports = step.allocated_ports.as_ref().map(jsonb).transpose()?;
        let row = self.touch(recorded, step.at, "a session goes on")?;
        // A step to the status that the session has adds facts: it has been there since before.
        let is_there = row.status == status.as_str();
        if !is_there {
            row.status = status.as_str().to_owned();
            row.status_since = step.at;
        }
        if !is_there || step.reason.is_some() {
            row.status_reason = step.reason.as_ref().map(ToString::to_string);
        }
        row.worker_id = step.worker_id.as_ref().map(ToString::to_string);
        row.cml_lab_id = step.cml_lab_id.as_ref().map(ToString::to_string);
        row.allocated_ports = allocated_ports.or_else(|| row.allocated_ports.take());
        if let Some(timeslot) = step.timeslot {
            row.timeslot_start = Some(shown(timeslot.start()));
            row.timeslot_end = Some(shown(timeslot.end()));
        }
        Ok(Applied::Changed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::read_models::given::{event_id, given, recorded, sample};

    fn observed(sequence: i64, at: &str, changes: Value) -> Recorded {
        let mut event = sample("lablet_session.resources_observed.v1");
        event["observed_at"] = at.into();
        for (name, value) in changes.as_object().unwrap() {
            event[name] = value.clone();
        }
        recorded("s-1", sequence, &event)
    }

    fn session() -> Rows {
        let mut rows = Rows::default();
        given(&mut rows, &recorded("s-1", 1, &sample("lablet_session.created.v1"))).unwrap();
        rows
    }

    #[test]
    fn a_life_goes_on_and_what_a_step_does_not_say_stays() {
        let mut rows = session();
        given(&mut rows, &recorded("s-1", 2, &sample("lablet_session.scheduled.v1"))).unwrap();
        let allocated = rows.sessions.rows()[0].allocated_ports.clone();
        assert!(allocated.as_ref().is_some_and(|ports| ports.value().is_object()));
        given(&mut rows, &recorded("s-1", 3, &sample("lablet_session.running.v1"))).unwrap();
        let row = rows.sessions.rows()[0];
        assert_eq!((row.status.as_str(), row.sequence), ("running", 3));
        assert_eq!((row.cml_lab_id.is_some(), &row.allocated_ports), (true, &allocated));
        assert!(given(&mut rows, &recorded("s-2", 2, &sample("lablet_session.running.v1"))).is_err(), "nobody made it");
    }

    #[test]
    fn a_step_to_the_status_that_a_session_has_adds_what_it_says_and_begins_nothing() {
        let mut rows = session();
        let mut step = sample("lablet_session.running.v1");
        step["reason"] = "its time has come".into();
        given(&mut rows, &recorded("s-1", 2, &step)).unwrap();
        let since = rows.sessions.rows()[0].status_since;
        let again = json!({"at": "2026-03-01T11:00:00Z", "reason": null, "allocated_ports": {"PC_serial": 5050}});
        for (name, value) in again.as_object().unwrap() {
            step[name] = value.clone();
        }
        given(&mut rows, &recorded("s-1", 3, &step)).unwrap();
        let row = rows.sessions.rows()[0];
        assert_eq!((row.status_since, row.status_reason.as_deref()), (since, Some("its time has come")));
        assert_eq!(row.allocated_ports.as_ref().unwrap().value(), json!({"PC_serial": 5050}));
        assert!(row.updated_at > since);
    }

    #[test]
    fn an_observation_that_arrives_late_is_counted_and_replaces_nothing() {
        let mut rows = session();
        given(&mut rows, &observed(2, "2026-03-01T10:30:00Z", json!({"port_drift_detected": false}))).unwrap();
        given(&mut rows, &observed(3, "2026-03-01T10:00:00Z", json!({"port_drift_detected": true}))).unwrap();
        given(&mut rows, &recorded("s-1", 4, &sample("lablet_session.port_drift_detected.v1"))).unwrap();
        let row = rows.sessions.rows()[0];
        assert_eq!((row.observation_count, row.observed_event_id, row.sequence), (2, Some(event_id(2)), 4));
        assert_eq!((row.port_drift_detected, row.drift_since), (Some(false), None));
        assert_eq!(row.port_drift.as_ref().unwrap().value()["removed"], json!({}), "its details are history too");
    }

    #[test]
    fn a_lab_is_called_what_the_newest_observation_that_told_it_says() {
        let mut rows = session();
        let resources = |title: Option<&str>| {
            let mut resources = sample("lablet_session.resources_observed.v1")["observed_resources"].clone();
            if let Some(title) = title {
                resources["lab_title"] = title.into();
            }
            json!({ "observed_resources": resources })
        };
        let title = |rows: &Rows| rows.sessions.rows()[0].lab_title.clone();
        given(&mut rows, &observed(2, "2026-03-01T10:10:00Z", resources(None))).unwrap();
        assert_eq!(title(&rows), None);
        given(&mut rows, &observed(3, "2026-03-01T10:20:00Z", resources(Some("OSPF of Ada")))).unwrap();
        given(&mut rows, &observed(4, "2026-03-01T10:30:00Z", resources(None))).unwrap();
        given(&mut rows, &observed(5, "2026-03-01T10:15:00Z", resources(Some("OSPF")))).unwrap();
        assert_eq!(title(&rows).as_deref(), Some("OSPF of Ada"));
    }

    #[test]
    fn a_drift_has_its_details_from_the_event_that_follows_and_its_age_from_the_first() {
        let mut rows = session();
        let drift = json!({"port_drift_detected": true});
        given(&mut rows, &observed(2, "2026-03-01T10:00:00Z", drift.clone())).unwrap();
        let first = rows.sessions.rows()[0].verdict_observed_at;
        given(&mut rows, &observed(3, "2026-03-01T10:30:00Z", drift)).unwrap();
        let details = sample("lablet_session.port_drift_detected.v1");
        given(&mut rows, &recorded("s-1", 4, &details)).unwrap();
        let row = rows.sessions.rows()[0];
        assert_eq!((row.drift_since, row.verdict_event_id), (first, Some(event_id(3))));
        assert_eq!(row.port_drift.as_ref().unwrap().value()["changed"], details["drift_details"]["changed"]);
        // One that could not read the tags says nothing.
        let unread = json!({"port_drift_detected": null, "observed_ports": null});
        given(&mut rows, &observed(5, "2026-03-01T10:40:00Z", unread)).unwrap();
        let row = rows.sessions.rows()[0];
        assert_eq!((row.port_drift_detected, row.verdict_event_id), (Some(true), Some(event_id(3))));
        assert_eq!(row.observed_event_id, Some(event_id(5)));
    }

    /// A session whose drift is acknowledged, as the samples say.
    fn acknowledged() -> Rows {
        let mut rows = session();
        given(&mut rows, &observed(2, "2026-03-01T10:10:00Z", json!({"port_drift_detected": true}))).unwrap();
        given(&mut rows, &recorded("s-1", 3, &sample("lablet_session.port_drift_detected.v1"))).unwrap();
        given(&mut rows, &recorded("s-1", 4, &sample("lablet_session.port_drift_acknowledged.v1"))).unwrap();
        rows
    }

    #[test]
    fn an_acknowledgement_stays_with_its_drift_and_goes_with_it() {
        let mut rows = acknowledged();
        let told = |rows: &Rows| {
            let row = rows.sessions.rows()[0];
            (row.acknowledgement_event_id, row.acknowledged_by.clone(), row.acknowledged_until.is_some())
        };
        let kept = (Some(event_id(4)), Some("admin:ada".to_owned()), true);
        assert_eq!(told(&rows), kept);
        given(&mut rows, &observed(5, "2026-03-01T10:20:00Z", json!({"port_drift_detected": true}))).unwrap();
        given(&mut rows, &recorded("s-1", 6, &sample("lablet_session.port_drift_detected.v1"))).unwrap();
        assert_eq!(told(&rows), kept, "seen again as it was");
        given(&mut rows, &observed(7, "2026-03-01T10:30:00Z", json!({"port_drift_detected": true}))).unwrap();
        let mut other = sample("lablet_session.port_drift_detected.v1");
        other["drift_details"]["added"] = json!({"R9_tcp": 2999});
        given(&mut rows, &recorded("s-1", 8, &other)).unwrap();
        assert_eq!(told(&rows), (None, None, false), "another drift is open");
        let mut rows = acknowledged();
        given(&mut rows, &observed(5, "2026-03-01T10:20:00Z", json!({"port_drift_detected": false}))).unwrap();
        assert_eq!(told(&rows), (None, None, false), "it ended");
        let mut rows = acknowledged();
        let withdrawn = sample("lablet_session.port_drift_acknowledgement_withdrawn.v1");
        given(&mut rows, &recorded("s-1", 5, &withdrawn)).unwrap();
        assert_eq!(told(&rows), (None, None, false), "it was withdrawn");
        assert_eq!(rows.sessions.rows()[0].port_drift_detected, Some(true));
    }

    #[test]
    fn a_corrected_allocation_gives_another_verdict_at_once() {
        let mut rows = acknowledged();
        let corrected = sample("lablet_session.allocation_corrected.v1");
        given(&mut rows, &recorded("s-1", 5, &corrected)).unwrap();
        let row = rows.sessions.rows()[0];
        assert_eq!((row.port_drift_detected, row.drift_since, row.acknowledged_until), (Some(false), None, None));
        assert_eq!(row.allocated_ports.as_ref().unwrap().value(), corrected["after"]);
        assert_eq!((row.verdict_event_id, row.sequence), (Some(event_id(2)), 5), "of the same observation");
    }
}
