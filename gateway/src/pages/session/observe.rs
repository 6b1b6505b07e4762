//! `POST /sessions/{id}/observe`: the button *Observe now*.

use app::command::ObservationRequest;
use app::commands::Commands;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::SessionId;
use serde::Deserialize;

use crate::caller::{Asking, Caller};
use crate::pages::form::PageForm;
use crate::path::Id;
use crate::problem::Problem;

/// Nothing has to be said.
#[derive(Debug, Deserialize)]
pub(crate) struct Nothing {}

pub(crate) async fn observe(
    State(commands): State<Commands>,
    _: Caller<Asking>,
    Id(id): Id<SessionId>,
    form: PageForm<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = form.fields;
    let asked = ObservationRequest::default();
    let (request_id, done) = commands.request_observation(&id, asked, None, &form.origin).await?;
    let page = format!("/sessions/{id}?request={request_id}&position={}#requests", done.position);
    Ok(Redirect::to(&page).into_response())
}
