//! `POST /api/internal/workers/{id}/pressure`: how much of a worker is free, and what it is short of.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use app::log::Position;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::WorkerId;
use domain::worker::{PressureCondition, PressureReport, Worker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::{Found, Written};
use crate::body::RequestBody;
use crate::caller::{Caller, Internal};
use crate::command::{present, settled, written};
use crate::path::Id;
use crate::problem::Problem;
use crate::submission::Submission;

impl RequestBody for PressureReport {
    const COMMAND: Option<CommandName> = Some(CommandName::RecordWorkerPressure);
}

/// The newest pressure that is recorded of a worker: the one at hand, unless it says nothing new or is older.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PressureRecorded {
    /// The worker.
    pub(crate) worker_id: WorkerId,
    /// Whether the worker is short by it.
    pub(crate) condition: PressureCondition,
    /// When it was read.
    pub(crate) observed_at: DateTime<Utc>,
    /// Where in the log the worker's newest event is.
    pub(crate) position: Position,
}

pub(crate) async fn record_pressure(
    State(commands): State<Commands>,
    _: Caller<Internal>,
    Id(worker_id): Id<WorkerId>,
    submission: Submission<PressureReport>,
) -> Result<Found<Written<PressureRecorded>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = settled(commands.record_worker_pressure(&worker_id, body, &origin).await, warnings)?;
    let newest = match done.state.as_ref() {
        Worker::Absent => None,
        Worker::Present { pressure, .. } => pressure.as_deref(),
    };
    let newest = present(newest)?;
    let recorded = PressureRecorded {
        worker_id,
        condition: newest.pressure.condition(),
        observed_at: newest.observed_at,
        position: done.position,
    };
    Ok(written(&done, recorded))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("record_worker_pressure").tag("workers").summary("Record how much of a worker is free").description(
        "For controllers. Recorded where it is news: a shortage, what is known, or an amount by more than a tenth of the \
         worker's total, or an hour has passed. Anything else, and what is older, changes nothing.",
    )
}
