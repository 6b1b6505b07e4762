//! The OpenID provider, where there is one: what it says about itself, and who its tokens are about.
//!
//! It is asked when it is first needed, and an unreachable provider holds up only those who need it. What it says about
//! itself, its keys above all, is kept for minutes, and asked for again when a token is signed with an unknown key.

mod claim_path;
mod claims;
mod discovery;
mod redemption;
mod verification;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bus::clock::Clock;
use domain::Invalid;
use openidconnect::{PkceCodeChallenge, PkceCodeVerifier};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use self::claims::Mapping;
use self::discovery::Metadata;
pub(crate) use self::discovery::ProviderFault;
pub(crate) use self::verification::looks_like_one;
use self::verification::{ApiTokens, Meant, Refusal};
use super::AdminName;
use super::attempts::Attempt;
use crate::authentication::Role;
use crate::outward::{self, OutwardClient};

/// How long what the provider says about itself is used before it is asked again: a key that it withdrew is good for
/// as long.
const GOOD_FOR: Duration = Duration::from_secs(5 * 60);
/// How long it is used while the provider is unreachable.
const GOOD_WHILE_AWAY: Duration = Duration::from_secs(60 * 60);
/// Least time between two questions: tokens with made-up keys cause no more.
const ASK_AT_MOST_EVERY: Duration = Duration::from_secs(5);
/// Longest time between two attempts while it is unreachable.
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
    /// Where an account's groups are among the claims: a name, or a path with dots such as `realm_access.roles` in which
    /// a name with dots stands in quotes. A text, a list of texts, or an object with groups for keys is expected there.
    pub role_claim: String,
    /// Which group makes which role. The highest wins.
    pub roles: Vec<(Role, String)>,
    /// Where an account's name is among the claims; `email` and `sub` are looked at after it.
    pub name_claim: String,
    /// Whom a token of the API has to be meant for; the client's id where absent.
    pub audience: Option<String>,
    /// Clients beside this one to which tokens of the API may have been issued.
    pub api_clients: Vec<String>,
    /// Whether ID tokens open the API, too.
    pub api_id_tokens: bool,
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
    /// It cannot be used, for now or until somebody corrects its settings.
    #[error(transparent)]
    Fault(#[from] ProviderFault),
    /// It refused what was asked for.
    #[error("the OpenID provider refused: {0}")]
    Refused(String),
    /// A token of it is not valid, for this reason.
    #[error("the token {0}")]
    Token(String),
    /// The account is fine, and has no role here.
    #[error("{0:?} has no role here")]
    NoRole(AdminName),
    /// The account's groups are not in the token: there are so many that the provider only says where they can be had.
    #[error("the provider sent no groups of {0:?}, but where they can be had")]
    GroupsElsewhere(AdminName),
    /// The account has no name that could stand in an event.
    #[error("the account has no usable name")]
    NoName,
}

/// What is known of the provider.
#[derive(Debug, Default)]
struct Known {
    metadata: Option<(Arc<Metadata>, Instant)>,
    asked_at: Option<Instant>,
    failures: u32,
    /// Why it could not be asked the last time.
    fault: Option<ProviderFault>,
}

/// Who an account of the provider is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: AdminName,
    pub(crate) role: Role,
}

/// The provider.
pub(crate) struct Provider {
    issuer: String,
    issuer_url: Url,
    client_id: String,
    client_secret: Option<String>,
    scopes: String,
    redirect: String,
    api: ApiTokens,
    mapping: Mapping,
    http: OutwardClient,
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
        let issuer_url = Url::parse(&options.issuer)
            .ok()
            .filter(|url| url.has_host() && url.query().is_none() && url.fragment().is_none())
            .ok_or_else(|| Invalid::new("issuer", "is no URL", "e.g. https://login.example.com/realms/labs"))?;
        if !outward::is_safe(&issuer_url) {
            let problem = "would be asked without TLS";
            return Err(Invalid::new("issuer", problem, "an https URL; http on this machine only"));
        }
        if options.roles.is_empty() {
            let expected = "which group makes which role, e.g. viewer=lab-viewers,admin=lab-admins";
            return Err(Invalid::new("roles", "are not stated, so nobody could sign in", expected));
        }
        let named =
            |field: &'static str| move |invalid: Invalid| Invalid::new(field, invalid.problem, invalid.expected);
        let scopes = options.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid");
        Ok(Self {
            api: ApiTokens {
                audience: options.audience.unwrap_or_else(|| options.client_id.clone()),
                other_clients: options.api_clients,
                id_tokens: options.api_id_tokens,
            },
            scopes: std::iter::once("openid").chain(scopes).collect::<Vec<_>>().join(" "),
            mapping: Mapping {
                role_claim: options.role_claim.parse().map_err(named("role_claim"))?,
                roles: options.roles,
                name_claim: options.name_claim.parse().map_err(named("name_claim"))?,
            },
            http: OutwardClient::new(options.ca_pem.as_deref())?,
            issuer: options.issuer,
            issuer_url,
            client_id: options.client_id,
            client_secret: options.client_secret,
            redirect,
            clock,
            known: Mutex::default(),
        })
    }

    /// How the provider is called on the sign-in page.
    pub(crate) fn host(&self) -> &str {
        self.issuer_url.host_str().unwrap_or(&self.issuer)
    }

    /// Why it could not be asked the last time. Does not ask.
    pub(crate) fn fault(&self) -> Option<ProviderFault> {
        self.known.try_lock().ok().and_then(|known| known.fault.clone())
    }

    /// Asks the provider what it is, and whether it can be used as it is configured; gives its issuer.
    ///
    /// # Errors
    /// [`ProviderFault`].
    pub(crate) async fn check(&self) -> Result<String, ProviderFault> {
        self.metadata().await.map(|metadata| metadata.issuer.clone())
    }

    /// Where a browser goes to sign in.
    ///
    /// # Errors
    /// [`ProviderFault`].
    pub(super) async fn address(&self, attempt: &Attempt) -> Result<Url, ProviderFault> {
        let mut address = self.metadata().await?.authorization_endpoint.clone();
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(attempt.verifier.clone()));
        address.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("state", &attempt.state),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("redirect_uri", &self.redirect),
            ("scope", &self.scopes),
            ("nonce", &attempt.nonce),
        ]);
        Ok(address)
    }

    /// Checks who answers (RFC 9207): a provider that names itself in its answers always does.
    ///
    /// # Errors
    /// [`ProviderError::Token`] for an answer of another provider.
    pub(crate) async fn check_answer(&self, named: Option<&str>) -> Result<(), ProviderError> {
        let names_itself = self.metadata().await?.names_itself;
        match named {
            Some(named) if named == self.issuer => Ok(()),
            None if !names_itself => Ok(()),
            _ => Err(ProviderError::Token("is of another provider".to_owned())),
        }
    }

    /// Redeems the code of an answer. The tokens are looked at here, and kept nowhere.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub(crate) async fn redeem(&self, code: &str, nonce: &str, verifier: &str) -> Result<Account, ProviderError> {
        let metadata = self.metadata().await?;
        let tokens = self.redeem_code(&metadata, code, verifier).await?;
        let id_token =
            tokens.id_token.ok_or_else(|| ProviderError::Token("is missing in the provider's answer".to_owned()))?;
        let meant = Meant::ForSigningIn { nonce, access_token: tokens.access_token.as_deref() };
        let mut claims = self.verified(&id_token, meant).await?;
        if self.mapping.lacks_something(&claims)
            && let (Some(address), Some(access_token)) = (&metadata.userinfo_endpoint, &tokens.access_token)
        {
            let more = self.user_info(address, access_token).await?;
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
        self.account(&self.verified(token, Meant::ForTheApi(&self.api)).await?)
    }

    fn account(&self, claims: &Map<String, Value>) -> Result<Account, ProviderError> {
        let name = self.mapping.name(claims).ok_or(ProviderError::NoName)?;
        match self.mapping.role(claims) {
            Some(role) => Ok(Account { name, role }),
            None => Err(self.mapping.why_no_role(name, claims)),
        }
    }

    /// The claims of a token that is valid. A key that is not known may be new: then the provider is asked once more.
    async fn verified(&self, token: &str, meant: Meant<'_>) -> Result<Map<String, Value>, ProviderError> {
        let asked_before = Instant::now();
        let metadata = self.metadata().await?;
        let verify =
            |metadata: &Metadata| verification::claims(token, metadata, &self.client_id, meant, self.clock.now());
        match verify(&metadata) {
            Err(Refusal::UnknownKey) => {}
            verified => return verified.map_err(ProviderError::from),
        }
        let newer = self.metadata_since(asked_before).await?;
        if Arc::ptr_eq(&newer, &metadata) {
            return Err(Refusal::UnknownKey.into());
        }
        verify(&newer).map_err(ProviderError::from)
    }

    /// What the provider says about itself.
    async fn metadata(&self) -> Result<Arc<Metadata>, ProviderFault> {
        self.known(|at, now| now.duration_since(at) < GOOD_FOR).await
    }

    /// What the provider says about itself after this moment; what it said before, where it cannot be asked again yet.
    async fn metadata_since(&self, moment: Instant) -> Result<Arc<Metadata>, ProviderFault> {
        self.known(|at, _| at > moment).await
    }

    /// What is known, asked for again unless it is recent enough. Whoever comes while one asks waits for that answer.
    async fn known(&self, is_recent: impl Fn(Instant, Instant) -> bool) -> Result<Arc<Metadata>, ProviderFault> {
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
            let too_soon = || ProviderFault::Unreachable("it is asked again in some seconds".to_owned());
            return usable.ok_or_else(|| known.fault.clone().unwrap_or_else(too_soon));
        }
        known.asked_at = Some(now);
        match discovery::discover(&self.http, &self.issuer, &self.issuer_url).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                (known.metadata, known.failures, known.fault) = (Some((metadata.clone(), Instant::now())), 0, None);
                Ok(metadata)
            }
            Err(fault) => {
                known.failures = known.failures.saturating_add(1);
                known.fault = Some(fault.clone());
                let (error, issuer) = (&fault as &dyn std::error::Error, self.issuer.as_str());
                match fault {
                    ProviderFault::Unreachable(_) => tracing::warn!(error, issuer, "OpenID provider unreachable"),
                    ProviderFault::Misconfigured(_) => {
                        tracing::error!(error, issuer, "OpenID provider misconfigured")
                    }
                }
                usable.ok_or(fault)
            }
        }
    }
}
