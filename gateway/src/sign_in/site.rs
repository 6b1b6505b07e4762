//! Whether a request that changes something comes from a page of this very site.

use app::notice::PublicUrl;
use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use url::{Host, Url};

use crate::problem::{Kind, Problem};

/// What a browser says about where a request comes from. Pages cannot change it.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether an address is of this machine, so that what is said to it goes over no wire.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// How this site is reached.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    origin: String,
    is_loopback: bool,
}

impl Site {
    /// The site at this public address.
    pub(crate) fn new(public_url: &PublicUrl) -> Self {
        let url = Url::parse(public_url.as_str()).ok();
        let is_loopback = url.as_ref().is_some_and(|url| url.scheme() == "http" && is_this_machine(url));
        Self { origin: url.map(|url| url.origin().ascii_serialization()).unwrap_or_default(), is_loopback }
    }

    /// Whether browsers keep this site's cookies: they come over TLS, or stay on this machine.
    pub(crate) fn keeps_cookies(&self) -> bool {
        self.is_loopback || self.origin.starts_with("https:")
    }

    /// Whether cookies may go over plain http: it does not leave this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Refuses a change that a page of another site asks for. A client that is no browser says nothing about itself and
    /// passes: it holds no other's cookie either.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        // `same-site` is another origin, too: another port of this machine, another name below the same domain.
        let is_ours = match (text(SEC_FETCH_SITE), text(ORIGIN.as_str())) {
            (Some(from), _) => matches!(from, "same-origin" | "none"),
            (None, Some(origin)) => {
                let host = origin.split_once("://").map(|(_, host)| host);
                origin == self.origin || (host.is_some() && host == text(HOST.as_str()))
            }
            (None, None) => true,
        };
        if is_ours {
            return Ok(());
        }
        Err(Problem::new(Kind::Forbidden, "This was asked for by a page of another site; open the page here instead."))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn passes(headers: &[(&'static str, &'static str)]) -> bool {
        let site = Site::new(&PublicUrl::parse("https://lablet.example.com").unwrap());
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect::<HeaderMap>();
        site.check(&headers).is_ok()
    }

    #[test]
    fn what_another_site_asks_for_is_refused() {
        assert!(passes(&[]));
        assert!(passes(&[("sec-fetch-site", "same-origin"), ("origin", "null")]));
        assert!(passes(&[("sec-fetch-site", "none")]));
        assert!(passes(&[("origin", "https://lablet.example.com")]));
        assert!(passes(&[("origin", "http://localhost:8080"), ("host", "localhost:8080")]));
        for site in ["cross-site", "same-site", "sideways"] {
            assert!(!passes(&[("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["https://evil.example", "null", "http://lablet.example.com", "https://lablet.example.com.evil"] {
            assert!(!passes(&[("origin", origin), ("host", "internal:8080")]), "{origin}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for (url, loopback) in [
            ("http://127.0.0.1:8080", true),
            ("http://localhost:8080", true),
            ("http://[::1]:8080", true),
            ("https://127.0.0.1:8080", false),
            ("http://lablet.example.com", false),
            ("http://127.0.0.1.example.com", false),
        ] {
            let site = Site::new(&PublicUrl::parse(url).unwrap());
            assert_eq!(site.is_loopback(), loopback, "{url}");
            assert_eq!(site.keeps_cookies(), loopback || url.starts_with("https:"), "{url}");
        }
    }
}
