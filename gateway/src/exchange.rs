//! What happens around every request, whatever it asks: correlation, one log line, metrics, bounds, and an answer even
//! to a panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bus::clock::IdGenerator;
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, CONNECTION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::GatewayOptions;
use crate::authentication::Principal;
use crate::client_address::{self, ClientAddress};
use crate::correlation::{CORRELATION_ID, Correlation};
use crate::heavy_reads::ReadFrom;
use crate::networks::Networks;
use crate::preferences::Preferences;
use crate::problem::{Problem, ProblemKind};
use crate::request_metrics::{RequestMetrics, method_label};

/// What every request goes through.
#[derive(Clone)]
pub(crate) struct Exchange(Arc<Inner>);

struct Inner {
    /// Counts every request.
    metrics: RequestMetrics,
    trusted_proxies: Networks,
    longest_request: Duration,
    draining: CancellationToken,
    id_generator: IdGenerator,
}

impl Exchange {
    /// An exchange that gives a request up after the longest time, and lets trusted proxies say where it comes from.
    pub(crate) fn new(options: &GatewayOptions, id_generator: IdGenerator) -> Self {
        Self(Arc::new(Inner {
            metrics: RequestMetrics::default(),
            trusted_proxies: options.trusted_proxies.clone(),
            longest_request: options.longest_request,
            draining: options.draining.clone(),
            id_generator,
        }))
    }
}

/// Gives a request its correlation, runs it, and accounts for it.
pub(crate) async fn account(State(Exchange(exchange)): State<Exchange>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let correlation = Correlation::from_headers(request.headers(), || exchange.id_generator.uuid().to_string());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let preferences = Preferences::from_headers(request.headers());
    let client = client_address::peer(request.extensions())
        .map(|peer| ClientAddress::from_headers(peer, request.headers(), &exchange.trusted_proxies));
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    request.extensions_mut().insert(correlation.clone());
    request.extensions_mut().insert(preferences.clone());
    let read_from = ReadFrom::default();
    request.extensions_mut().insert(read_from.clone());

    let span = span(&request, &route, &correlation);
    let handled = answer(next.run(request), exchange.longest_request, &route);
    let mut response = handled.instrument(span.clone()).await;
    let actor = response.extensions().get::<Principal>().map(ToString::to_string);
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let allow = response.headers_mut().remove(http::header::ALLOW);
        response = problem.at(&path).allowing(allow).into_response();
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&correlation.id) {
        headers.insert(CORRELATION_ID, id);
    }
    preferences.tell(headers);
    read_from.tell(headers);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if exchange.draining.is_cancelled() {
        // One that stays open would be closed while its client sends the next request.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }

    let elapsed = started.elapsed();
    let status = response.status();
    exchange.metrics.count(&method, &route, status, elapsed);
    let asked = RequestLine { method: &method, path: &path, route: &route, client };
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    span.in_scope(|| log(status, &asked, elapsed, actor.as_deref(), &correlation.id));
    response
}

/// The span of a request, below the caller's where it named one. Probes and scrapes have none.
fn span(request: &Request, route: &str, correlation: &Correlation) -> Span {
    if matches!(route, "/livez" | "/readyz" | "/metrics") {
        return Span::none();
    }
    let method = method_label(request.method());
    tracing::debug_span!(
        "http.request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        url.path = request.uri().path(),
        correlation.id = correlation.id,
        traceparent = correlation.traceparent,
    )
}

/// The answer, whatever becomes of the handler.
async fn answer(handler: impl Future<Output = Response>, longest: Duration, route: &str) -> Response {
    match AssertUnwindSafe(tokio::time::timeout(longest, handler)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            let detail =
                "The request was given up; whether it took effect is unknown. Repeat it with the same Idempotency-Key.";
            Problem::new(ProblemKind::TimedOut, detail).retry_after(Duration::from_secs(1)).into_response()
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(panic = text.unwrap_or("without a text"), http.route = route, "handler panicked");
            let detail = "The fault was logged; the correlation id of this answer leads to it.";
            Problem::new(ProblemKind::Internal, detail).into_response()
        }
    }
}

/// What a log line says of a request.
struct RequestLine<'a> {
    method: &'a http::Method,
    path: &'a str,
    route: &'a str,
    client: Option<ClientAddress>,
}

fn log(status: StatusCode, asked: &RequestLine<'_>, elapsed: Duration, actor: Option<&str>, correlation: &str) {
    let RequestLine { method, path, route, client } = asked;
    let client = client.map(|client| client.ip.to_string());
    let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let status_code = status.as_u16();
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                http.method = %method, http.path = path, http.route = route, http.status = status_code,
                duration_ms, client, actor, correlation, "answered"
            )
        };
    }
    if status.is_server_error() {
        line!(warn);
    } else if is_routine(route) && !status.is_client_error() {
        line!(debug);
    } else {
        line!(info);
    }
}

/// Whether programs ask this again and again, so that a line for each success would hide everything else.
fn is_routine(route: &str) -> bool {
    matches!(route, "/livez" | "/readyz" | "/metrics") || route.starts_with("/api/internal/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_and_a_handler_that_never_ends_are_answered_too() {
        let longest = Duration::from_millis(10);
        let panicked = answer(async { panic!("a secret") }, longest, "/x").await;
        assert_eq!(panicked.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(panicked.into_body(), 10_000).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
        let endless = answer(std::future::pending(), longest, "/x").await;
        assert_eq!(endless.status(), StatusCode::GATEWAY_TIMEOUT);
    }
}
