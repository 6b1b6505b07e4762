//! What controllers tell each other, and whoever shows live pages, of each sample: core messages, which nobody keeps.

use bus::{Bus, subjects};
use bytes::Bytes;
use domain::SessionId;
use domain::observation::{GapReason, Phase};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::profile::Sample;

/// Largest message that is read.
const LARGEST: usize = 1024 * 1024;

/// What came of one attempt to sample a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveSample {
    /// The session.
    pub session_id: SessionId,
    /// The controller that samples it.
    pub controller: Uuid,
    /// Revision of the store at which that controller took the session over; of two, the one with the greater samples it.
    pub term: u64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A sample, why there is none, that there will be one, or that the controller leaves the session to others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// A sample.
    Sampled {
        /// The sample.
        sample: Sample,
        /// What it says of the lab as a whole.
        #[serde(default)]
        lab: LabSample,
    },
    /// There is none.
    Missed {
        /// Why.
        reason: GapReason,
    },
    /// Nothing yet; the session is sampled all the same.
    Pending,
    /// The controller ends.
    Released,
}

/// What a lab uses at one instant: what counts for its profile. What is not known is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LabSample {
    /// What the lab was doing.
    pub phase: Phase,
    /// The time that it stands for: that since the last sample, and no longer than planned.
    pub seconds: u32,
    /// Cores.
    pub cpu_cores: Option<f64>,
    /// MB.
    pub memory_mb: Option<f64>,
    /// MB.
    pub storage_mb: Option<f64>,
}

impl LabSample {
    /// Of a sample that was counted for this phase, and stands for so many seconds.
    pub fn new(phase: Phase, seconds: u32, sample: &Sample) -> Self {
        let [cpu_cores, memory_mb, storage_mb] = sample.totals();
        Self { phase, seconds, cpu_cores, memory_mb, storage_mb }
    }
}

impl LiveSample {
    /// Publishes it. Whoever does not hear it finds what it says in the store, later.
    pub async fn publish(&self, bus: &Bus) {
        let payload = match serde_json::to_vec(self) {
            Ok(payload) if payload.len() <= LARGEST.min(bus.client().server_info().max_payload) => payload,
            Ok(payload) => {
                tracing::debug!(session.id = %self.session_id, bytes = payload.len(), "live sample too large");
                return;
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "live sample cannot be written");
                return;
            }
        };
        if !bus.is_connected() {
            return;
        }
        let subject = subjects::live_samples(self.session_id.as_str());
        if let Err(error) = bus.client().publish(subject, Bytes::from(payload)).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "live sample not published");
        }
    }

    /// Reads a message.
    pub fn read(payload: &[u8]) -> Option<Self> {
        if payload.len() > LARGEST {
            return None;
        }
        serde_json::from_slice(payload).ok()
    }
}
