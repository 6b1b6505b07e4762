//! What each role is started with.

use std::time::Duration;

use clap::{Args, ValueEnum};
use projections::FeedSource;

use super::bus::BusArguments;
use super::probes::ProbeArguments;
use super::replica::ReplicaArguments;
use super::telemetry::TelemetryArguments;
use super::watcher::WatcherArguments;
use super::webhooks::WebhookArguments;
use super::{BodyArguments, ControllerArguments, DatabaseArguments, DeadLetterArguments, GatewayArguments};
use crate::secret::Secret;

/// Gateway and command consumer.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) database: DatabaseArguments,
    #[command(flatten)]
    pub(crate) replica: ReplicaArguments,
    #[command(flatten)]
    pub(crate) bus: BusArguments,
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
    #[command(flatten)]
    pub(crate) bodies: BodyArguments,
    #[command(flatten)]
    pub(crate) dead_letters: DeadLetterArguments,
    /// Seconds for which requests are still answered after SIGTERM, while /readyz says that this process is not ready: as long
    /// as whoever spreads the requests takes to notice.
    #[arg(long, env = "LABLET_DRAIN_SECONDS", default_value_t = 0.0, value_parser = seconds)]
    drain_seconds: f64,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArguments,
}

impl ServeArguments {
    /// How long requests are still answered after the signal to end.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs_f64(self.drain_seconds)
    }
}

/// Longest drain.
const LONGEST_DRAIN: f64 = 600.0;

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    if (0.0..=LONGEST_DRAIN).contains(&seconds) { Ok(seconds) } else { Err(format!("expected 0 to {LONGEST_DRAIN}")) }
}

/// How read models follow what happens.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FeedArguments {
    /// Where read models take events from while they are up to date. What is missing on the bus is read from the log in any
    /// case.
    #[arg(long, env = "LABLET_PROJECTION_FEED", value_enum, default_value_t = Feed::Bus)]
    projection_feed: Feed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Feed {
    /// From the stream of records on the bus: the log is not read.
    Bus,
    /// From the log.
    Log,
}

impl FeedArguments {
    pub(crate) fn source(self) -> FeedSource {
        match self.projection_feed {
            Feed::Bus => FeedSource::Bus,
            Feed::Log => FeedSource::Log,
        }
    }
}

/// Projections.
#[derive(Debug, Args)]
pub(crate) struct ProjectArguments {
    #[command(flatten)]
    pub(crate) database: DatabaseArguments,
    #[command(flatten)]
    pub(crate) bus: BusArguments,
    #[command(flatten)]
    pub(crate) feed: FeedArguments,
    #[command(flatten)]
    pub(crate) watcher: WatcherArguments,
    #[command(flatten)]
    pub(crate) probes: ProbeArguments,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArguments,
}

/// Relay.
#[derive(Debug, Args)]
pub(crate) struct RelayArguments {
    #[command(flatten)]
    pub(crate) database: DatabaseArguments,
    #[command(flatten)]
    pub(crate) bus: BusArguments,
    /// How the gateway is reached from outside; in the notices' links.
    #[arg(long, env = "LABLET_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    #[command(flatten)]
    pub(crate) watcher: WatcherArguments,
    #[command(flatten)]
    pub(crate) probes: ProbeArguments,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArguments,
}

/// Webhooks.
#[derive(Debug, Args)]
pub(crate) struct DeliverArguments {
    #[command(flatten)]
    pub(crate) database: DatabaseArguments,
    #[command(flatten)]
    pub(crate) bus: BusArguments,
    #[command(flatten)]
    pub(crate) webhooks: WebhookArguments,
    /// How the gateway is reached from outside; in the notices' links.
    #[arg(long, env = "LABLET_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    #[command(flatten)]
    pub(crate) dead_letters: DeadLetterArguments,
    #[command(flatten)]
    pub(crate) probes: ProbeArguments,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArguments,
}

/// Controller.
#[derive(Debug, Args)]
pub(crate) struct ControlArguments {
    #[command(flatten)]
    pub(crate) bus: BusArguments,
    /// The gateway.
    #[arg(long, env = "LABLET_GATEWAY_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) gateway_url: String,
    /// The controller's key for the gateway.
    #[arg(long, env = "LABLET_INTERNAL_API_KEY", hide_env_values = true)]
    pub(crate) internal_api_key: Secret,
    #[command(flatten)]
    pub(crate) controller: ControllerArguments,
    #[command(flatten)]
    pub(crate) probes: ProbeArguments,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArguments,
}
