//! Browsers' sessions: kept on the server, ended by disuse, by age, by signing out, and with the token they began with.

use std::fmt;
use std::time::Duration;

use app::clock::Clock;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};
use subtle::ConstantTimeEq as _;

use super::{SignInError, answer, secret};
use crate::authentication::{Role, SecretHash};

/// How exactly it is known when a session was last used.
const SEEN_EVERY: TimeDelta = TimeDelta::minutes(1);
/// Most ended sessions that are removed at one sign-in.
const REMOVED_AT_ONCE: i64 = 500;

/// How long a session may last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionLimits {
    /// Without being used.
    pub(crate) idle: TimeDelta,
    /// In all.
    pub(crate) absolute: TimeDelta,
}

impl SessionLimits {
    /// Limits as they are configured.
    pub(crate) fn new(idle: Duration, absolute: Duration) -> Self {
        let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::days(365));
        Self { idle: delta(idle), absolute: delta(absolute) }
    }
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { idle: TimeDelta::minutes(60), absolute: TimeDelta::hours(12) }
    }
}

/// What uses a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A person: the session stays alive.
    ByPerson,
    /// A page that keeps itself up to date: it must not keep a session alive that nobody uses.
    ByPage,
}

/// How somebody signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// By a one-time link.
    Link,
    /// By a token, which has this hash.
    Token(SecretHash),
    /// At the OpenID provider.
    Provider,
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Token(_) => "token",
            Self::Provider => "provider",
        }
    }

    fn token_hash(&self) -> Option<&[u8]> {
        match self {
            Self::Token(hash) => Some(hash.bytes()),
            Self::Link | Self::Provider => None,
        }
    }
}

/// A browser that is signed in. A request's extensions hold it where the session's cookie is what told who asks.
#[derive(Clone)]
pub(crate) struct BrowserSession {
    /// The person's name, as it appears as `admin:<name>` in events.
    pub(crate) name: String,
    /// How far the person's authority reaches.
    pub(crate) role: Role,
    /// What a form's hidden field `csrf_token`, or the header `X-CSRF-Token`, has to hold.
    pub(crate) csrf_token: String,
    /// How they signed in.
    pub(crate) way: Way,
    /// When they did.
    pub(crate) signed_in_at: DateTime<Utc>,
    pub(super) hash: SecretHash,
}

impl fmt::Debug for BrowserSession {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BrowserSession")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("way", &self.way)
            .field("signed_in_at", &self.signed_in_at)
            .finish_non_exhaustive()
    }
}

/// Whether a form or a script presented the right token for this session, in a time that does not tell how far it is
/// right.
pub(crate) fn csrf_matches(session: &BrowserSession, presented: &str) -> bool {
    session.csrf_token.as_bytes().ct_eq(presented.as_bytes()).into()
}

/// Derived from the cookie's value, so that it needs no place of its own, and is as hard to guess for whoever does not
/// see the cookie: other sites, and readers of the database.
fn csrf_token(secret: &str) -> String {
    let digest = Sha256::new().chain_update(b"lablet csrf token\0").chain_update(secret.as_bytes()).finalize();
    BASE64_URL_SAFE_NO_PAD.encode(digest)
}

/// The sessions of all browsers.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    pool: PgPool,
    clock: Clock,
    limits: SessionLimits,
}

impl Sessions {
    /// The sessions in this database.
    pub(crate) fn new(pool: PgPool, clock: Clock, limits: SessionLimits) -> Self {
        Self { pool, clock, limits }
    }

    /// The session that has this secret, unless it has ended. A session that began with a token lives while the token is
    /// valid: a minted one by its row, a configured one by the answer of `configured`.
    pub(crate) async fn find(
        &self,
        secret: &str,
        how_used: Use,
        configured: impl FnOnce(&SecretHash) -> bool,
    ) -> Result<Option<BrowserSession>, SignInError> {
        let (now, hash) = (self.clock.now(), SecretHash::of(secret));
        let seen_before = match how_used {
            Use::ByPerson => Some(now - SEEN_EVERY),
            Use::ByPage => None,
        };
        let row = sqlx::query(
            "WITH seen AS (
                 UPDATE browser_sessions SET last_seen_at = $2
                  WHERE hash = $1 AND created_at > $3 AND last_seen_at > $4 AND last_seen_at <= $5
             )
             SELECT sessions.name, sessions.role, sessions.signed_in_by, sessions.token_hash, sessions.created_at,
                    tokens.revoked_at IS NULL AND coalesce(tokens.expires_at > $2, true) AND tokens.hash IS NOT NULL
                        AS token_is_valid
               FROM browser_sessions sessions LEFT JOIN admin_tokens tokens ON tokens.hash = sessions.token_hash
              WHERE sessions.hash = $1 AND sessions.created_at > $3 AND sessions.last_seen_at > $4",
        )
        .bind(hash.bytes())
        .bind(now)
        .bind(now - self.limits.absolute)
        .bind(now - self.limits.idle)
        .bind(seen_before)
        .fetch_optional(&self.pool);
        let Some(row) = answer(row).await? else { return Ok(None) };
        let session = session(&row, secret, hash).map_err(SignInError::Unavailable)?;
        let lives = match &session.way {
            Way::Token(token) => row.try_get("token_is_valid").map_err(SignInError::Unavailable)? || configured(token),
            Way::Link | Way::Provider => true,
        };
        Ok(lives.then_some(session))
    }

    /// Begins a session under a new secret, which it gives. The session that the browser had before ends.
    pub(crate) async fn begin(
        &self,
        name: &str,
        role: Role,
        way: &Way,
        before: Option<&str>,
    ) -> Result<String, SignInError> {
        self.remove_ended().await?;
        let secret = secret::random()?;
        let begun = sqlx::query(
            "WITH before AS (DELETE FROM browser_sessions WHERE hash = $7)
             INSERT INTO browser_sessions (hash, name, role, signed_in_by, token_hash, created_at, last_seen_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6)",
        )
        .bind(SecretHash::of(&secret).bytes())
        .bind(name)
        .bind(role.name())
        .bind(way.name())
        .bind(way.token_hash())
        .bind(self.clock.now())
        .bind(before.map(|secret| SecretHash::of(secret).bytes().to_vec()))
        .execute(&self.pool);
        answer(begun).await?;
        Ok(secret)
    }

    /// Begins a session by a one-time link, in one step with using it up. `None` when it cannot be used (any more).
    pub(super) async fn begin_by_link(
        &self,
        link: &SecretHash,
        before: Option<&str>,
    ) -> Result<Option<String>, SignInError> {
        self.remove_ended().await?;
        let secret = secret::random()?;
        let begun = sqlx::query(
            "WITH used AS (
                 UPDATE sign_in_links SET used_at = $3 WHERE hash = $2 AND used_at IS NULL AND expires_at > $3
                 RETURNING name, role
             ), before AS (
                 DELETE FROM browser_sessions WHERE hash = $4 AND EXISTS (SELECT FROM used)
             )
             INSERT INTO browser_sessions (hash, name, role, signed_in_by, created_at, last_seen_at)
             SELECT $1, name, role, 'link', $3, $3 FROM used",
        )
        .bind(SecretHash::of(&secret).bytes().to_vec())
        .bind(link.bytes())
        .bind(self.clock.now())
        .bind(before.map(|secret| SecretHash::of(secret).bytes().to_vec()))
        .execute(&self.pool);
        Ok((answer(begun).await?.rows_affected() > 0).then_some(secret))
    }

    /// Ends a session.
    pub(super) async fn end(&self, session: &BrowserSession) -> Result<(), SignInError> {
        let ended = sqlx::query("DELETE FROM browser_sessions WHERE hash = $1").bind(session.hash.bytes());
        answer(ended.execute(&self.pool)).await?;
        Ok(())
    }

    /// Removes sessions that have ended by themselves, some at a time.
    async fn remove_ended(&self) -> Result<(), SignInError> {
        let now = self.clock.now();
        let removed = sqlx::query(
            "DELETE FROM browser_sessions WHERE hash IN (
                 SELECT hash FROM browser_sessions WHERE created_at <= $1 OR last_seen_at <= $2
                  LIMIT $3 FOR UPDATE SKIP LOCKED)",
        )
        .bind(now - self.limits.absolute)
        .bind(now - self.limits.idle)
        .bind(REMOVED_AT_ONCE)
        .execute(&self.pool);
        let removed = answer(removed).await?.rows_affected();
        if removed > 0 {
            tracing::debug!(removed, "sessions that had ended were removed");
        }
        Ok(())
    }
}

fn session(row: &PgRow, secret: &str, hash: SecretHash) -> sqlx::Result<BrowserSession> {
    let token = row.try_get::<Option<&[u8]>, _>("token_hash")?.and_then(SecretHash::stored);
    let way = match (row.try_get("signed_in_by")?, token) {
        (_, Some(token)) => Way::Token(token),
        ("provider", None) => Way::Provider,
        (_, None) => Way::Link,
    };
    Ok(BrowserSession {
        name: row.try_get("name")?,
        role: role(row)?,
        csrf_token: csrf_token(secret),
        way,
        signed_in_at: row.try_get("created_at")?,
        hash,
    })
}

/// The role in a row.
pub(super) fn role(row: &PgRow) -> sqlx::Result<Role> {
    let name: &str = row.try_get("role")?;
    Role::named(name).ok_or_else(|| sqlx::Error::Decode(format!("there is no role {name:?}").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_does_not_show_its_secrets_and_only_its_own_token_fits() {
        let of = |secret: &str| BrowserSession {
            name: "ada".to_owned(),
            role: Role::Admin,
            csrf_token: csrf_token(secret),
            way: Way::Link,
            signed_in_at: DateTime::UNIX_EPOCH,
            hash: SecretHash::of(secret),
        };
        let (one, other) = (of("one"), of("other"));
        assert!(csrf_matches(&one, &csrf_token("one")));
        assert!(!csrf_matches(&one, &other.csrf_token));
        assert!(!csrf_matches(&one, ""));
        assert!(!format!("{one:?}").contains(&one.csrf_token));
    }
}
