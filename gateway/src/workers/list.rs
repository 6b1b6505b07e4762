//! `GET /api/workers`, and for controllers `GET /api/internal/workers`: workers, newest first.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use projections::ReadModel;
use projections::read_models::workers::WorkerRow;

use crate::caller::{Caller, Internal, Viewing};
use crate::controllers::{ControllerWatch, WorkerWithContact};
use crate::paging::{ListPage, Paging};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

pub(crate) async fn list(
    State(queries): State<Queries>,
    State(controllers): State<ControllerWatch>,
    _: Caller<Viewing>,
    since: Since,
    Query(paging): Query<Paging>,
) -> Result<Json<ListPage<WorkerWithContact>>, Problem> {
    let Json(ListPage { items, next_cursor, unreadable }) = page(&queries, since, paging).await?;
    let items = items.into_iter().map(|worker| controllers.with_contact(worker)).collect();
    Ok(Json(ListPage { items, next_cursor, unreadable }))
}

pub(crate) async fn list_internally(
    State(queries): State<Queries>,
    _: Caller<Internal>,
    since: Since,
    Query(paging): Query<Paging>,
) -> Result<Json<ListPage<WorkerRow>>, Problem> {
    page(&queries, since, paging).await
}

async fn page(queries: &Queries, since: Since, paging: Paging) -> Result<Json<ListPage<WorkerRow>>, Problem> {
    let request = paging.request()?;
    since.reached(queries, &[ReadModel::Workers]).await?;
    Ok(Json(queries.workers(&request).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_workers").tag("workers").summary("Workers, newest first")
}

pub(crate) fn describe_internal(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_workers_internally").tag("workers").summary("Workers, for controllers")
}
