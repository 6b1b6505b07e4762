//! Where what sessions used so far survives a controller: JetStream's key-value store.
//!
//! An entry names the controller that samples the session. It is only changed by compare-and-set: a controller that was
//! replaced meanwhile cannot write, and drops what it gathered since its last write, which its successor heard of as live
//! samples. The revision at which a controller took a session over is its term.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, Entry, Operation, Store as Bucket, UpdateErrorKind};
use bus::{Bus, streams};
use domain::SessionId;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::profile::Summary;

/// Longest time of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The store. Cloning shares the handle.
#[derive(Debug, Clone)]
pub struct SummaryStore {
    bus: Bus,
    bucket: Arc<Mutex<Option<Bucket>>>,
}

/// An entry of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSummary {
    /// The controller that samples the session. `None`: nobody does.
    pub controller: Option<Uuid>,
    /// When this entry was written, counted in writes of the whole store.
    pub revision: u64,
    /// What was gathered.
    pub summary: Summary,
}

/// Why the store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another controller wrote the entry meanwhile.
    #[error("the entry was written by another controller")]
    Conflict,
    /// No answer, or a refusal.
    #[error("the store of samples cannot be used")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It would not fit.
    #[error("an entry of {0} bytes does not fit into the store")]
    TooLarge(usize),
}

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(error.into())
}

impl SummaryStore {
    /// The store on this bus; its bucket is made where it is missing.
    pub fn new(bus: Bus) -> Self {
        Self { bus, bucket: Arc::default() }
    }

    async fn bucket(&self) -> Result<Bucket, StoreError> {
        if !self.bus.is_connected() {
            return Err(unavailable("no connection to the bus"));
        }
        let mut known = self.bucket.lock().await;
        if let Some(bucket) = &*known {
            return Ok(bucket.clone());
        }
        let jetstream = self.bus.jetstream();
        streams::ensure_sampling(&self.bus).await.map_err(unavailable)?;
        let bucket = jetstream.get_key_value(streams::SAMPLING_BUCKET).await.map_err(unavailable)?;
        Ok(known.insert(bucket).clone())
    }

    async fn bounded<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let result = tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|elapsed| Err(unavailable(elapsed)));
        if matches!(result, Err(StoreError::Unavailable(_))) {
            // It may be gone, with the whole bus; it is looked for again.
            *self.bucket.lock().await = None;
        }
        result
    }

    /// The entry of a session. `None`: there is none, or none that can be read.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn read(&self, session: &SessionId) -> Result<Option<StoredSummary>, StoreError> {
        let entry = self.entry(session).await?;
        Ok(entry.and_then(|entry| {
            let (controller, summary) = decode(&entry.value)?;
            Some(StoredSummary { controller, revision: entry.revision, summary })
        }))
    }

    async fn entry(&self, session: &SessionId) -> Result<Option<Entry>, StoreError> {
        self.bounded(async {
            let entry = self.bucket().await?.entry(session.as_str()).await.map_err(unavailable)?;
            Ok(entry.filter(|entry| entry.operation == Operation::Put))
        })
        .await
    }

    /// Writes a summary, where the entry is still at `revision`; `None`: where there is no entry. Gives the new revision.
    ///
    /// A write whose answer was lost is recognised by the controller that it names.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write(
        &self,
        session: &SessionId,
        controller: Option<Uuid>,
        revision: Option<u64>,
        summary: &Summary,
    ) -> Result<u64, StoreError> {
        let value = encode(controller, summary).map_err(unavailable)?;
        if value.len() > streams::LARGEST_SAMPLING_ENTRY {
            return Err(StoreError::TooLarge(value.len()));
        }
        let written = self.write_once(session, revision, value.clone()).await;
        if !matches!(written, Err(StoreError::Conflict)) {
            return written;
        }
        match self.entry(session).await? {
            // A write of our own, whose answer was lost; or an entry that cannot be read, and helps nobody.
            Some(entry) => match decode(&entry.value) {
                Some((Some(holder), _)) if Some(holder) != controller => Err(StoreError::Conflict),
                Some((None, _)) => Err(StoreError::Conflict),
                _ => self.write_once(session, Some(entry.revision), value).await,
            },
            // The store lost what it had.
            None => self.write_once(session, None, value).await,
        }
    }

    async fn write_once(&self, session: &SessionId, revision: Option<u64>, value: Vec<u8>) -> Result<u64, StoreError> {
        self.bounded(async {
            let bucket = self.bucket().await?;
            match revision {
                Some(revision) => {
                    bucket.update(session.as_str(), value.into(), revision).await.map_err(|error| match error.kind() {
                        UpdateErrorKind::WrongLastRevision => StoreError::Conflict,
                        _ => unavailable(error),
                    })
                }
                None => bucket.create(session.as_str(), value.into()).await.map_err(|error| match error.kind() {
                    CreateErrorKind::AlreadyExists => StoreError::Conflict,
                    _ => unavailable(error),
                }),
            }
        })
        .await
    }

    /// Removes the entry of a session that moved on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; it leaves by its age then.
    pub async fn remove(&self, session: &SessionId) -> Result<(), StoreError> {
        self.bounded(async { self.bucket().await?.purge(session.as_str()).await.map_err(unavailable) }).await
    }
}

fn encode(controller: Option<Uuid>, summary: &Summary) -> Result<Vec<u8>, postcard::Error> {
    let mut value = controller.unwrap_or_default().as_bytes().to_vec();
    value.extend(summary.to_bytes()?);
    Ok(value)
}

fn decode(value: &[u8]) -> Option<(Option<Uuid>, Summary)> {
    let (controller, summary) = value.split_at_checked(16)?;
    let controller = Uuid::from_slice(controller).ok()?;
    Some(((!controller.is_nil()).then_some(controller), Summary::from_bytes(summary)?))
}
