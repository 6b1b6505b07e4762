//! Signing in at the OpenID provider: to it, and back. Authorization code flow with PKCE.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{HeaderMap, Method, StatusCode, Uri};

use super::attempts::{Attempt, LASTS};
use super::cookie;
use super::local_path::LocalPath;
use super::page::{SignInPage, is_only_looked_at, parameter, signed_in, with_cookie};
use super::provider::{Provider, ProviderError};
use super::sessions::Way;
use crate::problem::Problem;
use crate::state::Shared;

/// `GET /sign-in/oidc?return_to=…`: to the provider.
pub(super) async fn begin(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if is_only_looked_at(&method, &headers) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let return_to = LocalPath::or_start(&parameter(&uri, "return_to").unwrap_or_default());
    let page = SignInPage::of_request(&shared, &headers, return_to.clone()).await?;
    let provider = match provider(&shared) {
        Ok(provider) => provider,
        Err(complaint) => return page.complaining(complaint).answer(StatusCode::NOT_FOUND),
    };
    let attempt = Attempt::new(return_to)?;
    let address = match provider.address(&attempt).await {
        Ok(address) => address,
        Err(error) => return refused(page, &error),
    };
    let Some(secret) = shared.sign_in.attempts.begin(&attempt).await? else {
        let complaint = "Too many people are signing in at this moment. Try again in a few minutes.";
        return page.complaining(complaint).answer(StatusCode::SERVICE_UNAVAILABLE);
    };
    let to_provider = Redirect::to(address.as_str()).into_response();
    Ok(with_cookie(to_provider, shared.sign_in.cookies.set_attempt(&secret, LASTS.num_seconds())))
}

/// `GET /sign-in/oidc/callback`: back from the provider, with a code or with the reason why there is none.
pub(super) async fn come_back(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if is_only_looked_at(&method, &headers) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let state = parameter(&uri, "state").unwrap_or_default();
    let attempt = match cookie::attempt(&headers) {
        Some(secret) => shared.sign_in.attempts.take(secret, &state).await?,
        None => None,
    };
    let Some(attempt) = attempt else {
        let page = SignInPage::of_request(&shared, &headers, LocalPath::default()).await?;
        let complaint = "This sign-in was not begun in this browser, was finished already, or took longer than ten \
                         minutes. Begin again.";
        return page.complaining(complaint).answer(StatusCode::BAD_REQUEST);
    };
    let return_to = attempt.return_to.clone();
    let page = SignInPage::of_request(&shared, &headers, return_to.clone()).await?;
    let answered = match provider(&shared) {
        Ok(provider) => account(provider, &uri, attempt).await,
        Err(complaint) => return page.complaining(complaint).answer(StatusCode::NOT_FOUND),
    };
    let over = shared.sign_in.cookies.clear_attempt();
    let account = match answered {
        Ok(account) => account,
        Err(error) => return Ok(with_cookie(refused(page, &error)?, over)),
    };
    let (name, role) = (account.name.as_str(), account.role);
    let secret = shared.sign_in.sessions.begin(name, role, &Way::Provider, cookie::session(&headers)).await?;
    tracing::info!(name, %role, "somebody signed in at the OpenID provider");
    Ok(with_cookie(signed_in(&shared, &secret, &return_to), over))
}

async fn account(provider: &Provider, uri: &Uri, attempt: Attempt) -> Result<super::provider::Account, ProviderError> {
    provider.check_answer(parameter(uri, "iss").as_deref()).await?;
    match (parameter(uri, "error"), parameter(uri, "code")) {
        (None, Some(code)) => provider.redeem(code, &attempt.nonce, attempt.verifier).await,
        (Some(error), _) => Err(ProviderError::Refused(error)),
        (None, None) => Err(ProviderError::Refused("no code".to_owned())),
    }
}

fn provider(shared: &Shared) -> Result<&Arc<Provider>, &'static str> {
    shared.sign_in.provider.as_ref().ok_or("Signing in at an OpenID provider is not set up here.")
}

/// What went wrong, in words, and what to do.
fn refused(page: SignInPage, error: &ProviderError) -> Result<Response, Problem> {
    tracing::info!(error = error as &dyn std::error::Error, "nobody was signed in at the OpenID provider");
    let (status, complaint) = match error {
        ProviderError::Away => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The OpenID provider does not answer at the moment. Try again in a minute.".to_owned(),
        ),
        ProviderError::Refused(code) if code == "access_denied" => (
            StatusCode::FORBIDDEN,
            "The OpenID provider says that access was denied: by you, or by its rules. Begin again to sign in after all."
                .to_owned(),
        ),
        ProviderError::Refused(code) => {
            // The code is one of a list of words; whatever else comes in its place is not shown.
            let is_word = code.len() <= 60 && code.bytes().all(|byte| byte == b'_' || byte == b' ' || byte.is_ascii_lowercase());
            let code = if is_word { code.as_str() } else { "something that cannot be shown" };
            (StatusCode::BAD_GATEWAY, format!("The OpenID provider answered with an error ({code}). Begin again."))
        }
        ProviderError::Token(why) => (
            StatusCode::BAD_GATEWAY,
            format!("The OpenID provider's answer was not accepted: its token {why}. Begin again."),
        ),
        ProviderError::NoRole(name) => (
            StatusCode::FORBIDDEN,
            format!(
                "The account {name:?} has no role here. Ask whoever looks after accounts to add it to a group that has \
                 one, then begin again."
            ),
        ),
        ProviderError::NoName => (
            StatusCode::FORBIDDEN,
            "The account has no name by which its acts could be recorded. Ask whoever looks after accounts.".to_owned(),
        ),
    };
    page.complaining(complaint).answer(status)
}
