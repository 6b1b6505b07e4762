//! The resources that a definition states, and how finely their amounts are counted.

use domain::demand::{ByResource, ROUNDING};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Logarithms are counted in this part of one: 0.02 % of an amount.
pub(crate) const LOG_PARTS: f64 = 4096.0;

/// What a definition states an amount of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// CPU, in cores.
    CpuCores,
    /// Memory, in MB.
    MemoryMb,
    /// Disk, in MB.
    StorageMb,
}

impl Resource {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::CpuCores, Self::MemoryMb, Self::StorageMb];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CpuCores => "cpu_cores",
            Self::MemoryMb => "memory_mb",
            Self::StorageMb => "storage_mb",
        }
    }

    /// What is held of it.
    pub fn part<T>(self, of_each: &ByResource<T>) -> &T {
        match self {
            Self::CpuCores => &of_each.cpu_cores,
            Self::MemoryMb => &of_each.memory_mb,
            Self::StorageMb => &of_each.storage_mb,
        }
    }

    /// What is held of it, to be changed.
    pub fn part_mut<T>(self, of_each: &mut ByResource<T>) -> &mut T {
        match self {
            Self::CpuCores => &mut of_each.cpu_cores,
            Self::MemoryMb => &mut of_each.memory_mb,
            Self::StorageMb => &mut of_each.storage_mb,
        }
    }

    /// Of each resource what `make` makes for it.
    pub fn each<T>(mut make: impl FnMut(Self) -> T) -> ByResource<T> {
        ByResource {
            cpu_cores: make(Self::CpuCores),
            memory_mb: make(Self::MemoryMb),
            storage_mb: make(Self::StorageMb),
        }
    }

    /// The smallest amount that is counted: cores or MB.
    pub(crate) fn smallest(self) -> f64 {
        1.0 / self.part(&ROUNDING)
    }

    /// An amount in whole parts of a core or MB, never negative.
    #[expect(clippy::cast_possible_truncation, reason = "an amount is at most 1e9, and the cast saturates")]
    pub(crate) fn units(self, amount: f64) -> i64 {
        (amount.max(0.0) * self.part(&ROUNDING)).round() as i64
    }

    /// The natural logarithm of an amount, in parts of [`LOG_PARTS`]. Nothing at all counts as the smallest amount.
    #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a finite number is below 710")]
    pub(crate) fn log_units(self, amount: f64) -> i64 {
        (amount.max(self.smallest()).ln() * LOG_PARTS).round() as i64
    }
}
