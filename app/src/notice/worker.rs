//! Notices about workers.

use chrono::{DateTime, Utc};
use domain::actor::Actor;
use domain::worker::{PressureCondition, Shortage, WorkerEvent, WorkerPressure, WorkerProfile};
use domain::{List, WorkerId};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Draft, Notice, NoticeError, NoticeSchema};

/// A worker began to exist.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct WorkerRegistered {
    /// The worker.
    pub worker_id: WorkerId,
    /// What it is.
    pub profile: WorkerProfile,
    /// When.
    pub registered_at: DateTime<Utc>,
}

/// A worker is different from now on.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct WorkerChanged {
    /// The worker.
    pub worker_id: WorkerId,
    /// What it was.
    pub before: WorkerProfile,
    /// What it is.
    pub after: WorkerProfile,
    /// When.
    pub changed_at: DateTime<Utc>,
}

/// How much of a worker is free, or what it is short of, is not what it was, or was told long ago.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct WorkerPressureObserved {
    /// The worker.
    pub worker_id: WorkerId,
    /// Whether it is short.
    pub condition: PressureCondition,
    /// What it is short of.
    pub short_of: List<Shortage, { Shortage::ALL.len() }>,
    /// What was read.
    pub pressure: WorkerPressure,
    /// Who read it.
    pub observer: Actor,
    /// When it was read.
    pub observed_at: DateTime<Utc>,
}

pub(super) fn announce(event: WorkerEvent, draft: &Draft<'_>) -> Result<Notice, NoticeError> {
    match event {
        WorkerEvent::Registered { worker_id, profile, registered_at } => {
            let registered = WorkerRegistered { worker_id, profile, registered_at };
            draft.notice(registered_at, &registered)
        }
        WorkerEvent::Changed { worker_id, before, after, changed_at } => {
            let changed = WorkerChanged { worker_id, before, after, changed_at };
            draft.notice(changed_at, &changed)
        }
        WorkerEvent::PressureObserved { worker_id, pressure, observer, observed_at } => {
            let observed = WorkerPressureObserved {
                worker_id,
                condition: pressure.condition(),
                short_of: List::first(pressure.shortages()),
                pressure,
                observer,
                observed_at,
            };
            draft.notice(observed_at, &observed)
        }
    }
}

pub(super) fn schemas() -> Vec<NoticeSchema> {
    fn schema<T: JsonSchema>(event_type: &'static str, says: &'static str) -> NoticeSchema {
        NoticeSchema { event_type, event_version: "1", says, schema: |generator| generator.root_schema_for::<T>() }
    }
    vec![
        schema::<WorkerRegistered>("worker.registered", "A worker began to exist."),
        schema::<WorkerChanged>("worker.changed", "A worker is different from now on."),
        schema::<WorkerPressureObserved>(
            "worker.pressure_observed",
            "How much of a worker is free, or what it is short of, is not what it was, or was told long ago.",
        ),
    ]
}
