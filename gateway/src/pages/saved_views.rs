//! Saved views on the pages of lists: which there are, saving what the address asks for, removing one.

use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::request::Parts;
use serde::Deserialize;

use super::form::PageForm;
use super::visit::Permit;
use crate::authentication::{Principal, Role};
use crate::caller::{Person, principal};
use crate::path::Id;
use crate::problem::{Problem, ProblemKind};
use crate::saved_views::remove::ViewId;
use crate::saved_views::rules::{SavedView, ViewedList, canonical, checked, may_share};
use crate::saved_views::store::{NewView, SavedViews, checked_name};
use crate::sign_in::BrowserSession;

/// The saved views of the list whose page is asked for, and whether what it shows can be saved.
#[derive(Debug, Clone, Template)]
#[template(path = "saved_views.html")]
pub(crate) struct ViewsBar {
    list: ViewedList,
    views: Vec<ShownView>,
    /// What the address asks for; empty: everything.
    query: String,
    /// Where the page is.
    page: String,
    csrf_token: String,
    share: Permit,
    /// A service has no preferences.
    is_person: bool,
}

impl HtmlSafe for ViewsBar {}

/// A view as the page shows it.
#[derive(Debug, Clone)]
struct ShownView {
    view: SavedView,
    is_current: bool,
    is_removable: bool,
}

impl ViewsBar {
    fn has_removable(&self) -> bool {
        self.views.iter().any(|shown| shown.is_removable)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ViewsBar
where
    SavedViews: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = parts.uri.path();
        let list = ViewedList::ALL.into_iter().find(|list| list.path() == path);
        let none = || Problem::new(ProblemKind::Internal, "No views are saved of this page.");
        let list = list.ok_or_else(none)?;
        let (name, role, is_person) = match principal(parts)? {
            Principal::Admin { name, role } => (name, role, true),
            Principal::Service { name } => (name, Role::Viewer, false),
        };
        let query = canonical(parts.uri.query().unwrap_or_default());
        let views = SavedViews::from_ref(state).shown_to(&name, Some(list)).await?;
        let shown = |view: SavedView| ShownView {
            is_current: view.query == query,
            is_removable: is_person && view.may_be_removed_by(&name, role),
            view,
        };
        Ok(Self {
            list,
            views: views.into_iter().filter(|view| is_person || view.shared).map(shown).collect(),
            page: if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") },
            query,
            csrf_token: parts
                .extensions
                .get::<BrowserSession>()
                .map(|session| session.csrf_token.clone())
                .unwrap_or_default(),
            share: match may_share(role) {
                true => Permit::granted(),
                false => {
                    Permit::refused(format!("Sharing needs the role {}; you are signed in as {role}.", Role::Admin))
                }
            },
            is_person,
        })
    }
}

/// A view that is to be saved.
#[derive(Debug, Deserialize)]
pub(crate) struct SaveForm {
    list: ViewedList,
    name: Option<String>,
    query: Option<String>,
    shared: Option<bool>,
}

pub(crate) async fn save(
    State(views): State<SavedViews>,
    person: Person,
    form: PageForm<SaveForm>,
) -> Result<Response, Problem> {
    let SaveForm { list, name, query, shared } = form.fields;
    let view = NewView {
        list,
        name: checked_name(&name.unwrap_or_default())?,
        query: checked(&query.unwrap_or_default())?,
        shared: shared.unwrap_or_default(),
    };
    let saved = views.save(&person.name, person.role, view).await?;
    Ok(Redirect::to(&saved.address()).into_response())
}

/// Nothing has to be said.
#[derive(Debug, Deserialize)]
pub(crate) struct Nothing {}

pub(crate) async fn remove(
    State(views): State<SavedViews>,
    person: Person,
    Id(ViewId(id)): Id<ViewId>,
    form: PageForm<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = form.fields;
    let removed = views.remove(id, &person.name, person.role).await?;
    Ok(Redirect::to(removed.list.path()).into_response())
}
