//! What the answer to a write says about a session.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::lablet_definition::DefinitionVersion;
use domain::lablet_session::{PresentSession, SessionStatus};
use domain::observation::ResourceObservation;
use domain::port_drift::PortDrift;
use domain::ports::PortMap;
use domain::timeslot::Timeslot;
use domain::{DefinitionId, LabId, SessionId, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::version::etag;

/// A session as it is after a write: every field of the read shape that the session itself knows.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WrittenSession {
    /// The session.
    pub(crate) id: SessionId,
    /// Its definition.
    pub(crate) definition_id: DefinitionId,
    /// The version that the definition's author gave it.
    pub(crate) definition_version: DefinitionVersion,
    /// The definition's revision when the session was created.
    pub(crate) definition_revision: u32,
    /// For whom.
    pub(crate) owner_id: Option<String>,
    /// Where it is in its life.
    pub(crate) status: SessionStatus,
    /// Its worker.
    pub(crate) worker_id: Option<WorkerId>,
    /// Its lab on the worker.
    pub(crate) cml_lab_id: Option<LabId>,
    /// Ports allocated to it; null: nothing was allocated.
    pub(crate) allocated_ports: Option<PortMap>,
    /// Whether the ports drifted; null: unknown.
    pub(crate) port_drift_detected: Option<bool>,
    /// How they drifted; null: unknown.
    pub(crate) port_drift: Option<PortDrift>,
    /// How many observations were recorded.
    pub(crate) observation_count: u64,
    /// When the newest one was made.
    pub(crate) observed_at: Option<DateTime<Utc>>,
    /// When it is booked.
    pub(crate) timeslot: Option<Timeslot>,
    /// When it was created.
    pub(crate) created_at: DateTime<Utc>,
    /// When its last event happened.
    pub(crate) updated_at: DateTime<Utc>,
    /// Where in the log the write is. A read that names it waits until the read models are there.
    pub(crate) position: Position,
    /// The session's version.
    pub(crate) etag: String,
    /// Ports that were observed: null in the answer to a creation, as nothing was observed yet; absent in others, as the
    /// session does not know them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) observed_ports: Option<Option<PortMap>>,
    /// The newest observation, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) observed_resources: Option<Option<ResourceObservation>>,
}

impl WrittenSession {
    /// The session at `position`, after `sequence` events.
    pub(crate) fn new(session: &PresentSession, sequence: i64, position: Position) -> Self {
        Self {
            id: session.ids.session_id.clone(),
            definition_id: session.ids.definition_id.clone(),
            definition_version: session.ids.definition_version.clone(),
            definition_revision: session.ids.definition_revision,
            owner_id: session.owner_id.clone(),
            status: session.status,
            worker_id: session.assignment.worker().cloned(),
            cml_lab_id: session.assignment.lab().cloned(),
            allocated_ports: session.allocated_ports.clone(),
            port_drift_detected: session.observations.drift_detected(),
            port_drift: session.observations.drift.as_ref().map(|drift| drift.details.clone()),
            observation_count: session.observations.count,
            observed_at: session.observations.newest_at(),
            timeslot: session.timeslot,
            created_at: session.created_at,
            updated_at: session.updated_at,
            position,
            etag: etag(sequence),
            observed_ports: None,
            observed_resources: None,
        }
    }

    /// The same, where it has just been created: in the full read shape.
    pub(crate) fn in_full(self) -> Self {
        Self { observed_ports: Some(None), observed_resources: Some(None), ..self }
    }
}
