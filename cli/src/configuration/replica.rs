//! The replica that lists, searches and files are read from.

use std::time::Duration;

use clap::Args;
use projections::Projections;
use projections::replica::Replica;

use crate::secret::Secret;

/// Connections of one process to it.
const CONNECTIONS: u32 = 12;

/// Where reads that cost much may go.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplicaArguments {
    /// A streaming replica of the database, postgresql://user:password@host/database: lists, searches and files are read
    /// there. Nothing is written there, and while it is away the database is read.
    #[arg(long, env = "LABLET_REPLICA_DATABASE_URL", hide_env_values = true)]
    pub(crate) replica_database_url: Option<Secret>,
    /// How far the replica may be behind and still be read, in seconds.
    #[arg(long, env = "LABLET_REPLICA_LONGEST_LAG_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    replica_longest_lag_seconds: u64,
}

impl ReplicaArguments {
    /// The replica of this database, where one was named. No query is sent yet.
    pub(crate) fn replica(&self, primary: &Projections) -> anyhow::Result<Option<Replica>> {
        let Some(url) = &self.replica_database_url else { return Ok(None) };
        let pool = app::log::pool(url.reveal(), CONNECTIONS)?;
        Ok(Some(Replica::new(primary, pool, Duration::from_secs(self.replica_longest_lag_seconds))))
    }
}
