//! `GET /api/workers/{id}/port-map`: which session holds which port of a worker.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::WorkerId;
use domain::worker::Worker;
use projections::ReadModel;
use projections::read_models::sessions::WorkerPorts;

use crate::caller::{Caller, Viewing};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

pub(crate) async fn port_map(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<WorkerId>,
) -> Result<Json<WorkerPorts>, Problem> {
    since.reached(&queries, &[ReadModel::Workers, ReadModel::Sessions]).await?;
    if !queries.knows::<Worker>(id.as_str()).await? {
        return Err(Problem::not_found("worker", id.as_str()));
    }
    Ok(Json(queries.port_map(&id).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_worker_port_map")
        .tag("workers")
        .summary("Which session holds which port of a worker, as allocated and as observed")
}
