//! `GET /api/search/suggestions`: a few things that a text may mean, while it is typed.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::Invalid;
use projections::search::{SearchDepth, SearchHit, SearchKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pages_of_hits::page_of;
use crate::caller::{Caller, Viewing};
use crate::pages::parts::short_id;
use crate::paging::check_text;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Hits of each kind, and in all.
const OF_EACH: u32 = 3;
const MOST: usize = 8;

/// What is typed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SuggestionQuery {
    /// As much as is typed.
    #[schemars(required, length(min = 1, max = crate::paging::LONGEST_TEXT))]
    text: Option<String>,
}

/// A few things that a text may mean.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Suggestions {
    /// What is exactly the text first; at most 8.
    items: Vec<Suggestion>,
}

/// Something that a text may mean.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Suggestion {
    /// What it is.
    kind: SearchKind,
    /// What it is called.
    label: String,
    /// What else tells it.
    detail: String,
    /// Path of its page.
    page: String,
}

impl From<SearchHit> for Suggestion {
    fn from(hit: SearchHit) -> Self {
        let page = page_of(&hit);
        let (label, detail) = match hit.kind {
            SearchKind::Node | SearchKind::Request | SearchKind::DeadLetter | SearchKind::Event => {
                (hit.title, hit.detail.unwrap_or_default())
            }
            SearchKind::Port => (format!("{} {}", hit.id, hit.title), hit.detail.unwrap_or_default()),
            SearchKind::Session => {
                let known = [Some(short_id(&hit.id)), hit.lab_title, hit.detail];
                (hit.title, known.into_iter().flatten().collect::<Vec<_>>().join(", "))
            }
            SearchKind::Definition | SearchKind::Worker => (hit.title, short_id(&hit.id)),
            SearchKind::Owner => (hit.id, hit.title),
        };
        Self { kind: hit.kind, label, detail, page }
    }
}

pub(crate) async fn suggest(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    Query(query): Query<SuggestionQuery>,
) -> Result<Json<Suggestions>, Problem> {
    let text = check_text("text", query.text.map(|text| text.trim().to_owned()))?;
    let text = text.ok_or_else(|| Invalid::new("text", "is missing", "what is searched for"))?;
    let found = queries.search(&text, OF_EACH, SearchDepth::default()).await?;
    let items = found.exact.into_iter().chain(found.containing).take(MOST).map(Suggestion::from).collect();
    Ok(Json(Suggestions { items }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("suggest").tag("operations").summary("A few things that a text may mean, while it is typed")
}
