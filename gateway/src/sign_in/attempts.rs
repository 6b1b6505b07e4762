//! Sign-ins that are under way at the provider: each is kept by the browser in which it began, in a cookie of its own.
//!
//! So any number of people can sign in at once, each in any number of tabs, and nobody can use up another's room.
//!
//! The cookie says when the attempt ends and where it leads. Both are signed together with the state, so that a cookie
//! fits one answer of the provider only and cannot be forged. It needs no encryption: only its owner has it, scripts
//! cannot read it, and it holds neither the PKCE verifier nor the nonce, which are derived from the state with a key that
//! never leaves the server. An answer is taken once: the provider redeems a code once, and the first answer clears the
//! cookie.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bus::clock::Clock;
use chrono::TimeDelta;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::cookie::Cookies;
use super::keys::{Key, Keys, Purpose};
use super::local_path::LocalPath;
use super::{SignInError, secret};

/// How long somebody may take at the provider.
const LASTS: TimeDelta = TimeDelta::minutes(10);
/// Most attempts of one browser; the oldest makes room.
const MOST: usize = 5;
/// Most bytes of all cookies of attempts of one browser: a proxy refuses requests whose headers are too large.
const MOST_BYTES: usize = 5_000;
/// Longest path that a cookie takes along. Of a longer one the query stays behind.
const LONGEST_PATH: usize = 2_000;

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
    fn new(state: String, return_to: LocalPath, key: &Key) -> Result<Self, SignInError> {
        let made = |purpose| key.sign(purpose, &[state.as_bytes()]);
        Ok(Self { nonce: made(Purpose::Nonce)?, verifier: made(Purpose::Verifier)?, state, return_to })
    }
}

/// All that are under way.
#[derive(Debug, Clone)]
pub(crate) struct Attempts {
    keys: Keys,
    cookies: Cookies,
    clock: Clock,
}

impl Attempts {
    /// Attempts that are signed with these keys.
    pub(crate) fn new(keys: Keys, cookies: Cookies, clock: Clock) -> Self {
        Self { keys, cookies, clock }
    }

    /// Begins an attempt in the browser that sent these headers, with the cookies that it is given.
    pub(super) async fn begin(
        &self,
        headers: &HeaderMap,
        return_to: LocalPath,
    ) -> Result<(Attempt, Vec<HeaderValue>), SignInError> {
        let key = self.keys.newest().await?;
        let attempt = Attempt::new(secret::random()?, return_to.within(LONGEST_PATH), &key)?;
        let ends_at = (self.clock.now() + LASTS).timestamp();
        let path = BASE64_URL_SAFE_NO_PAD.encode(attempt.return_to.as_str());
        let signature = key.sign(Purpose::Attempt, &signed(&attempt.state, &ends_at.to_string(), &path))?;
        let value = format!("{}.{ends_at}.{path}.{signature}", key.id);
        let mut cookies = self.make_room(headers, value.len());
        cookies.extend(self.cookies.set_attempt(&name(&attempt.state), &value, LASTS.num_seconds()));
        Ok((attempt, cookies))
    }

    /// The attempt with this state, if this browser began it and it has not ended; and what clears its cookie.
    pub(super) async fn take(
        &self,
        headers: &HeaderMap,
        state: &str,
    ) -> Result<(Option<Attempt>, Option<HeaderValue>), SignInError> {
        let name = name(state);
        let Some((_, value)) = self.cookies.attempts(headers).find(|(found, _)| *found == name) else {
            return Ok((None, None));
        };
        let cleared = self.cookies.clear_attempt(&name);
        let [id, ends_at, path, signature] = value.split('.').collect::<Vec<_>>()[..] else {
            return Ok((None, cleared));
        };
        let Some(key) = (match id.parse() {
            Ok(id) => self.keys.get(id).await?,
            Err(_) => None,
        }) else {
            return Ok((None, cleared));
        };
        let is_ours = key.verifies(Purpose::Attempt, &signed(state, ends_at, path), signature)?;
        if !is_ours || ends_at.parse().is_ok_and(|ends_at: i64| ends_at <= self.clock.now().timestamp()) {
            return Ok((None, cleared));
        }
        let path = BASE64_URL_SAFE_NO_PAD.decode(path).ok().and_then(|path| String::from_utf8(path).ok());
        let return_to = LocalPath::or_start(&path.unwrap_or_default());
        Ok((Some(Attempt::new(state.to_owned(), return_to, &key)?), cleared))
    }

    /// Clears the browser's oldest attempts until there is room for one of this length.
    fn make_room(&self, headers: &HeaderMap, length: usize) -> Vec<HeaderValue> {
        let ends_at = |value: &str| value.split('.').nth(1).and_then(|time| time.parse().ok()).unwrap_or(0_i64);
        let mut held: Vec<(i64, &str, usize)> =
            self.cookies.attempts(headers).map(|(name, value)| (ends_at(value), name, value.len())).collect();
        held.sort_unstable_by(|one, other| other.cmp(one));
        let (mut bytes, mut kept, now) = (length, 0, self.clock.now().timestamp());
        let mut cleared = Vec::new();
        for (ends_at, name, length) in held {
            bytes += length;
            kept += 1;
            if kept >= MOST || bytes > MOST_BYTES || ends_at <= now {
                cleared.extend(self.cookies.clear_attempt(name));
            }
        }
        cleared
    }
}

/// The part of the cookie's name that is derived from the state, which comes back with the provider's answer.
fn name(state: &str) -> String {
    Sha256::digest(state).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn signed<'a>(state: &'a str, ends_at: &'a str, path: &'a str) -> [&'a [u8]; 3] {
    [state.as_bytes(), ends_at.as_bytes(), path.as_bytes()]
}
