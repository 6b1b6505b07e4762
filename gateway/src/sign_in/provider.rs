//! The OpenID provider, where there is one: what it says about itself, and who its tokens are about.
//!
//! Nothing is asked of it before it is needed, and a provider that is away holds up nobody but those who need it. What it
//! says about itself, its keys above all, is kept for minutes, and asked for again when a token is signed with a key that
//! is not among them.

mod claims;
mod http;
mod verification;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use app::clock::Clock;
use domain::Invalid;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGrantType, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    AdditionalProviderMetadata, AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, ProviderMetadata,
    RedirectUrl, RequestTokenError, Scope, StandardErrorResponse, TokenResponse as _,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use self::claims::Mapping;
use self::http::{Http, HttpError};
pub(crate) use self::verification::looks_like_one;
use super::AdminName;
use super::attempts::Attempt;
use crate::authentication::Role;

/// How long what the provider says about itself is used before it is asked again: a key that it withdrew is good for
/// as long.
const GOOD_FOR: Duration = Duration::from_secs(5 * 60);
/// How long it is used while the provider is away.
const GOOD_WHILE_AWAY: Duration = Duration::from_secs(60 * 60);
/// Shortest time between two questions: whoever sends tokens with made-up keys causes no more.
const ASK_AT_MOST_EVERY: Duration = Duration::from_secs(5);
/// Longest time between two tries while it is away.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Settings of the OpenID provider.
#[derive(Clone)]
pub struct ProviderOptions {
    /// Its issuer identifier, exactly as its tokens state it.
    pub issuer: String,
    /// What the provider knows this gateway as.
    pub client_id: String,
    /// What proves to the provider that it is this gateway; `None` for a public client.
    pub client_secret: Option<String>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Where an account's groups are among the claims: a name, or a path with dots such as `realm_access.roles`. A text
    /// or a list of texts is expected there.
    pub role_claim: String,
    /// Which group makes which role. The highest wins.
    pub roles: Vec<(Role, String)>,
    /// Where an account's name is among the claims; `email` and `sub` are looked at after it.
    pub name_claim: String,
    /// Whom a token of the API has to be meant for; the client's id where absent.
    pub audience: Option<String>,
    /// Certificates to trust instead of the system's, PEM, one or several.
    pub ca_pem: Option<Vec<u8>>,
}

impl fmt::Debug for ProviderOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProviderOptions")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("role_claim", &self.role_claim)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// The provider could not help, or would not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// It does not answer, or not in a way that can be understood.
    #[error("the OpenID provider is away")]
    Away,
    /// It refused what was asked for.
    #[error("the OpenID provider refused: {0}")]
    Refused(String),
    /// A token of it is not valid, for this reason.
    #[error("the token {0}")]
    Token(&'static str),
    /// The account is fine, and has no role here.
    #[error("{0:?} has no role here")]
    NoRole(String),
    /// The account has no name that could stand in an event.
    #[error("the account has no usable name")]
    NoName,
}

/// What a provider says about itself, with what RFC 9207 adds.
type Metadata = ProviderMetadata<
    ResponseIssuer,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// The client, with the endpoints that are needed.
type Client = CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet, EndpointNotSet>;

/// Whether the provider names itself in its answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct ResponseIssuer {
    #[serde(default, rename = "authorization_response_iss_parameter_supported")]
    is_sent: bool,
}

impl AdditionalProviderMetadata for ResponseIssuer {}

/// What is known of the provider.
#[derive(Debug, Default)]
struct Known {
    metadata: Option<(Arc<Metadata>, Instant)>,
    asked_at: Option<Instant>,
    failures: u32,
}

/// Who an account of the provider is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: AdminName,
    pub(crate) role: Role,
}

/// The provider.
pub(crate) struct Provider {
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: Option<ClientSecret>,
    scopes: Vec<String>,
    redirect: RedirectUrl,
    audience: String,
    mapping: Mapping,
    http: Http,
    clock: Clock,
    known: Mutex<Known>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Provider").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Provider {
    /// A provider with these settings, from which browsers come back to `redirect`.
    ///
    /// # Errors
    /// [`Invalid`] for settings with which nobody could sign in.
    pub(crate) fn new(options: ProviderOptions, redirect: String, clock: Clock) -> Result<Self, Invalid> {
        let issuer = IssuerUrl::new(options.issuer)
            .map_err(|_| Invalid::new("issuer", "is no URL", "e.g. https://login.example.com/realms/labs"))?;
        if !http::is_safe(issuer.url()) {
            let problem = "would be asked without TLS";
            return Err(Invalid::new("issuer", problem, "an https URL; http on this machine only"));
        }
        if options.roles.is_empty() {
            let expected = "which group makes which role, e.g. viewer=lab-viewers,admin=lab-admins";
            return Err(Invalid::new("roles", "are not stated, so nobody could sign in", expected));
        }
        let redirect =
            RedirectUrl::new(redirect).map_err(|_| Invalid::new("public_url", "is no URL", "an absolute URL"))?;
        Ok(Self {
            issuer,
            audience: options.audience.unwrap_or_else(|| options.client_id.clone()),
            client_id: ClientId::new(options.client_id),
            client_secret: options.client_secret.map(ClientSecret::new),
            scopes: options.scopes.into_iter().filter(|scope| scope != "openid").collect(),
            redirect,
            mapping: Mapping { role_claim: options.role_claim, roles: options.roles, name_claim: options.name_claim },
            http: Http::new(options.ca_pem.as_deref())?,
            clock,
            known: Mutex::default(),
        })
    }

    /// How the provider is called on the sign-in page.
    pub(crate) fn host(&self) -> &str {
        self.issuer.url().host_str().unwrap_or_else(|| self.issuer.as_str())
    }

    /// Whether it was away when it was asked last. Does not ask.
    pub(crate) fn seems_away(&self) -> bool {
        self.known.try_lock().is_ok_and(|known| known.failures > 0)
    }

    /// Where a browser goes to sign in.
    ///
    /// # Errors
    /// [`ProviderError::Away`].
    pub(super) async fn address(&self, attempt: &Attempt) -> Result<Url, ProviderError> {
        let client = self.client(&*self.metadata().await?)?;
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(attempt.verifier.clone()));
        let (state, nonce) = (CsrfToken::new(attempt.state.clone()), Nonce::new(attempt.nonce.clone()));
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let (address, _, _) = client
            .authorize_url(flow, move || state, move || nonce)
            .add_scopes(self.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .url();
        Ok(address)
    }

    /// Checks who answers (RFC 9207): a provider that names itself in its answers always does.
    ///
    /// # Errors
    /// [`ProviderError::Token`] for an answer of another provider.
    pub(crate) async fn check_answer(&self, named: Option<&str>) -> Result<(), ProviderError> {
        let is_sent = self.metadata().await?.additional_metadata().is_sent;
        match named {
            Some(named) if named == self.issuer.as_str() => Ok(()),
            None if !is_sent => Ok(()),
            _ => Err(ProviderError::Token("is of another provider")),
        }
    }

    /// Redeems the code of an answer. The tokens are looked at here, and kept nowhere.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub(crate) async fn redeem(&self, code: String, nonce: &str, verifier: String) -> Result<Account, ProviderError> {
        let metadata = self.metadata().await?;
        let client = self.client(&metadata)?;
        let request = client.exchange_code(AuthorizationCode::new(code));
        let request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier));
        let answer = request.request_async(&self.http).await.map_err(refusal)?;
        let id_token = answer.id_token().ok_or(ProviderError::Token("is missing in the provider's answer"))?;
        let meant = verification::Meant::ForSigningIn { nonce, access_token: answer.access_token() };
        let mut claims = self.verified(&id_token.to_string(), meant).await?;
        if self.mapping.lacks_something(&claims)
            && let Some(address) = metadata.userinfo_endpoint()
        {
            let more = self.http.user_info(address.url(), answer.access_token()).await?;
            // Who an access token is about is not known before this is compared.
            if more.get("sub") == claims.get("sub") {
                claims = more.into_iter().chain(claims).collect();
            }
        }
        self.account(&claims)
    }

    /// Who a token that was sent to the API is about.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub(crate) async fn bearer(&self, token: &str) -> Result<Account, ProviderError> {
        let meant = verification::Meant::ForTheApi { audience: &self.audience };
        self.account(&self.verified(token, meant).await?)
    }

    fn account(&self, claims: &Map<String, Value>) -> Result<Account, ProviderError> {
        let name = self.mapping.name(claims).ok_or(ProviderError::NoName)?;
        match self.mapping.role(claims) {
            Some(role) => Ok(Account { name, role }),
            None => Err(ProviderError::NoRole(name.as_str().to_owned())),
        }
    }

    /// The claims of a token that is valid. A key that is not known may be new: then the provider is asked once more.
    async fn verified(&self, token: &str, meant: verification::Meant<'_>) -> Result<Map<String, Value>, ProviderError> {
        let asked_before = Instant::now();
        let metadata = self.metadata().await?;
        let failed = match verification::claims(token, &metadata, &self.client_id, meant, &self.clock) {
            Err(verification::Refusal::UnknownKey) => verification::Refusal::UnknownKey,
            Err(verification::Refusal::Invalid(why)) => return Err(ProviderError::Token(why)),
            Ok(claims) => return Ok(claims),
        };
        let newer = self.metadata_since(asked_before).await?;
        if Arc::ptr_eq(&newer, &metadata) {
            return Err(failed.into());
        }
        verification::claims(token, &newer, &self.client_id, meant, &self.clock).map_err(ProviderError::from)
    }

    fn client(&self, metadata: &Metadata) -> Result<Client, ProviderError> {
        let token_endpoint = metadata.token_endpoint().cloned().ok_or(ProviderError::Away)?;
        let client = CoreClient::new(self.client_id.clone(), self.issuer.clone(), metadata.jwks().clone())
            .set_auth_uri(metadata.authorization_endpoint().clone())
            .set_token_uri(token_endpoint)
            .set_redirect_uri(self.redirect.clone());
        let Some(secret) = &self.client_secret else { return Ok(client.set_auth_type(AuthType::RequestBody)) };
        // Basic authentication unless the provider says that it takes the secret in the request only.
        let methods = metadata.token_endpoint_auth_methods_supported();
        let takes = |method| methods.is_some_and(|methods| methods.contains(&method));
        let in_body = takes(CoreClientAuthMethod::ClientSecretPost) && !takes(CoreClientAuthMethod::ClientSecretBasic);
        let how = if in_body { AuthType::RequestBody } else { AuthType::BasicAuth };
        Ok(client.set_client_secret(secret.clone()).set_auth_type(how))
    }

    /// What the provider says about itself.
    async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        self.known(|at, now| now.duration_since(at) < GOOD_FOR).await
    }

    /// What the provider says about itself after this moment; what it said before, where it cannot be asked again yet.
    async fn metadata_since(&self, moment: Instant) -> Result<Arc<Metadata>, ProviderError> {
        self.known(|at, _| at > moment).await
    }

    /// What is known, asked for again unless it is recent enough. Whoever comes while one asks waits for that answer.
    async fn known(&self, is_recent: impl Fn(Instant, Instant) -> bool) -> Result<Arc<Metadata>, ProviderError> {
        let mut known = self.known.lock().await;
        let now = Instant::now();
        let usable = known.metadata.clone().filter(|(_, at)| now.duration_since(*at) < GOOD_WHILE_AWAY);
        if let Some((metadata, _)) = usable.as_ref().filter(|(_, at)| is_recent(*at, now)) {
            return Ok(metadata.clone());
        }
        let usable = usable.map(|(metadata, _)| metadata);
        let backoff = Duration::from_secs(1 << known.failures.min(6)).min(LONGEST_BACKOFF);
        let pause = if known.failures == 0 { ASK_AT_MOST_EVERY } else { backoff };
        if known.asked_at.is_some_and(|at| now.duration_since(at) < pause) {
            return usable.ok_or(ProviderError::Away);
        }
        known.asked_at = Some(now);
        match Metadata::discover_async(self.issuer.clone(), &self.http).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                (known.metadata, known.failures) = (Some((metadata.clone(), Instant::now())), 0);
                Ok(metadata)
            }
            Err(error) => {
                known.failures = known.failures.saturating_add(1);
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, issuer = self.issuer.as_str(), "the OpenID provider cannot be asked");
                usable.ok_or(ProviderError::Away)
            }
        }
    }
}

type RedeemError = RequestTokenError<HttpError, StandardErrorResponse<CoreErrorResponseType>>;

/// What became of a code that was not redeemed. The provider's own words stay out: they may repeat what was sent.
fn refusal(error: RedeemError) -> ProviderError {
    match error {
        RequestTokenError::ServerResponse(answer) => ProviderError::Refused(answer.error().to_string()),
        RequestTokenError::Request(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the OpenID provider redeems no code");
            ProviderError::Away
        }
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            tracing::warn!("the OpenID provider's answer to a code cannot be understood");
            ProviderError::Away
        }
    }
}
