//! `GET /api/lablet-definitions/{id}/resource-observations`: what the observed sessions of a definition say together.

use advice::scope::SessionScope;
use aide::transform::TransformOperation;
use axum::Json;
use domain::{DefinitionId, Invalid};
use projections::ReadModel;
use projections::read_models::observations::of_definition::DefinitionObservations;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Sessions that are listed unless the caller says otherwise.
const DEFAULT_SESSIONS: u32 = 20;

/// Most sessions that are listed.
const MOST_SESSIONS: u32 = 200;

/// Which sessions count, and how many are listed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObservationsQuery {
    /// The newest observed sessions that are listed, 1 to 200; 20 unless stated. Where no scope is named, they are those that
    /// count.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    limit: Option<u32>,
    /// Which observed sessions count, however many are listed.
    #[serde(default)]
    scope: Option<SessionScope>,
}

pub(crate) async fn observations(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<DefinitionId>,
    Query(query): Query<ObservationsQuery>,
) -> Result<Json<DefinitionObservations>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_SESSIONS);
    if !(1..=MOST_SESSIONS).contains(&limit) {
        let expected = format!("a whole number from 1 to {MOST_SESSIONS}");
        return Err(Invalid::new("limit", format!("is {limit}"), expected).into());
    }
    let scope = query.scope.unwrap_or(SessionScope::Newest(limit));
    let id = &id;
    let ask = |queries: Queries| async move {
        let observed = queries.definition_observations(id, scope, limit).await?;
        // What was observed is of a definition that there is.
        if observed.sessions.is_empty() {
            super::show::row(&queries, id).await?;
        }
        Ok::<_, Problem>(observed)
    };
    let models = [ReadModel::Observations, ReadModel::Definitions, ReadModel::Demands];
    Ok(Json(reads.read(since, &models, ask).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_lablet_definition_observations")
        .tag("definitions")
        .summary("What was observed of a definition's sessions, one by one and together")
        .description(
            "Unless `scope` names others, the newest `limit` observed sessions count. What is unknown is left out of max, p95 and \
             avg, and counted. `wider` says where all sessions of the definition say more than those that count.",
        )
}
