//! `POST /api/saved-views`: filters of a list under a name.

use aide::transform::TransformOperation;
use app::command::CommandName;
use axum::Json;
use axum::extract::State;
use domain::text::Line;
use schemars::JsonSchema;
use serde::Deserialize;

use super::rules::{SavedView, ViewedList, checked};
use super::store::{NewView, SavedViews};
use crate::answer::Written;
use crate::body::RequestBody;
use crate::caller::Person;
use crate::problem::Problem;
use crate::submission::Submission;

/// A view that is to be saved.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct SaveView {
    /// Of which list.
    list: ViewedList,
    /// What it is called: 1 to 60 characters on one line. One that the caller has of the same name is replaced.
    name: Line<1, 60>,
    /// What it asks for, as the page's address has it after its `?`.
    query: Line<1, 2000>,
    /// Whether everybody sees it, which needs an admin.
    #[serde(default)]
    shared: bool,
}

impl RequestBody for SaveView {
    const COMMAND: Option<CommandName> = None;
}

pub(crate) async fn save(
    State(views): State<SavedViews>,
    person: Person,
    submission: Submission<SaveView>,
) -> Result<Json<Written<SavedView>>, Problem> {
    let Submission { body: SaveView { list, name, query, shared }, warnings, .. } = submission;
    let view = NewView { list, name: name.into(), query: checked(&String::from(query))?, shared };
    let body = views.save(&person.name, person.role, view).await?;
    Ok(Json(Written { body, warnings }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("save_view").tag("operations").summary("Save filters of a list under a name").description(
        "Sent twice it is one view: one that the caller has of the same list and name is replaced. A person has at most \
         50. Filters that are empty or say which page is shown are left out.",
    )
}
