//! `GET /api/proposals`: proposals of other sizes, newest first.

use aide::transform::TransformOperation;
use axum::Json;
use domain::DefinitionId;
use domain::lablet_definition::ProposalStatus;
use projections::ReadModel;
use projections::read_models::advice::proposals::{ProposalFilter, ProposalRow};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::paging::{ListPage, Paging};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which proposals.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProposalQuery {
    /// Of this definition.
    definition_id: Option<DefinitionId>,
    /// In this state.
    status: Option<ProposalStatus>,
    /// Most rows of the page, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(length(min = 1), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    cursor: Option<String>,
}

pub(crate) async fn list(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    Query(query): Query<ProposalQuery>,
) -> Result<Json<ListPage<ProposalRow>>, Problem> {
    let ProposalQuery { definition_id, status, limit, cursor } = query;
    let request = Paging { limit, cursor }.request()?;
    let filter = ProposalFilter { definition_id, status };
    let (filter, request) = (&filter, &request);
    let ask = |queries: Queries| async move { queries.proposals(filter, request).await };
    Ok(Json(reads.read(since, &[ReadModel::Advice], ask).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_proposals").tag("advice").summary("Proposals of other sizes, newest first")
}
