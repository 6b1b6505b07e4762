//! Over which phases of a session it is asked what was needed.

use serde::{Deserialize, Serialize};

/// The phases whose peaks a demand is taken of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phases {
    /// The steady phase alone.
    #[default]
    Steady,
    /// The steady phase and the boot before it.
    WithBoot,
}

/// Something of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByPhases<T> {
    /// Of the steady phase alone.
    pub steady: T,
    /// Of the boot, too.
    pub with_boot: T,
}

impl Phases {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Steady, Self::WithBoot];

    /// Those with the boot, or without.
    pub fn including_boot(include_boot: bool) -> Self {
        if include_boot { Self::WithBoot } else { Self::Steady }
    }

    /// Whether the boot is one of them.
    pub fn include_boot(self) -> bool {
        self == Self::WithBoot
    }

    /// Their name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::WithBoot => "with_boot",
        }
    }

    /// What is held of them.
    pub fn part<T>(self, of_each: &ByPhases<T>) -> &T {
        match self {
            Self::Steady => &of_each.steady,
            Self::WithBoot => &of_each.with_boot,
        }
    }

    /// What is held of them, to be changed.
    pub fn part_mut<T>(self, of_each: &mut ByPhases<T>) -> &mut T {
        match self {
            Self::Steady => &mut of_each.steady,
            Self::WithBoot => &mut of_each.with_boot,
        }
    }

    /// Of each what `make` makes for it.
    pub fn each<T>(mut make: impl FnMut(Self) -> T) -> ByPhases<T> {
        ByPhases { steady: make(Self::Steady), with_boot: make(Self::WithBoot) }
    }

    /// Of each what `make` makes for it, or why the first could not be made.
    ///
    /// # Errors
    /// Whatever `make` says.
    pub fn try_each<T, E>(mut make: impl FnMut(Self) -> Result<T, E>) -> Result<ByPhases<T>, E> {
        Ok(ByPhases { steady: make(Self::Steady)?, with_boot: make(Self::WithBoot)? })
    }
}
