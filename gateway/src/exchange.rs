//! What happens around every request, whatever it asks: correlation, one log line, metrics, bounds, and an answer even
//! to a panic.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

use crate::authentication::Principal;
use crate::client_address::{self, ClientAddress};
use crate::correlation::{CORRELATION_ID, Correlation};
use crate::fair_share::FairSharePermit;
use crate::preferences::Preferences;
use crate::problem::{Problem, ProblemKind};
use crate::state::Shared;

/// Large bodies that are received or worked on at once, in KiB together.
pub(crate) const BODY_ROOM_KIB: usize = 16 * 1024;
/// A body below this needs no room.
const SMALL_BODY_KIB: u32 = 64;
/// What a body of unknown length counts as: no route takes more.
const LARGEST_BODY: usize = bus::streams::LARGEST_COMMAND;
/// How long a request waits for a permit before it is refused.
const LONGEST_QUEUE: Duration = Duration::from_secs(2);

/// Gives a request its correlation, runs it, and accounts for it.
pub(crate) async fn account(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let correlation = Correlation::from_headers(request.headers(), || shared.new_correlation_id());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let preferences = Preferences::from_headers(request.headers());
    let client = client_address::peer(request.extensions())
        .map(|peer| ClientAddress::from_headers(peer, request.headers(), &shared.options.trusted_proxies));
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    request.extensions_mut().insert(correlation.clone());
    request.extensions_mut().insert(preferences.clone());

    let mut response = answer(next.run(request), shared.options.longest_request, &route).await;
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
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));

    let elapsed = started.elapsed();
    let status = response.status();
    shared.request_metrics.count(&method, &route, status, elapsed);
    let asked = RequestLine { method: &method, path: &path, route: &route, client };
    log(status, &asked, elapsed, actor.as_deref(), &correlation.id);
    response
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
    } else if matches!(*route, "/livez" | "/readyz" | "/metrics") {
        line!(debug);
    } else {
        line!(info);
    }
}

/// Bounds the bytes of large bodies that are received or worked on at once: in the forms that it passes through, a body
/// takes several times its size. Who finds no room soon is told to come back. Small bodies need none.
pub(crate) async fn room_for_body(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let bytes = match declared {
        Some(declared) => declared,
        None if request.body().is_end_stream() => 0,
        None => LARGEST_BODY,
    };
    let kib = u32::try_from(bytes.min(LARGEST_BODY) / 1024).unwrap_or(u32::MAX);
    if kib < SMALL_BODY_KIB {
        return Ok(next.run(request).await);
    }
    let room = tokio::time::timeout(LONGEST_QUEUE, shared.body_room.acquire_many(kib)).await;
    let _room = room.ok().and_then(Result::ok).ok_or_else(|| {
        Problem::unavailable("There are too many large bodies at the moment.", Duration::from_secs(1))
    })?;
    Ok(next.run(request).await)
}

tokio::task_local! {
    /// The permit of the request that this task works on; none while it waits.
    static PERMIT: RefCell<Option<FairSharePermit>>;
}

/// Bounds how many requests are worked on at once, of all and of each. Who gets no permit soon is told to come back.
pub(crate) async fn queue(State(shared): State<Shared>, request: Request, next: Next) -> Result<Response, Problem> {
    let principal = request.extensions().get::<Principal>().cloned();
    let principal =
        principal.ok_or_else(|| Problem::new(ProblemKind::Unauthenticated, "This needs a key or a token."))?;
    let permit = shared.request_permits.take(&principal, LONGEST_QUEUE).await?;
    Ok(PERMIT.scope(RefCell::new(Some(permit)), next.run(request)).await)
}

/// Waits for something that others have to do first. Whoever waits does nothing, so it needs no permit: those who wait
/// never keep out those who are waited for. Waits are bounded for themselves.
///
/// # Errors
/// That of the wait; 429 and 503 when there is no room to wait, or no permit afterwards.
pub(crate) async fn without_permit(
    shared: &Shared,
    wait: impl Future<Output = Result<(), Problem>>,
) -> Result<(), Problem> {
    let permit = PERMIT.try_with(|permit| permit.borrow_mut().take()).ok().flatten();
    let Some(permit) = permit else { return wait.await };
    let place = shared.wait_permits.take(&permit.holder, Duration::ZERO).await?;
    drop(permit);
    wait.await?;
    let permit = shared.request_permits.take(&place.holder, LONGEST_QUEUE).await?;
    PERMIT.with(|given| given.replace(Some(permit)));
    Ok(())
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
