//! Browsers' sessions: kept on the server, ended by disuse, by age, by signing out, and with the token they began with.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use app::database::StoredTime;
use bus::clock::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use sqlx::postgres::PgPool;
use uuid::Uuid;

use super::end_signal::EndSignal;
use super::keys::Keys;
use super::served::{FormToken, SessionMark};
use super::{SignInError, answer, secret, stored_role};
use crate::authentication::{Role, SecretHash};

/// How exactly it is known when a session was last used.
const SEEN_EVERY: TimeDelta = TimeDelta::minutes(1);
/// Most ended sessions that are removed at one sign-in.
const REMOVED_AT_ONCE: i64 = 500;
/// Most sessions of a list; those that were used last.
const MOST_LISTED: i64 = 1_000;

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
    /// The way that a row names.
    fn stored(name: &str, token_hash: Option<&[u8]>) -> Self {
        match (name, token_hash.and_then(SecretHash::stored)) {
            (_, Some(token)) => Self::Token(token),
            ("provider", None) => Self::Provider,
            (_, None) => Self::Link,
        }
    }

    /// Whether a session may go on: one that began with a token ends with it. Stored tokens are valid by their row,
    /// configured ones by `configured`.
    fn is_valid(&self, stored_token_is_valid: bool, configured: impl FnOnce(&SecretHash) -> bool) -> bool {
        match self {
            Self::Token(token) => stored_token_is_valid || configured(token),
            Self::Link | Self::Provider => true,
        }
    }

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

/// How a session begins.
pub(super) struct Beginning<'a> {
    /// How somebody signs in.
    pub(super) way: &'a Way,
    /// From where.
    pub(super) address: IpAddr,
    /// The secret of the session that the browser had before, which ends.
    pub(super) before: Option<&'a str>,
}

/// A session as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct ListedSession {
    /// Names the session where it is ended.
    pub(crate) id: Uuid,
    /// The person's name, as it appears as `admin:<name>` in events.
    pub(crate) name: String,
    /// How far the person's authority reaches.
    pub(crate) role: Role,
    /// How they signed in: `link`, `token` or `provider`.
    pub(crate) signed_in_by: String,
    /// When they did.
    pub(crate) signed_in_at: DateTime<Utc>,
    /// From which address, as the gateway sees it; null where that was not kept.
    pub(crate) address: Option<String>,
    /// To the minute. Pages that keep themselves up to date do not count.
    pub(crate) last_used_at: DateTime<Utc>,
}

/// A browser that is signed in. It is in the extensions of a request whose caller was found by the session's cookie.
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
    /// Names the session where it is listed.
    pub(crate) id: Uuid,
    pub(super) mark: SessionMark,
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
    session.mark.is_of(presented)
}

/// The sessions of all browsers.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    pool: PgPool,
    clock: Clock,
    limits: SessionLimits,
    keys: Keys,
    ends: EndSignal,
}

impl Sessions {
    /// The sessions in this database.
    pub(crate) fn new(pool: PgPool, clock: Clock, limits: SessionLimits, keys: Keys) -> Self {
        let ends = EndSignal::new(pool.clone());
        Self { pool, clock, limits, keys, ends }
    }

    /// Tells when sessions end.
    pub(crate) fn ends(&self) -> &EndSignal {
        &self.ends
    }

    /// The session that has this secret, unless it has ended. A session that began with a token lives while the token is
    /// valid: a stored one by its row, a configured one by the answer of `configured`.
    pub(crate) async fn find(
        &self,
        secret: &str,
        how_used: Use,
        configured: impl FnOnce(&SecretHash) -> bool,
    ) -> Result<Option<BrowserSession>, SignInError> {
        let (now, hash) = (self.clock.now(), SecretHash::from_secret(secret));
        let seen_before = match how_used {
            Use::ByPerson => Some(now - SEEN_EVERY),
            Use::ByPage => None,
        };
        let row = sqlx::query!(
            r#"WITH seen AS (
                   UPDATE browser_sessions SET last_seen_at = $2
                    WHERE hash = $1 AND created_at > $3 AND last_seen_at > $4 AND last_seen_at <= $5
               )
               SELECT sessions.id, sessions.name, sessions.role, sessions.signed_in_by, sessions.token_hash,
                      sessions.created_at AS "created_at: StoredTime",
                      tokens.revoked_at IS NULL AND coalesce(tokens.expires_at > $2, true) AND tokens.hash IS NOT NULL
                          AS "token_is_valid!"
                 FROM browser_sessions sessions LEFT JOIN admin_tokens tokens ON tokens.hash = sessions.token_hash
                WHERE sessions.hash = $1 AND sessions.created_at > $3 AND sessions.last_seen_at > $4"#,
            hash.bytes(),
            now,
            now - self.limits.absolute,
            now - self.limits.idle,
            seen_before
        )
        .fetch_optional(&self.pool);
        let row = match answer(row).await {
            Err(SignInError::Unavailable(error @ sqlx::Error::ColumnDecode { .. })) => {
                tracing::error!(error = &error as &dyn Error, "browser session unreadable, not used");
                None
            }
            row => row?,
        };
        let Some(row) = row else { return Ok(None) };
        let way = Way::stored(&row.signed_in_by, row.token_hash.as_deref());
        if !way.is_valid(row.token_is_valid, configured) {
            return Ok(None);
        }
        let (id, name, role) = (row.id, row.name, stored_role(&row.role)?);
        let signed_in_at = row.created_at.into();
        let mark = SessionMark::from_secret(secret);
        let csrf_token = FormToken::new(&mark, &name, &self.keys.newest().await?)?.to_string();
        Ok(Some(BrowserSession { name, role, csrf_token, way, signed_in_at, id, mark }))
    }

    /// Begins a session under a new secret, which it gives. The session that the browser had before ends.
    pub(super) async fn begin(&self, name: &str, role: Role, beginning: &Beginning<'_>) -> Result<String, SignInError> {
        self.remove_ended().await?;
        let secret = secret::random()?;
        let begun = sqlx::query!(
            "WITH before AS (DELETE FROM browser_sessions WHERE hash = $7)
             INSERT INTO browser_sessions (hash, name, role, signed_in_by, token_hash, address, created_at, last_seen_at)
             VALUES ($1, $2, $3, $4, $5, $8, $6, $6)",
            SecretHash::from_secret(&secret).bytes().to_vec(),
            name,
            role.name(),
            beginning.way.name(),
            beginning.way.token_hash(),
            self.clock.now(),
            beginning.before.map(|secret| SecretHash::from_secret(secret).bytes().to_vec()),
            beginning.address.to_canonical().to_string()
        )
        .execute(&self.pool);
        answer(begun).await?;
        self.signal_if(beginning.before.is_some()).await?;
        Ok(secret)
    }

    /// Signals to streams that a session has ended, if there was one.
    async fn signal_if(&self, ended: bool) -> Result<(), SignInError> {
        if ended { self.ends.send().await } else { Ok(()) }
    }

    /// Begins a session by a one-time link, in one step with using it up. `None` when it cannot be used (any more).
    pub(super) async fn begin_by_link(
        &self,
        link: &SecretHash,
        address: IpAddr,
        before: Option<&str>,
    ) -> Result<Option<String>, SignInError> {
        self.remove_ended().await?;
        let secret = secret::random()?;
        let begun = sqlx::query!(
            "WITH used AS (
                 UPDATE sign_in_links SET used_at = $3 WHERE hash = $2 AND used_at IS NULL AND expires_at > $3
                 RETURNING name, role
             ), before AS (
                 DELETE FROM browser_sessions WHERE hash = $4 AND EXISTS (SELECT FROM used)
             )
             INSERT INTO browser_sessions (hash, name, role, signed_in_by, address, created_at, last_seen_at)
             SELECT $1, name, role, 'link', $5, $3, $3 FROM used",
            SecretHash::from_secret(&secret).bytes().to_vec(),
            link.bytes(),
            self.clock.now(),
            before.map(|secret| SecretHash::from_secret(secret).bytes().to_vec()),
            address.to_canonical().to_string()
        )
        .execute(&self.pool);
        let begun = answer(begun).await?.rows_affected() > 0;
        self.signal_if(begun && before.is_some()).await?;
        Ok(begun.then_some(secret))
    }

    /// Ends a session, at once, and with it the streams that it opened. Gives whose it was; `None` when there is none.
    pub(crate) async fn end(&self, id: Uuid) -> Result<Option<String>, SignInError> {
        let ended = sqlx::query_scalar!("DELETE FROM browser_sessions WHERE id = $1 RETURNING name", id);
        let ended = answer(ended.fetch_optional(&self.pool)).await?;
        self.signal_if(ended.is_some()).await?;
        Ok(ended)
    }

    /// The sessions that have not ended, those that were used last first; at most [`MOST_LISTED`].
    pub(crate) async fn list(
        &self,
        configured: impl Fn(&SecretHash) -> bool,
    ) -> Result<Vec<ListedSession>, SignInError> {
        let now = self.clock.now();
        let mut rows = sqlx::query!(
            r#"SELECT sessions.id, sessions.name, sessions.role, sessions.signed_in_by, sessions.token_hash,
                      sessions.created_at AS "created_at: StoredTime", sessions.address,
                      sessions.last_seen_at AS "last_seen_at: StoredTime",
                      tokens.revoked_at IS NULL AND coalesce(tokens.expires_at > $1, true) AND tokens.hash IS NOT NULL
                          AS "token_is_valid!"
                 FROM browser_sessions sessions LEFT JOIN admin_tokens tokens ON tokens.hash = sessions.token_hash
                WHERE sessions.created_at > $2 AND sessions.last_seen_at > $3
                ORDER BY sessions.last_seen_at DESC, sessions.id LIMIT $4"#,
            now,
            now - self.limits.absolute,
            now - self.limits.idle,
            MOST_LISTED
        )
        .fetch(&self.pool);
        let read = async {
            let mut sessions = Vec::new();
            while let Some(row) = rows.next().await {
                match row {
                    Ok(row) => sessions.push(row),
                    Err(error @ sqlx::Error::ColumnDecode { .. }) => {
                        tracing::error!(
                            error = &error as &dyn Error,
                            "browser session unreadable, left out of the list"
                        );
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(sessions)
        };
        let mut sessions = Vec::new();
        for row in answer(read).await? {
            let way = Way::stored(&row.signed_in_by, row.token_hash.as_deref());
            if way.is_valid(row.token_is_valid, &configured) {
                sessions.push(ListedSession {
                    id: row.id,
                    name: row.name,
                    role: stored_role(&row.role)?,
                    signed_in_by: way.name().to_owned(),
                    signed_in_at: row.created_at.into(),
                    address: row.address,
                    last_used_at: row.last_seen_at.into(),
                });
            }
        }
        Ok(sessions)
    }

    /// Removes sessions that have ended by themselves, some at a time.
    async fn remove_ended(&self) -> Result<(), SignInError> {
        let now = self.clock.now();
        let removed = sqlx::query!(
            "DELETE FROM browser_sessions WHERE hash IN (
                 SELECT hash FROM browser_sessions WHERE created_at <= $1 OR last_seen_at <= $2
                  LIMIT $3 FOR UPDATE SKIP LOCKED)",
            now - self.limits.absolute,
            now - self.limits.idle,
            REMOVED_AT_ONCE
        )
        .execute(&self.pool);
        let removed = answer(removed).await?.rows_affected();
        if removed > 0 {
            tracing::debug!(removed, "ended sessions removed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_does_not_show_its_secrets_and_only_its_own_token_fits() {
        let of = |secret: &str| BrowserSession {
            name: "ada".to_owned(),
            role: Role::Admin,
            csrf_token: format!("{}.1.2.3", SessionMark::from_secret(secret)),
            way: Way::Link,
            signed_in_at: DateTime::UNIX_EPOCH,
            id: Uuid::nil(),
            mark: SessionMark::from_secret(secret),
        };
        let (one, other) = (of("one"), of("other"));
        assert!(csrf_matches(&one, &one.csrf_token));
        assert!(!csrf_matches(&one, &other.csrf_token));
        assert!(!csrf_matches(&one, ""));
        assert!(!format!("{one:?}").contains(&one.csrf_token));
    }
}
