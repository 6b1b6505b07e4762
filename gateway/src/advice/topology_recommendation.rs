//! `POST /api/topology-recommendations`: how large a lab of a topology must be.

use advice::recommendation::Recommendation;
use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::advice_policy::Promise;
use projections::ReadModel;
use schemars::JsonSchema;
use serde::Deserialize;

use super::topology::SentTopology;
use crate::answer::Written;
use crate::caller::{Caller, Viewing};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which advice.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromiseQuery {
    /// The share of future sessions to cover, above 0 and below 1; that of the default policy unless stated.
    promise: Option<Promise>,
}

pub(crate) async fn recommend(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Query(PromiseQuery { promise }): Query<PromiseQuery>,
    SentTopology { topology, warnings }: SentTopology,
) -> Result<Json<Written<Recommendation>>, Problem> {
    since.reached(&queries, &[ReadModel::Advice]).await?;
    let body = queries.topology_recommendation(&topology, promise).await?;
    Ok(Json(Written { body, warnings }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("recommend_topology")
        .tag("advice")
        .summary("How large a lab of a topology must be")
        .description(
            "By what its nodes need in other labs: the topology as a list of nodes, or as the YAML that CML exports, within JSON \
             or as a file. Nothing is kept.",
        )
}
