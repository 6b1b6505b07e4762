//! Which workers there are, and how to get into them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::WorkerId;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cml::CmlClient;
use crate::credentials::{AccessRefused, CredentialBook, WorkerAccess};
use crate::gateway::{Gateway, GatewayError, Worker};

/// How long the list of workers is taken from memory.
const LIST_LASTS: Duration = Duration::from_secs(10);
/// How often every worker is probed.
const PROBE_INTERVAL: Duration = Duration::from_secs(300);
/// Workers that are probed at a time.
const CONCURRENCY: usize = 8;
/// Longest time of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);

/// Why there is no way into a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The list of workers could not be read; it may work later.
    #[error("{0}")]
    Gateway(GatewayError),
    /// No such worker is registered.
    #[error("the worker {0} is not registered")]
    Unknown(WorkerId),
    /// This controller's configuration opens no way into it.
    #[error(transparent)]
    Refused(#[from] AccessRefused),
}

/// The registered workers and their credentials. Cloning shares what was read.
#[derive(Debug, Clone)]
pub struct Workers {
    gateway: Gateway,
    book: Arc<CredentialBook>,
    client: CmlClient,
    read: Arc<Mutex<Option<(Instant, Listed)>>>,
}

type Listed = Arc<BTreeMap<WorkerId, Worker>>;

impl Workers {
    /// The workers that `gateway` lists, opened with the credentials of `book`.
    pub fn new(gateway: Gateway, book: CredentialBook, client: CmlClient) -> Self {
        Self { gateway, book: Arc::new(book), client, read: Arc::default() }
    }

    /// The way into a worker.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn access(&self, id: &WorkerId) -> Result<WorkerAccess, AccessError> {
        let mut listed = self.listed(LIST_LASTS).await.map_err(AccessError::Gateway)?;
        if !listed.contains_key(id) {
            // It may have been registered since.
            listed = self.listed(Duration::ZERO).await.map_err(AccessError::Gateway)?;
        }
        let worker = listed.get(id).ok_or_else(|| AccessError::Unknown(id.clone()))?;
        Ok(self.access_to(worker)?)
    }

    /// The same for every use of a worker: what differs would be another one to the client, with a sign-in of its own.
    fn access_to(&self, worker: &Worker) -> Result<WorkerAccess, AccessRefused> {
        Ok(self.book.access(&worker.id, &worker.address)?.with_port_range(worker.port_range))
    }

    async fn listed(&self, lasts: Duration) -> Result<Listed, GatewayError> {
        let known = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, listed)) = known
            && at.elapsed() < lasts
        {
            return Ok(listed);
        }
        let listed = Arc::new(self.gateway.workers().await?);
        self.client.keep_only(&listed.keys().cloned().collect::<BTreeSet<_>>());
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), listed.clone()));
        Ok(listed)
    }

    /// Signs in to every worker now and then and learns its version, so that an observation finds both done, and so
    /// that a worker that cannot be reached shows before anybody asks for an observation. Ends with `stop`.
    pub async fn probe_all(self, stop: CancellationToken) {
        let probe_all = async {
            loop {
                let again = match self.listed(LIST_LASTS).await {
                    Ok(listed) => {
                        let probes = listed.values().cloned().map(|worker| self.probe(worker));
                        stream::iter(probes).buffer_unordered(CONCURRENCY).collect::<()>().await;
                        PROBE_INTERVAL
                    }
                    Err(error) => {
                        tracing::debug!(%error, "workers could not be listed");
                        LIST_LASTS
                    }
                };
                tokio::time::sleep(again).await;
            }
        };
        // `None` is the end that was asked for; the loop has no other.
        let _stopped: Option<()> = stop.run_until_cancelled(probe_all).await;
    }

    /// The version of a worker that lets this controller in, or why it cannot be used.
    async fn version_of(&self, worker: &Worker) -> Result<String, String> {
        let access = self.access_to(worker).map_err(|refused| refused.to_string())?;
        let reader = self.client.reader(&access, PROBE_TIMEOUT);
        match tokio::join!(reader.sign_in(), reader.version()) {
            (Ok(()), Ok(version)) => Ok(version),
            (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
        }
    }

    async fn probe(&self, worker: Worker) {
        let reached = match self.version_of(&worker).await {
            Ok(version) => {
                tracing::debug!(worker.id = %worker.id, version, "worker reachable");
                1.0
            }
            Err(reason) => {
                tracing::warn!(worker.id = %worker.id, reason, "worker cannot be used");
                0.0
            }
        };
        metrics::gauge!("lablet_worker_reachable", "worker" => worker.id.to_string()).set(reached);
    }
}
