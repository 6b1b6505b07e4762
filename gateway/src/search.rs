//! `GET /api/search`: what has an id or contains a text.

pub(crate) mod pages_of_hits;
pub(crate) mod suggestions;

use aide::NoApi;
use aide::transform::TransformOperation;
use axum::{Extension, Json};
use domain::Invalid;
use projections::ReadModel;
use projections::search::{MOST_HITS, SearchDepth, SearchResults};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::authentication::{Principal, Role};
use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::paging::check_text;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Hits of each kind unless the caller says otherwise.
const DEFAULT_HITS: u32 = 20;

/// What is searched for.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchQuery {
    /// An id, a port, or a part of an id, a name, an owner, an address, a description, a label or an error, in whatever case.
    #[schemars(required, length(min = 1, max = crate::paging::LONGEST_TEXT))]
    text: Option<String>,
    /// Most hits of each kind, 1 to 50; 20 unless stated.
    #[schemars(range(min = 1, max = MOST_HITS))]
    limit: Option<u32>,
}

pub(crate) async fn search(
    reads: HeavyReads,
    since: Since,
    _: Caller<Viewing>,
    NoApi(Extension(principal)): NoApi<Extension<Principal>>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<SearchResults>, Problem> {
    let (text, limit) = (sought(query.text)?, most_hits(query.limit, DEFAULT_HITS)?);
    let dead_letters = matches!(principal, Principal::Admin { role, .. } if role >= Role::Operator);
    let depth = SearchDepth { dead_letters, history: true };
    let text = &text;
    let ask = |queries: Queries| async move { queries.search(text, limit, depth).await };
    Ok(Json(reads.read(since, &ReadModel::ALL, ask).await?))
}

/// What is searched for, which has to be something.
///
/// # Errors
/// 400 where it is missing or too long.
pub(crate) fn sought(text: Option<String>) -> Result<String, Problem> {
    let text = check_text("text", text.map(|text| text.trim().to_owned()))?;
    text.ok_or_else(|| Invalid::new("text", "is missing", "what is searched for").into())
}

/// Most hits of each kind, where the caller says it, within bounds.
///
/// # Errors
/// 400 beyond them.
pub(crate) fn most_hits(limit: Option<u32>, unless_stated: u32) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(unless_stated);
    if !(1..=MOST_HITS).contains(&limit) {
        let expected = format!("a whole number from 1 to {MOST_HITS}");
        return Err(Invalid::new("limit", format!("is {limit}"), expected).into());
    }
    Ok(limit)
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("search")
        .tag("operations")
        .summary("What people hold: ids, ports, names, owners, labels, correlations and pieces of errors")
}
