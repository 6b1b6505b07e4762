//! Whether this process lives, whether it can work, and what it measures of itself.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::GatewayOptions;
use crate::authentication::{Authority, Role};
use crate::client_address::ClientAddress;
use crate::networks::Networks;
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

/// `GET /metrics`: Prometheus text. Open to callers in the networks of the settings, on this machine if nothing else is
/// said; others need an internal key, or the token of somebody who may see.
pub(crate) async fn metrics(
    State(shared): State<Shared>,
    client: ClientAddress,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !is_open_to(client, &shared.options) {
        let signed_in = shared.authenticator.authenticate(&headers, Use::ByPage).await?;
        Authority::RoleOrInternal(Role::Viewer).check(&signed_in.principal)?;
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render()).into_response())
}

/// A request that a proxy passes on counts as the client's, where the proxy is trusted to say who that is.
fn is_open_to(client: ClientAddress, options: &GatewayOptions) -> bool {
    let is_known = client.is_peer || options.trusted_proxies != Networks::default();
    is_known && options.metrics_readers.contain(client.ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_open_on_this_machine_but_not_through_its_proxy() {
        let forwarded = |from: &'static str| {
            HeaderMap::from_iter([(http::HeaderName::from_static("x-forwarded-for"), from.parse().unwrap())])
        };
        let open = |peer: &str, headers: &HeaderMap, options: &GatewayOptions| {
            is_open_to(ClientAddress::of(peer.parse().unwrap(), headers, &options.trusted_proxies), options)
        };
        let default = GatewayOptions::default();
        assert!(open("127.0.0.1", &HeaderMap::new(), &default));
        assert!(open("::ffff:127.0.0.1", &HeaderMap::new(), &default));
        assert!(!open("127.0.0.1", &forwarded("203.0.113.7"), &default));
        assert!(!open("127.0.0.1", &forwarded("127.0.0.1"), &default), "anybody can send that");
        assert!(!open("203.0.113.7", &HeaderMap::new(), &default));
        let behind_a_proxy = GatewayOptions {
            trusted_proxies: "127.0.0.1".parse().unwrap(),
            metrics_readers: "203.0.113.0/24".parse().unwrap(),
            ..default
        };
        assert!(open("127.0.0.1", &forwarded("203.0.113.7"), &behind_a_proxy));
        assert!(!open("127.0.0.1", &forwarded("203.0.113.7, 198.51.100.1"), &behind_a_proxy));
        assert!(!open("198.51.100.1", &forwarded("203.0.113.7"), &behind_a_proxy));
    }
}
