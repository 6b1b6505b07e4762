//! Signing in at the OpenID provider: to it, and back. Authorization code flow with PKCE.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{HeaderMap, Method, StatusCode, Uri};

use super::SignIn;
use super::attempts::Attempt;
use super::local_path::LocalPath;
use super::page::{SignInPage, count, is_only_looked_at, parameter, return_to, signed_in, with_cookies};
use super::provider::{Provider, ProviderError, ProviderFault};
use super::sessions::{Beginning, Way};
use crate::authentication::Authenticator;
use crate::client_address::ClientAddress;
use crate::problem::Problem;

/// `GET /sign-in/oidc?return_to=…`: to the provider.
pub(crate) async fn begin(
    State(sign_in): State<SignIn>,
    State(authenticator): State<Authenticator>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if is_only_looked_at(&method, &headers) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let return_to = return_to(&uri);
    let page = SignInPage::for_request(&sign_in, &authenticator, &headers, return_to.clone()).await?;
    let provider = match provider(&sign_in) {
        Ok(provider) => provider,
        Err(complaint) => return page.complaining(complaint).answer(StatusCode::NOT_FOUND),
    };
    let (attempt, cookies) = sign_in.attempts.begin(&headers, return_to).await?;
    match provider.address(&attempt).await {
        Ok(address) => Ok(with_cookies(Redirect::to(address.as_str()).into_response(), cookies)),
        Err(fault) => refused(page, &fault.into()),
    }
}

/// `GET /sign-in/oidc/callback`: back from the provider, with a code or with the reason why there is none.
pub(crate) async fn come_back(
    State(sign_in): State<SignIn>,
    State(authenticator): State<Authenticator>,
    client: ClientAddress,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if is_only_looked_at(&method, &headers) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let state = parameter(&uri, "state").unwrap_or_default();
    let (attempt, over) = sign_in.attempts.take(&headers, &state).await?;
    let Some(attempt) = attempt else {
        let page = SignInPage::for_request(&sign_in, &authenticator, &headers, LocalPath::default()).await?;
        let complaint = "This sign-in was not begun in this browser, was finished already, or took longer than ten \
                         minutes. Begin again.";
        return Ok(with_cookies(page.complaining(complaint).answer(StatusCode::BAD_REQUEST)?, over));
    };
    let return_to = attempt.return_to.clone();
    let page = SignInPage::for_request(&sign_in, &authenticator, &headers, return_to.clone()).await?;
    let answered = match provider(&sign_in) {
        Ok(provider) => account(provider, &uri, attempt).await,
        Err(complaint) => return page.complaining(complaint).answer(StatusCode::NOT_FOUND),
    };
    let account = match answered {
        Ok(account) => account,
        Err(error) => {
            count("provider", "refused");
            return Ok(with_cookies(refused(page, &error)?, over));
        }
    };
    let (name, role) = (account.name.as_str(), account.role);
    let begun = Beginning { way: &Way::Provider, address: client.ip, before: sign_in.cookies.session(&headers) };
    let secret = sign_in.sessions.begin(name, role, &begun).await?;
    count("provider", "signed_in");
    tracing::info!(name, %role, "signed in at the OpenID provider");
    Ok(with_cookies(signed_in(&sign_in, &secret, &return_to), over))
}

async fn account(provider: &Provider, uri: &Uri, attempt: Attempt) -> Result<super::provider::Account, ProviderError> {
    provider.check_answer(parameter(uri, "iss").as_deref()).await?;
    match (parameter(uri, "error"), parameter(uri, "code")) {
        (None, Some(code)) => provider.redeem(&code, &attempt.nonce, &attempt.verifier).await,
        (Some(error), _) => Err(ProviderError::Refused(error)),
        (None, None) => Err(ProviderError::Refused("no code".to_owned())),
    }
}

fn provider(sign_in: &SignIn) -> Result<&Arc<Provider>, &'static str> {
    sign_in.provider.as_ref().ok_or("Signing in at an OpenID provider is not set up here.")
}

/// What went wrong, in words, and what to do.
fn refused(page: SignInPage, error: &ProviderError) -> Result<Response, Problem> {
    tracing::info!(error = error as &dyn std::error::Error, "sign-in at the OpenID provider failed");
    let (status, complaint) = match error {
        ProviderError::Fault(ProviderFault::Unreachable(_)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The OpenID provider does not answer at the moment. Try again in a minute.".to_owned(),
        ),
        ProviderError::Fault(ProviderFault::Misconfigured(why)) => (
            StatusCode::BAD_GATEWAY,
            format!(
                "Nobody can sign in at the OpenID provider until its settings are corrected: {why}. Tell whoever runs \
                 this installation; `lablet doctor` checks the settings."
            ),
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
                "The account {:?} has no role here. Ask whoever looks after accounts to add it to a group that has \
                 one, then begin again.",
                name.as_str()
            ),
        ),
        ProviderError::GroupsElsewhere(name) => (
            StatusCode::FORBIDDEN,
            format!(
                "The account {:?} is in so many groups that the OpenID provider did not send them, but only where they \
                 could be asked for. Its administrator can let it send fewer, for example only the groups that are \
                 assigned to this application, or send roles of the application in place of groups \
                 (LABLET_OIDC_ROLE_CLAIM=roles). Then begin again.",
                name.as_str()
            ),
        ),
        ProviderError::NoName => (
            StatusCode::FORBIDDEN,
            "The account has no name by which its acts could be recorded. Ask whoever looks after accounts.".to_owned(),
        ),
    };
    page.complaining(complaint).answer(status)
}
