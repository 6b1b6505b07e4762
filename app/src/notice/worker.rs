//! Notices about workers.

use chrono::{DateTime, Utc};
use domain::WorkerId;
use domain::worker::{WorkerEvent, WorkerProfile};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{json, to_value};

use super::{Contents, NoticeType};

/// A worker began to exist.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WorkerRegistered {
    /// The worker.
    pub worker_id: WorkerId,
    /// What it is.
    pub profile: WorkerProfile,
    /// When.
    pub registered_at: DateTime<Utc>,
}

/// A worker is different from now on.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WorkerChanged {
    /// The worker.
    pub worker_id: WorkerId,
    /// What it was.
    pub before: WorkerProfile,
    /// What it is.
    pub after: WorkerProfile,
    /// When.
    pub changed_at: DateTime<Utc>,
}

pub(super) fn contents(event: WorkerEvent) -> Result<Contents, serde_json::Error> {
    let (ids, at, full) = match event {
        WorkerEvent::Registered { worker_id, profile, registered_at } => (
            json!({ "worker_id": worker_id }),
            registered_at,
            to_value(WorkerRegistered { worker_id, profile, registered_at })?,
        ),
        WorkerEvent::Changed { worker_id, before, after, changed_at } => (
            json!({ "worker_id": worker_id }),
            changed_at,
            to_value(WorkerChanged { worker_id, before, after, changed_at })?,
        ),
    };
    Ok(Contents { at, summary: full.clone(), full: Some(full), ids })
}

pub(super) fn kinds() -> Vec<NoticeType> {
    fn kind<T: JsonSchema>(event_type: &'static str, says: &'static str) -> NoticeType {
        NoticeType { event_type, event_version: "1", says, schema: |generator| generator.root_schema_for::<T>() }
    }
    vec![
        kind::<WorkerRegistered>("worker.registered", "A worker began to exist."),
        kind::<WorkerChanged>("worker.changed", "A worker is different from now on."),
    ]
}
