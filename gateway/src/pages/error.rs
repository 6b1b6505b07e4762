//! What went wrong, as a page: what happened, and the way back.

use askama::Template;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bus::clock::Clock;
use http::HeaderValue;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;

use super::forbidding;
use super::shell::{Section, Shell, Visitor, page};
use crate::authentication::{Authenticator, Principal, Role};
use crate::correlation::Correlation;
use crate::problem::{Document, Problem};
use crate::sign_in::BrowserSession;
use crate::sign_in::sessions::Use;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    shell: Shell,
    problem: Document,
    correlation: String,
}

/// Turns a problem on its way out into a page.
pub(crate) async fn as_page(State(clock): State<Clock>, request: Request, next: Next) -> Response {
    let correlation = correlation(request.extensions());
    let asked_before = visitor(request.extensions());
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let visitor = asked_before.or_else(|| visitor(response.extensions()));
    page_of(&clock, &problem, visitor, correlation, response)
}

/// The answer to a request that no route takes: a page for browsers, a problem document for programs.
pub(crate) async fn answer(
    (authenticator, clock): (&Authenticator, &Clock),
    request: &Parts,
    problem: Problem,
) -> Response {
    let is_api = request.uri.path().split('/').nth(1) == Some("api");
    let accepts = request.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_api || !accepts.contains("text/html") {
        return problem.into_response();
    }
    // This page needs no signing in, but who is signed in keeps their navigation.
    let signed_in = authenticator.authenticate(&request.headers, Use::ByPerson).await.ok();
    let visitor = signed_in.map(|signed_in| visitor_of(&signed_in.principal, signed_in.session.as_ref()));
    let response = (problem.kind().status(), ()).into_response();
    forbidding(page_of(clock, &problem, visitor, correlation(&request.extensions), response))
}

fn correlation(extensions: &http::Extensions) -> String {
    extensions.get::<Correlation>().map(|found| found.id.clone()).unwrap_or_default()
}

/// The response with the problem's page for a body.
fn page_of(
    clock: &Clock,
    problem: &Problem,
    visitor: Option<Visitor>,
    correlation: String,
    response: Response,
) -> Response {
    let mut shell = Shell { visitor, ..Shell::signed_out(clock.now()) };
    shell.section = Section::Elsewhere;
    match page(&ErrorPage { shell, problem: problem.document(), correlation }) {
        Ok(body) => {
            let (mut parts, _) = response.into_parts();
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            Response::from_parts(parts, body.into_body())
        }
        Err(problem) => problem.into_response(),
    }
}

fn visitor(extensions: &http::Extensions) -> Option<Visitor> {
    Some(visitor_of(extensions.get::<Principal>()?, extensions.get::<BrowserSession>()))
}

fn visitor_of(principal: &Principal, session: Option<&BrowserSession>) -> Visitor {
    let csrf_token = session.map(|session| session.csrf_token.clone()).unwrap_or_default();
    match principal {
        Principal::Service { name } => Visitor { name: name.clone(), role: Role::Viewer, csrf_token },
        Principal::Admin { name, role } => Visitor { name: name.clone(), role: *role, csrf_token },
    }
}
