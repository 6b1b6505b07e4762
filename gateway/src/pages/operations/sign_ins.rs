//! `GET /operations/sign-ins`: who is signed in with a browser, for admins, who may end it.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use uuid::Uuid;

use crate::authentication::Authenticator;
use crate::caller::{Caller, Governing};
use crate::pages::form::PageForm;
use crate::pages::parts::When;
use crate::pages::query::PageQuery;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::Visit;
use crate::path::Id;
use crate::problem::{Problem, ProblemKind};
use crate::sign_in::BrowserSession;
use crate::sign_in::SignIn;
use crate::sign_in::sessions::ListedSession;
use crate::sign_ins::end::sign_out;
use crate::sign_ins::list::living;
use crate::sign_ins::session_id::BrowserSessionId;

/// What was done before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInsQuery {
    /// Whose session was ended.
    ended: Option<String>,
}

#[derive(Template)]
#[template(path = "operations/sign_ins.html")]
struct SignInsPage {
    shell: Shell,
    csrf_token: String,
    ended: Option<String>,
    /// The session of the browser that looks.
    own: Option<Uuid>,
    sessions: Vec<ListedSession>,
}

impl SignInsPage {
    fn is_own(&self, session: &ListedSession) -> bool {
        self.own == Some(session.id)
    }

    fn way(session: &ListedSession) -> &'static str {
        match session.signed_in_by.as_str() {
            "link" => "by a link",
            "token" => "by a token",
            _ => "at the OpenID provider",
        }
    }
}

pub(crate) async fn list(
    State(sign_in): State<SignIn>,
    State(authenticator): State<Authenticator>,
    _: Caller<Governing>,
    visit: Visit,
    own: Option<Extension<BrowserSession>>,
    PageQuery(query): PageQuery<SignInsQuery>,
) -> Result<Response, Problem> {
    page(&SignInsPage {
        shell: Shell::new(&visit, Section::Operations).twin("/api/sign-ins"),
        csrf_token: visit.csrf_token.clone(),
        ended: query.ended,
        own: own.map(|own| own.id),
        sessions: living(&sign_in, &authenticator).await?,
    })
}

/// Nothing has to be said.
#[derive(Debug, Deserialize)]
pub(crate) struct Nothing {}

pub(crate) async fn end(
    State(sign_in): State<SignIn>,
    _: Caller<Governing>,
    Id(BrowserSessionId(id)): Id<BrowserSessionId>,
    form: PageForm<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = form.fields;
    let ended = match sign_out(&sign_in, id, &form.origin.actor).await {
        Ok(name) => name,
        // The second of two clicks finds what the first one did.
        Err(problem) if problem.kind() == ProblemKind::NotFound => {
            return Ok(Redirect::to("/operations/sign-ins").into_response());
        }
        Err(problem) => return Err(problem),
    };
    let ended: String = url::form_urlencoded::byte_serialize(ended.as_bytes()).collect();
    Ok(Redirect::to(&format!("/operations/sign-ins?ended={ended}")).into_response())
}
