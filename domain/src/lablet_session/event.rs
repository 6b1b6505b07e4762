//! What happens to a session.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::SessionStatus;
use crate::ids::{DefinitionId, EventId, LabId, RequestId, SessionId, WorkerId};
use crate::lablet_definition::DefinitionVersion;
use crate::observation::ResourceObservation;
use crate::observation_summary::Contribution;
use crate::port_drift::{PortDrift, RenamedPort};
use crate::ports::{PortMap, PortName};
use crate::timeslot::Timeslot;

/// The ids that every event of a session carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionIds {
    /// The session.
    pub session_id: SessionId,
    /// Its definition.
    pub definition_id: DefinitionId,
    /// The version that the definition's author gave it.
    pub definition_version: DefinitionVersion,
    /// The definition's revision when the session was created.
    pub definition_revision: u32,
}

/// One step in a session's life. What was not given with the step is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LifeStep {
    /// Session and definition.
    #[serde(flatten)]
    pub ids: SessionIds,
    /// The worker, from `scheduled` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// Ports allocated with this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_ports: Option<PortMap>,
    /// The timeslot, when this step sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeslot: Option<Timeslot>,
    /// The CML lab, from `running` on at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cml_lab_id: Option<LabId>,
    /// Why, where someone said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// How a request ended without an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailureOutcome {
    /// It was tried and failed.
    Failed,
    /// It was not tried, as the session had moved on.
    Skipped,
}

/// What happened to a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum LabletSessionEvent {
    /// It began to exist, pending.
    #[serde(rename = "lablet_session.created.v1")]
    Created {
        /// Session and definition.
        #[serde(flatten)]
        ids: SessionIds,
        /// For whom.
        #[serde(default)]
        owner_id: Option<String>,
        /// When it is booked.
        #[serde(default)]
        timeslot: Option<Timeslot>,
        /// When.
        created_at: DateTime<Utc>,
    },
    /// A worker and ports were allocated.
    #[serde(rename = "lablet_session.scheduled.v1")]
    Scheduled(LifeStep),
    /// The lab is being brought up.
    #[serde(rename = "lablet_session.instantiating.v1")]
    Instantiating(LifeStep),
    /// The lab is up.
    #[serde(rename = "lablet_session.ready.v1")]
    Ready(LifeStep),
    /// The learner works, in a CML lab.
    #[serde(rename = "lablet_session.running.v1")]
    Running(LifeStep),
    /// Evidence for grading is collected.
    #[serde(rename = "lablet_session.collecting.v1")]
    Collecting(LifeStep),
    /// The work is being graded.
    #[serde(rename = "lablet_session.grading.v1")]
    Grading(LifeStep),
    /// The lab is being stopped.
    #[serde(rename = "lablet_session.stopping.v1")]
    Stopping(LifeStep),
    /// The lab is stopped.
    #[serde(rename = "lablet_session.stopped.v1")]
    Stopped(LifeStep),
    /// Nothing is left but the record.
    #[serde(rename = "lablet_session.archived.v1")]
    Archived(LifeStep),
    /// It ended before its natural end.
    #[serde(rename = "lablet_session.terminated.v1")]
    Terminated(LifeStep),
    /// The end of its timeslot overtook it.
    #[serde(rename = "lablet_session.expired.v1")]
    Expired(LifeStep),
    /// Somebody asked for an observation.
    #[serde(rename = "lablet_session.observe_resources_requested.v1")]
    ObserveResourcesRequested {
        /// Session and definition.
        #[serde(flatten)]
        ids: SessionIds,
        /// The request; its outcome names it.
        request_id: RequestId,
        /// The worker on which the lab runs.
        worker_id: WorkerId,
        /// The lab to observe.
        cml_lab_id: LabId,
        /// Who asked, e.g. `admin:ada` or `team:controller`.
        requested_by: String,
        /// When.
        requested_at: DateTime<Utc>,
    },
    /// The lab was observed.
    #[serde(rename = "lablet_session.resources_observed.v1")]
    ResourcesObserved {
        /// Session and definition.
        #[serde(flatten)]
        ids: SessionIds,
        /// The worker on which the lab runs.
        #[serde(default)]
        worker_id: Option<WorkerId>,
        /// The lab that was observed.
        #[serde(default)]
        cml_lab_id: Option<LabId>,
        /// What was seen.
        observed_resources: Box<ResourceObservation>,
        /// Ports by name; null when the tags could not be read.
        observed_ports: Option<PortMap>,
        /// True: they drifted. False: they did not, or nothing was allocated. Null: unknown.
        port_drift_detected: Option<bool>,
        /// Ports that were observed where nothing was allocated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unallocated: Option<PortMap>,
        /// Allocated ports that were observed as planned, named otherwise.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        renamed_ports: BTreeMap<PortName, RenamedPort>,
        /// How the ports had drifted, where the observation arrived after a newer one, so that no event of its own says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        late_drift: Option<PortDrift>,
        /// The request that this answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        /// When the lab was read.
        observed_at: DateTime<Utc>,
        /// When the observation was recorded.
        recorded_at: DateTime<Utc>,
    },
    /// The observed ports are not the allocated ones.
    #[serde(rename = "lablet_session.port_drift_detected.v1")]
    PortDriftDetected {
        /// Session and definition.
        #[serde(flatten)]
        ids: SessionIds,
        /// The worker on which the ports are.
        #[serde(default)]
        worker_id: Option<WorkerId>,
        /// What was allocated.
        allocated_ports: PortMap,
        /// What was observed.
        observed_ports: PortMap,
        /// What differs.
        drift_details: PortDrift,
        /// When.
        detected_at: DateTime<Utc>,
    },
    /// An observation failed, or was skipped because the session had moved on.
    #[serde(rename = "lablet_session.observation_failed.v1")]
    ObservationFailed {
        /// Session and definition.
        #[serde(flatten)]
        ids: SessionIds,
        /// The request that this answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<RequestId>,
        /// Failed or skipped.
        outcome: FailureOutcome,
        /// Why.
        reason: String,
        /// Who had asked; null where nobody had.
        requested_by: Option<String>,
        /// When.
        failed_at: DateTime<Utc>,
    },
    /// What was measured in it is no evidence of what its definition needs.
    #[serde(rename = "lablet_session.evidence_excluded.v1")]
    EvidenceExcluded {
        /// Session and definition.
        #[serde(flatten)]
        ids: SessionIds,
        /// Why.
        reason: String,
        /// Who says so.
        excluded_by: String,
        /// When.
        excluded_at: DateTime<Utc>,
    },
    /// What was measured in it is evidence again.
    #[serde(rename = "lablet_session.evidence_included.v1")]
    EvidenceIncluded {
        /// Session and definition.
        #[serde(flatten)]
        ids: SessionIds,
        /// Why.
        reason: String,
        /// Who says so.
        included_by: String,
        /// When.
        included_at: DateTime<Utc>,
    },
    /// Somebody knows of its drifted ports and leaves them as they are for a while.
    #[serde(rename = "lablet_session.port_drift_acknowledged.v1")]
    PortDriftAcknowledged {
        /// Session and definition.
        #[serde(flatten)]
        ids: SessionIds,
        /// The worker on which the ports are.
        #[serde(default)]
        worker_id: Option<WorkerId>,
        /// What differs, as it was acknowledged. Another drift is not acknowledged by this.
        drift_details: PortDrift,
        /// Why it is left as it is.
        reason: String,
        /// Until when.
        until: DateTime<Utc>,
        /// Who says so.
        acknowledged_by: String,
        /// When.
        acknowledged_at: DateTime<Utc>,
    },
    /// Its drifted ports may not stay as they are: the drift is open again.
    #[serde(rename = "lablet_session.port_drift_acknowledgement_withdrawn.v1")]
    PortDriftAcknowledgementWithdrawn {
        /// Session and definition.
        #[serde(flatten)]
        ids: SessionIds,
        /// The worker on which the ports are.
        #[serde(default)]
        worker_id: Option<WorkerId>,
        /// What differs, and is open again.
        drift_details: PortDrift,
        /// Why it may not stay so.
        reason: String,
        /// Who says so.
        withdrawn_by: String,
        /// When.
        withdrawn_at: DateTime<Utc>,
    },
    /// Other ports are allocated to it, as its lab has others than were allocated.
    #[serde(rename = "lablet_session.allocation_corrected.v1")]
    AllocationCorrected {
        /// Session and definition.
        #[serde(flatten)]
        ids: SessionIds,
        /// The worker on which the ports are.
        #[serde(default)]
        worker_id: Option<WorkerId>,
        /// What was allocated before; null: nothing.
        before: Option<PortMap>,
        /// What is allocated now.
        after: PortMap,
        /// Whether the ports that were observed last differ from it; null: none were observed yet.
        port_drift_detected: Option<bool>,
        /// What differs.
        #[serde(default)]
        drift_details: PortDrift,
        /// Why.
        reason: String,
        /// The event of the observation on which the correction rests, where it was named.
        #[serde(default)]
        evidence: Option<EventId>,
        /// Who says so.
        corrected_by: String,
        /// When.
        corrected_at: DateTime<Utc>,
    },
}

impl LabletSessionEvent {
    /// The event of the step to `status`, or `None` for `pending`, to which no step leads.
    pub(super) fn step_to(status: SessionStatus, step: LifeStep) -> Option<Self> {
        Some(match status {
            SessionStatus::Pending => return None,
            SessionStatus::Scheduled => Self::Scheduled(step),
            SessionStatus::Instantiating => Self::Instantiating(step),
            SessionStatus::Ready => Self::Ready(step),
            SessionStatus::Running => Self::Running(step),
            SessionStatus::Collecting => Self::Collecting(step),
            SessionStatus::Grading => Self::Grading(step),
            SessionStatus::Stopping => Self::Stopping(step),
            SessionStatus::Stopped => Self::Stopped(step),
            SessionStatus::Archived => Self::Archived(step),
            SessionStatus::Terminated => Self::Terminated(step),
            SessionStatus::Expired => Self::Expired(step),
        })
    }

    /// For a step in the session's life: where it leads, and the step.
    pub fn life_step(&self) -> Option<(SessionStatus, &LifeStep)> {
        Some(match self {
            Self::Scheduled(step) => (SessionStatus::Scheduled, step),
            Self::Instantiating(step) => (SessionStatus::Instantiating, step),
            Self::Ready(step) => (SessionStatus::Ready, step),
            Self::Running(step) => (SessionStatus::Running, step),
            Self::Collecting(step) => (SessionStatus::Collecting, step),
            Self::Grading(step) => (SessionStatus::Grading, step),
            Self::Stopping(step) => (SessionStatus::Stopping, step),
            Self::Stopped(step) => (SessionStatus::Stopped, step),
            Self::Archived(step) => (SessionStatus::Archived, step),
            Self::Terminated(step) => (SessionStatus::Terminated, step),
            Self::Expired(step) => (SessionStatus::Expired, step),
            Self::Created { .. }
            | Self::ObserveResourcesRequested { .. }
            | Self::ResourcesObserved { .. }
            | Self::PortDriftDetected { .. }
            | Self::ObservationFailed { .. }
            | Self::EvidenceExcluded { .. }
            | Self::EvidenceIncluded { .. }
            | Self::PortDriftAcknowledged { .. }
            | Self::PortDriftAcknowledgementWithdrawn { .. }
            | Self::AllocationCorrected { .. } => return None,
        })
    }

    /// Session and definition.
    pub fn ids(&self) -> &SessionIds {
        match self {
            Self::Created { ids, .. }
            | Self::ObserveResourcesRequested { ids, .. }
            | Self::ResourcesObserved { ids, .. }
            | Self::PortDriftDetected { ids, .. }
            | Self::ObservationFailed { ids, .. }
            | Self::EvidenceExcluded { ids, .. }
            | Self::EvidenceIncluded { ids, .. }
            | Self::PortDriftAcknowledged { ids, .. }
            | Self::PortDriftAcknowledgementWithdrawn { ids, .. }
            | Self::AllocationCorrected { ids, .. } => ids,
            Self::Scheduled(step)
            | Self::Instantiating(step)
            | Self::Ready(step)
            | Self::Running(step)
            | Self::Collecting(step)
            | Self::Grading(step)
            | Self::Stopping(step)
            | Self::Stopped(step)
            | Self::Archived(step)
            | Self::Terminated(step)
            | Self::Expired(step) => &step.ids,
        }
    }

    /// When the fact became true, by the deciding clock.
    pub fn at(&self) -> DateTime<Utc> {
        match self {
            Self::Created { created_at, .. } => *created_at,
            Self::ObserveResourcesRequested { requested_at, .. } => *requested_at,
            Self::ResourcesObserved { recorded_at, .. } => *recorded_at,
            Self::PortDriftDetected { detected_at, .. } => *detected_at,
            Self::ObservationFailed { failed_at, .. } => *failed_at,
            Self::EvidenceExcluded { excluded_at, .. } => *excluded_at,
            Self::EvidenceIncluded { included_at, .. } => *included_at,
            Self::PortDriftAcknowledged { acknowledged_at, .. } => *acknowledged_at,
            Self::PortDriftAcknowledgementWithdrawn { withdrawn_at, .. } => *withdrawn_at,
            Self::AllocationCorrected { corrected_at, .. } => *corrected_at,
            Self::Scheduled(step)
            | Self::Instantiating(step)
            | Self::Ready(step)
            | Self::Running(step)
            | Self::Collecting(step)
            | Self::Grading(step)
            | Self::Stopping(step)
            | Self::Stopped(step)
            | Self::Archived(step)
            | Self::Terminated(step)
            | Self::Expired(step) => step.at,
        }
    }

    /// What the event contributes, where it is an observation.
    pub fn contribution(&self) -> Option<Contribution<'_>> {
        let Self::ResourcesObserved {
            observed_resources,
            observed_ports,
            port_drift_detected,
            unallocated,
            renamed_ports,
            observed_at,
            recorded_at,
            ..
        } = self
        else {
            return None;
        };
        Some(Contribution {
            drift_detected: *port_drift_detected,
            observed_ports: observed_ports.as_ref(),
            unallocated: unallocated.as_ref(),
            renamed_ports,
            ..Contribution::new(observed_resources, *observed_at, *recorded_at)
        })
    }
}

/// The fields of a stored observation, beside its tag.
#[derive(Deserialize)]
struct StoredObservation {
    #[serde(rename = "type")]
    _type: ObservationType,
    session_id: SessionId,
    definition_id: DefinitionId,
    definition_version: DefinitionVersion,
    definition_revision: u32,
    worker_id: Option<WorkerId>,
    cml_lab_id: Option<LabId>,
    observed_resources: Box<ResourceObservation>,
    observed_ports: Option<PortMap>,
    port_drift_detected: Option<bool>,
    unallocated: Option<PortMap>,
    #[serde(default)]
    renamed_ports: BTreeMap<PortName, RenamedPort>,
    late_drift: Option<PortDrift>,
    request_id: Option<RequestId>,
    observed_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
}

#[derive(Deserialize)]
enum ObservationType {
    #[serde(rename = "lablet_session.resources_observed.v1")]
    ResourcesObserved,
}

impl LabletSessionEvent {
    /// Reads a stored observation faster than by deriving for the enum, for whose tag serde copies the whole event into a
    /// tree first. Most events of a log are observations. `None`: it is no observation, or one that only the general way
    /// can read.
    pub fn observation_from_stored(json: &str) -> Option<Self> {
        let stored: StoredObservation = serde_json::from_str(json).ok()?;
        Some(Self::ResourcesObserved {
            ids: SessionIds {
                session_id: stored.session_id,
                definition_id: stored.definition_id,
                definition_version: stored.definition_version,
                definition_revision: stored.definition_revision,
            },
            worker_id: stored.worker_id,
            cml_lab_id: stored.cml_lab_id,
            observed_resources: stored.observed_resources,
            observed_ports: stored.observed_ports,
            port_drift_detected: stored.port_drift_detected,
            unallocated: stored.unallocated,
            renamed_ports: stored.renamed_ports,
            late_drift: stored.late_drift,
            request_id: stored.request_id,
            observed_at: stored.observed_at,
            recorded_at: stored.recorded_at,
        })
    }
}

impl DomainEvent for LabletSessionEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Created { .. } => "lablet_session.created",
            Self::Scheduled(_) => "lablet_session.scheduled",
            Self::Instantiating(_) => "lablet_session.instantiating",
            Self::Ready(_) => "lablet_session.ready",
            Self::Running(_) => "lablet_session.running",
            Self::Collecting(_) => "lablet_session.collecting",
            Self::Grading(_) => "lablet_session.grading",
            Self::Stopping(_) => "lablet_session.stopping",
            Self::Stopped(_) => "lablet_session.stopped",
            Self::Archived(_) => "lablet_session.archived",
            Self::Terminated(_) => "lablet_session.terminated",
            Self::Expired(_) => "lablet_session.expired",
            Self::ObserveResourcesRequested { .. } => "lablet_session.observe_resources_requested",
            Self::ResourcesObserved { .. } => "lablet_session.resources_observed",
            Self::PortDriftDetected { .. } => "lablet_session.port_drift_detected",
            Self::ObservationFailed { .. } => "lablet_session.observation_failed",
            Self::EvidenceExcluded { .. } => "lablet_session.evidence_excluded",
            Self::EvidenceIncluded { .. } => "lablet_session.evidence_included",
            Self::PortDriftAcknowledged { .. } => "lablet_session.port_drift_acknowledged",
            Self::PortDriftAcknowledgementWithdrawn { .. } => "lablet_session.port_drift_acknowledgement_withdrawn",
            Self::AllocationCorrected { .. } => "lablet_session.allocation_corrected",
        }
        .to_owned()
    }

    /// Every event is in its first version; a second version becomes a variant of its own and says so here.
    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_observation_is_the_same_event_whichever_way_it_is_read() {
        let sample = include_str!("../../samples/lablet_session.resources_observed.v1.json");
        let event: LabletSessionEvent = serde_json::from_str(sample).unwrap();
        assert_eq!(LabletSessionEvent::observation_from_stored(sample), Some(event.clone()));
        let written = serde_json::to_string(&event).unwrap();
        assert_eq!(LabletSessionEvent::observation_from_stored(&written), Some(event));
        let mut late: serde_json::Value = serde_json::from_str(sample).unwrap();
        late["late_drift"] = serde_json::json!({"removed": {"PC_serial": 5041}});
        let event: LabletSessionEvent = serde_json::from_value(late.clone()).unwrap();
        assert_eq!(LabletSessionEvent::observation_from_stored(&late.to_string()), Some(event));
        let other = include_str!("../../samples/lablet_session.port_drift_detected.v1.json");
        assert_eq!(LabletSessionEvent::observation_from_stored(other), None);
        assert_eq!(LabletSessionEvent::observation_from_stored("{"), None);
    }

    #[test]
    fn what_an_observation_lacks_is_unknown_whichever_way_it_is_read() {
        let least = r#"{"type": "lablet_session.resources_observed.v1", "session_id": "s", "definition_id": "d",
            "definition_version": "1", "definition_revision": 1, "observed_resources": {},
            "observed_at": "2026-03-01T10:00:00Z", "recorded_at": "2026-03-01T10:00:01Z"}"#;
        let event = serde_json::from_str::<LabletSessionEvent>(least).ok();
        assert_eq!(LabletSessionEvent::observation_from_stored(least), event);
    }
}
