//! Keys that sign what browsers keep for us, which is then stored nowhere here and cannot be forged.
//!
//! They are in the database, as several gateways share them. A new one is made every week; an old one verifies for as
//! long as anything that it signed may be valid.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use app::database::StoredTime;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bus::clock::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use sqlx::postgres::PgPool;

use super::{SignInError, answer};

/// How old the newest key may become.
const RENEWED_AFTER: TimeDelta = TimeDelta::days(7);
/// How long a key verifies: the longest session, and the time for which the key signed.
const KEPT: TimeDelta = TimeDelta::days(45);
/// Least time between two look-ups of unknown keys: made-up ones cause no more.
const LOOKED_FOR_AT_MOST_EVERY: TimeDelta = TimeDelta::seconds(2);

/// What a signature is for. One for another purpose never fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A sign-in that is under way.
    Attempt,
    /// What its ID token has to repeat.
    Nonce,
    /// What its code is redeemed with.
    Verifier,
    /// That a form was served to somebody.
    Form,
}

impl Purpose {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Attempt => b"attempt",
            Self::Nonce => b"nonce",
            Self::Verifier => b"verifier",
            Self::Form => b"form",
        }
    }
}

/// A key.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: i64,
    bytes: [u8; 32],
    made_at: DateTime<Utc>,
}

impl Key {
    fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> Result<Hmac<Sha256>, SignInError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes).map_err(|_| SignInError::UnusableKey)?;
        // Each part with its length, so that no two lists of parts read alike.
        for part in [purpose.name()].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Ok(mac)
    }

    /// The signature of these parts: 43 characters that need no quoting anywhere.
    pub(super) fn sign(&self, purpose: Purpose, parts: &[&[u8]]) -> Result<String, SignInError> {
        Ok(BASE64_URL_SAFE_NO_PAD.encode(self.mac(purpose, parts)?.finalize().into_bytes()))
    }

    /// Whether this is the signature of these parts, in a time that does not tell how far it is right.
    pub(super) fn verifies(&self, purpose: Purpose, parts: &[&[u8]], signature: &str) -> Result<bool, SignInError> {
        let Ok(signature) = BASE64_URL_SAFE_NO_PAD.decode(signature) else { return Ok(false) };
        Ok(self.mac(purpose, parts)?.verify_slice(&signature).is_ok())
    }
}

#[derive(Default)]
struct Known {
    /// The newest first.
    keys: Arc<[Key]>,
    read_at: Option<DateTime<Utc>>,
}

/// All keys.
#[derive(Clone)]
pub(crate) struct Keys {
    pool: PgPool,
    clock: Clock,
    known: Arc<Mutex<Known>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Keys")
    }
}

impl Keys {
    /// The keys in this database.
    pub(crate) fn new(pool: PgPool, clock: Clock) -> Self {
        Self { pool, clock, known: Arc::default() }
    }

    /// The key that signs now.
    pub(super) async fn newest(&self) -> Result<Key, SignInError> {
        let now = self.clock.now();
        let is_fresh = |key: &&Key| now - key.made_at < RENEWED_AFTER;
        if let Some(key) = self.known().first().filter(is_fresh) {
            return Ok(key.clone());
        }
        if let Some(key) = self.read(now).await?.first().filter(is_fresh) {
            return Ok(key.clone());
        }
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(SignInError::NoRandomness)?;
        // Two gateways that come to this at once make two keys, and both are good.
        let made = sqlx::query!(
            "WITH old AS (DELETE FROM sign_in_keys WHERE created_at <= $3)
             INSERT INTO sign_in_keys (key, created_at) VALUES ($1, $2)",
            bytes.as_slice(),
            now,
            now - KEPT
        )
        .execute(&self.pool);
        answer(made).await?;
        self.read(now).await?.first().cloned().ok_or(SignInError::UnusableKey)
    }

    /// The key of this id, while it verifies.
    pub(super) async fn get(&self, id: i64) -> Result<Option<Key>, SignInError> {
        let now = self.clock.now();
        let find = |keys: &[Key]| keys.iter().find(|key| key.id == id && now - key.made_at < KEPT).cloned();
        if let Some(key) = find(&self.known()) {
            return Ok(Some(key));
        }
        // Another gateway may have made it.
        let read_at = self.known.lock().unwrap_or_else(PoisonError::into_inner).read_at;
        if read_at.is_some_and(|at| (now - at).abs() < LOOKED_FOR_AT_MOST_EVERY) {
            return Ok(None);
        }
        Ok(find(&self.read(now).await?))
    }

    fn known(&self) -> Arc<[Key]> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }

    async fn read(&self, now: DateTime<Utc>) -> Result<Arc<[Key]>, SignInError> {
        let mut rows = sqlx::query!(
            r#"SELECT id, key, created_at AS "created_at: StoredTime"
                 FROM sign_in_keys WHERE created_at > $1 ORDER BY id DESC"#,
            now - KEPT
        )
        .fetch(&self.pool);
        let read = async {
            let mut keys = Vec::new();
            while let Some(row) = rows.next().await {
                let row = match row {
                    Ok(row) => row,
                    Err(error @ sqlx::Error::ColumnDecode { .. }) => {
                        tracing::error!(error = &error as &dyn Error, "sign-in key unreadable, not used");
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let bytes = row.key.as_slice().try_into();
                let bytes = bytes.map_err(|_| sqlx::Error::Decode("a key has 32 bytes".into()))?;
                keys.push(Key { id: row.id, bytes, made_at: row.created_at.into() });
            }
            Ok(Arc::from(keys))
        };
        let keys: Arc<[Key]> = answer(read).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Known { keys: keys.clone(), read_at: Some(now) };
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_fits_its_parts_its_purpose_and_its_key_alone() {
        let key = |byte| Key { id: 1, bytes: [byte; 32], made_at: DateTime::UNIX_EPOCH };
        let signature = key(1).sign(Purpose::Attempt, &[b"ab", b"c"]).unwrap();
        let verifies = |byte, purpose, parts: &[&[u8]]| key(byte).verifies(purpose, parts, &signature).unwrap();
        assert_eq!(signature.len(), 43);
        assert!(verifies(1, Purpose::Attempt, &[b"ab", b"c"]));
        assert!(!verifies(2, Purpose::Attempt, &[b"ab", b"c"]));
        assert!(!verifies(1, Purpose::Form, &[b"ab", b"c"]));
        assert!(!verifies(1, Purpose::Attempt, &[b"a", b"bc"]));
        assert!(!key(1).verifies(Purpose::Attempt, &[b"ab", b"c"], "").unwrap());
    }
}
