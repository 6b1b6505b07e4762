//! `GET /api/workers/{id}`.

use aide::transform::TransformOperation;
use axum::extract::State;
use domain::WorkerId;
use domain::worker::Worker;
use projections::ReadModel;

use crate::answer::Found;
use crate::caller::{Caller, Viewing};
use crate::controllers::{ControllerWatch, WorkerWithContact};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

pub(crate) async fn show(
    State(queries): State<Queries>,
    State(controllers): State<ControllerWatch>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<WorkerId>,
) -> Result<Found<WorkerWithContact>, Problem> {
    since.reached(&queries, &[ReadModel::Workers]).await?;
    let ask = || queries.worker(&id);
    let row = queries.row::<Worker, _, _>(ReadModel::Workers, ("worker", id.as_str()), ask).await?;
    let etag = row.etag.clone();
    Ok(Found::new(controllers.with_contact(row)).at_etag(&etag))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("show_worker").tag("workers").summary("One worker")
}
