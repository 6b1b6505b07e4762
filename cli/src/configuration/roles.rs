//! What each role is started with.

use clap::Args;

use super::bus::BusArguments;
use super::watcher::WatcherArguments;
use super::{BodyArguments, ControllerArguments, DatabaseArguments, DeadLetterArguments, GatewayArguments};
use crate::secret::Secret;

/// Gateway and command consumer.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) database: DatabaseArguments,
    #[command(flatten)]
    pub(crate) bus: BusArguments,
    #[command(flatten)]
    pub(crate) gateway: GatewayArguments,
    #[command(flatten)]
    pub(crate) bodies: BodyArguments,
    #[command(flatten)]
    pub(crate) dead_letters: DeadLetterArguments,
}

/// Projections.
#[derive(Debug, Args)]
pub(crate) struct ProjectArguments {
    #[command(flatten)]
    pub(crate) database: DatabaseArguments,
    #[command(flatten)]
    pub(crate) bus: BusArguments,
    #[command(flatten)]
    pub(crate) watcher: WatcherArguments,
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
}
