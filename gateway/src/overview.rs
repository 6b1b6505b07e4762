//! `GET /api/overview`: the numbers of everything at once.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use projections::ReadModel;
use projections::overview::Overview;

use crate::answer_cache::AnswerCache;
use crate::caller::{Caller, Viewing};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

pub(crate) async fn show(
    State(queries): State<Queries>,
    State(cache): State<AnswerCache<Overview>>,
    _: Caller<Viewing>,
    since: Since,
) -> Result<Json<Overview>, Problem> {
    let reached = since.reached(&queries, &[ReadModel::Sessions, ReadModel::ObservationRequests]).await?;
    let overview = cache.get(reached.0, queries.overview()).await?;
    Ok(Json(Overview::clone(&overview)))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_overview")
        .tag("operations")
        .summary("How many sessions are in each state, how requests stand, and how far the read models are")
}
