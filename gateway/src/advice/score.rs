//! `GET /api/advice-score`: whether advice held.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::DefinitionId;
use domain::resource::Resource;
use projections::ReadModel;
use projections::read_models::advice::score::{AdviceScoreFilter, AdviceScoreReport};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::caller::{Caller, Viewing};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which scores.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScoreQuery {
    /// Of this definition: of its newest 1,000 sessions.
    definition_id: Option<DefinitionId>,
    /// Of this resource.
    resource: Option<Resource>,
}

pub(crate) async fn score(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Query(ScoreQuery { definition_id, resource }): Query<ScoreQuery>,
) -> Result<Json<AdviceScoreReport>, Problem> {
    since.reached(&queries, &[ReadModel::Advice]).await?;
    Ok(Json(queries.advice_score(&AdviceScoreFilter { definition_id, resource }).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("show_advice_score").tag("advice").summary("Whether advice held").description(
        "For each session, the advice that was possible before it is held against what it needed: promised beside achieved, in \
         total, by the number of sessions that were known, by month and by definition, and the misses.",
    )
}
