//! HTTP: the API of Lablet, its description, and health.
//!
//! [`Gateway::bind`] takes the listening socket, [`Gateway::run`] serves until it is told to stop. The routes are in
//! `router`; one file per endpoint under the folder of its noun holds the request's body, the handler of a few
//! lines, and its tests. What every request goes through is in `exchange`, who asks in [`authentication`], how
//! errors look in [`problem`], how browsers sign in in [`sign_in`].

mod activity;
mod advice;
mod advice_policies;
mod answer;
mod answer_cache;
mod assets;
mod attention;
pub mod authentication;
mod body;
mod caller;
pub mod cells;
mod client_address;
mod command;
mod connections;
mod controllers;
mod correlation;
pub mod csv;
mod dead_letters;
mod description;
mod documents;
mod events;
mod exchange;
mod fair_share;
mod health;
mod heavy_reads;
pub mod judgement;
mod lablet_definitions;
mod lablet_sessions;
mod live_samples;
mod networks;
mod observation_failures;
mod observation_requests;
mod operations;
mod outward;
mod overview;
mod pages;
pub mod paging;
mod path;
mod permits;
mod port_drift;
mod position;
mod preferences;
pub mod probes;
pub mod problem;
mod proposals;
mod public_path;
mod queries;
mod query;
mod recent;
mod request_metrics;
mod router;
mod saved_views;
mod search;
mod server;
pub mod sign_in;
mod sign_ins;
mod state;
mod stream;
mod submission;
mod version;
mod workers;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use app::commands::Commands;
use app::dead_letters::DeadLetters;
use app::notice::PublicUrl;
use axum::Router;
use bus::Bus;
use metrics_exporter_prometheus::PrometheusHandle;
use projections::Projections;
use projections::replica::Replica;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::answer_cache::AnswerCache;
use crate::attention::AttentionWatch;
use crate::authentication::{AdminToken, Authenticator, InternalKey};
use crate::cells::CellWatch;
use crate::controllers::ControllerWatch;
use crate::dead_letters::DeadLetterStores;
use crate::exchange::Exchange;
pub use crate::fair_share::Room;
pub use crate::health::SystemMetrics;
use crate::health::{Draining, MetricsPage};
use crate::heavy_reads::ConfiguredReplica;
use crate::live_samples::LiveSamples;
pub use crate::networks::Networks;
use crate::operations::OperationsReader;
use crate::pages::freshness::FreshnessWatch;
use crate::permits::Permits;
use crate::queries::Queries;
use crate::saved_views::store::SavedViews;
use crate::sign_in::provider::Provider;
use crate::sign_in::sessions::{SessionLimits, Sessions};
use crate::sign_in::{Cookies, Keys, ProviderOptions, SignIn, Site, Tokens};
use crate::state::{Access, Caches, GatewayState, Parts};
use crate::stream::Streams;

/// Settings of the gateway.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Where it listens. Port 0 is any free one.
    pub listen: SocketAddr,
    /// The timeout of a request, the arrival of its body included.
    pub longest_request: Duration,
    /// How long a read waits for a read model that is behind.
    pub longest_wait: Duration,
    /// Cancelled when the gateway is about to end, while it goes on to answer: it then says that it is not ready, and closes
    /// each connection with its next answer, so that clients go elsewhere and none meets a closed one.
    pub draining: CancellationToken,
    /// How long open requests may go on after the gateway was told to stop.
    pub grace: Duration,
    /// Connections at once.
    pub most_connections: usize,
    /// Connections at once from one address, unless it is a trusted proxy's.
    pub most_connections_of_a_peer: usize,
    /// How long an idle connection stays open, and how long the head of a request may take to arrive.
    pub longest_idle: Duration,
    /// How long a client may not read what it asked for.
    pub longest_stall: Duration,
    /// Proxies whose `Forwarded` and `X-Forwarded-For` say where a request comes from.
    pub trusted_proxies: Networks,
    /// Who may read the metrics without a key or a token.
    pub metrics_readers: Networks,
    /// Requests that are worked on at once; others wait briefly.
    pub requests: Room,
    /// Requests that wait for a read model at once. They are not worked on meanwhile.
    pub waits: Room,
    /// Open streams of events at once, and as many of samples.
    pub streams: Room,
    /// How long a browser's session lasts while nobody uses it.
    pub idle_session: Duration,
    /// How long a browser's session lasts in all.
    pub longest_session: Duration,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            longest_request: Duration::from_secs(30),
            longest_wait: Duration::from_secs(5),
            draining: CancellationToken::new(),
            grace: Duration::from_secs(10),
            most_connections: 2_048,
            most_connections_of_a_peer: 512,
            longest_idle: Duration::from_secs(60),
            longest_stall: Duration::from_secs(30),
            trusted_proxies: Networks::default(),
            metrics_readers: Networks::loopback(),
            requests: Room { all: 128, person: 32, service: 96, reserved: 32 },
            waits: Room { all: 128, person: 16, service: 64, reserved: 32 },
            streams: Room { all: 256, person: 16, service: 64, reserved: 64 },
            idle_session: Duration::from_secs(60 * 60),
            longest_session: Duration::from_secs(12 * 60 * 60),
        }
    }
}

/// What the gateway stands on.
pub struct GatewayParts {
    /// Where changes go.
    pub commands: Commands,
    /// Commands that could not be handled.
    pub dead_letters: DeadLetters,
    /// Where reads come from.
    pub projections: Projections,
    /// Where reads that cost much come from, if there is one.
    pub replica: Option<Replica>,
    /// The bus: asked whether it is there, and for the wake-up signals of other processes.
    pub bus: Bus,
    /// Keys of services.
    pub internal_keys: Vec<InternalKey>,
    /// Tokens of admins.
    pub admin_tokens: Vec<AdminToken>,
    /// The OpenID provider at which admins sign in, if there is one.
    pub provider: Option<ProviderOptions>,
    /// The file that names the cells, where this gateway is a console of several.
    pub cells: Option<PathBuf>,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// How the gateway is reached from outside; the address at which it listens where absent.
    pub public_url: Option<String>,
}

/// The gateway cannot begin, or has to end.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address cannot be listened at.
    #[error("cannot listen at {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The public address is none.
    #[error("the public address {0}")]
    PublicUrl(domain::Invalid),
    /// Nobody could sign in at the OpenID provider with these settings.
    #[error("the OpenID provider's {0}")]
    Provider(domain::Invalid),
    /// The socket cannot be served.
    #[error("the gateway cannot serve")]
    Serve(#[source] io::Error),
}

/// A gateway that listens.
pub struct Gateway {
    listener: std::net::TcpListener,
    address: SocketAddr,
    router: Router,
    options: GatewayOptions,
    system_metrics: SystemMetrics,
    background: Background,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gateway").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Takes the listening socket. Connections wait in it until [`Gateway::run`].
    ///
    /// # Errors
    /// [`GatewayError::Bind`], [`GatewayError::PublicUrl`], [`GatewayError::Provider`].
    pub async fn bind(options: GatewayOptions, parts: GatewayParts) -> Result<Self, GatewayError> {
        let refused = |source| GatewayError::Bind { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(refused)?;
        let listener = listener.into_std().map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let public_url = parts.public_url.unwrap_or_else(|| local_url(address));
        let public_url = PublicUrl::parse(&public_url).map_err(GatewayError::PublicUrl)?;
        let site = Site::new(&public_url).map_err(GatewayError::PublicUrl)?;
        if !site.keeps_cookies() {
            tracing::warn!(
                public_url = public_url.as_str(),
                "browsers cannot stay signed in: the public URL is not https"
            );
        }
        request_metrics::describe();
        let log = parts.commands.log().clone();
        let (pool, clock) = (log.pool().clone(), log.clock().clone());
        let limits = SessionLimits::new(options.idle_session, options.longest_session);
        let keys = Keys::new(pool.clone(), clock.clone());
        let sessions = Sessions::new(pool.clone(), clock.clone(), limits, keys.clone());
        let provider = match parts.provider {
            Some(options) => {
                let provider = Provider::new(options, sign_in::redirect_address(&public_url), clock.clone());
                Some(Arc::new(provider.map_err(GatewayError::Provider)?))
            }
            None => None,
        };
        let authenticator = Authenticator::new(
            parts.internal_keys,
            parts.admin_tokens,
            Tokens::new(pool.clone(), clock.clone()),
            sessions.clone(),
            Cookies::for_site(&site),
            provider.clone(),
        );
        let stop = CancellationToken::new();
        let permits = Permits::new(options.requests, options.waits);
        let queries = Queries::new(parts.projections.clone(), log.clone(), permits.clone(), options.longest_wait);
        let dead_letters = DeadLetterStores { messages: parts.dead_letters, queries: queries.clone() };
        let draining = Draining(options.draining.clone());
        let exchange = Exchange::new(&options, log.id_generator().clone());
        let saved_views = SavedViews::new(pool.clone(), clock.clone(), log.id_generator().clone());
        let sign_in = SignIn::new(site, keys, sessions, provider, (pool, clock.clone()));
        let controllers = ControllerWatch::new(parts.bus.clone(), clock.clone());
        let streams = Streams::new(log, public_url, options.streams, stop.clone());
        let operations = OperationsReader::new(queries.clone(), dead_letters, parts.bus.clone(), parts.replica.clone());
        let overview = AnswerCache::new(&parts.projections, &clock);
        let attention = AttentionWatch::new(operations.clone(), overview.clone(), controllers.clone());
        let system_metrics =
            SystemMetrics::new(parts.bus.clone(), operations.dead_letters.clone(), overview.clone(), attention.clone());
        let state = GatewayState::new(Parts {
            attention,
            cells: CellWatch::new(parts.cells),
            operations,
            caches: Caches {
                overview,
                sizing: AnswerCache::new(&parts.projections, &clock),
                overview_page: AnswerCache::new(&parts.projections, &clock),
                freshness: FreshnessWatch::new(parts.projections.clone()),
            },
            draining,
            access: Access { authenticator, sign_in: sign_in.clone(), saved_views },
            metrics: MetricsPage::new(parts.metrics, options.metrics_readers.clone(), system_metrics.clone()),
            commands: parts.commands,
            streams: streams.clone(),
            controllers: controllers.clone(),
            live_samples: LiveSamples::new(parts.bus.clone(), clock.clone(), options.streams, stop.clone()),
            queries,
            replica: ConfiguredReplica(parts.replica.clone()),
            clock,
        });
        let router = router::router(&state, &exchange, &permits);
        let background = Background {
            streams,
            projections: parts.projections,
            replica: parts.replica,
            bus: parts.bus,
            sign_in,
            controllers,
            stop,
        };
        Ok(Self { listener, address, router, options, system_metrics, background })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it is reached on this machine.
    pub fn local_url(&self) -> String {
        local_url(self.address)
    }

    /// The metrics of what all processes share.
    pub fn system_metrics(&self) -> SystemMetrics {
        self.system_metrics.clone()
    }

    /// Serves until the token is cancelled; then accepts nothing more, ends the streams and lets what runs finish.
    ///
    /// # Errors
    /// [`GatewayError::Serve`].
    pub async fn run(self, stop: CancellationToken) -> Result<(), GatewayError> {
        let Self { listener, router, options, background, .. } = self;
        let streams_stop = background.stop.clone();
        let ending = streams_stop.clone().drop_guard();
        let tasks = background.start();
        let end_streams = tokio::spawn({
            let stop = stop.clone();
            async move {
                stop.cancelled().await;
                streams_stop.cancel();
            }
        });
        let served = server::serve(listener, router, &options, stop).await;
        drop(ending);
        end_streams.abort();
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(error = &error as &dyn std::error::Error, "gateway task failed");
            }
        }
        served.map_err(GatewayError::Serve)
    }
}

/// What runs beside the requests.
struct Background {
    streams: Streams,
    projections: Projections,
    replica: Option<Replica>,
    bus: Bus,
    sign_in: SignIn,
    controllers: ControllerWatch,
    /// Cancelled when the gateway ends.
    stop: CancellationToken,
}

impl Background {
    fn start(self) -> Vec<JoinHandle<()>> {
        let Self { streams, projections, replica, bus, sign_in, controllers, stop } = self;
        let (reads, listening) = (projections.clone(), stop.clone());
        let watching = replica.map(|replica| {
            let stop = stop.clone();
            tokio::spawn(async move { replica.watch(stop).await })
        });
        let tasks = [
            tokio::spawn(streams.run(reads)),
            tokio::spawn(async move { projections.listen(&bus, listening).await }),
            tokio::spawn(controllers.run(stop.clone())),
            tokio::spawn(async move { sign_in.run(stop).await }),
        ];
        tasks.into_iter().chain(watching).collect()
    }
}

/// The URL by which a socket is reached on this machine: by the loopback address where it listens at all addresses.
fn local_url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// The API's description, as `/api/openapi.json` serves it.
///
/// # Errors
/// serde_json's, which no description causes.
pub fn openapi() -> serde_json::Result<serde_json::Value> {
    serde_json::to_value(router::document())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_at_all_addresses_is_reached_at_this_machines_own() {
        for (listens, reached) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("192.0.2.1:80", "http://192.0.2.1:80"),
        ] {
            assert_eq!(local_url(listens.parse().unwrap()), reached);
        }
    }
}
