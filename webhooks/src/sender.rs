//! Requests to one target: to addresses that were checked, signed, bounded in time and in what is read of the answer.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bus::clock::Clock;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use url::{Host, Url};

use crate::address::AllowedNetworks;
use crate::answer::{Attempt, retry_after};
use crate::message::Message;
use crate::resolver::{CheckedResolver, Lookup};
use crate::signature::{SigningSecret, signatures};
use crate::targets::Target;

/// Most bytes that are read of an answer's body.
const LARGEST_ANSWER: usize = 2_048;
/// Longest time to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// Why no requests can be made.
#[derive(Debug, thiserror::Error)]
#[error("no client can be made for the target {target:?}")]
pub struct SenderError {
    target: String,
    #[source]
    source: reqwest::Error,
}

/// What a target answered when it was asked whether it wants to be delivered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// It does, at most so often a minute; `None`: any number.
    Agreed { rate: Option<i64> },
    /// It does not, or did not say so.
    Refused(String),
}

/// Sends to one target.
pub(crate) struct Sender {
    client: Client,
    url: Url,
    allowed: AllowedNetworks,
    secrets: Vec<SigningSecret>,
    clock: Clock,
}

impl Sender {
    /// A sender for a target, which looks names up so.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(target: &Target, lookup: Lookup, clock: Clock) -> Result<Self, SenderError> {
        let builder = Client::builder()
            .dns_resolver(Arc::new(CheckedResolver::new(target.allowed.clone(), lookup)))
            .connect_timeout(CONNECT_WITHIN.min(target.timeout))
            .timeout(target.timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            // A redirect may lead anywhere.
            .redirect(Policy::none())
            // A proxy of the environment would resolve names by itself.
            .no_proxy()
            .referer(false)
            .user_agent(concat!("lablet-webhooks/", env!("CARGO_PKG_VERSION")));
        let builder = match (&target.certificates, target.url.scheme()) {
            (Some(certificates), _) => builder.tls_certs_only(certificates.clone()),
            (None, "https") => builder,
            (None, _) => builder.tls_certs_only([]),
        };
        Ok(Self {
            client: builder.build().map_err(|source| SenderError { target: target.name.clone(), source })?,
            url: target.url.clone(),
            allowed: target.allowed.clone(),
            secrets: target.secrets.clone(),
            clock,
        })
    }

    /// Sends a message once.
    pub(crate) async fn send(&self, message: &Message) -> Attempt {
        let mut headers = message.headers.clone();
        if !self.secrets.is_empty() {
            let timestamp = self.clock.now().timestamp();
            let signature = signatures(&self.secrets, &message.id, timestamp, &message.body);
            for (name, value) in [
                (WEBHOOK_ID, message.id.clone()),
                (WEBHOOK_TIMESTAMP, timestamp.to_string()),
                (WEBHOOK_SIGNATURE, signature),
            ] {
                match HeaderValue::try_from(value) {
                    Ok(value) => headers.insert(name, value),
                    Err(error) => return Attempt::Unanswered(error.to_string()),
                };
            }
        }
        // What the target does with it belongs to the same trace.
        if let Some(Ok(trace)) = bus::trace::current().map(HeaderValue::try_from) {
            headers.insert(bus::trace::TRACEPARENT, trace);
        }
        let response = match self.request(Method::POST, headers, Some(message)).await {
            Ok(response) => response,
            Err(reason) => return Attempt::Unanswered(reason),
        };
        let status = response.status();
        let retry_after = text(response.headers(), &RETRY_AFTER).and_then(|value| retry_after(value, self.clock.now()));
        let body = if status.is_success() { String::new() } else { beginning(response).await };
        Attempt::Answered { status, retry_after, body }
    }

    /// Asks the target whether it wants to be delivered to, by CloudEvents' "HTTP 1.1 Web Hooks for Event Delivery".
    pub(crate) async fn ask(&self, origin: &str, rate: Option<u32>) -> Handshake {
        let mut headers = HeaderMap::new();
        let Ok(value) = HeaderValue::try_from(origin) else {
            return Handshake::Refused(format!("the origin {origin:?} is no host"));
        };
        headers.insert(REQUEST_ORIGIN, value);
        if let Some(rate) = rate {
            headers.insert(REQUEST_RATE, HeaderValue::from(rate));
        }
        match self.request(Method::OPTIONS, headers, None).await {
            Ok(response) => agreement(response.status(), response.headers(), origin),
            Err(reason) => Handshake::Refused(format!("no answer: {reason}")),
        }
    }

    async fn request(&self, method: Method, headers: HeaderMap, message: Option<&Message>) -> Result<Response, String> {
        // The resolver is not asked for an address that stands in the URL itself.
        let literal = match self.url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(address) = literal {
            self.allowed.check(address).map_err(|refused| refused.to_string())?;
        }
        let mut request = self.client.request(method, self.url.clone()).headers(headers);
        if let Some(message) = message {
            request = request.body(message.body.clone());
        }
        request.send().await.map_err(reason)
    }
}

/// What an answer to the question says.
fn agreement(status: StatusCode, headers: &HeaderMap, origin: &str) -> Handshake {
    let refused = |what: String| Handshake::Refused(format!("OPTIONS was answered {}{what}", status.as_u16()));
    if !status.is_success() {
        return refused("; 200 with WebHook-Allowed-Origin is right".to_owned());
    }
    match text(headers, &ALLOWED_ORIGIN).map(str::trim) {
        Some(allowed) if allowed == "*" || allowed.eq_ignore_ascii_case(origin) => {}
        Some(_) => return refused(format!("; its WebHook-Allowed-Origin is not {origin}")),
        None => return refused(" without WebHook-Allowed-Origin".to_owned()),
    }
    match text(headers, &ALLOWED_RATE).map(str::trim) {
        None | Some("*") => Handshake::Agreed { rate: None },
        Some(rate) => match rate.parse::<u32>() {
            Ok(rate) if rate > 0 => Handshake::Agreed { rate: Some(rate.into()) },
            _ => refused("; its WebHook-Allowed-Rate is neither * nor requests a minute".to_owned()),
        },
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The beginning of an answer's body; the rest is not read.
async fn beginning(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < LARGEST_ANSWER {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(chunk.get(..LARGEST_ANSWER - body.len()).unwrap_or(&chunk)),
            Ok(None) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&body).trim().to_owned()
}

/// Why a request failed, without the address, which may be a secret: the last causes say most.
fn reason(error: reqwest::Error) -> String {
    let (is_timeout, is_connect) = (error.is_timeout(), error.is_connect());
    let error = error.without_url();
    let causes: Vec<String> =
        std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string).collect();
    let last = causes.last().cloned().unwrap_or_else(|| error.to_string());
    match (is_connect, is_timeout) {
        (_, true) => "it did not come in time".to_owned(),
        (true, false) => format!("no connection: {last}"),
        (false, false) => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_agrees_by_naming_the_origin_and_how_often() {
        let asked = |status: u16, headers: &[(HeaderName, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            agreement(StatusCode::from_u16(status).unwrap(), &headers, "lablet.example.com")
        };
        let origin = (ALLOWED_ORIGIN, "lablet.example.com");
        assert_eq!(asked(200, std::slice::from_ref(&origin)), Handshake::Agreed { rate: None });
        assert_eq!(asked(204, &[(ALLOWED_ORIGIN, "*"), (ALLOWED_RATE, "*")]), Handshake::Agreed { rate: None });
        assert_eq!(asked(200, &[origin.clone(), (ALLOWED_RATE, "120")]), Handshake::Agreed { rate: Some(120) });
        for (status, headers) in [
            (405, vec![origin.clone()]),
            (200, vec![]),
            (200, vec![(ALLOWED_ORIGIN, "other.example.com")]),
            (200, vec![origin.clone(), (ALLOWED_RATE, "0")]),
            (200, vec![origin.clone(), (ALLOWED_RATE, "many")]),
        ] {
            assert!(matches!(asked(status, &headers), Handshake::Refused(_)), "{status} {headers:?}");
        }
    }
}
