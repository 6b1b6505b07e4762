//! Tells how this controller gets on: a core message every few seconds, and at once when an error begins or ends.

use std::time::Duration;

use bus::clock::{Clock, IdGenerator};
use bus::{Bus, subjects};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::controller_report::{ControllerReport, INTERVAL_SECONDS, LARGEST};
use tokio_util::sync::CancellationToken;

use crate::contact::Contacts;

/// Time between two reports where nothing changes.
const INTERVAL: Duration = Duration::from_secs(INTERVAL_SECONDS as u64);
/// Shortest time between two reports: of many workers that fail together, one report tells.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(500);
/// How long the last report may take to go out.
const FAREWELL: Duration = Duration::from_secs(2);

/// Tells how a controller gets on.
#[derive(Debug)]
pub(crate) struct Announcements {
    bus: Bus,
    contacts: Contacts,
    clock: Clock,
    has_credentials: bool,
    id: String,
    host: String,
    started_at: DateTime<Utc>,
}

impl Announcements {
    /// Of a controller that starts now.
    pub(crate) fn new(bus: Bus, contacts: Contacts, clock: Clock, has_credentials: bool) -> Self {
        Self {
            bus,
            contacts,
            has_credentials,
            id: IdGenerator::random().uuid().to_string(),
            host: machine_name(),
            started_at: clock.now(),
            clock,
        }
    }

    /// Runs until `stop`, and says then that it ends.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let (mut changes, mut connects) = (self.contacts.changes(), self.bus.connects());
        loop {
            changes.mark_unchanged();
            connects.mark_unchanged();
            self.tell(false).await;
            let next = async {
                tokio::time::sleep(SHORTEST_INTERVAL).await;
                tokio::select! {
                    Ok(()) = changes.changed() => {}
                    Ok(()) = connects.changed() => {}
                    () = tokio::time::sleep(INTERVAL - SHORTEST_INTERVAL) => {}
                }
            };
            if stop.run_until_cancelled(next).await.is_none() {
                break;
            }
        }
        if tokio::time::timeout(FAREWELL, self.tell(true)).await.is_err() {
            tracing::debug!("last report not published");
        }
    }

    async fn tell(&self, is_ending: bool) {
        // What is buffered while the bus is away would be old when it comes back.
        if !self.bus.is_connected() {
            return;
        }
        let report = ControllerReport {
            id: self.id.clone(),
            host: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            told_at: self.clock.now(),
            is_ending,
            has_credentials: self.has_credentials,
            gateway_error: self.contacts.gateway_error(),
            workers: self.contacts.all(),
        };
        let client = self.bus.client();
        let Some(message) = report.write(LARGEST.min(client.server_info().max_payload)) else {
            tracing::warn!(workers = report.workers.len(), "report of this controller is too large");
            return;
        };
        let told = async {
            client.publish(subjects::live_controller(&self.id), Bytes::from(message)).await?;
            // The last one would be lost with the connection.
            if is_ending { client.flush().await.map_err(anyhow::Error::new) } else { Ok(()) }
        };
        if let Err(error) = told.await {
            tracing::debug!(%error, "report of this controller not published");
        }
    }
}

/// The name of this machine.
fn machine_name() -> String {
    let name = hostname::get().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let name: String = name.chars().filter(|character| !character.is_control()).take(100).collect();
    if name.is_empty() { "a machine without a name".to_owned() } else { name }
}
