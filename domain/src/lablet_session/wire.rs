//! What services say to a session, over HTTP or NATS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::FailureOutcome;
use super::status::SessionStatus;
use crate::ids::{DefinitionId, EventId, LabId, RequestId, SessionId, WorkerId};
use crate::observation::ResourceObservation;
use crate::ports::PortMap;
use crate::text::{Line, Prose};
use crate::time::BoundedTime;
use crate::timeslot::Booking;

/// A new session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewSession {
    /// Minted when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SessionId>,
    /// The definition that it runs, in the version it has now.
    pub definition_id: DefinitionId,
    /// For whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<Line<1, 128>>,
    /// When it is booked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeslot: Option<Booking>,
}

/// A step in a session's life. `scheduled` needs a worker, `running` needs a lab, each given now or before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Transition {
    /// Where to.
    pub new_status: SessionStatus,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose<0, 2_000>>,
    /// The worker. Once bound it cannot be another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// Ports allocated on the worker, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_ports: Option<PortMap>,
    /// The CML lab. Once bound it cannot be another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cml_lab_id: Option<LabId>,
    /// When it is booked, where that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeslot: Option<Booking>,
}

impl Transition {
    /// A step without anything beside its goal.
    pub fn to(new_status: SessionStatus) -> Self {
        Self { new_status, reason: None, worker_id: None, allocated_ports: None, cml_lab_id: None, timeslot: None }
    }
}

/// Why what was measured in a session is evidence of what its definition needs, or is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceReason {
    /// Why.
    pub reason: Prose<1, 2_000>,
}

/// That somebody knows of a session's drifted ports and leaves them as they are. It holds for the drift as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DriftAcknowledgement {
    /// Why they are left as they are.
    pub reason: Prose<1, 2_000>,
    /// Until when: in the future, and at most 90 days ahead.
    pub until: BoundedTime,
}

/// That a drift that was acknowledged may not stay so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AcknowledgementWithdrawal {
    /// Why it may not.
    pub reason: Prose<1, 2_000>,
}

/// Another allocation than the one that was made, as the lab has other ports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AllocationCorrection {
    /// Ports by name. Absent: those that were observed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_ports: Option<PortMap>,
    /// Why.
    pub reason: Prose<1, 2_000>,
    /// The event of the observation on which the correction rests, where it rests on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EventId>,
}

/// What was seen of a session's lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservationReport {
    /// The observation.
    pub observed_resources: ResourceObservation,
    /// Ports by name. Absent or null: those of `observed_resources`; null there too: the tags could not be read.
    #[serde(default)]
    pub observed_ports: Option<PortMap>,
    /// The request that this answers, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

impl ObservationReport {
    /// Whether nothing is known by it.
    pub(crate) fn says_nothing(&self) -> bool {
        let Self { observed_resources, observed_ports, request_id: _ } = self;
        observed_ports.is_none() && observed_resources.says_nothing()
    }
}

/// Why nothing was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservationFailure {
    /// The request that this answers, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// Tried and failed, or not tried as the session had moved on.
    pub outcome: FailureOutcome,
    /// Why.
    pub reason: Prose<1, 2_000>,
}
