//! `GET /api/workers/{id}/port-map`: which session holds which port of a worker.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::WorkerId;
use domain::worker::Worker;
use projections::read_models::sessions::WorkerPorts;
use projections::{ReadError, ReadModel};

use crate::caller::{Caller, Viewing};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::state::Shared;

pub(crate) async fn port_map(
    State(shared): State<Shared>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<WorkerId>,
) -> Result<Json<WorkerPorts>, Problem> {
    since.reached(&shared, &[ReadModel::Workers, ReadModel::Sessions]).await?;
    if shared.log.load::<Worker>(id.as_str()).await.map_err(ReadError::Log)?.is_none() {
        return Err(Problem::not_found("worker", id.as_str()));
    }
    Ok(Json(shared.reads.port_map(&id).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_worker_port_map")
        .tag("workers")
        .summary("Which session holds which port of a worker, as allocated and as observed")
}
