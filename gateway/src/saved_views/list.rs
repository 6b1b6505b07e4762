//! `GET /api/saved-views`: the views that the caller sees.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules::{SavedView, ViewedList};
use super::store::SavedViews;
use crate::caller::Person;
use crate::problem::Problem;
use crate::query::Query;

/// Which views.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ViewsQuery {
    /// Of this list alone.
    list: Option<ViewedList>,
}

/// Saved views.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ShownViews {
    /// By list and name: the caller's own ones and those that are shared; at most 500.
    pub(crate) items: Vec<SavedView>,
}

pub(crate) async fn list(
    State(views): State<SavedViews>,
    person: Person,
    Query(query): Query<ViewsQuery>,
) -> Result<Json<ShownViews>, Problem> {
    Ok(Json(ShownViews { items: views.shown_to(&person.name, query.list).await? }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_saved_views")
        .tag("operations")
        .summary("Filters of lists under a name: the caller's own ones and those that are shared")
}
