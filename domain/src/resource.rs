//! The resources that a definition states, and how finely their amounts are counted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::demand::{ByResource, ROUNDING};
use crate::lablet_definition::ResourceRequirements;
use crate::number::Whole;

/// Logarithms are counted in this part of one: 0.02 % of an amount.
pub const LOG_PARTS: f64 = 4096.0;

const MB_PER_GB: f64 = 1024.0;

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
    pub fn smallest(self) -> f64 {
        1.0 / self.part(&ROUNDING)
    }

    /// An amount in whole parts of a core or MB, never negative.
    #[expect(clippy::cast_possible_truncation, reason = "an amount is at most 1e9, and the cast saturates")]
    pub fn units(self, amount: f64) -> i64 {
        (amount.max(0.0) * self.part(&ROUNDING)).round() as i64
    }

    /// The natural logarithm of an amount, in parts of [`LOG_PARTS`]. Nothing at all counts as the smallest amount.
    #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a finite number is below 710")]
    pub fn log_units(self, amount: f64) -> i64 {
        (amount.max(self.smallest()).ln() * LOG_PARTS).round() as i64
    }

    /// Cores or MB of one unit in which a definition states it.
    pub fn unit(self) -> f64 {
        match self {
            Self::CpuCores => 1.0,
            Self::MemoryMb | Self::StorageMb => MB_PER_GB,
        }
    }

    /// What the unit is called.
    pub fn unit_name(self) -> &'static str {
        match self {
            Self::CpuCores => "cores",
            Self::MemoryMb | Self::StorageMb => "GB",
        }
    }

    /// What a definition states of it: whole cores or GB.
    pub fn configured(self, requirements: &ResourceRequirements) -> u32 {
        match self {
            Self::CpuCores => requirements.cpu_cores.get(),
            Self::MemoryMb => requirements.memory_gb.get(),
            Self::StorageMb => requirements.storage_gb.get(),
        }
    }

    /// The most that a definition can state: whole cores or GB.
    fn most(self) -> u32 {
        let most = match self {
            Self::CpuCores => Whole::<u32, 1, 10_000>::MOST,
            Self::MemoryMb => Whole::<u32, 1, 1_000_000>::MOST,
            Self::StorageMb => Whole::<u32, 1, 10_000_000>::MOST,
        };
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    /// As many whole cores or GB as hold an amount, at least one.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates within u32")]
    pub fn rounded_up(self, amount: f64) -> u32 {
        // An amount that was computed may lie above a whole one by its last bits.
        let units = (amount / self.unit() - 1e-9).ceil().max(1.0);
        (units as u32).min(self.most())
    }

    /// As many whole cores or GB as an amount holds, at least one.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates within u32")]
    pub fn rounded_down(self, amount: f64) -> u32 {
        let units = (amount / self.unit() + 1e-9).floor().max(1.0);
        (units as u32).min(self.most())
    }
}
