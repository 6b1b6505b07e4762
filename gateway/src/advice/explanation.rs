//! `GET /api/lablet-definitions/{id}/recommendation/explanation`: how a recommendation came about.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::DefinitionId;
use projections::ReadModel;
use projections::read_models::advice::recommendation::RecommendationExplanation;

use super::as_of::AdviceQuery;
use crate::caller::{Caller, Viewing};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

pub(crate) async fn explanation(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<DefinitionId>,
    Query(query): Query<AdviceQuery>,
) -> Result<Json<RecommendationExplanation>, Problem> {
    since.reached(&queries, &[ReadModel::Advice]).await?;
    let ask = async |promise, as_of| queries.explanation(&id, promise, as_of).await;
    Ok(Json(query.answer(&queries, &id, ask).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("explain_lablet_definition_recommendation")
        .tag("advice")
        .summary("How a recommendation came about, step by step, down to the readings that set it")
}
