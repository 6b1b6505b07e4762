//! A session: one run of a lab for one learner, with its observations and the requests for them.

pub mod error;
pub mod event;
pub mod ports;
pub mod recent;
pub mod status;
pub mod wire;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use self::error::LabletSessionError;
use self::error::MOST_OPEN_REQUESTS;
pub use self::event::{FailureOutcome, LabletSessionEvent, LifeStep, SessionIds};
use self::ports::SessionPorts;
pub use self::ports::{LONGEST_ACKNOWLEDGEMENT, PortsRefused};
pub use self::recent::{AnsweredRequests, RecentObservations};
pub use self::status::SessionStatus;
pub use self::wire::{
    AcknowledgementWithdrawal, AllocationCorrection, DriftAcknowledgement, EvidenceReason, NewSession,
    ObservationFailure, ObservationReport, Transition,
};
use crate::actor::Actor;
use crate::decision::{self, Decide, Decision};
use crate::evidence::{made_at, replaces};
use crate::ids::{LabId, RequestId, WorkerId};
use crate::invalid::Invalid;
use crate::observation_summary::{LatestDrift, ObservationSummary};
use crate::port_drift::{AcknowledgedDrift, DriftVerdict};
use crate::ports::PortMap;
use crate::text::{Line, Prose};
use crate::time::{self, BoundedTime};
use crate::timeslot::{Booking, Timeslot};

/// A command to a session.
#[derive(Debug, Clone, PartialEq)]
pub enum LabletSessionCommand {
    /// Begin to exist, pending.
    Create {
        /// Its own id and its definition, as the definition is now.
        ids: SessionIds,
        /// For whom.
        owner_id: Option<Line<1, 128>>,
        /// When it is booked.
        timeslot: Option<Booking>,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Go on in its life.
    Transition {
        /// Where to, and what comes with it.
        transition: Transition,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Ask for an observation.
    RequestObservation {
        /// The request's own id.
        request_id: RequestId,
        /// Who asks.
        requested_by: Actor,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Record what was seen.
    RecordObservation {
        /// What was seen.
        report: Box<ObservationReport>,
        /// Who reports, where the report itself names no observer.
        reported_by: Actor,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Record that nothing could be seen.
    RecordObservationFailure {
        /// What failed, and why.
        failure: ObservationFailure,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Count what was measured as evidence of what the definition needs, or no longer.
    ChangeEvidence {
        /// Whether it counts.
        counts: bool,
        /// Why.
        reason: EvidenceReason,
        /// Who says so, e.g. `admin:ada`.
        by: String,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Leave the drifted ports as they are for a while.
    AcknowledgeDrift {
        /// Why, and until when.
        acknowledgement: DriftAcknowledgement,
        /// Who says so.
        by: String,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Let drifted ports that were acknowledged be open again.
    WithdrawAcknowledgement {
        /// Why.
        withdrawal: AcknowledgementWithdrawal,
        /// Who says so.
        by: String,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Allocate other ports, as the lab has others than were allocated.
    CorrectAllocation {
        /// Which, and why.
        correction: AllocationCorrection,
        /// Who says so.
        by: String,
        /// The time.
        now: DateTime<Utc>,
    },
}

/// State of a session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum LabletSession {
    /// It does not exist.
    #[default]
    Absent,
    /// It exists.
    Present(Box<PresentSession>),
}

/// A session that exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PresentSession {
    /// Session and definition.
    pub ids: SessionIds,
    /// For whom.
    pub owner_id: Option<String>,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// Why it came there, where someone said so.
    pub status_reason: Option<String>,
    /// When it is booked.
    pub timeslot: Option<Timeslot>,
    /// Where its lab runs.
    pub assignment: Assignment,
    /// Ports allocated to it. `None`: nothing was allocated.
    pub allocated_ports: Option<PortMap>,
    /// What its observations add up to.
    pub observations: ObservationSummary<()>,
    /// The observations that are recognised when they come again.
    pub recent_observations: RecentObservations,
    /// Requests for an observation, each with who asked, until answered.
    pub open_requests: BTreeMap<RequestId, String>,
    /// The answered requests that are recognised when their outcome comes again.
    pub answered_requests: AnsweredRequests,
    /// Whether what was measured in it is no evidence of what its definition needs.
    pub evidence_excluded: bool,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When the last event happened.
    pub updated_at: DateTime<Utc>,
}

/// Where a session's lab runs. There is no lab without a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assignment {
    /// No worker yet.
    Unassigned,
    /// A worker, no lab yet.
    Worker(WorkerId),
    /// A lab on a worker.
    Lab {
        /// The worker.
        worker: WorkerId,
        /// The lab on it.
        lab: LabId,
    },
}

impl Assignment {
    /// The worker, where there is one.
    pub fn worker(&self) -> Option<&WorkerId> {
        match self {
            Self::Unassigned => None,
            Self::Worker(worker) | Self::Lab { worker, .. } => Some(worker),
        }
    }

    /// The lab, where there is one.
    pub fn lab(&self) -> Option<&LabId> {
        match self {
            Self::Unassigned | Self::Worker(_) => None,
            Self::Lab { lab, .. } => Some(lab),
        }
    }
}

/// The states in which an observation may be recorded.
const OBSERVABLE: &[SessionStatus] = &[SessionStatus::Running, SessionStatus::Collecting];
/// The states in which an observation may be asked for.
const REQUESTABLE: &[SessionStatus] = &[SessionStatus::Running];

impl LabletSession {
    /// The session, where it exists.
    pub fn present(&self) -> Option<&PresentSession> {
        match self {
            Self::Absent => None,
            Self::Present(session) => Some(session),
        }
    }
}

impl PresentSession {
    fn transition(
        &self,
        transition: Transition,
        now: DateTime<Utc>,
    ) -> Result<Decision<LabletSessionEvent>, LabletSessionError> {
        let (from, to) = (self.status, transition.new_status);
        if let (Some(bound), Some(named)) = (self.assignment.worker(), &transition.worker_id)
            && bound != named
        {
            return Err(bound_elsewhere("worker", bound, named));
        }
        if let (Some(bound), Some(named)) = (self.assignment.lab(), &transition.cml_lab_id)
            && bound != named
        {
            return Err(bound_elsewhere("lab", bound, named));
        }
        if from == to {
            let Some(field) = self.new_fact(&transition) else { return Ok(Decision::AlreadyDone) };
            if to == SessionStatus::Pending {
                return Err(self.not_recorded_while_pending(field).into());
            }
        } else if !from.may_become(to) {
            return Err(LabletSessionError::TransitionNotAllowed { from, to });
        }
        let worker = transition.worker_id.or_else(|| self.assignment.worker().cloned());
        let lab = transition.cml_lab_id.clone().or_else(|| self.assignment.lab().cloned());
        if to == SessionStatus::Scheduled && worker.is_none() {
            return Err(Invalid::new("worker_id", "is absent", "the worker on which the session is scheduled").into());
        }
        if to == SessionStatus::Running && lab.is_none() {
            return Err(Invalid::new("cml_lab_id", "is absent", "the CML lab in which the session runs").into());
        }
        if lab.is_some() && worker.is_none() {
            return Err(Invalid::new("cml_lab_id", "is given without a worker", "a lab of the session's worker").into());
        }
        let step = LifeStep {
            ids: self.ids.clone(),
            worker_id: worker,
            allocated_ports: transition.allocated_ports,
            timeslot: transition.timeslot.map(Booking::timeslot),
            cml_lab_id: lab,
            reason: transition.reason.map(String::from),
            at: now,
        };
        LabletSessionEvent::step_to(to, step)
            .map(Decision::one)
            .ok_or(LabletSessionError::TransitionNotAllowed { from, to })
    }

    /// For a step to the status that the session has already: the first field that differs from what is recorded.
    fn new_fact(&self, transition: &Transition) -> Option<&'static str> {
        let Transition { new_status: _, reason, worker_id, allocated_ports, cml_lab_id, timeslot } = transition;
        let fields = [
            ("worker_id", worker_id.is_some() && worker_id.as_ref() != self.assignment.worker()),
            ("cml_lab_id", cml_lab_id.is_some() && cml_lab_id.as_ref() != self.assignment.lab()),
            ("allocated_ports", allocated_ports.is_some() && *allocated_ports != self.allocated_ports),
            ("timeslot", timeslot.is_some() && timeslot.map(Booking::timeslot) != self.timeslot),
            ("reason", reason.is_some() && reason.as_ref().map(Prose::as_str) != self.status_reason.as_deref()),
        ];
        fields.into_iter().find_map(|(field, is_new)| is_new.then_some(field))
    }

    /// The refusal of a new fact that is given with a step to pending: no event leads there that could record it.
    fn not_recorded_while_pending(&self, field: &'static str) -> Invalid {
        let recorded = match (field, self.timeslot) {
            ("timeslot", Some(timeslot)) => format!("{:?} to {:?}", timeslot.start(), timeslot.end()),
            _ => "none".to_owned(),
        };
        let expected = format!(
            "what is recorded, or nothing, or a step that can record it: {}",
            status::list(SessionStatus::Pending.next())
        );
        Invalid::new(field, format!("is given with no step, while that of the pending session is {recorded}"), expected)
    }

    fn request_observation(
        &self,
        request_id: RequestId,
        requested_by: Actor,
        now: DateTime<Utc>,
    ) -> Result<Decision<LabletSessionEvent>, LabletSessionError> {
        if self.open_requests.contains_key(&request_id) || self.answered_requests.contains(&request_id) {
            return Ok(Decision::AlreadyDone);
        }
        if !REQUESTABLE.contains(&self.status) {
            return Err(LabletSessionError::NotObservable { status: self.status, allowed: REQUESTABLE });
        }
        if self.open_requests.len() >= MOST_OPEN_REQUESTS {
            return Err(LabletSessionError::TooManyRequests { open: self.open_requests.len() });
        }
        let worker_id =
            self.assignment.worker().cloned().ok_or(LabletSessionError::NothingToObserve { missing: "worker" })?;
        let cml_lab_id =
            self.assignment.lab().cloned().ok_or(LabletSessionError::NothingToObserve { missing: "lab" })?;
        Ok(Decision::one(LabletSessionEvent::ObserveResourcesRequested {
            ids: self.ids.clone(),
            request_id,
            worker_id,
            cml_lab_id,
            requested_by: requested_by.into(),
            requested_at: now,
        }))
    }

    fn record_observation(
        &self,
        report: ObservationReport,
        reported_by: Actor,
        now: DateTime<Utc>,
    ) -> Result<Decision<LabletSessionEvent>, LabletSessionError> {
        if let Some(request_id) = &report.request_id {
            if self.answered_requests.contains(request_id) {
                return Ok(Decision::AlreadyDone);
            }
            if !self.open_requests.contains_key(request_id) {
                return Err(LabletSessionError::UnknownRequest { request_id: request_id.clone() });
            }
        }
        if report.says_nothing() {
            let expected = "something that was seen: a total, nodes, ports, what is used";
            return Err(Invalid::new("observed_resources", "says nothing that is known", expected).into());
        }
        let ObservationReport { mut observed_resources, observed_ports, request_id } = report;
        if let Some(observed_at) = observed_resources.observed_at {
            time::check_seen(observed_at.at(), now)
                .map_err(|invalid| invalid.within("observed_resources.observed_at"))?;
        }
        let observed_ports = observed_ports.or_else(|| observed_resources.observed_ports.clone());
        let observer = observed_resources.observer.get_or_insert(reported_by).clone();
        let observed_at = observed_resources.observed_at.get_or_insert(BoundedTime::nearest(now)).at();
        if request_id.is_none() && self.recent_observations.contains(&observer, observed_at) {
            return Ok(Decision::AlreadyDone);
        }
        if !self.status.is_observable() {
            return Err(LabletSessionError::NotObservable { status: self.status, allowed: OBSERVABLE });
        }

        let verdict =
            DriftVerdict::between(self.allocated_ports.as_ref(), observed_ports.as_ref(), &observed_resources.ports);
        let detected = verdict.detected();
        let (unallocated, drift) = match verdict {
            DriftVerdict::Unknown => (None, None),
            DriftVerdict::Unallocated(ports) => (Some(ports), None),
            DriftVerdict::Compared(drift) => (None, Some(drift)),
        };
        let renamed_ports = drift.as_ref().map(|drift| drift.renamed.clone()).unwrap_or_default();
        let drift = drift.filter(|drift| !drift.is_none());
        // A drift that is older than the newest verdict is history, and no event of its own is recorded for it.
        let is_newest =
            replaces(made_at(observed_at, now), self.observations.drift.as_ref().map(|drift| drift.made_at));
        let (drift, late_drift) = if is_newest { (drift, None) } else { (None, drift) };
        let mut events = vec![LabletSessionEvent::ResourcesObserved {
            ids: self.ids.clone(),
            worker_id: self.assignment.worker().cloned(),
            cml_lab_id: self.assignment.lab().cloned(),
            observed_resources: Box::new(observed_resources),
            observed_ports: observed_ports.clone(),
            port_drift_detected: detected,
            unallocated,
            renamed_ports,
            late_drift,
            request_id,
            observed_at,
            recorded_at: now,
        }];
        if let (Some(drift_details), Some(allocated_ports), Some(observed_ports)) =
            (drift, &self.allocated_ports, observed_ports)
        {
            events.push(LabletSessionEvent::PortDriftDetected {
                ids: self.ids.clone(),
                worker_id: self.assignment.worker().cloned(),
                allocated_ports: allocated_ports.clone(),
                observed_ports,
                drift_details,
                detected_at: now,
            });
        }
        Ok(Decision::Record(events))
    }

    fn record_failure(
        &self,
        failure: ObservationFailure,
        now: DateTime<Utc>,
    ) -> Result<Decision<LabletSessionEvent>, LabletSessionError> {
        let requested_by = match &failure.request_id {
            None => None,
            Some(request_id) if self.answered_requests.contains(request_id) => return Ok(Decision::AlreadyDone),
            Some(request_id) => Some(
                self.open_requests
                    .get(request_id)
                    .cloned()
                    .ok_or_else(|| LabletSessionError::UnknownRequest { request_id: request_id.clone() })?,
            ),
        };
        Ok(Decision::one(LabletSessionEvent::ObservationFailed {
            ids: self.ids.clone(),
            request_id: failure.request_id,
            outcome: failure.outcome,
            reason: failure.reason.into(),
            requested_by,
            failed_at: now,
        }))
    }

    fn change_evidence(
        &self,
        counts: bool,
        EvidenceReason { reason }: EvidenceReason,
        by: String,
        now: DateTime<Utc>,
    ) -> Decision<LabletSessionEvent> {
        let (ids, reason) = (self.ids.clone(), reason.into());
        match (self.evidence_excluded, counts) {
            (false, true) | (true, false) => Decision::AlreadyDone,
            (false, false) => {
                Decision::one(LabletSessionEvent::EvidenceExcluded { ids, reason, excluded_by: by, excluded_at: now })
            }
            (true, true) => {
                Decision::one(LabletSessionEvent::EvidenceIncluded { ids, reason, included_by: by, included_at: now })
            }
        }
    }

    fn ports(&self) -> SessionPorts<'_> {
        SessionPorts {
            ids: &self.ids,
            status: self.status,
            worker_id: self.assignment.worker(),
            allocated: self.allocated_ports.as_ref(),
            drift: self.observations.drift.as_ref(),
        }
    }

    /// Takes a step in its life. A step to the status that the session has adds facts, and keeps the reason unless it
    /// gives another one.
    fn take(&mut self, status: SessionStatus, step: &LifeStep) {
        if status != self.status || step.reason.is_some() {
            self.status_reason.clone_from(&step.reason);
        }
        self.status = status;
        self.assignment = match (&step.worker_id, &step.cml_lab_id) {
            (Some(worker), Some(lab)) => Assignment::Lab { worker: worker.clone(), lab: lab.clone() },
            (Some(worker), None) => Assignment::Worker(worker.clone()),
            (None, _) => Assignment::Unassigned,
        };
        if step.allocated_ports.is_some() {
            self.allocated_ports.clone_from(&step.allocated_ports);
        }
        self.timeslot = step.timeslot.or(self.timeslot);
    }

    fn answer(&mut self, request_id: Option<RequestId>) {
        if let Some(request_id) = request_id {
            self.open_requests.remove(&request_id);
            self.answered_requests.insert(request_id);
        }
    }
}

fn bound_elsewhere(what: &'static str, bound: &impl ToString, refused: &impl ToString) -> LabletSessionError {
    LabletSessionError::BoundElsewhere { what, bound: bound.to_string(), refused: refused.to_string() }
}

impl Decide for LabletSession {
    const SNAPSHOT_SHAPE: i32 = 5;

    fn decide(&self, command: LabletSessionCommand) -> Result<Decision<LabletSessionEvent>, LabletSessionError> {
        if let LabletSessionCommand::Create { ids, owner_id, timeslot, now } = command {
            let timeslot = timeslot.map(Booking::timeslot);
            let owner_id = owner_id.map(String::from);
            let Self::Present(present) = self else {
                return Ok(Decision::one(LabletSessionEvent::Created { ids, owner_id, timeslot, created_at: now }));
            };
            // The definition may have been revised in between: a repeated creation is still the same creation.
            let same = present.ids.definition_id == ids.definition_id
                && present.owner_id == owner_id
                && (timeslot.is_none() || present.timeslot == timeslot);
            return if same { Ok(Decision::AlreadyDone) } else { Err(LabletSessionError::Exists) };
        }
        let present = self.present().ok_or(LabletSessionError::Absent)?;
        match command {
            LabletSessionCommand::Create { .. } => Err(LabletSessionError::Exists),
            LabletSessionCommand::Transition { transition, now } => present.transition(transition, now),
            LabletSessionCommand::RequestObservation { request_id, requested_by, now } => {
                present.request_observation(request_id, requested_by, now)
            }
            LabletSessionCommand::RecordObservation { report, reported_by, now } => {
                present.record_observation(*report, reported_by, now)
            }
            LabletSessionCommand::RecordObservationFailure { failure, now } => present.record_failure(failure, now),
            LabletSessionCommand::ChangeEvidence { counts, reason, by, now } => {
                Ok(present.change_evidence(counts, reason, by, now))
            }
            LabletSessionCommand::AcknowledgeDrift { acknowledgement, by, now } => {
                Ok(present.ports().acknowledge(acknowledgement, by, now)??)
            }
            LabletSessionCommand::WithdrawAcknowledgement { withdrawal, by, now } => {
                Ok(present.ports().withdraw_acknowledgement(withdrawal, by, now))
            }
            LabletSessionCommand::CorrectAllocation { correction, by, now } => {
                Ok(present.ports().correct(correction, by, now)?)
            }
        }
    }

    fn weight(&self) -> usize {
        /// Bytes of a port, a request or an observer in a map: name, value and share of the map's nodes.
        const ENTRY: usize = 128;
        let Self::Present(session) = self else { return size_of::<Self>() };
        let entries = session.allocated_ports.as_ref().map_or(0, PortMap::len)
            + session.observations.drift.as_ref().map_or(0, LatestDrift::ports)
            + session.open_requests.len()
            + session.answered_requests.len()
            + session.recent_observations.observers();
        let times = session.recent_observations.times() * size_of::<DateTime<Utc>>();
        size_of::<PresentSession>() + 512 + entries * ENTRY + times
    }
}

impl Aggregate for LabletSession {
    const TYPE: &'static str = "lablet_session";
    type Command = LabletSessionCommand;
    type Event = LabletSessionEvent;
    type Error = LabletSessionError;
    type Services = ();

    async fn handle(&mut self, command: Self::Command, (): &(), sink: &EventSink<Self>) -> Result<(), Self::Error> {
        decision::handle(self, command, sink).await
    }

    fn apply(&mut self, event: LabletSessionEvent) {
        if let LabletSessionEvent::Created { ids, owner_id, timeslot, created_at } = event {
            *self = Self::Present(Box::new(PresentSession {
                ids,
                owner_id,
                status: SessionStatus::Pending,
                status_reason: None,
                timeslot,
                assignment: Assignment::Unassigned,
                allocated_ports: None,
                observations: ObservationSummary::default(),
                recent_observations: RecentObservations::default(),
                open_requests: BTreeMap::new(),
                answered_requests: AnsweredRequests::default(),
                evidence_excluded: false,
                created_at,
                updated_at: created_at,
            }));
            return;
        }
        let Self::Present(session) = self else { return };
        session.updated_at = event.at();
        if let Some((status, step)) = event.life_step() {
            session.take(status, step);
            return;
        }
        if let Some(contribution) = event.contribution() {
            session.observations.record((), &contribution);
        }
        match event {
            LabletSessionEvent::ObserveResourcesRequested { request_id, requested_by, .. } => {
                session.open_requests.insert(request_id, requested_by);
            }
            LabletSessionEvent::ResourcesObserved { observed_resources, request_id, observed_at, .. } => {
                if let Some(observer) = observed_resources.observer {
                    session.recent_observations.insert(observer.into(), observed_at);
                }
                session.answer(request_id);
            }
            LabletSessionEvent::PortDriftDetected { drift_details, .. } => {
                session.observations.record_drift(&drift_details);
            }
            LabletSessionEvent::ObservationFailed { request_id, .. } => session.answer(request_id),
            LabletSessionEvent::EvidenceExcluded { .. } => session.evidence_excluded = true,
            LabletSessionEvent::EvidenceIncluded { .. } => session.evidence_excluded = false,
            LabletSessionEvent::PortDriftAcknowledged {
                drift_details: details,
                reason,
                until,
                acknowledged_by: by,
                acknowledged_at: at,
                ..
            } => session.observations.acknowledge(AcknowledgedDrift { details, reason, until, by, at, event: () }),
            LabletSessionEvent::PortDriftAcknowledgementWithdrawn { .. } => {
                session.observations.withdraw_acknowledgement();
            }
            LabletSessionEvent::AllocationCorrected { after, drift_details, corrected_at, .. } => {
                session.observations.correct(&after, &drift_details, corrected_at);
                session.allocated_ports = Some(after);
            }
            LabletSessionEvent::Created { .. }
            | LabletSessionEvent::Scheduled(_)
            | LabletSessionEvent::Instantiating(_)
            | LabletSessionEvent::Ready(_)
            | LabletSessionEvent::Running(_)
            | LabletSessionEvent::Collecting(_)
            | LabletSessionEvent::Grading(_)
            | LabletSessionEvent::Stopping(_)
            | LabletSessionEvent::Stopped(_)
            | LabletSessionEvent::Archived(_)
            | LabletSessionEvent::Terminated(_)
            | LabletSessionEvent::Expired(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
