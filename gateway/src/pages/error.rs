//! What went wrong, as a page: what happened, and the way back.

use askama::Template;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::shell::{Section, Shell, Visitor, page};
use crate::authentication::{Principal, Role};
use crate::problem::{Document, Problem};
use crate::sign_in::BrowserSession;
use crate::state::Shared;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    shell: Shell,
    problem: Document,
    correlation: String,
}

/// Turns a problem on its way out into a page.
pub(crate) async fn as_page(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let correlation = request.extensions().get::<crate::correlation::Correlation>().map(|found| found.id.clone());
    let asked_before = visitor(request.extensions());
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let visitor = asked_before.or_else(|| visitor(response.extensions()));
    let mut shell = Shell { visitor, ..Shell::of_nobody(shared.log.clock().now()) };
    shell.section = Section::Elsewhere;
    let document = problem.document();
    let rendered = page(&ErrorPage { shell, problem: document, correlation: correlation.unwrap_or_default() });
    match rendered {
        Ok(body) => {
            let (mut parts, _) = response.into_parts();
            parts.headers.remove(http::header::CONTENT_LENGTH);
            parts
                .headers
                .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/html; charset=utf-8"));
            Response::from_parts(parts, body.into_body())
        }
        Err(problem) => problem.into_response(),
    }
}

fn visitor(extensions: &http::Extensions) -> Option<Visitor> {
    let principal = extensions.get::<Principal>()?;
    let csrf_token = extensions.get::<BrowserSession>().map(|session| session.csrf_token.clone()).unwrap_or_default();
    Some(match principal {
        Principal::Service { name } => Visitor { name: name.clone(), role: Role::Viewer, csrf_token },
        Principal::Admin { name, role } => Visitor { name: name.clone(), role: *role, csrf_token },
    })
}
