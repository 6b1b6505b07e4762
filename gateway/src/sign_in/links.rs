//! Links that sign a browser in, once.

use app::database::StoredTime;
use app::notice::PublicUrl;
use bus::clock::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgPool;

use super::{AdminName, SignInError, answer, secret, stored_role};
use crate::authentication::{Role, SecretHash};

/// For how long a link that cannot be used any more is remembered, so that whoever opens it is told why.
const REMEMBERED: TimeDelta = TimeDelta::days(7);
/// Most links that are forgotten at once.
const FORGOTTEN_AT_ONCE: i64 = 500;

/// Why a link does not sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Useless {
    /// It was used, at this time.
    Used(DateTime<Utc>),
    /// It was valid until this time.
    Expired(DateTime<Utc>),
    /// Nobody made it, or it is long gone.
    Unknown,
}

/// All links.
#[derive(Debug, Clone)]
pub struct SignInLinks {
    pool: PgPool,
    clock: Clock,
}

impl SignInLinks {
    /// The links in this database.
    pub fn new(pool: PgPool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// Makes a link for this person, on the site at this address. It holds a secret that is not kept.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn create(
        &self,
        site: &PublicUrl,
        name: &AdminName,
        role: Role,
        valid_for: TimeDelta,
    ) -> Result<String, SignInError> {
        let (now, secret) = (self.clock.now(), secret::random()?);
        let made = sqlx::query!(
            "WITH forgotten AS (
                 DELETE FROM sign_in_links WHERE hash IN (
                     SELECT hash FROM sign_in_links WHERE expires_at <= $6 LIMIT $7 FOR UPDATE SKIP LOCKED)
             )
             INSERT INTO sign_in_links (hash, name, role, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
            SecretHash::from_secret(&secret).bytes().to_vec(),
            name.as_str(),
            role.name(),
            now,
            now + valid_for,
            now - REMEMBERED,
            FORGOTTEN_AT_ONCE
        )
        .execute(&self.pool);
        answer(made).await?;
        Ok(format!("{}/sign-in/link?token={secret}", site.as_str()))
    }

    /// Whom the link with this hash signs in, or why it cannot be used.
    pub(super) async fn look(&self, hash: &SecretHash) -> Result<Result<(String, Role), Useless>, SignInError> {
        let row = sqlx::query!(
            r#"SELECT name, role, used_at AS "used_at: StoredTime", expires_at AS "expires_at: StoredTime"
                 FROM sign_in_links WHERE hash = $1"#,
            hash.bytes()
        );
        let Some(row) = answer(row.fetch_optional(&self.pool)).await? else { return Ok(Err(Useless::Unknown)) };
        let expires_at = DateTime::from(row.expires_at);
        Ok(match row.used_at {
            Some(used_at) => Err(Useless::Used(used_at.into())),
            None if expires_at <= self.clock.now() => Err(Useless::Expired(expires_at)),
            None => Ok((row.name, stored_role(&row.role)?)),
        })
    }
}
