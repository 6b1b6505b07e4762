//! Whether a request that changes something comes from a page of this very site.

use app::notice::PublicUrl;
use domain::Invalid;
use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use url::Url;

use crate::outward::is_this_machine;
use crate::problem::{Problem, ProblemKind};

/// What a browser says about where a request comes from. Pages cannot change it.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// How this site is reached.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    address: String,
    origin: String,
    base_path: String,
    is_loopback: bool,
}

impl Site {
    /// The site at this public address.
    ///
    /// # Errors
    /// [`Invalid`] for an address whose path could not stand in links and cookies.
    pub(crate) fn new(public_url: &PublicUrl) -> Result<Self, Invalid> {
        let expected = "e.g. https://lablet.example.com or https://example.com/lablet";
        let unusable = |problem: &str| Invalid::new("public_url", problem.to_owned(), expected);
        let url = Url::parse(public_url.as_str()).map_err(|_| unusable("is no absolute URL"))?;
        let base_path = url.path().trim_end_matches('/').to_owned();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~');
        if !base_path.bytes().all(plain) || base_path.contains("//") {
            return Err(unusable("has a path of more than letters, digits, -, ., _ and ~"));
        }
        let is_loopback = url.scheme() == "http" && is_this_machine(&url);
        let origin = url.origin().ascii_serialization();
        Ok(Self { address: format!("{origin}{base_path}"), origin, base_path, is_loopback })
    }

    /// The public address, without a slash at its end.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The path below which a proxy serves this site, without a slash at its end; empty where it has the host for itself.
    pub(crate) fn base_path(&self) -> &str {
        &self.base_path
    }

    /// Whether browsers reach it over TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.origin.starts_with("https:")
    }

    /// Whether browsers keep this site's cookies: they come over TLS, or stay on this machine.
    pub(crate) fn keeps_cookies(&self) -> bool {
        self.is_loopback || self.is_secure()
    }

    /// Whether cookies may go over plain http: it does not leave this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Refuses a change that a page of another site asks for. A client that is no browser sends none of these headers and
    /// passes: nobody can make it send somebody's cookie.
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
        Err(Problem::new(
            ProblemKind::Forbidden,
            "This was asked for by a page of another site; open the page here instead.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn passes(headers: &[(&'static str, &'static str)]) -> bool {
        let site = Site::new(&PublicUrl::parse("https://lablet.example.com").unwrap()).unwrap();
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
            let site = Site::new(&PublicUrl::parse(url).unwrap()).unwrap();
            assert_eq!(site.is_loopback(), loopback, "{url}");
            assert_eq!(site.keeps_cookies(), loopback || url.starts_with("https:"), "{url}");
        }
    }

    #[test]
    fn a_path_is_taken_where_it_can_stand_in_links_and_cookies() {
        let site = |url: &str| Site::new(&PublicUrl::parse(url).unwrap());
        for (url, base) in [
            ("https://a.example", ""),
            ("https://a.example/", ""),
            ("https://a.example/labs/lablet/", "/labs/lablet"),
            ("https://a.example/x/../lablet", "/lablet"),
        ] {
            let site = site(url).unwrap();
            assert_eq!(
                (site.base_path(), site.address()),
                (base, format!("https://a.example{base}").as_str()),
                "{url}"
            );
        }
        for url in
            ["https://a.example/a;b", "https://a.example/a%20b", "https://a.example/a&b", "https://a.example//a//b"]
        {
            assert_eq!(site(url).unwrap_err().field, "public_url", "{url}");
        }
    }
}
