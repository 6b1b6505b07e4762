//! Where a process without the API is asked how it is.

use std::net::SocketAddr;

use clap::Args;
use gateway::Networks;

/// `/livez`, `/readyz` and `/metrics` of a process without the API.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProbeArguments {
    /// Where this process serves /livez, /readyz and /metrics, e.g. 0.0.0.0:9464 in a container; nowhere unless given. The
    /// gateway's are at its own address.
    #[arg(long, env = "LABLET_METRICS_ADDRESS")]
    pub(crate) metrics_address: Option<SocketAddr>,
    /// Addresses and networks from which /metrics may be read, separated by commas.
    #[arg(long, env = "LABLET_METRICS_READERS", default_value = "127.0.0.0/8,::1")]
    pub(crate) metrics_readers: Networks,
}
