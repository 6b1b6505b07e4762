//! Whether this process lives, whether it can work, and what it measures of itself.

use std::time::Duration;

use app::dead_letters::DeadLetterKind;
use app::webhook_targets::WebhookTargets;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bus::Bus;
use domain::lablet_session::SessionStatus;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;
use projections::ReadError;
use projections::overview::Overview;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::answer_cache::AnswerCache;
use crate::attention::AttentionWatch;
use crate::authentication::{Authenticator, Authority, Role};
use crate::client_address::ClientAddress;
use crate::dead_letters::DeadLetterStores;
use crate::networks::Networks;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::sign_in::sessions::Use;

/// How long Postgres may take to answer before it counts as unreachable.
const LONGEST_PROBE: Duration = Duration::from_secs(2);

/// Events that a read model may lack before it counts as behind: so many may be in a batch that is under way.
const TOLERATED_LAG: u64 = 1_000;

/// State of something this process needs, or of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// It works.
    Ok,
    /// Requests are served, but something is late or unreachable.
    Degraded,
    /// Requests cannot be served.
    Down,
}

/// Whether requests can be served, and what is late or unreachable.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Readiness {
    /// The worst that a request can notice.
    pub(crate) status: Health,
    /// Whether this process is about to end: requests are answered, and have to go elsewhere.
    #[serde(default)]
    pub(crate) draining: bool,
    /// Postgres. Without it nothing can be served.
    pub(crate) postgres: Health,
    /// NATS. Without it commands over HTTP work, notices wait.
    pub(crate) nats: Health,
    /// Read models that are behind the log, by name; empty when none is.
    pub(crate) behind: Vec<String>,
    /// Read models that hold something back because an event of it could not be applied, by name. Requests are served.
    #[serde(default)]
    pub(crate) parked: Vec<String>,
    /// Age in seconds of the oldest committed event that no reader sees, as a transaction is open; 0: readers see
    /// everything, null: unknown.
    pub(crate) visibility_lag_seconds: Option<f64>,
    /// How many events no reader sees, counted up to 10,000; null: unknown.
    pub(crate) visibility_lag_events: Option<u64>,
}

/// Cancelled when this process is about to end.
#[derive(Clone)]
pub(crate) struct Draining(pub(crate) CancellationToken);

/// What `/metrics` shows, and to whom without a key.
#[derive(Clone)]
pub(crate) struct MetricsPage {
    recorder: PrometheusHandle,
    open_to: Networks,
    system: SystemMetrics,
}

impl MetricsPage {
    pub(crate) fn new(recorder: PrometheusHandle, open_to: Networks, system: SystemMetrics) -> Self {
        Self { recorder, open_to, system }
    }

    fn is_open_to(&self, client: ClientAddress) -> bool {
        is_open_to(client, &self.open_to)
    }
}

/// A request that a proxy passes on counts as the client's, where the proxy is trusted to say who that is.
pub(crate) fn is_open_to(client: ClientAddress, readers: &Networks) -> bool {
    client.is_certain && readers.contain(client.ip)
}

/// `GET /livez`: this process answers. Asks nobody.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 200 when requests can be served, 503 when not.
pub(crate) async fn ready(
    State(queries): State<Queries>,
    State(bus): State<Bus>,
    State(Draining(draining)): State<Draining>,
) -> Response {
    let draining = draining.is_cancelled();
    let look = async {
        let visibility = queries.log().visibility().await?;
        Ok::<_, ReadError>((queries.freshness().await?, visibility))
    };
    let probe = tokio::time::timeout(LONGEST_PROBE, look).await;
    let nats = if bus.is_connected() { Health::Ok } else { Health::Degraded };
    let mut parked = Vec::new();
    let (postgres, behind, visibility) = match probe {
        Ok(Ok((freshness, visibility))) => {
            let holding = freshness.items.iter().filter(|model| model.parked_aggregates > 0);
            parked.extend(holding.map(|model| model.read_model.name().to_owned()));
            let late =
                freshness.items.iter().filter(|model| visibility.is_late() || model.events_behind > TOLERATED_LAG);
            let late = late.filter(|model| model.events_behind > 0);
            (Health::Ok, late.map(|model| model.read_model.name().to_owned()).collect(), Some(visibility))
        }
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "readiness probe failed");
            (Health::Down, Vec::new(), None)
        }
        Err(_) => {
            tracing::warn!(timeout_seconds = LONGEST_PROBE.as_secs(), "readiness probe timed out");
            (Health::Down, Vec::new(), None)
        }
    };
    let status = match (postgres, nats) {
        _ if draining => Health::Down,
        (Health::Down, _) => Health::Down,
        (_, Health::Degraded | Health::Down) => Health::Degraded,
        _ if !behind.is_empty() || !parked.is_empty() || visibility.is_some_and(|visibility| visibility.is_late()) => {
            Health::Degraded
        }
        _ => Health::Ok,
    };
    let code = if status == Health::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let readiness = Readiness {
        status,
        draining,
        postgres,
        nats,
        behind,
        parked,
        visibility_lag_seconds: visibility.map(|visibility| visibility.lag_seconds()),
        visibility_lag_events: visibility.map(|visibility| visibility.held_back_events),
    };
    (code, Json(readiness)).into_response()
}

/// `GET /metrics`: Prometheus text. Open to callers in the networks of the settings, on this machine if nothing else is
/// said; others need an internal key, or the token of somebody who may see.
pub(crate) async fn metrics(
    State(page): State<MetricsPage>,
    State(authenticator): State<Authenticator>,
    client: ClientAddress,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !page.is_open_to(client) {
        let signed_in = authenticator.authenticate(&headers, Use::ByPage).await?;
        Authority::RoleOrInternal(Role::Viewer).check(&signed_in.principal)?;
    }
    page.system.measure().await;
    Ok(prometheus_text(page.recorder.render()))
}

/// Metrics in the form that Prometheus reads.
pub(crate) fn prometheus_text(metrics: String) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics).into_response()
}

/// The metrics of what all processes share: the log, the read models, dead letters, webhooks, sessions.
#[derive(Clone)]
pub struct SystemMetrics {
    bus: Bus,
    stores: DeadLetterStores,
    overview: AnswerCache<Overview>,
    attention: AttentionWatch,
}

impl SystemMetrics {
    pub(crate) fn new(
        bus: Bus,
        stores: DeadLetterStores,
        overview: AnswerCache<Overview>,
        attention: AttentionWatch,
    ) -> Self {
        Self { bus, stores, overview, attention }
    }

    /// Updates them, as relay and watcher may run in other processes. They keep their values where the database does not
    /// answer in time.
    pub async fn measure(&self) {
        let Self { bus, stores, overview, attention } = self;
        bus.measure();
        let queries = &stores.queries;
        let look = async {
            queries.log().visibility().await?;
            app::watcher::state(queries.log()).await?;
            let overview = overview.get(None, queries.overview()).await?;
            for status in SessionStatus::ALL {
                let count =
                    overview.sessions.iter().find(|count| count.status == status).map_or(0, |count| count.sessions);
                metrics::gauge!("lablet_sessions", "status" => status.as_str()).set(count as f64);
            }
            queries.measure(&overview.read_models).await?;
            let parked: u64 = overview.read_models.iter().map(|model| model.dead_letters).sum();
            let commands = stores.messages.waiting(DeadLetterKind::Command).await?;
            let webhooks = stores.messages.waiting(DeadLetterKind::Webhook).await?;
            for (kind, open) in
                [("command", commands as f64), ("webhook", webhooks as f64), ("projection", parked as f64)]
            {
                metrics::gauge!("lablet_dead_letters_open", "kind" => kind).set(open);
            }
            WebhookTargets::new(queries.log()).measure().await?;
            Ok::<_, ReadError>(())
        };
        let mut is_reachable = false;
        let look = async {
            look.await?;
            is_reachable = true;
            // It measures what it reads.
            attention.look().await.map(drop).or_else(|problem| {
                tracing::debug!(problem = problem.document().detail, "what needs attention could not be read");
                Ok::<_, ReadError>(())
            })
        };
        match tokio::time::timeout(LONGEST_PROBE, look).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "database metrics not updated");
            }
            Err(_) => tracing::debug!(timeout_seconds = LONGEST_PROBE.as_secs(), "database metrics timed out"),
        }
        metrics::gauge!("lablet_database_reachable").set(f64::from(u8::from(is_reachable)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GatewayOptions;

    #[test]
    fn metrics_are_open_on_this_machine_but_not_through_its_proxy() {
        let forwarded = |from: &'static str| {
            HeaderMap::from_iter([(http::HeaderName::from_static("x-forwarded-for"), from.parse().unwrap())])
        };
        let open = |peer: &str, headers: &HeaderMap, options: &GatewayOptions| {
            let client = ClientAddress::from_headers(peer.parse().unwrap(), headers, &options.trusted_proxies);
            is_open_to(client, &options.metrics_readers)
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
        assert!(!open("127.0.0.1", &forwarded("unknown"), &behind_a_proxy));
    }
}
