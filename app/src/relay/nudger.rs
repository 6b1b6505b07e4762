//! Tells other processes that this one has appended.

use tokio_util::sync::CancellationToken;

use crate::log::Log;
use bus::{Bus, subjects};

/// Sends the wake-up signal `lablet.nudge.log` after every append of this process.
pub struct Nudger {
    log: Log,
    bus: Bus,
}

impl Nudger {
    /// A nudger from this process's log to the bus.
    pub fn new(log: Log, bus: Bus) -> Self {
        Self { log, bus }
    }

    /// Works until `stop` is cancelled, or the log is gone.
    pub async fn run(self, stop: CancellationToken) {
        let mut appended = self.log.appended();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = appended.changed() => if changed.is_err() { return },
            }
            self.bus.nudge(subjects::NUDGE_LOG);
        }
    }
}
