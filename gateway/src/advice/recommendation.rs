//! `GET /api/lablet-definitions/{id}/recommendation`: how large a definition must be.

use advice::recommendation::Recommendation;
use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::DefinitionId;
use projections::ReadModel;

use super::as_of::AdviceQuery;
use crate::caller::{Caller, Viewing};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

pub(crate) async fn recommendation(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<DefinitionId>,
    Query(query): Query<AdviceQuery>,
) -> Result<Json<Recommendation>, Problem> {
    since.reached(&queries, &[ReadModel::Advice]).await?;
    let ask = async |promise, as_of| queries.recommendation(&id, promise, as_of).await;
    Ok(Json(query.answer(&queries, &id, ask).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("recommend_lablet_definition").tag("advice").summary("How large a definition must be").description(
        "The size that covers the promised share of future sessions, by the sessions so far and by what its nodes need in \
         other labs. As of a position: what was advised then.",
    )
}
