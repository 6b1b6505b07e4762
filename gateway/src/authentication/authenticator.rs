//! From a request's headers to who made it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::{API_KEY, AdminToken, InternalKey, Principal, Role, SecretHash};
use crate::problem::{Problem, ProblemKind};
use crate::sign_in::provider::{Provider, ProviderError, ProviderFault, looks_like_one};
use crate::sign_in::sessions::{Sessions, Use};
use crate::sign_in::{BrowserSession, Cookies, Tokens};

/// `Retry-After` while the provider is unreachable.
const PROVIDER_COMES_BACK: Duration = Duration::from_secs(10);

/// Who made a request.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn {
    pub(crate) principal: Principal,
    /// The browser's session, where the cookie is what told.
    pub(crate) session: Option<BrowserSession>,
}

/// Whom a token belongs to.
#[derive(Debug, Clone)]
pub(crate) struct TokenHolder {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) hash: SecretHash,
}

/// Turns the headers of a request into a [`Principal`]. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Authenticator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    internal_keys: Vec<InternalKey>,
    admin_tokens: Vec<AdminToken>,
    stored_tokens: Tokens,
    sessions: Sessions,
    cookies: Cookies,
    provider: Option<Arc<Provider>>,
}

impl Authenticator {
    /// An authenticator that knows these keys and tokens, those that are stored, the sessions of browsers, and the
    /// tokens of an OpenID provider.
    pub(crate) fn new(
        internal_keys: Vec<InternalKey>,
        admin_tokens: Vec<AdminToken>,
        stored_tokens: Tokens,
        sessions: Sessions,
        cookies: Cookies,
        provider: Option<Arc<Provider>>,
    ) -> Self {
        Self(Arc::new(Inner { internal_keys, admin_tokens, stored_tokens, sessions, cookies, provider }))
    }

    /// Whether this is the hash of a token of the configuration.
    pub(crate) fn is_configured(&self, hash: &SecretHash) -> bool {
        matching(&self.0.admin_tokens, |token| &token.hash, hash).is_some()
    }

    /// Who made the request with these headers. A key or a token that is there decides, whatever cookie is beside it.
    ///
    /// # Errors
    /// A 401 problem when there is neither key nor token nor session, when one is unknown or has ended, and when both
    /// key and token are there; a 503 problem when the database has to be asked and does not answer.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap, how_used: Use) -> Result<SignedIn, Problem> {
        let admitted = |principal| SignedIn { principal, session: None };
        match (headers.get(API_KEY), headers.get(AUTHORIZATION)) {
            (None, None) => self.by_cookie(headers, how_used).await,
            (Some(_), Some(_)) => Err(unauthenticated("Send either X-API-Key or Authorization, not both.")),
            (Some(key), None) => {
                let key = matching(&self.0.internal_keys, |key| &key.hash, &SecretHash::from_secret(key.as_bytes()))
                    .ok_or_else(|| unauthenticated("The key in X-API-Key is not valid."))?;
                Ok(admitted(Principal::Service { name: key.name.clone() }))
            }
            (None, Some(authorization)) => {
                let token = bearer(authorization.as_bytes())
                    .ok_or_else(|| unauthenticated("Authorization is not of the form: Bearer <token>."))?;
                if let Some(holder) = self.holder(token).await? {
                    return Ok(admitted(Principal::Admin { name: holder.name, role: holder.role }));
                }
                let of_provider = std::str::from_utf8(token).ok().filter(|token| looks_like_one(token));
                match (&self.0.provider, of_provider) {
                    (Some(provider), Some(token)) => Ok(admitted(by_provider(provider, token).await?)),
                    _ => Err(unauthenticated("The bearer token is not valid.")),
                }
            }
        }
    }

    /// Whom a token belongs to: one of the configuration, or one that is stored and is neither revoked nor expired.
    ///
    /// # Errors
    /// A 503 problem when the database has to be asked and does not answer.
    pub(crate) async fn holder(&self, token: &[u8]) -> Result<Option<TokenHolder>, Problem> {
        let hash = SecretHash::from_secret(token);
        if let Some(known) = matching(&self.0.admin_tokens, |token| &token.hash, &hash) {
            return Ok(Some(TokenHolder { name: known.name.clone(), role: known.role, hash }));
        }
        if !token.starts_with(Tokens::PREFIX.as_bytes()) {
            return Ok(None);
        }
        let stored = self.0.stored_tokens.find(&hash).await?;
        Ok(stored.map(|(name, role)| TokenHolder { name, role, hash }))
    }

    async fn by_cookie(&self, headers: &HeaderMap, how_used: Use) -> Result<SignedIn, Problem> {
        let Some(secret) = self.0.cookies.session(headers) else {
            return Err(unauthenticated(
                "Send an internal key in X-API-Key, or an admin's token as Authorization: Bearer <token>; a browser \
                 signs in at /sign-in.",
            ));
        };
        let session = self.0.sessions.find(secret, how_used, |hash| self.is_configured(hash)).await?;
        let session = session.ok_or_else(|| unauthenticated("The session has ended; sign in again at /sign-in."))?;
        let principal = Principal::Admin { name: session.name.clone(), role: session.role };
        Ok(SignedIn { principal, session: Some(session) })
    }
}

/// Whom a token of the OpenID provider is about.
async fn by_provider(provider: &Provider, token: &str) -> Result<Principal, Problem> {
    let account = provider.bearer(token).await.map_err(|error| match error {
        ProviderError::Fault(ProviderFault::Unreachable(_)) => {
            let detail = "The OpenID provider, whose keys the bearer token has to be checked with, does not answer.";
            Problem::unavailable(detail, PROVIDER_COMES_BACK)
        }
        ProviderError::Fault(ProviderFault::Misconfigured(why)) => {
            let detail = format!(
                "No bearer token of the OpenID provider can be checked until its settings are corrected: {why}. \
                 `lablet doctor` checks them."
            );
            Problem::new(ProblemKind::Unavailable, detail)
        }
        ProviderError::Token(why) => unauthenticated(&format!("The bearer token {why}.")),
        ProviderError::Refused(_) => unauthenticated("The bearer token is not valid."),
        ProviderError::NoRole(name) => {
            let detail = format!("The account {:?} is in no group that has a role here.", name.as_str());
            Problem::new(ProblemKind::Forbidden, detail)
        }
        ProviderError::GroupsElsewhere(name) => {
            let detail = format!(
                "The account {:?} is in so many groups that its token does not hold them; the provider has to send \
                 fewer groups, or roles in their place.",
                name.as_str()
            );
            Problem::new(ProblemKind::Forbidden, detail)
        }
        ProviderError::NoName => {
            Problem::new(ProblemKind::Forbidden, "The account has no name that could stand in an event.")
        }
    })?;
    Ok(Principal::Admin { name: account.name.to_string(), role: account.role })
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(ProblemKind::Unauthenticated, detail)
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The entry with this hash. Every entry is compared, to the end, whatever matched before.
fn matching<'a, T>(entries: &'a [T], hash: impl Fn(&T) -> &SecretHash, presented: &SecretHash) -> Option<&'a T> {
    let mut found = None;
    for entry in entries {
        if hash(entry).is(presented) {
            found = Some(entry);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use app::notice::PublicUrl;
    use bus::clock::Clock;
    use http::HeaderValue;

    use super::*;
    use crate::sign_in::sessions::SessionLimits;
    use crate::sign_in::{Keys, Site};

    /// Its database is unreachable: keys and tokens of the configuration do not need one.
    fn authenticator() -> Authenticator {
        let key = |name: &str, secret| InternalKey { name: name.to_owned(), hash: SecretHash::from_secret(secret) };
        let token = |name: &str, role, secret| AdminToken {
            name: name.to_owned(),
            role,
            hash: SecretHash::from_secret(secret),
        };
        let pool = app::log::pool("postgres://nobody@127.0.0.1:9/nothing", 1).unwrap();
        Authenticator::new(
            vec![key("grading", "old-key"), key("grading", "new-key"), key("booking", "other-key")],
            vec![token("ada", Role::Admin, "ada-token"), token("vic", Role::Viewer, "vic-token")],
            Tokens::new(pool.clone(), Clock::system()),
            Sessions::new(pool.clone(), Clock::system(), SessionLimits::default(), Keys::new(pool, Clock::system())),
            Cookies::for_site(&Site::new(&PublicUrl::default()).unwrap()),
            None,
        )
    }

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    async fn principal(headers: &HeaderMap) -> Result<Principal, Problem> {
        authenticator().authenticate(headers, Use::ByPerson).await.map(|signed_in| signed_in.principal)
    }

    #[tokio::test]
    async fn several_keys_of_a_service_are_valid_at_once() {
        for key in ["old-key", "new-key"] {
            assert_eq!(principal(&with("x-api-key", key)).await.unwrap().to_string(), "service:grading");
        }
    }

    #[tokio::test]
    async fn a_bearer_token_carries_its_role() {
        let principal = principal(&with("authorization", "bearer vic-token")).await.unwrap();
        assert_eq!(principal, Principal::Admin { name: "vic".to_owned(), role: Role::Viewer });
    }

    #[tokio::test]
    async fn anything_else_is_401() {
        let mut both = with("x-api-key", "old-key");
        both.extend(with("authorization", "Bearer ada-token"));
        for headers in [
            HeaderMap::new(),
            both,
            with("x-api-key", "ada-token"),
            with("x-api-key", ""),
            with("authorization", "Bearer old-key"),
            with("authorization", "Basic ada-token"),
            with("authorization", "ada-token"),
            with("cookie", "lablet_session=short"),
        ] {
            assert_eq!(principal(&headers).await.unwrap_err().kind(), ProblemKind::Unauthenticated);
        }
    }
}
