//! Asking another service, an OpenID provider or the gateway of another cell: over TLS, within seconds, for answers of a bounded
//! size, and nobody else in its place.

use std::time::Duration;

use domain::Invalid;
use url::{Host, Url};

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const LARGEST_ANSWER: usize = 1 << 20;

/// Whether an address is of this machine, so that what is said to it goes over no wire.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether what is said to this address stays between the two of us: https, or http on this machine.
pub(crate) fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url))
}

/// No answer came that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutwardError {
    /// The address is none that may be asked.
    #[error("the address is neither https nor http on this machine")]
    Unsafe,
    /// There was none.
    #[error("there was no answer")]
    NoAnswer(#[source] reqwest::Error),
    /// It answered with too much.
    #[error("the answer is larger than {LARGEST_ANSWER} bytes")]
    TooLarge,
    /// The answer could not be taken over.
    #[error("the answer is none")]
    Malformed(#[source] http::Error),
}

/// A client for it.
#[derive(Debug, Clone)]
pub(crate) struct OutwardClient {
    /// By way of the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`), where it names one.
    outward: reqwest::Client,
    /// What is asked of this machine goes through no proxy.
    on_this_machine: reqwest::Client,
}

impl OutwardClient {
    /// A client that trusts these certificates, those of the system where there are none.
    ///
    /// # Errors
    /// [`Invalid`] for certificates that are none.
    pub(crate) fn new(ca_pem: Option<&[u8]>) -> Result<Self, Invalid> {
        let unusable =
            |problem: &str| Invalid::new("ca", problem.to_owned(), "a PEM file with one or more certificates");
        let certificates = match ca_pem {
            Some(pem) => {
                let certificates =
                    reqwest::Certificate::from_pem_bundle(pem).map_err(|_| unusable("holds what is no certificate"))?;
                if certificates.is_empty() {
                    return Err(unusable("holds no certificate"));
                }
                Some(certificates)
            }
            None => None,
        };
        // A redirect would be followed with what was meant for the one that was asked alone.
        let builder = || reqwest::Client::builder().timeout(ANSWER_WITHIN).redirect(reqwest::redirect::Policy::none());
        let build = |builder: &dyn Fn() -> reqwest::ClientBuilder| match &certificates {
            Some(certificates) => builder().tls_certs_only(certificates.clone()).build(),
            None => builder().build().or_else(|error| {
                // A small image has no certificates at all. The provider is then refused, with the reason.
                tracing::warn!(error = &error as &dyn std::error::Error, "system trusts no certificate authority");
                builder().tls_certs_only([]).build()
            }),
        };
        let build =
            |builder: &dyn Fn() -> reqwest::ClientBuilder| build(builder).map_err(|_| unusable("cannot be used"));
        Ok(Self { outward: build(&builder)?, on_this_machine: build(&|| builder().no_proxy())? })
    }

    /// The answer to a request, whatever its status.
    pub(crate) async fn ask(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, OutwardError> {
        let request = reqwest::Request::try_from(request).map_err(OutwardError::NoAnswer)?;
        if !is_safe(request.url()) {
            return Err(OutwardError::Unsafe);
        }
        let client = if is_this_machine(request.url()) { &self.on_this_machine } else { &self.outward };
        let without_url = |error: reqwest::Error| OutwardError::NoAnswer(error.without_url());
        let mut response = client.execute(request).await.map_err(without_url)?;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(without_url)? {
            if body.len() + part.len() > LARGEST_ANSWER {
                return Err(OutwardError::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        let mut answer = http::Response::builder().status(response.status());
        if let Some(headers) = answer.headers_mut() {
            headers.extend(response.headers().clone());
        }
        answer.body(body).map_err(OutwardError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_stay_on_this_machine() {
        for (url, safe) in [
            ("https://login.example.com", true),
            ("http://127.0.0.1:5000", true),
            ("http://localhost:5000", true),
            ("http://login.example.com", false),
            ("ftp://127.0.0.1", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(is_safe(&Url::parse(url).unwrap()), safe, "{url}");
        }
    }
}
