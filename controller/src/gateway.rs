//! The gateway's internal API, as far as a controller has to know what is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use domain::lablet_session::SessionStatus;
use domain::ports::PortRange;
use domain::timeslot::Timeslot;
use domain::worker::{KnownShortage, PressureReport, Shortage};
use domain::{LabId, RequestId, SessionId, WorkerId};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Names a position of the log that an answer has to show.
const POSITION: HeaderName = HeaderName::from_static("lablet-position");
/// Longest time of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer, bytes: the detail of a session holds a whole observation.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;
/// Rows of a page.
const PAGE: u32 = 200;
/// Most pages of one list, so that a cursor that leads in a circle ends.
const MOST_PAGES: u32 = 1_000;

/// The gateway could not be asked, or refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// No answer, or 429 or 5xx: it may work later.
    #[error("the gateway cannot be reached: {reason}")]
    Unreachable {
        /// What happened.
        reason: String,
    },
    /// It does not know what was asked for.
    #[error("the gateway does not know it")]
    NotFound,
    /// 401 or 403: the internal key is missing or not valid.
    #[error("the gateway refuses the internal key ({0})")]
    KeyRefused(u16),
    /// Any other refusal.
    #[error("the gateway refused with {status}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem document's detail, shortened.
        detail: String,
    },
    /// An answer that is not what the API promises.
    #[error("the gateway gave an invalid response: {reason}")]
    InvalidResponse {
        /// What was wrong.
        reason: String,
    },
}

/// The gateway's address or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GatewayOptionsError {
    /// The address is no http or https URL.
    #[error("the gateway's address is no http or https URL")]
    Address,
    /// The key has characters that no header can hold.
    #[error("the internal key holds characters that a header cannot")]
    Key,
    /// The HTTP client cannot be set up.
    #[error("the client of the gateway cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// A session as far as a controller is concerned.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// Since when it is there.
    #[serde(default)]
    pub status_since: Option<DateTime<Utc>>,
    /// Its worker.
    #[serde(default)]
    pub worker_id: Option<WorkerId>,
    /// Its lab.
    #[serde(default)]
    pub cml_lab_id: Option<LabId>,
    /// When it is booked.
    #[serde(default)]
    pub timeslot: Option<Timeslot>,
    /// Its observation requests; only the detail has them.
    #[serde(default, alias = "requests")]
    pub observation_requests: Vec<Request>,
}

/// An observation request and its outcome.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Request {
    /// The request.
    pub request_id: RequestId,
    /// When it was made.
    pub requested_at: DateTime<Utc>,
    /// `recorded`, `failed` or `skipped`; `open` or null while there is none.
    #[serde(default)]
    pub outcome: Option<String>,
}

impl Request {
    /// Whether its outcome is recorded.
    pub fn is_answered(&self) -> bool {
        self.outcome.as_deref().is_some_and(|outcome| outcome != "open")
    }
}

impl Session {
    /// The request with this id.
    pub fn request(&self, id: &RequestId) -> Option<&Request> {
        self.observation_requests.iter().find(|request| request.request_id == *id)
    }
}

/// A worker as far as a controller is concerned.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Worker {
    /// The worker.
    pub id: WorkerId,
    /// Where its API is.
    pub address: Url,
    /// Which outside ports its address translation honours; PATty's default where the gateway gives none.
    #[serde(default)]
    pub port_range: PortRange,
}

/// A shortage as the gateway tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct ShortageAnswer {
    worker_short: Option<bool>,
    #[serde(default)]
    worker_short_of: Vec<Shortage>,
}

impl From<ShortageAnswer> for KnownShortage {
    fn from(answer: ShortageAnswer) -> Self {
        let mut known = Self { is_known_throughout: answer.worker_short.is_some(), ..Self::default() };
        known.add(answer.worker_short_of);
        known.was_short |= answer.worker_short == Some(true);
        known
    }
}

/// Rows of a list, and how many could not be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// What could be read.
    pub items: Vec<T>,
    /// The others, with the reason.
    pub unreadable: Vec<String>,
}

/// Client of the internal API. Cloning shares connections.
#[derive(Clone)]
pub struct Gateway {
    http: reqwest::Client,
    base: Url,
    key: HeaderValue,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gateway").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct ListPage {
    items: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

impl Gateway {
    /// A client of the gateway at `base`, e.g. `http://127.0.0.1:8080`, that shows the internal `key`.
    ///
    /// # Errors
    /// [`GatewayOptionsError`].
    pub fn new(base: &str, key: &str) -> Result<Self, GatewayOptionsError> {
        let base = Url::parse(base)
            .ok()
            .filter(|base| matches!(base.scheme(), "http" | "https") && base.has_host())
            .ok_or(GatewayOptionsError::Address)?;
        let mut key = HeaderValue::try_from(key).map_err(|_| GatewayOptionsError::Key)?;
        key.set_sensitive(true);
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if base.scheme() == "http" {
            // Without TLS the system's certificates, which a small image may lack, are of no use.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self { http: builder.build().map_err(GatewayOptionsError::Client)?, base, key })
    }

    /// Asks whether the gateway is there.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn answers(&self) -> Result<(), GatewayError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("livez");
        }
        let answer = self.http.get(url).send().await.map_err(unreachable)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(GatewayError::Refused { status: status.as_u16(), detail: String::new() }),
        }
    }

    /// Every session that is running and whose timeslot ends before `end`, page by page.
    ///
    /// # Errors
    /// [`GatewayError`]; a page that fails fails the whole, as half a list would look like sessions that ended.
    pub async fn running_until(&self, end: DateTime<Utc>) -> Result<Rows<Session>, GatewayError> {
        let end = end.to_rfc3339_opts(SecondsFormat::Micros, true);
        self.list(&["lablet-sessions"], &[("status", "running"), ("timeslot_ended_before", &end)]).await
    }

    /// Every session that is running, page by page.
    ///
    /// # Errors
    /// [`GatewayError`]; a page that fails fails the whole.
    pub async fn running(&self) -> Result<Rows<Session>, GatewayError> {
        self.list(&["lablet-sessions"], &[("status", "running")]).await
    }

    /// One session with its observation requests.
    ///
    /// `position`: the answer shows at least what was recorded there; the gateway waits for it, bounded.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn session(&self, id: &SessionId, position: Option<&str>) -> Result<Session, GatewayError> {
        let mut request = self.http.get(self.url(&["lablet-sessions", id.as_str()], &[]));
        if let Some(position) = position {
            request = request.header(POSITION, position);
        }
        parsed(self.call(request).await?)
    }

    /// Every worker.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn workers(&self) -> Result<BTreeMap<WorkerId, Worker>, GatewayError> {
        let rows: Rows<Worker> = self.list(&["workers"], &[]).await?;
        for reason in rows.unreadable {
            tracing::warn!(reason, "listed worker cannot be read");
        }
        Ok(rows.items.into_iter().map(|worker| (worker.id.clone(), worker)).collect())
    }

    /// Reports an observation over HTTP, for reports that do not fit into a message. Repeating `key` records once.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn record_observation(
        &self,
        session: &SessionId,
        key: &str,
        body: &Value,
    ) -> Result<Value, GatewayError> {
        let url = self.url(&["lablet-sessions", session.as_str(), "resource-observations"], &[]);
        self.call(self.http.request(Method::POST, url).header(IDEMPOTENCY_KEY, key).json(body)).await
    }

    /// Reports how much of a worker is free, and what it is short of. Sent again, it changes nothing.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn record_pressure(&self, worker: &WorkerId, report: &PressureReport) -> Result<(), GatewayError> {
        let url = self.url(&["workers", worker.as_str(), "pressure"], &[]);
        self.call(self.http.request(Method::POST, url).json(report)).await.map(drop)
    }

    /// What a worker was short of between two times.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn worker_shortage(
        &self,
        worker: &WorkerId,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<KnownShortage, GatewayError> {
        let [since, until] = [since, until].map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
        let url = self.url(&["workers", worker.as_str(), "shortage"], &[("since", &since), ("until", &until)]);
        let answer: ShortageAnswer = parsed(self.call(self.http.get(url)).await?)?;
        Ok(answer.into())
    }

    async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        filters: &[(&str, &str)],
    ) -> Result<Rows<T>, GatewayError> {
        let limit = PAGE.to_string();
        let mut rows = Rows { items: Vec::new(), unreadable: Vec::new() };
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut query = filters.to_vec();
            query.push(("limit", &limit));
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let page: ListPage = parsed(self.call(self.http.get(self.url(path, &query))).await?)?;
            for item in page.items {
                match serde_json::from_value(item) {
                    Ok(item) => rows.items.push(item),
                    Err(error) => rows.unreadable.push(error.to_string()),
                }
            }
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(rows),
            }
        }
        Err(GatewayError::InvalidResponse { reason: format!("a list of more than {MOST_PAGES} pages") })
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        // An http address always has a path to extend.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "internal"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn call(&self, request: RequestBuilder) -> Result<Value, GatewayError> {
        let request = match bus::trace::current() {
            Some(trace) => request.header(bus::trace::TRACEPARENT, trace),
            None => request,
        };
        let mut response = request.header(API_KEY, self.key.clone()).send().await.map_err(unreachable)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > LARGEST_ANSWER {
                return Err(GatewayError::InvalidResponse { reason: format!("more than {LARGEST_ANSWER} bytes") });
            }
            bytes.extend_from_slice(&chunk);
        }
        let body = serde_json::from_slice::<Value>(&bytes);
        if status.is_success() {
            return body.map_err(|error| GatewayError::InvalidResponse {
                reason: format!("no JSON at line {}, column {}", error.line(), error.column()),
            });
        }
        let detail = body
            .ok()
            .and_then(|problem| Some(problem.get("detail")?.as_str()?.chars().take(500).collect::<String>()))
            .unwrap_or_default();
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => GatewayError::KeyRefused(status.as_u16()),
            StatusCode::NOT_FOUND => GatewayError::NotFound,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                GatewayError::Unreachable { reason: format!("it answered {status}") }
            }
            status if status.is_server_error() => GatewayError::Unreachable { reason: format!("it answered {status}") },
            status => GatewayError::Refused { status: status.as_u16(), detail },
        })
    }
}

fn parsed<T: DeserializeOwned>(value: Value) -> Result<T, GatewayError> {
    serde_json::from_value(value).map_err(|error| GatewayError::InvalidResponse { reason: error.to_string() })
}

/// Why there was no answer.
fn unreachable(error: reqwest::Error) -> GatewayError {
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    GatewayError::Unreachable { reason: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_to_be_one_and_a_key_is_never_shown() {
        let installed = rustls::crypto::ring::default_provider().install_default();
        drop(installed);
        for bad in ["", "gateway", "ftp://gateway", "http:"] {
            assert!(matches!(Gateway::new(bad, "k"), Err(GatewayOptionsError::Address)), "{bad}");
        }
        assert!(matches!(Gateway::new("http://gateway", "a\nb"), Err(GatewayOptionsError::Key)));
        let gateway = Gateway::new("http://gateway/behind/", "very-secret").unwrap();
        assert!(!format!("{gateway:?}").contains("secret"));
        assert_eq!(
            gateway.url(&["lablet-sessions"], &[("status", "running")]).as_str(),
            "http://gateway/behind/api/internal/lablet-sessions?status=running"
        );
    }
}
