//! `GET /api/workers/{id}/pressure`: when a worker was short, and of what.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::WorkerId;
use domain::worker::Worker;
use projections::ReadModel;
use projections::read_models::workers::PressureSpell;

use crate::caller::{Caller, Viewing};
use crate::paging::{ListPage, Paging};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

pub(crate) async fn pressure(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<WorkerId>,
    Query(paging): Query<Paging>,
) -> Result<Json<ListPage<PressureSpell>>, Problem> {
    let request = paging.request()?;
    since.reached(&queries, &[ReadModel::Workers]).await?;
    if !queries.knows::<Worker>(id.as_str()).await? {
        return Err(Problem::not_found("worker", id.as_str()));
    }
    Ok(Json(queries.pressure_spells(&id, &request).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_worker_pressure")
        .tag("workers")
        .summary("When a worker was short, and of what, newest first")
        .description(
            "Spells that follow one another without a hole: in each the worker was short of the same things, short of \
             nothing, or not known to be either.",
        )
}
