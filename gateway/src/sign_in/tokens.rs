//! Bearer tokens that are made with `lablet token`, and revoked.

use std::error::Error;

use app::database::StoredTime;
use bus::clock::{Clock, IdGenerator};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use sqlx::postgres::PgPool;
use uuid::Uuid;

use super::{AdminName, SignInError, answer, end_signal, secret, stored_role};
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

/// A row of the table without the token's hash.
struct Row {
    id: Uuid,
    name: String,
    role: String,
    created_at: StoredTime,
    expires_at: Option<StoredTime>,
    revoked_at: Option<StoredTime>,
    last_used_at: Option<StoredTime>,
}

impl TryFrom<Row> for StoredToken {
    type Error = SignInError;
    fn try_from(row: Row) -> Result<Self, SignInError> {
        Ok(Self {
            id: row.id,
            name: row.name,
            role: stored_role(&row.role)?,
            created_at: row.created_at.into(),
            expires_at: row.expires_at.map(DateTime::from),
            revoked_at: row.revoked_at.map(DateTime::from),
            last_used_at: row.last_used_at.map(DateTime::from),
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
    pub(crate) const PREFIX: &str = "lablet_token_";

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
        let made = sqlx::query!(
            "INSERT INTO admin_tokens (id, hash, name, role, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
            token.id,
            SecretHash::from_secret(&secret).bytes().to_vec(),
            token.name,
            role.name(),
            now,
            token.expires_at
        )
        .execute(&self.pool);
        answer(made).await?;
        Ok((token, secret))
    }

    /// The newest thousand tokens, revoked and expired ones too. A row that cannot be read is logged and left out.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn list(&self) -> Result<Vec<StoredToken>, SignInError> {
        let mut rows = sqlx::query_as!(
            Row,
            r#"SELECT id, name, role, created_at AS "created_at: StoredTime", expires_at AS "expires_at: StoredTime",
                      revoked_at AS "revoked_at: StoredTime", last_used_at AS "last_used_at: StoredTime"
                 FROM admin_tokens ORDER BY created_at DESC, id DESC LIMIT $1"#,
            MOST_LISTED
        )
        .fetch(&self.pool);
        let read = async {
            let mut tokens = Vec::new();
            while let Some(row) = rows.next().await {
                match row {
                    Ok(row) => tokens.push(row),
                    Err(error @ sqlx::Error::ColumnDecode { .. }) => {
                        tracing::error!(error = &error as &dyn Error, "token unreadable, left out of the list");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(tokens)
        };
        answer(read).await?.into_iter().map(StoredToken::try_from).collect()
    }

    /// Revokes a token. It is refused from now on, and sessions that began with it end. `None` when there is none with
    /// this id; revoking again changes nothing.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn revoke(&self, id: Uuid) -> Result<Option<StoredToken>, SignInError> {
        let row = sqlx::query_as!(
            Row,
            r#"UPDATE admin_tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1
               RETURNING id, name, role, created_at AS "created_at: StoredTime", expires_at AS "expires_at: StoredTime",
                         revoked_at AS "revoked_at: StoredTime", last_used_at AS "last_used_at: StoredTime""#,
            id,
            self.clock.now()
        )
        .fetch_optional(&self.pool);
        let revoked = answer(row).await;
        // Also where the row was changed and cannot be read.
        end_signal::send(&self.pool).await?;
        revoked?.map(StoredToken::try_from).transpose()
    }

    /// Whom a valid token belongs to.
    pub(crate) async fn find(&self, hash: &SecretHash) -> Result<Option<(String, Role)>, SignInError> {
        let now = self.clock.now();
        let row = sqlx::query!(
            "WITH used AS (
                 UPDATE admin_tokens SET last_used_at = $2
                  WHERE hash = $1 AND revoked_at IS NULL AND coalesce(expires_at > $2, true)
                    AND coalesce(last_used_at <= $3, true)
             )
             SELECT name, role FROM admin_tokens
              WHERE hash = $1 AND revoked_at IS NULL AND coalesce(expires_at > $2, true)",
            hash.bytes(),
            now,
            now - USED_EVERY
        )
        .fetch_optional(&self.pool);
        answer(row).await?.map(|row| Ok((row.name, stored_role(&row.role)?))).transpose()
    }
}
