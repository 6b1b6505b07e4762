//! How short the worker is of what labs need.

use serde::{Deserialize, Serialize};

/// Resources that the worker says it is short of, and how long nodes wait for their launch besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerPressure {
    pub cpu: bool,
    pub memory: bool,
    pub disk: bool,
    /// Simulated seconds that every node waits which is started from now on, at most a day.
    pub launch_delay_seconds: u32,
}

const LONGEST_DELAY_SECONDS: u32 = 24 * 60 * 60;

impl WorkerPressure {
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.launch_delay_seconds > LONGEST_DELAY_SECONDS {
            return Err(format!("a delay of {} s is more than a day", self.launch_delay_seconds));
        }
        Ok(())
    }
}
