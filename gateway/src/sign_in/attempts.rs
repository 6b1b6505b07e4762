//! Sign-ins that are under way at the provider: what has to be remembered until the browser comes back.

use app::clock::Clock;
use chrono::TimeDelta;
use sqlx::Row as _;
use sqlx::postgres::PgPool;

use super::local_path::LocalPath;
use super::{SignInError, answer, secret};
use crate::authentication::SecretHash;

/// How long somebody may take at the provider.
pub(super) const LASTS: TimeDelta = TimeDelta::minutes(10);
/// Most attempts at once: whoever begins them is not known yet.
const MOST: i64 = 10_000;
/// Most attempts that are forgotten at once.
const FORGOTTEN_AT_ONCE: i64 = 500;

/// A sign-in that is under way.
pub(super) struct Attempt {
    /// Comes back with the browser.
    pub(super) state: String,
    /// Comes back within the provider's token.
    pub(super) nonce: String,
    /// Redeems the code, together with what was made of it at the beginning.
    pub(super) verifier: String,
    /// Where the browser goes once it is signed in.
    pub(super) return_to: LocalPath,
}

impl Attempt {
    /// A new one.
    pub(super) fn new(return_to: LocalPath) -> Result<Self, SignInError> {
        Ok(Self { state: secret::random()?, nonce: secret::random()?, verifier: secret::random()?, return_to })
    }
}

/// All that are under way.
#[derive(Debug, Clone)]
pub(crate) struct Attempts {
    pool: PgPool,
    clock: Clock,
}

impl Attempts {
    /// The attempts in this database.
    pub(crate) fn new(pool: PgPool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// Remembers an attempt, and gives the secret by which the browser is known when it comes back. `None` when too many
    /// are under way.
    pub(super) async fn begin(&self, attempt: &Attempt) -> Result<Option<String>, SignInError> {
        let (now, secret) = (self.clock.now(), secret::random()?);
        let begun = sqlx::query(
            "WITH forgotten AS (
                 DELETE FROM sign_in_attempts WHERE hash IN (
                     SELECT hash FROM sign_in_attempts WHERE created_at <= $7 LIMIT $8 FOR UPDATE SKIP LOCKED)
             )
             INSERT INTO sign_in_attempts (hash, state, nonce, verifier, return_to, created_at)
             SELECT $1, $2, $3, $4, $5, $6
              WHERE (SELECT count(*) FROM (SELECT FROM sign_in_attempts WHERE created_at > $7 LIMIT $9) AS under_way) < $9",
        )
        .bind(SecretHash::of(&secret).bytes().to_vec())
        .bind(&attempt.state)
        .bind(&attempt.nonce)
        .bind(&attempt.verifier)
        .bind(attempt.return_to.as_str())
        .bind(now)
        .bind(now - LASTS)
        .bind(FORGOTTEN_AT_ONCE)
        .bind(MOST)
        .execute(&self.pool);
        Ok((answer(begun).await?.rows_affected() > 0).then_some(secret))
    }

    /// Takes the attempt that this browser began and that has this state, once.
    pub(super) async fn take(&self, secret: &str, state: &str) -> Result<Option<Attempt>, SignInError> {
        let taken = sqlx::query(
            "DELETE FROM sign_in_attempts WHERE hash = $1 AND state = $2 AND created_at > $3
             RETURNING state, nonce, verifier, return_to",
        )
        .bind(SecretHash::of(secret).bytes().to_vec())
        .bind(state)
        .bind(self.clock.now() - LASTS)
        .fetch_optional(&self.pool);
        let Some(row) = answer(taken).await? else { return Ok(None) };
        let attempt = || {
            sqlx::Result::Ok(Attempt {
                state: row.try_get("state")?,
                nonce: row.try_get("nonce")?,
                verifier: row.try_get("verifier")?,
                return_to: LocalPath::or_start(row.try_get("return_to")?),
            })
        };
        attempt().map(Some).map_err(SignInError::Unavailable)
    }
}
