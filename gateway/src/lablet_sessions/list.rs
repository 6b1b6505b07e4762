//! `GET /api/lablet-sessions` and `GET /api/internal/lablet-sessions`: sessions, newest first unless asked otherwise.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use projections::ReadModel;
use projections::read_models::sessions::SessionRow;

use super::filter::SessionQuery;
use crate::caller::{Caller, Internal, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::paging::{ListPage, Paging};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

pub(crate) async fn list(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    Query(query): Query<SessionQuery>,
) -> Result<Json<ListPage<SessionRow>>, Problem> {
    let filter = query.filter(reads.log().clock().now())?;
    let request = Paging { limit: query.limit, cursor: query.cursor }.request()?;
    let (filter, request) = (&filter, &request);
    let ask = |queries: Queries| async move { queries.sessions(filter, request).await };
    Ok(Json(reads.read(since, &[ReadModel::Sessions], ask).await?.into()))
}

pub(crate) async fn list_internally(
    State(queries): State<Queries>,
    _: Caller<Internal>,
    since: Since,
    Query(query): Query<SessionQuery>,
) -> Result<Json<ListPage<SessionRow>>, Problem> {
    let filter = query.filter(queries.log().clock().now())?;
    let request = Paging { limit: query.limit, cursor: query.cursor }.request()?;
    since.reached(&queries, &[ReadModel::Sessions]).await?;
    Ok(Json(queries.sessions(&filter, &request).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_lablet_sessions").tag("sessions").summary("Sessions, newest first unless asked otherwise")
}

pub(crate) fn describe_internal(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_lablet_sessions_internally").tag("sessions").summary("Sessions, for controllers")
}
