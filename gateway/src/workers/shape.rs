//! What the answer to a write says about a worker.

use app::log::Position;
use domain::WorkerId;
use domain::worker::{Worker, WorkerProfile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::version::etag;

/// A worker as it is after a write.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WrittenWorker {
    /// The worker.
    pub(crate) id: WorkerId,
    /// Name, address, capacity and port range.
    #[serde(flatten)]
    pub(crate) profile: WorkerProfile,
    /// Where in the log the write is. A read that names it waits until the read models are there.
    pub(crate) position: Position,
    /// The worker's version, for `If-Match`.
    pub(crate) etag: String,
}

impl WrittenWorker {
    /// The worker at `position`, in this version; `None` where there is none.
    pub(crate) fn new(worker: &Worker, version: i64, position: Position) -> Option<Self> {
        match worker {
            Worker::Absent => None,
            Worker::Present { id, profile, .. } => {
                Some(Self { id: id.clone(), profile: profile.clone(), position, etag: etag(version) })
            }
        }
    }
}
