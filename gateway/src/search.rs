//! `GET /api/search`: what has an id or contains a text.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::Invalid;
use projections::search::{MOST_HITS, SearchResults};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::caller::{Caller, Viewing};
use crate::paging::check_text;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Hits of each kind unless the caller says otherwise.
const DEFAULT_HITS: u32 = 20;

/// What is searched for.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchQuery {
    /// An id, or a part of an id, of a name, an owner, an address or a description, in whatever case.
    #[schemars(required, length(min = 1, max = crate::paging::LONGEST_TEXT))]
    text: Option<String>,
    /// Most hits of each kind, 1 to 50; 20 unless stated.
    #[schemars(range(min = 1, max = MOST_HITS))]
    limit: Option<u32>,
}

pub(crate) async fn search(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<SearchResults>, Problem> {
    let text = check_text("text", query.text.map(|text| text.trim().to_owned()))?;
    let text = text.ok_or_else(|| Invalid::new("text", "is missing", "what is searched for"))?;
    let limit = query.limit.unwrap_or(DEFAULT_HITS);
    if !(1..=MOST_HITS).contains(&limit) {
        let expected = format!("a whole number from 1 to {MOST_HITS}");
        return Err(Invalid::new("limit", format!("is {limit}"), expected).into());
    }
    Ok(Json(queries.search(&text, limit).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("search")
        .tag("operations")
        .summary("Sessions, definitions, workers and events by id, then by what contains a text")
}
