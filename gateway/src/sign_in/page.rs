//! The sign-in page, and what its forms and links do.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::SecondsFormat;
use http::header::{RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tokio::time::Instant;
use url::form_urlencoded;

use super::local_path::LocalPath;
use super::provider::{Provider, ProviderFault};
use super::sessions::{Beginning, Use, Way};
use super::{BrowserSession, FormFields, SignIn};
use crate::authentication::Authenticator;
use crate::client_address::ClientAddress;
use crate::pages::shell::{Shell, Visitor, page};
use crate::problem::{Problem, ProblemKind};

/// The page. `complaint` says what went wrong before, and what to do.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignInPage {
    pub(super) shell: Shell,
    complaint: Option<String>,
    return_to: LocalPath,
    provider: Option<ProviderButton>,
}

/// The button that leads to the OpenID provider.
struct ProviderButton {
    host: String,
    /// Why it could not be asked the last time.
    trouble: Option<String>,
}

/// The frame of a page for whoever sent this request, signed in or not.
pub(super) async fn shell(
    sign_in: &SignIn,
    authenticator: &Authenticator,
    headers: &HeaderMap,
) -> Result<Shell, Problem> {
    let visitor = session(authenticator, headers).await?.map(|session| Visitor {
        name: session.name,
        role: session.role,
        csrf_token: session.csrf_token,
    });
    Ok(Shell { visitor, ..Shell::signed_out(sign_in.clock.now()) })
}

impl SignInPage {
    /// The page for whoever sent this request.
    pub(super) async fn for_request(
        sign_in: &SignIn,
        authenticator: &Authenticator,
        headers: &HeaderMap,
        return_to: LocalPath,
    ) -> Result<Self, Problem> {
        Ok(Self::new(sign_in, shell(sign_in, authenticator, headers).await?, return_to))
    }

    fn new(sign_in: &SignIn, shell: Shell, return_to: LocalPath) -> Self {
        let button = |provider: &Arc<Provider>| ProviderButton {
            host: provider.host().to_owned(),
            trouble: provider.fault().map(|fault| match fault {
                ProviderFault::Unreachable(_) => {
                    format!("{} did not answer when it was asked last. It may be back by now.", provider.host())
                }
                ProviderFault::Misconfigured(why) => {
                    format!("Nobody can sign in there until its settings are corrected: {why}.")
                }
            }),
        };
        Self { shell, complaint: None, return_to, provider: sign_in.provider.as_ref().map(button) }
    }

    pub(super) fn complaining(self, complaint: impl Into<String>) -> Self {
        Self { complaint: Some(complaint.into()), ..self }
    }

    pub(super) fn answer(&self, status: StatusCode) -> Result<Response, Problem> {
        let mut response = page(self)?;
        *response.status_mut() = status;
        Ok(response)
    }
}

/// `GET /sign-in?return_to=…`.
pub(crate) async fn show(
    State(sign_in): State<SignIn>,
    State(authenticator): State<Authenticator>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    SignInPage::for_request(&sign_in, &authenticator, &headers, return_to(&uri)).await?.answer(StatusCode::OK)
}

/// `POST /sign-in/token`: signs in with the token that was pasted into the page.
pub(crate) async fn by_token(
    State(sign_in): State<SignIn>,
    State(authenticator): State<Authenticator>,
    client: ClientAddress,
    request: Request,
) -> Result<Response, Problem> {
    // Another site must not sign anybody in as somebody else by a form of its own.
    sign_in.site.check(request.headers())?;
    let (form, request) = FormFields::from_request(request).await?;
    let return_to = LocalPath::or_start(form.get("return_to").unwrap_or_default());
    let page = SignInPage::new(&sign_in, Shell::signed_out(sign_in.clock.now()), return_to);
    let now = Instant::now();
    let token = form.get("token").unwrap_or_default().trim();
    if token.is_empty() {
        return page.complaining("Paste a token first.").answer(StatusCode::BAD_REQUEST);
    }
    // Before the limit: a right token is never refused for the wrong ones of others behind the same address.
    let Some(holder) = authenticator.holder(token.as_bytes()).await? else {
        count("token", "refused");
        if let Some(wait) = sign_in.wrong_tokens.wait(client.ip, now) {
            return too_many(page, wait);
        }
        sign_in.wrong_tokens.count(client.ip, now);
        let complaint =
            "This token is not valid: it is incomplete, revoked or expired. `lablet token create` makes one.";
        return page.complaining(complaint).answer(StatusCode::UNAUTHORIZED);
    };
    let before = sign_in.cookies.session(request.headers());
    let begun = Beginning { way: &Way::Token(holder.hash), address: client.ip, before };
    let secret = sign_in.sessions.begin(&holder.name, holder.role, &begun).await?;
    count("token", "signed_in");
    tracing::info!(name = holder.name, role = %holder.role, "signed in by token");
    Ok(signed_in(&sign_in, &secret, &page.return_to))
}

/// Counts a sign-in, by its way (provider, link or token) and by what came of it.
pub(super) fn count(way: &'static str, outcome: &'static str) {
    metrics::counter!("lablet_sign_ins_total", "way" => way, "outcome" => outcome).increment(1);
}

fn too_many(page: SignInPage, wait: Duration) -> Result<Response, Problem> {
    let seconds = wait.as_secs() + 1;
    let complaint = format!("Too many wrong tokens came from here. Try again in {seconds} seconds.");
    let mut answer = page.complaining(complaint).answer(StatusCode::TOO_MANY_REQUESTS)?;
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    Ok(answer)
}

/// `POST /sign-out`: ends the session. `caller::authenticate_page` has looked at the form.
pub(crate) async fn sign_out(
    State(sign_in): State<SignIn>,
    session: Option<Extension<BrowserSession>>,
) -> Result<Response, Problem> {
    if let Some(Extension(session)) = session {
        sign_in.sessions.end(session.id).await?;
        tracing::info!(name = session.name, "signed out");
    }
    Ok(with_cookies(Redirect::to("/sign-in").into_response(), sign_in.cookies.clear_session()))
}

/// Gives the browser its session and sends it on.
pub(super) fn signed_in(sign_in: &SignIn, secret: &str, return_to: &LocalPath) -> Response {
    with_cookies(Redirect::to(return_to.as_str()).into_response(), sign_in.cookies.set_session(secret))
}

/// The session whose cookie the browser sends, if it has not ended.
async fn session(authenticator: &Authenticator, headers: &HeaderMap) -> Result<Option<BrowserSession>, Problem> {
    let only_cookies: HeaderMap =
        headers.get_all(http::header::COOKIE).iter().map(|value| (http::header::COOKIE, value.clone())).collect();
    match authenticator.authenticate(&only_cookies, Use::ByPage).await {
        Ok(signed_in) => Ok(signed_in.session),
        Err(problem) if problem.kind() == ProblemKind::Unauthenticated => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// Programs that only look whether a link leads anywhere, and browsers that fetch ahead, must not use anything up.
pub(super) fn is_only_looked_at(method: &Method, headers: &HeaderMap) -> bool {
    *method != Method::GET || headers.contains_key("sec-purpose") || headers.contains_key("purpose")
}

pub(super) fn with_cookies(mut response: Response, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// Where whoever signs in comes from and goes back to, by the query.
pub(super) fn return_to(uri: &Uri) -> LocalPath {
    LocalPath::or_start(&parameter(uri, "return_to").unwrap_or_default())
}

/// The first value of a parameter of the query.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let mut parameters = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    parameters.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

pub(super) fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
