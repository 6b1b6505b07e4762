//! The cookies: the session's, and those of sign-ins that are under way at the provider.
//!
//! Browsers do not tell ports apart, nor always paths: so each name holds a hash of the public address, and no two
//! Lablets on one host overwrite each other's cookies. Over TLS the names have the prefix by which browsers keep other
//! sites of the same domain from setting them.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::site::Site;

/// Characters of a secret: 256 bits in base64url.
const SECRET_LENGTH: usize = 43;

/// How cookies are called and set here.
#[derive(Debug, Clone)]
pub(crate) struct Cookies {
    session: String,
    attempt: String,
    /// What comes after the value.
    attributes: String,
}

/// The hash of a text, short enough for a name.
fn tag(text: &str) -> String {
    Sha256::digest(text).iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

impl Cookies {
    /// The cookies of this site.
    pub(crate) fn for_site(site: &Site) -> Self {
        let (base, tag) = (site.base_path(), tag(site.address()));
        let prefix = match (site.is_secure(), base) {
            (false, _) => "",
            (true, "") => "__Host-",
            (true, _) => "__Secure-",
        };
        let path = if base.is_empty() { "/" } else { base };
        // Off where the gateway is reached over http on this machine alone.
        let secure = if site.is_loopback() { "" } else { "; Secure" };
        Self {
            session: format!("{prefix}lablet_session_{tag}"),
            attempt: format!("{prefix}lablet_sign_in_{tag}_"),
            attributes: format!("; Path={path}; HttpOnly; SameSite=Lax{secure}"),
        }
    }

    /// The session's secret that a browser presents, if it looks like one.
    pub(crate) fn session<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        presented(headers)
            .filter(|(name, _)| *name == self.session)
            .map(|(_, value)| value)
            .find(|value| is_secret(value))
    }

    /// Gives a browser its session. It ends with the browser; the server's own limits are shorter in any case.
    pub(crate) fn set_session(&self, secret: &str) -> Option<HeaderValue> {
        self.set(&self.session, secret, None)
    }

    /// Takes a browser its session.
    pub(crate) fn clear_session(&self) -> Option<HeaderValue> {
        self.set(&self.session, "", Some(0))
    }

    /// The sign-ins under way that a browser presents, by what follows the common part of their names.
    pub(super) fn attempts<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = (&'a str, &'a str)> {
        presented(headers).filter_map(|(name, value)| Some((name.strip_prefix(&self.attempt)?, value)))
    }

    /// Lets a browser keep a sign-in that is under way, for so many seconds.
    pub(super) fn set_attempt(&self, name: &str, value: &str, seconds: i64) -> Option<HeaderValue> {
        self.set(&format!("{}{name}", self.attempt), value, Some(seconds))
    }

    /// A sign-in at the provider is over.
    pub(super) fn clear_attempt(&self, name: &str) -> Option<HeaderValue> {
        self.set_attempt(name, "", 0)
    }

    fn set(&self, name: &str, value: &str, seconds: Option<i64>) -> Option<HeaderValue> {
        let age = seconds.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
        HeaderValue::from_str(&format!("{name}={value}{age}{}", self.attributes)).ok()
    }
}

/// The names and values that a browser presents.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

fn is_secret(value: &str) -> bool {
    let is_of_secret = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    value.len() == SECRET_LENGTH && value.bytes().all(is_of_secret)
}

#[cfg(test)]
mod tests {
    use app::notice::PublicUrl;

    use super::*;

    fn cookies(url: &str) -> Cookies {
        Cookies::for_site(&Site::new(&PublicUrl::parse(url).unwrap()).unwrap())
    }

    #[test]
    fn a_secret_is_found_among_other_cookies_and_nothing_else_passes_for_one() {
        let (secret, cookies) = ("a".repeat(43), cookies("http://127.0.0.1:8080"));
        let name = &cookies.session;
        let headers = |value: &str| HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(value).unwrap())]);
        assert_eq!(cookies.session(&headers(&format!("theme=dark; {name}={secret}"))), Some(secret.as_str()));
        assert_eq!(cookies.attempts(&headers(&format!("{name}={secret}"))).count(), 0);
        for value in [
            &format!("{name}="),
            &format!("{name}=a"),
            &format!("{name}={}\"", "a".repeat(42)),
            &format!("lablet_session={secret}"),
            "x",
        ] {
            assert_eq!(cookies.session(&headers(value)), None, "{value}");
        }
    }

    #[test]
    fn two_sites_on_one_host_have_cookies_of_their_own() {
        let names: Vec<String> =
            ["http://127.0.0.1:8080", "http://127.0.0.1:8081", "https://a.example", "https://a.example/labs"]
                .map(|url| cookies(url).session)
                .into();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[index + 1..].contains(name), "{names:?}");
        }
    }

    #[test]
    fn cookies_are_kept_from_scripts_and_other_sites() {
        for (url, prefix, attributes) in [
            ("http://127.0.0.1:8080", "lablet_", "; Path=/; HttpOnly; SameSite=Lax"),
            ("https://a.example", "__Host-lablet_", "; Path=/; HttpOnly; SameSite=Lax; Secure"),
            ("https://a.example/labs", "__Secure-lablet_", "; Path=/labs; HttpOnly; SameSite=Lax; Secure"),
            ("http://a.example", "lablet_", "; Path=/; HttpOnly; SameSite=Lax; Secure"),
        ] {
            let cookies = cookies(url);
            let set = |value: Option<HeaderValue>| value.unwrap().to_str().unwrap().to_owned();
            for (value, age) in
                [(set(cookies.set_session("x")), ""), (set(cookies.set_attempt("1", "x", 600)), "; Max-Age=600")]
            {
                assert!(
                    value.starts_with(prefix) && value.ends_with(&format!("=x{age}{attributes}")),
                    "{url}: {value}"
                );
            }
        }
    }
}
