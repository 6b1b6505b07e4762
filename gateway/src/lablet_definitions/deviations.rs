//! `GET /api/definition-deviations`: which definitions are off by most.

use advice::scope::SessionScope;
use aide::transform::TransformOperation;
use axum::Json;
use projections::read_models::observations::DefinitionDeviation;
use projections::read_models::observations::deviations::COUNTED;
use projections::{Listed, ReadModel, UnreadableRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::paging;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// How many definitions.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviationQuery {
    /// Most definitions, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    limit: Option<u32>,
    /// Which observed sessions of each definition count; `newest-20` unless stated.
    #[serde(default)]
    scope: Option<SessionScope>,
}

/// Definitions that are off.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Deviations {
    /// The one that is off by most first.
    items: Vec<DefinitionDeviation>,
    /// Definitions that are off and whose rows cannot be read; left out where all can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<UnreadableRow>,
}

pub(crate) async fn deviations(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    Query(query): Query<DeviationQuery>,
) -> Result<Json<Deviations>, Problem> {
    let limit = paging::limit(query.limit)?;
    let scope = query.scope.unwrap_or(COUNTED);
    let ask = |queries: Queries| async move { queries.definitions_off(scope, limit).await };
    let models = [ReadModel::Observations, ReadModel::Definitions];
    let Listed { items, unreadable } = reads.read(since, &models, ask).await?;
    Ok(Json(Deviations { items, unreadable }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_definition_deviations")
        .tag("definitions")
        .summary("Definitions that are off by most")
        .description(
            "Of each definition the 20 most recently observed sessions count, or those that `scope` names, and of them the \
             greatest, rounded up to what a definition can say. What is unknown is left out and counted.",
        )
}
