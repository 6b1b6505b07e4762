//! `GET /api/controllers`: the controllers that were heard, and how each gets on with the workers.
//!
//! They tell it by core messages of the bus, which nobody keeps: a gateway knows what it heard since it began to listen.

pub(crate) mod heard;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use bus::clock::Clock;
use bus::{Backoff, Bus, subjects};
use domain::WorkerId;
use domain::controller_report::ControllerReport;
use futures_util::StreamExt as _;
use projections::read_models::workers::WorkerRow;
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::heard::{Controller, HeardReports, KnownContact, Presence};
use crate::caller::{Caller, Viewing};
use crate::problem::Problem;

/// First and longest wait before the bus is listened to again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What was heard of controllers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ControllerWatch(Arc<Inner>);

struct Inner {
    bus: Bus,
    clock: Clock,
    heard: Mutex<HeardReports>,
}

impl ControllerWatch {
    /// Of this bus; nothing is heard until it runs.
    pub(crate) fn new(bus: Bus, clock: Clock) -> Self {
        Self(Arc::new(Inner { bus, clock, heard: Mutex::default() }))
    }

    /// Listens until told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.listen()).await;
    }

    async fn listen(&self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut connects = self.0.bus.connects();
        loop {
            connects.mark_unchanged();
            match self.0.bus.client().subscribe(subjects::LIVE_CONTROLLERS).await {
                Ok(mut messages) => {
                    backoff.reset();
                    self.heard().listens_since(self.0.clock.now());
                    loop {
                        tokio::select! {
                            message = messages.next() => match message {
                                Some(message) => self.hear(&message.payload),
                                None => break,
                            },
                            // The subscription goes on, and what was told meanwhile is lost.
                            Ok(()) = connects.changed() => self.heard().listens_since(self.0.clock.now()),
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "controllers cannot be listened to");
                }
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    fn hear(&self, message: &[u8]) {
        let is_taken = match ControllerReport::read(message) {
            Some(report) => self.heard().hear(report, message.len(), self.0.clock.now()),
            None => false,
        };
        if !is_taken {
            metrics::counter!("lablet_controller_reports_dropped_total").increment(1);
        }
    }

    /// The controllers, those that run first.
    pub(crate) fn all(&self) -> Vec<Controller> {
        self.heard().controllers(self.0.clock.now())
    }

    /// Whether there is a controller.
    pub(crate) fn presence(&self) -> Presence {
        self.heard().presence(self.0.clock.now(), self.0.bus.is_connected())
    }

    /// How a worker is got on with; `None`: nobody told.
    pub(crate) fn contact(&self, worker: &WorkerId) -> Option<KnownContact> {
        self.heard().contact(worker, self.0.clock.now())
    }

    /// What keeps a request for an observation on this worker from being answered now, as far as is known, in words;
    /// `None`: nothing that is known.
    pub(crate) fn obstacle(&self, worker: &WorkerId) -> Option<String> {
        let now = self.0.clock.now();
        heard::obstacle(self.presence(), self.contact(worker).as_ref(), self.all().first(), now)
    }

    /// A worker with how it is got on with.
    pub(crate) fn with_contact(&self, worker: WorkerRow) -> WorkerWithContact {
        WorkerWithContact { contact: self.contact(&worker.id), worker }
    }

    fn heard(&self) -> MutexGuard<'_, HeardReports> {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker, and how controllers get on with it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct WorkerWithContact {
    /// The worker.
    #[serde(flatten)]
    pub(crate) worker: WorkerRow,
    /// Whether it can be read, as controllers tell; null: none told. It is not in the log.
    pub(crate) contact: Option<KnownContact>,
}

/// The controllers that were heard.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Controllers {
    /// Whether there is one.
    pub(crate) presence: Presence,
    /// The same in words.
    pub(crate) words: String,
    /// Each, those that run first.
    pub(crate) items: Vec<Controller>,
}

pub(crate) async fn list(
    State(watch): State<ControllerWatch>,
    State(clock): State<Clock>,
    _: Caller<Viewing>,
) -> Result<Json<Controllers>, Problem> {
    let presence = watch.presence();
    Ok(Json(Controllers { words: presence.words(clock.now()), presence, items: watch.all() }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_controllers")
        .tag("workers")
        .summary("Controllers, and how each gets on with the workers")
        .description(
            "What controllers told since this gateway began to listen. Nothing of it is in the log or the read models. \
             One that was not heard for 30 seconds is missing.",
        )
}
