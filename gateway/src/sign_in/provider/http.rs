//! Asking the provider: over TLS, within seconds, for answers of a bounded size, and nobody else in its place.

use std::pin::Pin;
use std::time::Duration;

use domain::Invalid;
use http::StatusCode;
use openidconnect::{AccessToken, AsyncHttpClient, HttpRequest, HttpResponse};
use serde_json::{Map, Value};
use url::Url;

use super::ProviderError;
use crate::sign_in::site::is_this_machine;

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const LARGEST_ANSWER: usize = 1 << 20;

/// Whether what is said to this address stays between the two of us: https, or http on this machine.
pub(super) fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url))
}

/// The provider gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// What it names as its address is none that may be asked.
    #[error("an address of the provider is neither https nor http on this machine")]
    Unsafe,
    /// It did not answer.
    #[error("the provider did not answer")]
    NoAnswer(#[source] reqwest::Error),
    /// It answered with too much.
    #[error("the provider's answer is larger than {LARGEST_ANSWER} bytes")]
    TooLarge,
    /// The answer could not be taken over.
    #[error("the provider's answer is none")]
    Malformed(#[source] http::Error),
}

/// A client for the provider, as the protocol's crate asks for one.
#[derive(Debug, Clone)]
pub(super) struct Http(reqwest::Client);

impl Http {
    /// A client that trusts these certificates, those of the system where there are none.
    ///
    /// # Errors
    /// [`Invalid`] for certificates that are none.
    pub(super) fn new(ca_pem: Option<&[u8]>) -> Result<Self, Invalid> {
        // A redirect would be followed with what was meant for the provider alone.
        let builder =
            || reqwest::Client::builder().timeout(ANSWER_WITHIN).redirect(reqwest::redirect::Policy::none()).no_proxy();
        let unusable =
            |problem: &str| Invalid::new("ca", problem.to_owned(), "a PEM file with one or more certificates");
        let built = match ca_pem {
            Some(pem) => {
                let certificates =
                    reqwest::Certificate::from_pem_bundle(pem).map_err(|_| unusable("holds what is no certificate"))?;
                if certificates.is_empty() {
                    return Err(unusable("holds no certificate"));
                }
                builder().tls_certs_only(certificates).build()
            }
            None => builder().build().or_else(|error| {
                // A small image has no certificates at all. The provider is then refused, with the reason.
                tracing::warn!(error = &error as &dyn std::error::Error, "the system vouches for no certificate");
                builder().tls_certs_only([]).build()
            }),
        };
        built.map(Self).map_err(|_| unusable("cannot be used"))
    }

    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = reqwest::Request::try_from(request).map_err(HttpError::NoAnswer)?;
        if !is_safe(request.url()) {
            return Err(HttpError::Unsafe);
        }
        let without_url = |error: reqwest::Error| HttpError::NoAnswer(error.without_url());
        let mut response = self.0.execute(request).await.map_err(without_url)?;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(without_url)? {
            if body.len() + part.len() > LARGEST_ANSWER {
                return Err(HttpError::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        let mut answer = http::Response::builder().status(response.status());
        if let Some(headers) = answer.headers_mut() {
            headers.extend(response.headers().clone());
        }
        answer.body(body).map_err(HttpError::Malformed)
    }

    /// What the provider tells of the account that this token stands for; nothing where it does so in a form other than
    /// JSON.
    pub(super) async fn user_info(
        &self,
        address: &Url,
        token: &AccessToken,
    ) -> Result<Map<String, Value>, ProviderError> {
        let request = http::Request::builder()
            .uri(address.as_str())
            .header(http::header::AUTHORIZATION, format!("Bearer {}", token.secret()))
            .header(http::header::ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|_| ProviderError::Away)?;
        let answer = self.ask(request).await.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "the provider tells nothing more of an account");
            ProviderError::Away
        })?;
        if answer.status() != StatusCode::OK {
            tracing::warn!(status = answer.status().as_u16(), "the provider tells nothing more of an account");
            return Ok(Map::new());
        }
        Ok(serde_json::from_slice(answer.body()).unwrap_or_default())
    }
}

impl<'client> AsyncHttpClient<'client> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'client>>;

    fn call(&'client self, request: HttpRequest) -> Self::Future {
        Box::pin(self.ask(request))
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
