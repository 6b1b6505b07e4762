//! `lablet simulate-cml`: a CML controller in miniature, as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use simulator::{ApiVersion, PortRange, Simulator, SimulatorOptions, SocketOptions};

use crate::secret::Secret;
use crate::shutdown;

/// How to simulate.
#[derive(Debug, Args)]
pub(crate) struct SimulateArguments {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// A folder of topologies (YAML, schema 0.0.3 to 0.3.1); each becomes a lab. A file that holds none is named in the
    /// log, and the others are served.
    #[arg(long)]
    topologies: Option<PathBuf>,
    /// User name.
    #[arg(long, env = "LABLET_CML_USERNAME", default_value = "admin")]
    username: String,
    /// Password to the user name.
    #[arg(long, env = "LABLET_CML_PASSWORD", hide_env_values = true)]
    password: Option<Secret>,
    /// Which version of the API it answers as.
    #[arg(long, value_enum, default_value_t = Api::V2_9)]
    api: Api,
    /// Serve HTTPS with a self-signed certificate. On unless `--tls=false`.
    #[arg(long, action = clap::ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true")]
    tls: bool,
    /// Where to write the certificate, PEM, for clients that check it (LABLET_CML_CA).
    #[arg(long)]
    certificate_file: Option<PathBuf>,
    /// Outside ports that its address translation honours, first-last.
    #[arg(long, default_value_t = PortRange::default())]
    port_range: PortRange,
    /// How often somebody restarts a node, on average a day and for each of them, at most 24.
    #[arg(long, default_value_t = 0.5)]
    restarts_per_day: f64,
    /// How often its socket, `/ws/ui`, tells of statistics, in milliseconds.
    #[arg(long, default_value_t = 3_300)]
    push_milliseconds: u64,
    /// Whether the user is an administrator, who may see the launch queue.
    #[arg(long, action = clap::ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true")]
    admin: bool,
    /// Labs and their usage are the same for the same seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Api {
    /// CML 2.9.
    #[value(name = "2.9")]
    V2_9,
    /// CML 2.10.
    #[value(name = "2.10")]
    V2_10,
}

/// Simulates until it is asked to end.
pub(crate) async fn run(arguments: SimulateArguments) -> anyhow::Result<()> {
    let cancelled = shutdown::on_signal()?;
    let options = SimulatorOptions {
        listen: arguments.listen,
        topologies: arguments.topologies,
        username: arguments.username,
        tls: arguments.tls,
        seed: arguments.seed,
        port_range: arguments.port_range,
        restarts_per_day: arguments.restarts_per_day,
        sockets: SocketOptions {
            push_period: Duration::from_millis(arguments.push_milliseconds),
            ..SocketOptions::default()
        },
        admin: arguments.admin,
        api: match arguments.api {
            Api::V2_9 => ApiVersion::V2_9,
            Api::V2_10 => ApiVersion::V2_10,
        },
        ..SimulatorOptions::default()
    };
    let options = match arguments.password {
        Some(password) => SimulatorOptions { password: password.reveal().to_owned(), ..options },
        None => options,
    };
    let simulator = Simulator::start(options).await?;
    if let Some(file) = &arguments.certificate_file {
        crate::secret::write_private(file, &simulator.certificate_pem())?;
    }
    tracing::info!(url = simulator.url(), labs = simulator.labs().len(), "simulator started");
    cancelled.cancelled().await;
    simulator.stop().await;
    Ok(())
}
