//! `GET /api/lablet-definitions`: definitions, newest first unless asked otherwise, each with whether anything was observed of it.

use aide::transform::TransformOperation;
use axum::Json;
use projections::ReadModel;
use projections::read_models::definitions::{DefinitionFilter, DefinitionRow, DefinitionSort};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::paging::{ListPage, Paging, check_text};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which definitions.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefinitionQuery {
    /// Whose id, name, version or description contains this, in whatever case.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    text: Option<String>,
    /// True: with observations. False: without.
    observed: Option<bool>,
    /// True: with a session whose ports drifted. False: without.
    drift: Option<bool>,
    /// In this order; newest first unless stated. A cursor belongs to one order.
    sort: Option<DefinitionSort>,
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
    Query(query): Query<DefinitionQuery>,
) -> Result<Json<ListPage<DefinitionRow>>, Problem> {
    let text = check_text("text", query.text)?;
    let filter =
        DefinitionFilter { text, observed: query.observed, drift: query.drift, sort: query.sort.unwrap_or_default() };
    let request = Paging { limit: query.limit, cursor: query.cursor }.request()?;
    let (filter, request) = (&filter, &request);
    let ask = |queries: Queries| async move { queries.definitions(filter, request).await };
    Ok(Json(reads.read(since, &[ReadModel::Definitions, ReadModel::Advice], ask).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_lablet_definitions")
        .tag("definitions")
        .summary("Definitions, newest first unless asked otherwise")
}
