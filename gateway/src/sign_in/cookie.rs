//! The two cookies: the session's, and that of a sign-in which is under way at the provider.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// Name of the cookie of a browser's session.
const SESSION: &str = "lablet_session";
/// Name of the cookie that binds a sign-in at the provider to the browser in which it began.
const ATTEMPT: &str = "lablet_sign_in";
/// Characters of a secret: 256 bits in base64url.
const SECRET_LENGTH: usize = 43;

/// The session's secret that a browser presents, if it looks like one.
pub(crate) fn session(headers: &HeaderMap) -> Option<&str> {
    presented(headers, SESSION)
}

/// The attempt's secret that a browser presents, if it looks like one.
pub(crate) fn attempt(headers: &HeaderMap) -> Option<&str> {
    presented(headers, ATTEMPT)
}

fn presented<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == wanted)
        .map(|(_, value)| value)
        .find(|value| value.len() == SECRET_LENGTH && value.bytes().all(is_of_secret))
}

fn is_of_secret(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// How cookies are set here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cookies {
    /// Sent over TLS only. Off where the gateway is reached over http on this machine alone.
    pub(crate) secure: bool,
}

impl Cookies {
    /// Gives a browser its session. It ends with the browser; the server's own limits are shorter in any case.
    pub(crate) fn set_session(self, secret: &str) -> Option<HeaderValue> {
        self.cookie(SESSION, secret, "/", None)
    }

    /// Takes a browser its session.
    pub(crate) fn clear_session(self) -> Option<HeaderValue> {
        self.cookie(SESSION, "", "/", Some(0))
    }

    /// Binds a sign-in at the provider to this browser, for so many seconds.
    pub(crate) fn set_attempt(self, secret: &str, seconds: i64) -> Option<HeaderValue> {
        self.cookie(ATTEMPT, secret, "/sign-in", Some(seconds))
    }

    /// The sign-in at the provider is over.
    pub(crate) fn clear_attempt(self) -> Option<HeaderValue> {
        self.cookie(ATTEMPT, "", "/sign-in", Some(0))
    }

    fn cookie(self, name: &str, value: &str, path: &str, seconds: Option<i64>) -> Option<HeaderValue> {
        let age = seconds.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
        let secure = if self.secure { "; Secure" } else { "" };
        HeaderValue::from_str(&format!("{name}={value}; Path={path}{age}; HttpOnly; SameSite=Lax{secure}")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_among_other_cookies_and_nothing_else_passes_for_one() {
        let secret = "a".repeat(43);
        let headers = |value: &str| HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(value).unwrap())]);
        assert_eq!(session(&headers(&format!("theme=dark; lablet_session={secret}"))), Some(secret.as_str()));
        assert_eq!(attempt(&headers(&format!("lablet_session={secret}"))), None);
        for value in ["lablet_session=", "lablet_session=a", &format!("lablet_session={}\"", "a".repeat(42)), "x"] {
            assert_eq!(session(&headers(value)), None, "{value}");
        }
    }

    #[test]
    fn cookies_are_kept_from_scripts_and_other_sites() {
        let set = |secure| Cookies { secure }.set_session("x").unwrap();
        assert_eq!(set(true), "lablet_session=x; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(set(false), "lablet_session=x; Path=/; HttpOnly; SameSite=Lax");
        let short = Cookies { secure: true }.set_attempt("x", 600).unwrap();
        assert_eq!(short, "lablet_sign_in=x; Path=/sign-in; Max-Age=600; HttpOnly; SameSite=Lax; Secure");
    }
}
