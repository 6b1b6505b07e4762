//! Signing in with a browser: by a one-time link, by a token, or at an OpenID provider.
//!
//! Each way ends in a session on the server ([`sessions`]), whose cookie the browser has. `caller` finds by the cookie who
//! asks, as `authentication` does by keys and tokens, and sends those without a session to [`page`].

mod attempts;
pub(crate) mod by_provider;
mod cookie;
mod end_signal;
pub(crate) mod form;
mod keys;
pub(crate) mod link_page;
mod links;
pub(crate) mod local_path;
pub(crate) mod page;
pub(crate) mod provider;
pub(crate) mod saved_forms;
mod secret;
mod served;
pub(crate) mod sessions;
mod site;
mod tokens;
mod wrong_tokens;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use app::notice::PublicUrl;
use axum::response::{IntoResponse as _, Redirect, Response};
use bus::clock::Clock;
use domain::{ActorName, Invalid};
use sqlx::postgres::PgPool;
use tokio_util::sync::CancellationToken;

use self::attempts::Attempts;
pub(crate) use self::cookie::Cookies;
pub(crate) use self::form::FormFields;
pub(crate) use self::keys::Keys;
pub use self::links::SignInLinks;
use self::local_path::LocalPath;
use self::provider::Provider;
pub use self::provider::ProviderOptions;
pub(crate) use self::saved_forms::SavedForms;
use self::sessions::Sessions;
pub(crate) use self::sessions::{BrowserSession, csrf_matches};
pub(crate) use self::site::Site;
pub use self::tokens::{StoredToken, Tokens};
use self::wrong_tokens::WrongTokens;
use crate::authentication::Role;
use crate::problem::Problem;

/// How long the database may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Somebody could not be signed in, or a token or a link not made, through no fault of theirs.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The database does not answer.
    #[error("the database does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// There are no random numbers, so there are no secrets.
    #[error("the machine gives no random numbers: {0}")]
    NoRandomness(getrandom::Error),
    /// The database holds no key that signs.
    #[error("the database holds no key that signs")]
    UnusableKey,
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Unavailable(error) => error.into(),
            SignInError::NoRandomness(_) | SignInError::UnusableKey => {
                Self::internal("nobody can be signed in", &error)
            }
        }
    }
}

/// The answer of the database, or the failure to give one in time.
async fn answer<T>(question: impl Future<Output = sqlx::Result<T>>) -> Result<T, SignInError> {
    let too_late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "the database did not answer in time");
    tokio::time::timeout(ANSWER_WITHIN, question)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(too_late())))
        .map_err(SignInError::Unavailable)
}

/// The role that a row names.
fn stored_role(name: &str) -> Result<Role, SignInError> {
    Role::named(name)
        .ok_or_else(|| SignInError::Unavailable(sqlx::Error::Decode(format!("there is no role {name:?}").into())))
}

/// Name of somebody who may sign in, as it appears as `admin:<name>` in events.
///
/// Invariant: without space at either end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminName(ActorName);

impl AdminName {
    /// Takes a name.
    ///
    /// # Errors
    /// [`Invalid`] for anything that would not be recognised in a list of events.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let name = ActorName::parse(text).map_err(|invalid| invalid.within("name"))?;
        if text.trim() != text {
            let expected = format!("{}, and without space at either end", ActorName::RULE.expected());
            return Err(Invalid::new("name", "begins or ends with space", expected));
        }
        Ok(Self(name))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for AdminName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What signing in stands on. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SignIn(Arc<Parts>);

/// Its content.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) site: Site,
    pub(crate) cookies: Cookies,
    pub(crate) sessions: Sessions,
    pub(crate) saved_forms: SavedForms,
    links: SignInLinks,
    attempts: Attempts,
    provider: Option<Arc<Provider>>,
    wrong_tokens: WrongTokens,
    clock: Clock,
}

impl Deref for SignIn {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl SignIn {
    /// Signing in on this site, with these keys.
    pub(crate) fn new(
        site: Site,
        keys: Keys,
        sessions: Sessions,
        provider: Option<Arc<Provider>>,
        (pool, clock): (PgPool, Clock),
    ) -> Self {
        let cookies = Cookies::for_site(&site);
        Self(Arc::new(Parts {
            attempts: Attempts::new(keys.clone(), cookies.clone(), clock.clone()),
            links: SignInLinks::new(pool.clone(), clock.clone()),
            saved_forms: SavedForms::new(pool, clock.clone(), keys),
            wrong_tokens: WrongTokens::default(),
            site,
            cookies,
            sessions,
            provider,
            clock,
        }))
    }

    /// Looks for sessions that other gateways ended, until it is told to stop. It begins with a question to the provider, so
    /// that wrong settings are logged when the gateway starts.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        if let Some(provider) = &self.provider {
            // Where it cannot be used, its own part has said why.
            if let Some(Ok(issuer)) = stop.run_until_cancelled(provider.check()).await {
                tracing::info!(issuer, "OpenID provider ready");
            }
        }
        self.sessions.ends().watch(stop).await;
    }
}

/// Asks an OpenID provider what it is, and whether people could sign in there with these settings; gives its issuer.
///
/// # Errors
/// What is wrong, and what would be right.
pub async fn check_provider(options: ProviderOptions, clock: Clock) -> Result<String, ProviderCheckError> {
    let redirect = redirect_address(&PublicUrl::default());
    let provider = Provider::new(options, redirect, clock).map_err(ProviderCheckError::Settings)?;
    Ok(provider.check().await?)
}

/// Nobody could sign in at the provider.
#[derive(Debug, thiserror::Error)]
pub enum ProviderCheckError {
    /// For the settings alone.
    #[error("the OpenID provider's {0}")]
    Settings(Invalid),
    /// For what the provider answers.
    #[error("{0}")]
    Fault(String),
}

impl From<provider::ProviderFault> for ProviderCheckError {
    fn from(fault: provider::ProviderFault) -> Self {
        Self::Fault(fault.to_string())
    }
}

/// Where browsers come back to from the provider.
pub(crate) fn redirect_address(site: &PublicUrl) -> String {
    format!("{}/sign-in/oidc/callback", site.as_str())
}

/// Sends somebody to the sign-in page, from which they come back to `return_to`: a path with query on this site, the
/// start page in place of anything else.
pub(crate) fn to_sign_in(return_to: &str) -> Response {
    Redirect::to(&sign_in_address(&LocalPath::or_start(return_to))).into_response()
}

/// The address of the sign-in page.
pub(crate) fn sign_in_address(return_to: &LocalPath) -> String {
    format!("/sign-in?return_to={}", return_to.encoded())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        let to = |return_to| to_sign_in(return_to).headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(to("/sessions?a=b&c=d"), "/sign-in?return_to=%2Fsessions%3Fa%3Db%26c%3Dd");
        assert_eq!(to("//evil.example"), "/sign-in?return_to=%2F");
    }

    #[test]
    fn a_name_can_be_recognised_in_a_list() {
        for good in ["ada", "Ada Lovelace", "ada@example.com", "Åsa"] {
            assert_eq!(AdminName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", " ada", "ada\n", "a\u{0}b", &"x".repeat(201)] {
            assert!(AdminName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
