//! Whether this process lives, whether it can work, and what it measures of itself.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authentication::Authority;
use crate::problem::Problem;
use crate::sign_in::sessions::Use;
use crate::state::Shared;

/// How long Postgres may take to answer before it counts as away.
const LONGEST_PROBE: Duration = Duration::from_secs(2);

/// Events that a read model may lack before it counts as behind: a batch that is under way is no news.
const TOLERATED_LAG: u64 = 1_000;

/// State of something this process needs, or of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// It works.
    Ok,
    /// Requests are served, but something is late or away.
    Degraded,
    /// Requests cannot be served.
    Down,
}

/// Whether requests can be served, and what is late or away.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Readiness {
    /// The worst that a request can notice.
    pub(crate) status: Health,
    /// Postgres. Without it nothing can be served.
    pub(crate) postgres: Health,
    /// NATS. Without it commands over HTTP work, notices wait.
    pub(crate) nats: Health,
    /// Read models that are behind the log, by name; empty when none is.
    pub(crate) behind: Vec<String>,
    /// Read models that hold something back because an event of it could not be applied, by name. Requests are served.
    #[serde(default)]
    pub(crate) parked: Vec<String>,
}

/// `GET /livez`: this process answers. Asks nobody.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 200 when requests can be served, 503 when not.
pub(crate) async fn ready(State(shared): State<Shared>) -> Response {
    let probe = tokio::time::timeout(LONGEST_PROBE, shared.reads.freshness()).await;
    let nats = if shared.bus.is_connected() { Health::Ok } else { Health::Degraded };
    let mut parked = Vec::new();
    let (postgres, behind) = match probe {
        Ok(Ok(freshness)) => {
            let holding = freshness.items.iter().filter(|model| model.parked_aggregates > 0);
            parked.extend(holding.map(|model| model.read_model.name().to_owned()));
            let late = freshness.items.iter().filter(|model| model.events_behind > TOLERATED_LAG);
            (Health::Ok, late.map(|model| model.read_model.name().to_owned()).collect())
        }
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready: the database does not answer");
            (Health::Down, Vec::new())
        }
        Err(_) => {
            tracing::warn!("not ready: the database did not answer in {} s", LONGEST_PROBE.as_secs());
            (Health::Down, Vec::new())
        }
    };
    let status = match (postgres, nats) {
        (Health::Down, _) => Health::Down,
        (_, Health::Degraded | Health::Down) => Health::Degraded,
        _ if !behind.is_empty() || !parked.is_empty() => Health::Degraded,
        _ => Health::Ok,
    };
    let code = if status == Health::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(Readiness { status, postgres, nats, behind, parked })).into_response()
}

/// `GET /metrics`: Prometheus text. Open to callers on this machine; others need an internal key.
///
/// A request that a proxy on this machine passes on counts as coming from outside.
pub(crate) async fn metrics(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !is_local(peer.ip(), &headers) {
        let signed_in = shared.authenticator.authenticate(&headers, Use::ByPage).await?;
        Authority::Internal.check(&signed_in.principal)?;
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render()).into_response())
}

fn is_local(peer: IpAddr, headers: &HeaderMap) -> bool {
    peer.to_canonical().is_loopback()
        && !["forwarded", "x-forwarded-for", "x-real-ip"].iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_open_on_this_machine_but_not_through_its_proxy() {
        let forwarded =
            HeaderMap::from_iter([(http::HeaderName::from_static("x-forwarded-for"), "203.0.113.7".parse().unwrap())]);
        assert!(is_local("127.0.0.1".parse().unwrap(), &HeaderMap::new()));
        assert!(is_local("::ffff:127.0.0.1".parse().unwrap(), &HeaderMap::new()));
        assert!(!is_local("127.0.0.1".parse().unwrap(), &forwarded));
        assert!(!is_local("203.0.113.7".parse().unwrap(), &HeaderMap::new()));
    }
}
