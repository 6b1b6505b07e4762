//! `POST /api/lablet-sessions/{id}/port-drift/acknowledge`, `…/port-drift/withdraw` and `…/allocation`: what becomes of ports
//! that drifted.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::{Commands, CompletedCommand};
use app::log::Position;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::SessionId;
use domain::lablet_session::{AcknowledgementWithdrawal, AllocationCorrection, DriftAcknowledgement, LabletSession};
use domain::port_drift::PortDrift;
use domain::ports::PortMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::{Found, Written};
use crate::body::RequestBody;
use crate::caller::{Administering, Asking, Caller};
use crate::command::{present, settled, written};
use crate::path::Id;
use crate::problem::Problem;
use crate::submission::Submission;
use crate::version::{IfMatch, OPTIONAL, etag};

impl RequestBody for DriftAcknowledgement {
    const COMMAND: Option<CommandName> = Some(CommandName::AcknowledgePortDrift);
}

impl RequestBody for AcknowledgementWithdrawal {
    const COMMAND: Option<CommandName> = Some(CommandName::WithdrawPortDriftAcknowledgement);
}

impl RequestBody for AllocationCorrection {
    const COMMAND: Option<CommandName> = Some(CommandName::CorrectAllocation);
}

/// How a session's ports stand, after a write.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WrittenPorts {
    /// The session.
    pub(crate) session_id: SessionId,
    /// What is allocated; null: nothing.
    pub(crate) allocated_ports: Option<PortMap>,
    /// Whether the ports that were observed last differ from it; null: unknown.
    pub(crate) port_drift_detected: Option<bool>,
    /// What differs; null: unknown.
    pub(crate) port_drift: Option<PortDrift>,
    /// Until when that is acknowledged; null: it is not.
    pub(crate) acknowledged_until: Option<DateTime<Utc>>,
    /// Where in the log the write is. A read that names it waits until the read models are there.
    pub(crate) position: Position,
    /// The session's version.
    pub(crate) etag: String,
}

fn answer(done: &CompletedCommand<LabletSession>) -> Result<Found<Written<WrittenPorts>>, Problem> {
    let session = present(done.state.present())?;
    let drift = session.observations.drift.as_ref();
    let ports = WrittenPorts {
        session_id: session.ids.session_id.clone(),
        allocated_ports: session.allocated_ports.clone(),
        port_drift_detected: session.observations.drift_detected(),
        port_drift: drift.map(|drift| drift.details.clone()),
        acknowledged_until: drift.and_then(|drift| drift.acknowledgement.as_ref()).map(|said| said.until),
        position: done.position,
        etag: etag(done.version()),
    };
    Ok(written(done, ports))
}

pub(crate) async fn acknowledge(
    State(commands): State<Commands>,
    _: Caller<Asking>,
    Id(session_id): Id<SessionId>,
    version: IfMatch<OPTIONAL>,
    submission: Submission<DriftAcknowledgement>,
) -> Result<Found<Written<WrittenPorts>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = commands.acknowledge_port_drift(&session_id, body, version.expected, &origin).await;
    answer(&settled(done, warnings)?)
}

pub(crate) async fn withdraw(
    State(commands): State<Commands>,
    _: Caller<Asking>,
    Id(session_id): Id<SessionId>,
    version: IfMatch<OPTIONAL>,
    submission: Submission<AcknowledgementWithdrawal>,
) -> Result<Found<Written<WrittenPorts>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = commands.withdraw_port_drift_acknowledgement(&session_id, body, version.expected, &origin).await;
    answer(&settled(done, warnings)?)
}

pub(crate) async fn correct(
    State(commands): State<Commands>,
    _: Caller<Administering>,
    Id(session_id): Id<SessionId>,
    version: IfMatch<OPTIONAL>,
    submission: Submission<AllocationCorrection>,
) -> Result<Found<Written<WrittenPorts>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = commands.correct_allocation(&session_id, body, version.expected, &origin).await;
    answer(&settled(done, warnings)?)
}

pub(crate) fn describe_acknowledgement(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("acknowledge_port_drift")
        .tag("sessions")
        .summary("Leave a session's drifted ports as they are for a while")
        .description(
            "Holds for the drift as it is now, and at most 90 days. Another drift, or one that ended and came again, is \
             open again.",
        )
}

pub(crate) fn describe_withdrawal(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("withdraw_port_drift_acknowledgement")
        .tag("sessions")
        .summary("Let a session's drifted ports that were acknowledged be open again")
        .description("At once. Where nothing is acknowledged, nothing changes, and that is no error.")
}

pub(crate) fn describe_correction(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("correct_allocation")
        .tag("sessions")
        .summary("Allocate other ports to a session, as its lab has others than were allocated")
        .description(
            "Those that were observed last, unless the body names others. Only while the session holds ports: from \
             scheduled to stopping. Whether they drifted is decided again at once. Ports that another session holds at the \
             same time are among the warnings.",
        )
}
