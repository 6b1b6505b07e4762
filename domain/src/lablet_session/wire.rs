//! What services say to a session, over HTTP or NATS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::FailureOutcome;
use super::status::SessionStatus;
use crate::ids::{DefinitionId, LabId, RequestId, SessionId, WorkerId};
use crate::invalid::{Checked, Checking};
use crate::observation::ResourceObservation;
use crate::ports::{MOST_PORTS, PortMap};
use crate::text::{Line, Prose};
use crate::timeslot::Timeslot;

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
    pub timeslot: Option<Timeslot>,
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
    #[schemars(transform = crate::ports::state_ports)]
    pub allocated_ports: Option<PortMap>,
    /// The CML lab. Once bound it cannot be another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cml_lab_id: Option<LabId>,
    /// When it is booked, where that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeslot: Option<Timeslot>,
}

impl Transition {
    /// A step without anything beside its goal.
    pub fn to(new_status: SessionStatus) -> Self {
        Self { new_status, reason: None, worker_id: None, allocated_ports: None, cml_lab_id: None, timeslot: None }
    }
}

/// What was seen of a session's lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservationReport {
    /// The observation.
    pub observed_resources: ResourceObservation,
    /// Ports by name. Absent or null: those of `observed_resources`; null there too: the tags could not be read.
    #[serde(default)]
    #[schemars(transform = crate::ports::state_ports)]
    pub observed_ports: Option<PortMap>,
    /// The request that this answers, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

impl ObservationReport {
    /// Whether nothing is known by it.
    pub fn says_nothing(&self) -> bool {
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

impl Checked for NewSession {
    fn check(&self, checking: &mut Checking) {
        let Self { id: _, definition_id: _, owner_id: _, timeslot } = self;
        check_timeslot(checking, timeslot.as_ref());
    }
}

impl Checked for Transition {
    fn check(&self, checking: &mut Checking) {
        let Self { new_status: _, reason: _, worker_id: _, allocated_ports, cml_lab_id: _, timeslot } = self;
        check_ports(checking, "allocated_ports", allocated_ports.as_ref());
        check_timeslot(checking, timeslot.as_ref());
    }
}

impl Checked for ObservationReport {
    fn check(&self, checking: &mut Checking) {
        let Self { observed_resources, observed_ports, request_id: _ } = self;
        checking.field("observed_resources", |checking| observed_resources.check(checking));
        check_ports(checking, "observed_ports", observed_ports.as_ref());
    }
}

impl Checked for ObservationFailure {
    fn check(&self, _: &mut Checking) {
        let Self { request_id: _, outcome: _, reason: _ } = self;
    }
}

fn check_ports(checking: &mut Checking, name: &str, ports: Option<&PortMap>) {
    if let Some(ports) = ports {
        checking.field(name, |checking| {
            checking.count(ports.len(), MOST_PORTS);
        });
    }
}

fn check_timeslot(checking: &mut Checking, timeslot: Option<&Timeslot>) {
    if let Some(timeslot) = timeslot {
        checking.field("timeslot", |checking| timeslot.check(checking));
    }
}
