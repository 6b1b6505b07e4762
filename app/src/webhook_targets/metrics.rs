//! Metrics of webhooks. They come from the table, so that whoever is asked knows them, whichever process delivers.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::{TargetState, TargetStatus, WebhookTargets};

impl WebhookTargets {
    /// Says what the metrics mean.
    pub fn describe_metrics() {
        describe_counter!("lablet_webhook_attempts_total", Unit::Count, "Requests to targets of webhooks, by target");
        describe_counter!(
            "lablet_webhook_events_total",
            Unit::Count,
            "Events that a target of webhooks got, or that went to the dead letters, by target and outcome"
        );
        describe_gauge!(
            "lablet_webhook_lag_seconds",
            Unit::Seconds,
            "Age of the oldest event that a target of webhooks is not past, by target"
        );
        describe_gauge!(
            "lablet_webhook_failed_attempts",
            Unit::Count,
            "Failed attempts of the event that a target of webhooks does not take at present, by target"
        );
        describe_gauge!(
            "lablet_webhook_active",
            "1 where a target of webhooks is delivered to, 0 where it is paused or gone"
        );
    }

    /// Sets the metrics of the targets that are configured.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn measure(&self) -> sqlx::Result<()> {
        for target in self.list().await?.into_iter().filter(|target| target.configured) {
            let TargetStatus { name, lag_seconds, failed_attempts, state, attempts, delivered, dead_lettered, .. } =
                target;
            counter!("lablet_webhook_attempts_total", "target" => name.clone()).absolute(attempts.unsigned_abs());
            for (outcome, events) in [("delivered", delivered), ("dead_lettered", dead_lettered)] {
                counter!("lablet_webhook_events_total", "target" => name.clone(), "outcome" => outcome)
                    .absolute(events.unsigned_abs());
            }
            gauge!("lablet_webhook_lag_seconds", "target" => name.clone()).set(lag_seconds);
            gauge!("lablet_webhook_failed_attempts", "target" => name.clone()).set(failed_attempts as f64);
            gauge!("lablet_webhook_active", "target" => name).set(f64::from(u8::from(state == TargetState::Active)));
        }
        Ok(())
    }
}
