//! `GET /api/internal/workers/{id}/shortage`: whether a worker was short between two times.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::WorkerId;
use domain::time::BoundedTime;
use domain::worker::{Shortage, Worker};
use projections::ReadModel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::{Caller, Internal};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which time is asked about.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct AskedTime {
    /// From when, 2000 to 2199.
    #[schemars(with = "DateTime<Utc>")]
    since: BoundedTime,
    /// Until when, 2000 to 2199.
    #[schemars(with = "DateTime<Utc>")]
    until: BoundedTime,
}

/// What a worker was short of in a time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WorkerShortage {
    /// The worker.
    worker_id: WorkerId,
    /// Whether it was short at any known moment; false: it was known throughout not to be; null: neither is known.
    worker_short: Option<bool>,
    /// What it was short of.
    worker_short_of: Vec<Shortage>,
}

pub(crate) async fn shortage(
    State(queries): State<Queries>,
    _: Caller<Internal>,
    position: Since,
    Id(id): Id<WorkerId>,
    Query(AskedTime { since, until }): Query<AskedTime>,
) -> Result<Json<WorkerShortage>, Problem> {
    position.reached(&queries, &[ReadModel::Workers]).await?;
    if !queries.knows::<Worker>(id.as_str()).await? {
        return Err(Problem::not_found("worker", id.as_str()));
    }
    let known = queries.worker_shortage(&id, since.at(), until.at()).await?;
    Ok(Json(WorkerShortage {
        worker_id: id,
        worker_short: known.worker_short(),
        worker_short_of: known.shortages().collect(),
    }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_worker_shortage")
        .tag("workers")
        .summary("Whether a worker was short between two times, for controllers")
}
