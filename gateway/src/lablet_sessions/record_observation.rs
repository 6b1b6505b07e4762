//! `POST /api/internal/lablet-sessions/{id}/resource-observations`: what was seen of a session's lab.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::SessionId;
use domain::lablet_session::ObservationReport;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::{Found, Written};
use crate::body::RequestBody;
use crate::caller::{Caller, Internal};
use crate::command::{present, settled, written};
use crate::path::Id;
use crate::problem::Problem;
use crate::submission::Submission;
use crate::version::{IfMatch, OPTIONAL};

impl RequestBody for ObservationReport {
    const COMMAND: Option<CommandName> = Some(CommandName::RecordResourceObservation);

    /// What the bus takes, so that a report that has to go by HTTP is not refused for its size. The largest lab we know,
    /// 302 nodes, fills an eighth of this.
    const LONGEST: usize = bus::streams::LARGEST_COMMAND;
}

/// What the session knows after the observation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ObservationRecorded {
    /// The session.
    pub(crate) session_id: SessionId,
    /// How many observations were recorded of it.
    pub(crate) observation_count: u64,
    /// Whether the ports drifted by the newest observation that could tell, which need not be this one; null: none could yet.
    pub(crate) port_drift_detected: Option<bool>,
    /// When the newest observation was made. Later than the one at hand where that arrived late: it is history then.
    pub(crate) observed_at: Option<DateTime<Utc>>,
    /// Where in the log it is.
    pub(crate) position: app::log::Position,
}

pub(crate) async fn record_observation(
    State(commands): State<Commands>,
    _: Caller<Internal>,
    Id(session_id): Id<SessionId>,
    version: IfMatch<OPTIONAL>,
    submission: Submission<ObservationReport>,
) -> Result<Found<Written<ObservationRecorded>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = commands.record_observation(&session_id, body, version.expected, &origin).await;
    let done = settled(done, warnings)?;
    let observations = &present(done.state.present())?.observations;
    let recorded = ObservationRecorded {
        session_id,
        observation_count: observations.count,
        port_drift_detected: observations.drift_detected(),
        observed_at: observations.newest_at(),
        position: done.position,
    };
    Ok(written(&done, recorded))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("record_resource_observation")
        .tag("sessions")
        .summary("Record what was seen of a session's lab")
        .description(
            "Only while the session is running or collecting. The same observer at the same instant made the same \
         observation: it is recorded once.",
        )
}
