//! Bearer tokens that are made with `lablet token`, and revoked.

use bus::clock::{Clock, IdGenerator};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{FromRow, Row as _};
use uuid::Uuid;

use super::{AdminName, SignInError, answer, end_signal, secret, sessions};
use crate::authentication::{Role, SecretHash};

/// How exactly it is known when a token was last used.
const USED_EVERY: TimeDelta = TimeDelta::minutes(1);
/// Most tokens of a list; the newest.
const MOST_LISTED: i64 = 1_000;

/// A token that was made, without its secret, which nobody but its holder knows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoredToken {
    /// Names the token where it is revoked.
    pub id: Uuid,
    /// The person's name, as it appears as `admin:<name>` in events.
    pub name: String,
    /// How far the token's authority reaches.
    pub role: Role,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it is not valid; null: it is valid until it is revoked.
    pub expires_at: Option<DateTime<Utc>>,
    /// From when on it is not valid, because somebody said so.
    pub revoked_at: Option<DateTime<Utc>>,
    /// To the minute; null before the first use.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl<'r> FromRow<'r, PgRow> for StoredToken {
    fn from_row(row: &'r PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            role: sessions::role(row)?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
            revoked_at: row.try_get("revoked_at")?,
            last_used_at: row.try_get("last_used_at")?,
        })
    }
}

/// All tokens that were made.
#[derive(Debug, Clone)]
pub struct Tokens {
    pool: PgPool,
    clock: Clock,
}

impl Tokens {
    /// What each of them begins with, so that a leaked one is recognised.
    pub const PREFIX: &str = "lablet_token_";

    /// The tokens in this database.
    pub fn new(pool: PgPool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// Makes a token, and gives it with its secret, which is not kept.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn create(
        &self,
        id_generator: &IdGenerator,
        name: &AdminName,
        role: Role,
        valid_for: Option<TimeDelta>,
    ) -> Result<(StoredToken, String), SignInError> {
        let now = self.clock.now();
        let secret = format!("{}{}", Self::PREFIX, secret::random()?);
        let token = StoredToken {
            id: id_generator.uuid(),
            name: name.as_str().to_owned(),
            role,
            created_at: now,
            expires_at: valid_for.and_then(|valid_for| now.checked_add_signed(valid_for)),
            revoked_at: None,
            last_used_at: None,
        };
        let made = sqlx::query(
            "INSERT INTO admin_tokens (id, hash, name, role, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(token.id)
        .bind(SecretHash::from_secret(&secret).bytes().to_vec())
        .bind(&token.name)
        .bind(role.name())
        .bind(now)
        .bind(token.expires_at)
        .execute(&self.pool);
        answer(made).await?;
        Ok((token, secret))
    }

    /// The newest thousand tokens, revoked and expired ones too.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn list(&self) -> Result<Vec<StoredToken>, SignInError> {
        let rows = sqlx::query_as(
            "SELECT id, name, role, created_at, expires_at, revoked_at, last_used_at FROM admin_tokens
              ORDER BY created_at DESC, id DESC LIMIT $1",
        )
        .bind(MOST_LISTED)
        .fetch_all(&self.pool);
        answer(rows).await
    }

    /// Revokes a token. It is refused from now on, and sessions that began with it end. `None` when there is none with
    /// this id; revoking again changes nothing.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn revoke(&self, id: Uuid) -> Result<Option<StoredToken>, SignInError> {
        let row = sqlx::query_as(
            "UPDATE admin_tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1
             RETURNING id, name, role, created_at, expires_at, revoked_at, last_used_at",
        )
        .bind(id)
        .bind(self.clock.now())
        .fetch_optional(&self.pool);
        let revoked = answer(row).await?;
        end_signal::send(&self.pool).await?;
        Ok(revoked)
    }

    /// Whom a valid token belongs to.
    pub(crate) async fn find(&self, hash: &SecretHash) -> Result<Option<(String, Role)>, SignInError> {
        let now = self.clock.now();
        let row = sqlx::query(
            "WITH used AS (
                 UPDATE admin_tokens SET last_used_at = $2
                  WHERE hash = $1 AND revoked_at IS NULL AND coalesce(expires_at > $2, true)
                    AND coalesce(last_used_at <= $3, true)
             )
             SELECT name, role FROM admin_tokens
              WHERE hash = $1 AND revoked_at IS NULL AND coalesce(expires_at > $2, true)",
        )
        .bind(hash.bytes())
        .bind(now)
        .bind(now - USED_EVERY)
        .fetch_optional(&self.pool);
        let Some(row) = answer(row).await? else { return Ok(None) };
        let holder = || Ok((row.try_get("name")?, sessions::role(&row)?));
        holder().map(Some).map_err(SignInError::Unavailable)
    }
}
