//! Which workers there are, and how to get into them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::WorkerId;
use domain::controller_report::ContactState;
use tokio::time::Instant;

use crate::cml::{CmlClient, WorkerReader, shown_host};
use crate::contact::{Contacts, Exchange};
use crate::credentials::{AccessRefused, CredentialBook, WorkerAccess};
use crate::gateway::{Gateway, GatewayError, Worker};

/// How long the list of workers is taken from memory.
const LIST_LASTS: Duration = Duration::from_secs(10);

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
    contacts: Contacts,
    read: Arc<Mutex<Option<(Instant, Listed)>>>,
    busy: Arc<Mutex<BTreeSet<WorkerId>>>,
}

/// Workers by their ids.
pub(crate) type Listed = Arc<BTreeMap<WorkerId, Worker>>;

impl Workers {
    /// The workers that `gateway` lists, opened with the credentials of `book`.
    pub(crate) fn new(gateway: Gateway, book: CredentialBook, client: CmlClient, contacts: Contacts) -> Self {
        Self { gateway, book: Arc::new(book), client, contacts, read: Arc::default(), busy: Arc::default() }
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
        let access = self.book.access(&worker.id, &worker.address).inspect_err(|refused| {
            let no_way = Exchange::Failed(ContactState::NoCredentials);
            self.contacts.exchanged(&worker.id, &shown_host(&worker.address), no_way, Some(refused.to_string()));
        })?;
        Ok(access.with_port_range(worker.port_range))
    }

    /// Every worker that is registered, from memory where the list was read a moment ago, or cannot be read now.
    ///
    /// # Errors
    /// [`GatewayError`] when it was never read.
    pub(crate) async fn all(&self) -> Result<Listed, GatewayError> {
        self.listed(LIST_LASTS).await.or_else(|error| {
            let known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            known.as_ref().map(|(_, listed)| listed.clone()).ok_or(error)
        })
    }

    /// A reader of a worker that gives up after `timeout` in total.
    ///
    /// # Errors
    /// [`AccessRefused`] where this controller's configuration opens no way into it.
    pub(crate) fn reader(&self, worker: &Worker, timeout: Duration) -> Result<WorkerReader, AccessRefused> {
        Ok(self.client.reader(&self.access_to(worker)?, timeout))
    }

    /// Learns on which workers sessions run.
    pub(crate) fn set_busy(&self, workers: BTreeSet<WorkerId>) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = workers;
    }

    /// Whether sessions run on a worker.
    pub(crate) fn is_busy(&self, worker: &WorkerId) -> bool {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).contains(worker)
    }

    async fn listed(&self, lasts: Duration) -> Result<Listed, GatewayError> {
        let known = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, listed)) = known
            && at.elapsed() < lasts
        {
            return Ok(listed);
        }
        let listed = self.gateway.workers().await;
        self.contacts.heard_of_gateway(listed.as_ref().err().map(ToString::to_string));
        let listed = Arc::new(listed?);
        self.client.keep_only(&listed.keys().cloned().collect::<BTreeSet<_>>());
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), listed.clone()));
        Ok(listed)
    }
}
