//! The command line.

use clap::{Args, Parser, Subcommand};

use crate::client::ClientCommand;
use crate::configuration::watcher::WatcherArguments;
use crate::configuration::{
    BodyArguments, BusArguments, ControllerArguments, DatabaseArguments, DeadLetterArguments, GatewayArguments,
};
use crate::operations::OperationCommand;
use crate::secret::Secret;
use crate::simulate::SimulateArguments;
use crate::telemetry::LogFormat;
use crate::up::UpArguments;

/// Learns from live network labs: what they need, and which ports they really have.
#[derive(Debug, Parser)]
#[command(name = "lablet", version, propagate_version = true)]
pub(crate) struct Arguments {
    /// Which log lines to write, e.g. `info,controller=debug`.
    #[arg(long, env = "LABLET_LOG", global = true)]
    pub(crate) log: Option<String>,
    /// How to write log lines.
    #[arg(long, env = "LABLET_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every role in one process, with a private Postgres and nats-server unless others are named.
    Up(UpArguments),
    /// Run the gateway and the command consumer.
    Serve(ServeArguments),
    /// Run the projections.
    Project(ProjectArguments),
    /// Run a controller.
    Control(ControlArguments),
    /// Run the relay.
    Relay(RelayArguments),
    /// Run a simulated CML controller.
    SimulateCml(SimulateArguments),
    #[command(flatten)]
    Operation(OperationCommand),
    #[command(flatten)]
    Client(ClientCommand),
}

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
