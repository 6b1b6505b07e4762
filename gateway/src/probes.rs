//! `/livez`, `/readyz` and `/metrics` of a process without the API: a relay, projections, webhooks, a controller.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::client_address::ClientAddress;
use crate::health::{self, Health};
use crate::networks::Networks;
use crate::problem::{Problem, ProblemKind};
use crate::server;
use crate::{GatewayError, GatewayOptions, local_url};

/// Most connections at once, and from one address: probes and scrapes are few.
const MOST_CONNECTIONS: usize = 64;

/// What a process needs, and whether it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is, e.g. `postgres`.
    pub name: &'static str,
    /// Whether the process can do nothing without it.
    pub is_required: bool,
    /// What is wrong; null: nothing is.
    pub fault: Option<String>,
}

impl Check {
    /// Something without which the process can do nothing.
    pub fn required(name: &'static str, fault: Option<String>) -> Self {
        Self { name, is_required: true, fault }
    }

    /// Something without which it does less.
    pub fn useful(name: &'static str, fault: Option<String>) -> Self {
        Self { name, is_required: false, fault }
    }
}

/// What a process says of itself.
#[derive(Clone)]
pub struct ProbesParts {
    /// What the process is, e.g. `relay`.
    pub role: &'static str,
    /// Looks at what it needs, within a few seconds.
    pub checks: Arc<dyn Fn() -> BoxFuture<'static, Vec<Check>> + Send + Sync>,
    /// Its metrics as Prometheus' text.
    pub metrics: Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>,
    /// Who may read them.
    pub metrics_readers: Networks,
}

/// A listening socket for probes.
pub struct Probes {
    listener: std::net::TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Probes {
    /// Takes the listening socket.
    ///
    /// # Errors
    /// [`GatewayError::Bind`].
    pub fn bind(listen: SocketAddr, parts: ProbesParts) -> Result<Self, GatewayError> {
        let refused = |source: io::Error| GatewayError::Bind { address: listen, source };
        let listener = std::net::TcpListener::bind(listen).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let router = Router::new()
            .route("/livez", get(health::live))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .fallback(unknown)
            .with_state(parts);
        Ok(Self { listener, address, router })
    }

    /// How it is reached on this machine.
    pub fn local_url(&self) -> String {
        local_url(self.address)
    }

    /// Serves until the token is cancelled.
    ///
    /// # Errors
    /// [`GatewayError::Serve`].
    pub async fn run(self, stop: CancellationToken) -> Result<(), GatewayError> {
        let options = GatewayOptions {
            most_connections: MOST_CONNECTIONS,
            most_connections_of_a_peer: MOST_CONNECTIONS,
            ..GatewayOptions::default()
        };
        server::serve(self.listener, self.router, &options, stop).await.map_err(GatewayError::Serve)
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Readiness {
    role: &'static str,
    status: Health,
    checks: Vec<Check>,
}

impl Readiness {
    fn new(role: &'static str, checks: Vec<Check>) -> Self {
        let is_missing =
            |required: bool| checks.iter().any(|check| check.fault.is_some() && (check.is_required || !required));
        let status = match (is_missing(true), is_missing(false)) {
            (true, _) => Health::Down,
            (false, true) => Health::Degraded,
            (false, false) => Health::Ok,
        };
        Self { role, status, checks }
    }

    fn code(&self) -> StatusCode {
        if self.status == Health::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
    }
}

/// `GET /readyz`: 200 while the process can do its work, 503 while it cannot.
async fn ready(State(parts): State<ProbesParts>) -> Response {
    let readiness = Readiness::new(parts.role, (parts.checks)().await);
    (readiness.code(), Json(readiness)).into_response()
}

/// `GET /metrics`: Prometheus' text, for the networks of the settings. There is nobody here who could know a key.
async fn metrics(
    State(parts): State<ProbesParts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let client = ClientAddress::from_headers(peer.ip(), &headers, &Networks::default());
    if !health::is_open_to(client, &parts.metrics_readers) {
        let detail = format!("LABLET_METRICS_READERS does not name {}.", client.ip);
        return Problem::new(ProblemKind::Forbidden, detail).into_response();
    }
    health::prometheus_text((parts.metrics)().await)
}

async fn unknown() -> Problem {
    Problem::new(ProblemKind::NotFound, "There is /livez, /readyz and /metrics here.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_while_it_has_what_it_cannot_do_without() {
        let status = |postgres: bool, nats: bool| {
            let fault = |is_there: bool| (!is_there).then(|| "away".to_owned());
            let checks = vec![Check::required("postgres", fault(postgres)), Check::useful("nats", fault(nats))];
            let readiness = Readiness::new("project", checks);
            (readiness.status, readiness.code().as_u16())
        };
        assert_eq!(status(true, true), (Health::Ok, 200));
        assert_eq!(status(true, false), (Health::Degraded, 200));
        assert_eq!(status(false, true), (Health::Down, 503));
        assert_eq!(status(false, false), (Health::Down, 503));
    }
}
