//! Live samples on the bus: core messages, which nobody keeps.

use bus::{Bus, subjects};
use bytes::Bytes;
use domain::live_sample;
use uuid::Uuid;

/// What came of one attempt to sample a session, told by a controller.
pub(super) type LiveSample = live_sample::LiveSample<Uuid>;

/// Publishes it, where the bus is there. Whoever does not hear it finds what it says in the store, later.
pub(super) async fn publish(message: &LiveSample, bus: &Bus) {
    let payload = match serde_json::to_vec(message) {
        Ok(payload) if payload.len() <= live_sample::LARGEST.min(bus.client().server_info().max_payload) => payload,
        Ok(payload) => {
            tracing::debug!(session.id = %message.session_id, bytes = payload.len(), "live sample too large");
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
    let subject = subjects::live_samples(message.session_id.as_str());
    if let Err(error) = bus.client().publish(subject, Bytes::from(payload)).await {
        tracing::debug!(error = &error as &dyn std::error::Error, "live sample not published");
    }
}
