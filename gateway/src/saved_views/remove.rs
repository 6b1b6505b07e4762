//! `DELETE /api/saved-views/{id}`: removes a saved view.

use std::fmt;
use std::str::FromStr;

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::Invalid;
use schemars::JsonSchema;
use uuid::Uuid;

use super::rules::SavedView;
use super::store::SavedViews;
use crate::caller::Person;
use crate::path::Id;
use crate::problem::Problem;

/// The id of a saved view, as the list gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[serde(transparent)]
pub(crate) struct ViewId(pub(crate) Uuid);

impl fmt::Display for ViewId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for ViewId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let shown: String = text.chars().take(80).collect();
        text.parse().map(Self).map_err(|_| Invalid::new("", format!("is {shown:?}"), "a UUID, as the list gives it"))
    }
}

pub(crate) async fn remove(
    State(views): State<SavedViews>,
    person: Person,
    Id(ViewId(id)): Id<ViewId>,
) -> Result<Json<SavedView>, Problem> {
    Ok(Json(views.remove(id, &person.name, person.role).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("remove_saved_view")
        .tag("operations")
        .summary("Remove a saved view")
        .description("One's own, or as an admin one that is shared.")
}
