//! Where `lablet up` keeps its log and its bus: private servers, or those that were named.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use servers::{NatsAccounts, NatsOptions, NatsServer, PostgresOptions, PostgresServer};

use crate::configuration::{PRIVATE_DATABASE as DATABASE, private_postgres};
use crate::operations::analysts::{self, ANALYST};
use crate::secret::Secret;

/// How often the private servers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Restarts of one server before `lablet up` gives up: it would fail again.
const MOST_RESTARTS: u32 = 20;

/// The two servers, started or named.
pub(super) struct Stores {
    database_url: Secret,
    analyst_database_url: Option<Secret>,
    nats_url: Secret,
    postgres: Option<PostgresServer>,
    nats: Option<PrivateNats>,
}

struct PrivateNats {
    /// Absent only while it is started again: its folder has one holder at a time.
    server: Option<NatsServer>,
    options: NatsOptions,
    restarts: u32,
}

impl Stores {
    /// Starts what was not named, and brings the database to this version.
    pub(super) async fn start(
        data_dir: &Path,
        database_url: Option<Secret>,
        nats_url: Option<Secret>,
    ) -> anyhow::Result<Self> {
        let (postgres, database_url, analyst_database_url) = match database_url {
            Some(url) => {
                crate::operations::migrate(&url).await?;
                let analyst = analyst_of_named(data_dir, &url).await;
                (None, url, analyst)
            }
            None => {
                tracing::info!("starting Postgres");
                let options = PostgresOptions {
                    data_dir: private_postgres(data_dir),
                    port: None,
                    fsync: true,
                    settings: Vec::new(),
                };
                let server = PostgresServer::start(options).await?;
                server.ensure_database(DATABASE).await?;
                crate::operations::migrate(&server.url(DATABASE).parse().map_err(anyhow::Error::msg)?).await?;
                let url = |role| {
                    let server = &server;
                    async move { server.role_url(role, DATABASE).await?.parse::<Secret>().map_err(anyhow::Error::msg) }
                };
                let (application, analyst) = (url("lablet_app").await?, url(ANALYST).await?);
                let owner = server.url(DATABASE).parse().map_err(anyhow::Error::msg)?;
                analysts::hold_to_limits(&owner, ANALYST).await?;
                (Some(server), application, Some(analyst))
            }
        };
        let (nats, nats_url) = match nats_url {
            Some(url) => (None, url),
            None => {
                tracing::info!("starting nats-server");
                let options = NatsOptions { data_dir: data_dir.join("nats"), port: None, accounts: NatsAccounts::One };
                let server = NatsServer::start(options.clone()).await?;
                let url = server.url().parse().map_err(anyhow::Error::msg)?;
                // A restart has to come back where its clients look for it.
                let options = NatsOptions { port: Some(server.port()), ..options };
                (Some(PrivateNats { server: Some(server), options, restarts: 0 }), url)
            }
        };
        Ok(Self { database_url, analyst_database_url, nats_url, postgres, nats })
    }

    pub(super) fn database_url(&self) -> &Secret {
        &self.database_url
    }

    pub(super) fn analyst_database_url(&self) -> Option<&Secret> {
        self.analyst_database_url.as_ref()
    }

    pub(super) fn nats_url(&self) -> &Secret {
        &self.nats_url
    }

    /// Looks after the private servers. A nats-server that ended, or whose store was deleted under it, is started
    /// again: its streams come back from the log. A Postgres that ended is an error: nothing works without it.
    pub(super) async fn watch(&mut self) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(postgres) = &mut self.postgres
                && let Some(status) = postgres.status()?
            {
                anyhow::bail!("the private Postgres ended by itself: {status}");
            }
            if let Some(nats) = &mut self.nats {
                nats.look_after().await?;
            }
        }
    }

    /// Ends the private servers.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        if let Some(server) = self.nats.and_then(|nats| nats.server) {
            server.stop().await?;
        }
        if let Some(postgres) = self.postgres {
            postgres.stop().await?;
        }
        Ok(())
    }
}

impl PrivateNats {
    async fn look_after(&mut self) -> anyhow::Result<()> {
        let Some(server) = &mut self.server else { anyhow::bail!("the private nats-server is gone") };
        let ended = server.status()?;
        let store_is_there = server.jetstream_dir().exists();
        if ended.is_none() && store_is_there {
            return Ok(());
        }
        self.restarts += 1;
        anyhow::ensure!(self.restarts <= MOST_RESTARTS, "the private nats-server ended {MOST_RESTARTS} times");
        tracing::warn!(?ended, store_is_there, "private nats-server lost, starting it again");
        if ended.is_none() {
            server.kill_now().await?;
        }
        drop(self.server.take());
        let server =
            NatsServer::start(self.options.clone()).await.context("the private nats-server does not come back")?;
        self.server = Some(server);
        Ok(())
    }
}

/// The analysts' URL on a database that was named: where the owner may give the role a password, it gets one.
async fn analyst_of_named(data_dir: &Path, database_url: &Secret) -> Option<Secret> {
    match give_analyst_a_password(data_dir, database_url).await {
        Ok(url) => Some(url),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "analyst password not set, set it as the database's owner");
            None
        }
    }
}

async fn give_analyst_a_password(data_dir: &Path, database_url: &Secret) -> anyhow::Result<Secret> {
    let password = Secret::kept_in(&data_dir.join("analyst-password"), "")?;
    analysts::give_password(database_url, ANALYST, &password).await?;
    analysts::address(database_url, ANALYST, &password)
}
