//! Notices about sessions.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::lablet_session::{FailureOutcome, LabletSessionEvent, SessionIds, SessionStatus};
use domain::observation::{
    Coverage, MOST_NODES, NodeObservation, Profile, Quantities, ResourceObservation, SimulationStats, Usage,
};
use domain::port_drift::{PortDrift, RenamedPort};
use domain::port_tags::{ObservedPort, UnreadableTag};
use domain::ports::{MOST_PORTS, PortMap, PortName};
use domain::text::{LabTitle, Label, Name};
use domain::time::BoundedTime;
use domain::timeslot::Timeslot;
use domain::{Actor, Amount, EventId, LabId, List, RequestId, WorkerId};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Draft, Notice, NoticeError, NoticeSchema};

/// A session began to exist.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SessionCreated {
    /// Session and definition.
    #[serde(flatten)]
    pub ids: SessionIds,
    /// Where it is in its life: pending.
    pub status: SessionStatus,
    /// For whom; null where nobody was named.
    pub owner_id: Option<String>,
    /// When it is booked; null where it is not.
    pub timeslot: Option<Timeslot>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A session went on in its life.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SessionMoved {
    /// Session and definition.
    #[serde(flatten)]
    pub ids: SessionIds,
    /// Where it is in its life now.
    pub status: SessionStatus,
    /// Its worker; null before it is scheduled.
    pub worker_id: Option<WorkerId>,
    /// Its CML lab; null before there is one.
    pub cml_lab_id: Option<LabId>,
    /// Ports allocated with this step; absent where it allocated none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocated_ports: Option<PortMap>,
    /// The timeslot, where this step set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeslot: Option<Timeslot>,
    /// Why, where someone said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// Somebody asked for an observation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ObservationRequested {
    /// Session and definition.
    #[serde(flatten)]
    pub ids: SessionIds,
    /// The request; its outcome names it.
    pub request_id: RequestId,
    /// The worker on which the lab runs.
    pub worker_id: WorkerId,
    /// The lab to observe.
    pub cml_lab_id: LabId,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: DateTime<Utc>,
}

/// A lab was observed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ResourcesObserved {
    /// Session and definition.
    #[serde(flatten)]
    pub ids: SessionIds,
    /// The worker on which the lab runs.
    pub worker_id: Option<WorkerId>,
    /// The lab that was observed.
    pub cml_lab_id: Option<LabId>,
    /// What was seen.
    pub observed_resources: ObservedResources,
    /// Ports by name; null when the tags could not be read.
    pub observed_ports: Option<PortMap>,
    /// True: they drifted. False: they did not, or nothing was allocated. Null: unknown.
    pub port_drift_detected: Option<bool>,
    /// Ports that were observed where nothing was allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unallocated: Option<PortMap>,
    /// Allocated ports that were observed as planned, named otherwise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub renamed_ports: BTreeMap<PortName, RenamedPort>,
    /// How the ports had drifted, where the observation arrived after a newer one, so that no event of its own says
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_drift: Option<PortDrift>,
    /// The request that this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// When the lab was read.
    pub observed_at: DateTime<Utc>,
    /// When the observation was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// What was seen of a lab. Null is unknown, and unknown is not zero.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ObservedResources {
    /// When the lab was read.
    pub observed_at: Option<BoundedTime>,
    /// Who observed.
    pub observer: Option<Actor>,
    /// Nominal cores: `Σ cpus × cpu_limit / 100`.
    pub total_cpu_cores: Option<Amount>,
    /// Nominal memory in MB.
    pub total_memory_mb: Option<Amount>,
    /// Measured disk in MB.
    pub total_storage_mb: Option<Amount>,
    /// Number of nodes.
    pub actual_node_count: Option<u32>,
    /// Node definitions in use, each once, sorted.
    pub node_definitions_used: List<Label, MOST_NODES>,
    /// Nominal resources in total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nominal: Option<Quantities>,
    /// Used resources in total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What the lab used while it was sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Box<Profile>>,
    /// How complete the observation is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Every port with what it leads to.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub ports: List<ObservedPort, MOST_PORTS>,
    /// Version of the controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cml_version: Option<Name>,
    /// Hash over the topology.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_fingerprint: Option<Name>,
    /// What the lab is called in CML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lab_title: Option<LabTitle>,
    /// The nodes.
    pub nodes: List<NodeObservation, MOST_NODES>,
    /// CML's `simulation_stats` as it answered.
    pub simulation_stats: Option<SimulationStats>,
    /// Tags that begin like a port tag and could not be read.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub unreadable_tags: List<UnreadableTag, MOST_NODES>,
}

impl From<ResourceObservation> for ObservedResources {
    fn from(seen: ResourceObservation) -> Self {
        Self {
            actual_node_count: seen.node_count(),
            observed_at: seen.observed_at,
            observer: seen.observer,
            total_cpu_cores: seen.total_cpu_cores,
            total_memory_mb: seen.total_memory_mb,
            total_storage_mb: seen.total_storage_mb,
            node_definitions_used: seen.node_definitions_used,
            nominal: seen.nominal,
            usage: seen.usage,
            profile: seen.profile,
            coverage: seen.coverage,
            ports: seen.ports,
            cml_version: seen.cml_version,
            topology_fingerprint: seen.topology_fingerprint,
            lab_title: seen.lab_title,
            nodes: seen.nodes,
            simulation_stats: seen.simulation_stats,
            unreadable_tags: seen.unreadable_tags,
        }
    }
}

/// The observed ports are not the allocated ones.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PortDriftDetected {
    /// Session and definition.
    #[serde(flatten)]
    pub ids: SessionIds,
    /// The worker on which the ports are.
    pub worker_id: Option<WorkerId>,
    /// What was allocated.
    pub allocated_ports: PortMap,
    /// What was observed.
    pub observed_ports: PortMap,
    /// What differs.
    pub drift_details: PortDrift,
    /// When.
    pub detected_at: DateTime<Utc>,
}

/// An observation failed, or was skipped.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ObservationFailed {
    /// Session and definition.
    #[serde(flatten)]
    pub ids: SessionIds,
    /// The request that this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// Failed, or skipped because the session had moved on.
    pub outcome: FailureOutcome,
    /// Why.
    pub reason: String,
    /// Who had asked; null where nobody had.
    pub requested_by: Option<String>,
    /// When.
    pub failed_at: DateTime<Utc>,
}

/// What was measured in a session is no evidence of what its definition needs, or is evidence again.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct EvidenceChanged {
    /// Session and definition.
    #[serde(flatten)]
    pub ids: SessionIds,
    /// Whether it counts.
    pub counts: bool,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Somebody knows of drifted ports and leaves them as they are for a while.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PortDriftAcknowledged {
    /// Session and definition.
    #[serde(flatten)]
    pub ids: SessionIds,
    /// The worker on which the ports are.
    pub worker_id: Option<WorkerId>,
    /// What differs, as it was acknowledged. Another drift is not acknowledged by this.
    pub drift_details: PortDrift,
    /// Why it is left as it is.
    pub reason: String,
    /// Until when.
    pub until: DateTime<Utc>,
    /// Who says so.
    pub acknowledged_by: String,
    /// When.
    pub acknowledged_at: DateTime<Utc>,
}

/// Drifted ports that were acknowledged may not stay as they are: the drift is open again.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PortDriftAcknowledgementWithdrawn {
    /// Session and definition.
    #[serde(flatten)]
    pub ids: SessionIds,
    /// The worker on which the ports are.
    pub worker_id: Option<WorkerId>,
    /// What differs, and is open again.
    pub drift_details: PortDrift,
    /// Why it may not stay so.
    pub reason: String,
    /// Who says so.
    pub withdrawn_by: String,
    /// When.
    pub withdrawn_at: DateTime<Utc>,
}

/// Other ports are allocated, as the lab has others than were allocated.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct AllocationCorrected {
    /// Session and definition.
    #[serde(flatten)]
    pub ids: SessionIds,
    /// The worker on which the ports are.
    pub worker_id: Option<WorkerId>,
    /// What was allocated before; null: nothing.
    pub before: Option<PortMap>,
    /// What is allocated now.
    pub after: PortMap,
    /// Whether the ports that were observed last differ from it; null: none were observed yet.
    pub port_drift_detected: Option<bool>,
    /// What differs.
    pub drift_details: PortDrift,
    /// Why.
    pub reason: String,
    /// The event of the observation on which it rests; null where none was named.
    pub evidence: Option<EventId>,
    /// Who says so.
    pub corrected_by: String,
    /// When.
    pub corrected_at: DateTime<Utc>,
}

pub(super) fn announce(event: LabletSessionEvent, draft: &Draft<'_>) -> Result<Notice, NoticeError> {
    let at = event.at();
    match event {
        LabletSessionEvent::Created { ids, owner_id, timeslot, created_at } => {
            let created = SessionCreated { ids, status: SessionStatus::Pending, owner_id, timeslot, created_at };
            draft.notice(at, &created)
        }
        LabletSessionEvent::Scheduled(_)
        | LabletSessionEvent::Instantiating(_)
        | LabletSessionEvent::Ready(_)
        | LabletSessionEvent::Running(_)
        | LabletSessionEvent::Collecting(_)
        | LabletSessionEvent::Grading(_)
        | LabletSessionEvent::Stopping(_)
        | LabletSessionEvent::Stopped(_)
        | LabletSessionEvent::Archived(_)
        | LabletSessionEvent::Terminated(_)
        | LabletSessionEvent::Expired(_) => match event.life_step() {
            Some((status, step)) => {
                let moved = SessionMoved {
                    ids: step.ids.clone(),
                    status,
                    worker_id: step.worker_id.clone(),
                    cml_lab_id: step.cml_lab_id.clone(),
                    allocated_ports: step.allocated_ports.clone(),
                    timeslot: step.timeslot,
                    reason: step.reason.clone(),
                    at: step.at,
                };
                draft.notice(at, &moved)
            }
            None => draft.notice(at, event.ids()),
        },
        LabletSessionEvent::ObserveResourcesRequested {
            ids,
            request_id,
            worker_id,
            cml_lab_id,
            requested_by,
            requested_at,
        } => {
            let requested = ObservationRequested { ids, request_id, worker_id, cml_lab_id, requested_by, requested_at };
            draft.notice(at, &requested)
        }
        LabletSessionEvent::ResourcesObserved {
            ids,
            worker_id,
            cml_lab_id,
            observed_resources,
            observed_ports,
            port_drift_detected,
            unallocated,
            renamed_ports,
            late_drift,
            request_id,
            observed_at,
            recorded_at,
        } => {
            let observed = ResourcesObserved {
                ids,
                worker_id,
                cml_lab_id,
                observed_resources: ObservedResources::from(*observed_resources),
                observed_ports,
                port_drift_detected,
                unallocated,
                renamed_ports,
                late_drift,
                request_id,
                observed_at,
                recorded_at,
            };
            draft.notice(at, &observed)
        }
        LabletSessionEvent::PortDriftDetected {
            ids,
            worker_id,
            allocated_ports,
            observed_ports,
            drift_details,
            detected_at,
        } => {
            let drift =
                PortDriftDetected { ids, worker_id, allocated_ports, observed_ports, drift_details, detected_at };
            draft.notice(at, &drift)
        }
        LabletSessionEvent::ObservationFailed { ids, request_id, outcome, reason, requested_by, failed_at } => {
            let failed = ObservationFailed { ids, request_id, outcome, reason, requested_by, failed_at };
            draft.notice(at, &failed)
        }
        LabletSessionEvent::EvidenceExcluded { ids, reason, excluded_by: by, excluded_at: at } => {
            let changed = EvidenceChanged { ids, counts: false, reason, by, at };
            draft.notice(at, &changed)
        }
        LabletSessionEvent::EvidenceIncluded { ids, reason, included_by: by, included_at: at } => {
            let changed = EvidenceChanged { ids, counts: true, reason, by, at };
            draft.notice(at, &changed)
        }
        LabletSessionEvent::PortDriftAcknowledged {
            ids,
            worker_id,
            drift_details,
            reason,
            until,
            acknowledged_by,
            acknowledged_at,
        } => {
            let acknowledged = PortDriftAcknowledged {
                ids,
                worker_id,
                drift_details,
                reason,
                until,
                acknowledged_by,
                acknowledged_at,
            };
            draft.notice(at, &acknowledged)
        }
        LabletSessionEvent::PortDriftAcknowledgementWithdrawn {
            ids,
            worker_id,
            drift_details,
            reason,
            withdrawn_by,
            withdrawn_at,
        } => {
            let withdrawn =
                PortDriftAcknowledgementWithdrawn { ids, worker_id, drift_details, reason, withdrawn_by, withdrawn_at };
            draft.notice(at, &withdrawn)
        }
        LabletSessionEvent::AllocationCorrected {
            ids,
            worker_id,
            before,
            after,
            port_drift_detected,
            drift_details,
            reason,
            evidence,
            corrected_by,
            corrected_at,
        } => {
            let corrected = AllocationCorrected {
                ids,
                worker_id,
                before,
                after,
                port_drift_detected,
                drift_details,
                reason,
                evidence,
                corrected_by,
                corrected_at,
            };
            draft.notice(at, &corrected)
        }
    }
}

pub(super) fn schemas() -> Vec<NoticeSchema> {
    fn schema<T: JsonSchema>(event_type: &'static str, says: &'static str) -> NoticeSchema {
        NoticeSchema { event_type, event_version: "1", says, schema: |generator| generator.root_schema_for::<T>() }
    }
    vec![
        schema::<SessionCreated>("lablet_session.created", "A session began to exist."),
        schema::<SessionMoved>("lablet_session.scheduled", "A worker and ports were allocated."),
        schema::<SessionMoved>("lablet_session.instantiating", "The lab is being brought up."),
        schema::<SessionMoved>("lablet_session.ready", "The lab is up."),
        schema::<SessionMoved>("lablet_session.running", "The learner works, in a CML lab."),
        schema::<SessionMoved>("lablet_session.collecting", "Evidence for grading is collected."),
        schema::<SessionMoved>("lablet_session.grading", "The work is being graded."),
        schema::<SessionMoved>("lablet_session.stopping", "The lab is being stopped."),
        schema::<SessionMoved>("lablet_session.stopped", "The lab is stopped."),
        schema::<SessionMoved>("lablet_session.archived", "Nothing is left but the record."),
        schema::<SessionMoved>("lablet_session.terminated", "The session ended before its natural end."),
        schema::<SessionMoved>("lablet_session.expired", "The end of its timeslot overtook the session."),
        schema::<ObservationRequested>(
            "lablet_session.observe_resources_requested",
            "Somebody asked for an observation.",
        ),
        schema::<ResourcesObserved>("lablet_session.resources_observed", "A lab was observed."),
        schema::<PortDriftDetected>(
            "lablet_session.port_drift_detected",
            "The observed ports are not the allocated ones.",
        ),
        schema::<ObservationFailed>("lablet_session.observation_failed", "An observation failed or was skipped."),
        schema::<EvidenceChanged>("lablet_session.evidence_excluded", "A session is no evidence of advice."),
        schema::<EvidenceChanged>("lablet_session.evidence_included", "A session is evidence of advice again."),
        schema::<PortDriftAcknowledged>(
            "lablet_session.port_drift_acknowledged",
            "Somebody knows of drifted ports and leaves them as they are for a while.",
        ),
        schema::<PortDriftAcknowledgementWithdrawn>(
            "lablet_session.port_drift_acknowledgement_withdrawn",
            "Drifted ports that were acknowledged may not stay as they are: the drift is open again.",
        ),
        schema::<AllocationCorrected>(
            "lablet_session.allocation_corrected",
            "Other ports are allocated, as the lab has others than were allocated.",
        ),
    ]
}
