//! What proves that a form was served to somebody who was signed in: the value of its hidden field `csrf_token`.
//!
//! It holds the mark of the session, a hash of the person's name and a signature of both. The mark is enough for a
//! change while the session lives, as only pages of this site know it. The signature proves, long after the session has
//! ended, that this installation served the form, and to whom: so what was filled in can be kept for its author, and
//! nobody else can make us keep anything.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::SignInError;
use super::keys::{Key, Keys, Purpose};

/// Bytes of a session's mark.
const MARK_LENGTH: usize = 16;

/// Derived from the session's secret, so that it is stored nowhere. Whoever does not see the cookie (other sites, readers
/// of the database) cannot guess it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SessionMark(String);

impl SessionMark {
    /// The mark of the session with this secret.
    pub(super) fn from_secret(secret: &str) -> Self {
        let digest = Sha256::new().chain_update(b"lablet csrf token\0").chain_update(secret).finalize();
        Self(BASE64_URL_SAFE_NO_PAD.encode(&digest[..MARK_LENGTH]))
    }

    /// Whether this token is of this session, in a time that does not tell how far it is right.
    pub(super) fn is_of(&self, token: &str) -> bool {
        let mark = token.split('.').next().unwrap_or_default();
        self.0.as_bytes().ct_eq(mark.as_bytes()).into()
    }
}

impl fmt::Display for SessionMark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The hash of a person's name: what is kept for somebody needs no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person([u8; 32]);

impl Person {
    /// The person of this name.
    pub(super) fn named(name: &str) -> Self {
        Self(Sha256::new().chain_update(b"lablet person\0").chain_update(name).finalize().into())
    }

    /// The hash as it is stored.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A form's token.
pub(super) struct FormToken(String);

impl FormToken {
    /// The token for forms of this session of this person.
    pub(super) fn new(mark: &SessionMark, name: &str, key: &Key) -> Result<Self, SignInError> {
        let person = BASE64_URL_SAFE_NO_PAD.encode(Person::named(name).bytes());
        let signature = key.sign(Purpose::Form, &[mark.0.as_bytes(), person.as_bytes()])?;
        Ok(Self(format!("{mark}.{}.{person}.{signature}", key.id)))
    }

    /// To whom a form with this token was served; `None` where it was not served here.
    pub(super) async fn served_to(token: &str, keys: &Keys) -> Result<Option<Person>, SignInError> {
        let [mark, id, person, signature] = token.split('.').collect::<Vec<_>>()[..] else { return Ok(None) };
        let Ok(id) = id.parse() else { return Ok(None) };
        let Some(key) = keys.get(id).await? else { return Ok(None) };
        if !key.verifies(Purpose::Form, &[mark.as_bytes(), person.as_bytes()], signature)? {
            return Ok(None);
        }
        let person = BASE64_URL_SAFE_NO_PAD.decode(person).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(person.map(Person))
    }
}

impl fmt::Display for FormToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
