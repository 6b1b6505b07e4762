//! `GET /api/workers/{id}/load` and `GET /api/worker-loads`: what the sessions of workers take of them now.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::WorkerId;
use domain::worker::Worker;
use projections::read_models::sessions::WorkerLoad;
use projections::{Listed, ReadError, ReadModel};

use crate::caller::{Caller, Viewing};
use crate::paging::{ListPage, Paging};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// The read models that a load rests on.
const RESTS_ON: [ReadModel; 3] = [ReadModel::Workers, ReadModel::Sessions, ReadModel::Observations];

pub(crate) async fn load(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<WorkerId>,
) -> Result<Json<WorkerLoad>, Problem> {
    since.reached(&queries, &RESTS_ON).await?;
    let known = queries.knows::<Worker>(id.as_str()).await?;
    if !known {
        return Err(Problem::not_found("worker", id.as_str()));
    }
    let Listed { mut items, mut unreadable } = queries.worker_load(std::slice::from_ref(&id)).await?;
    match (items.pop(), unreadable.pop()) {
        (Some(load), _) => Ok(Json(load)),
        (None, Some(row)) => Err(ReadError::Unreadable { list: "worker_load", row }.into()),
        (None, None) => Err(Problem::not_found("worker", id.as_str())),
    }
}

pub(crate) async fn list(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Query(paging): Query<Paging>,
) -> Result<Json<ListPage<WorkerLoad>>, Problem> {
    let request = paging.request()?;
    since.reached(&queries, &RESTS_ON).await?;
    let workers = queries.workers(&request).await?;
    let ids: Vec<WorkerId> = workers.items.into_iter().map(|worker| worker.id).collect();
    let mut loads = queries.worker_load(&ids).await?;
    loads.unreadable.extend(workers.unreadable);
    Ok(Json(projections::Page { items: loads.items, next: workers.next, unreadable: loads.unreadable }.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_worker_load")
        .tag("workers")
        .summary("What the sessions of a worker take of it now")
        .description("By the newest observation of each session that is up. Those that do not know it are counted.")
}

pub(crate) fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_worker_loads")
        .tag("workers")
        .summary("What the sessions of each worker take of it now, in the order of the list of workers")
}
