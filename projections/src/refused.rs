//! Why an event is not applied.

/// Why an event cannot be applied: it contradicts the rows that earlier events left, or cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        let reason: String = reason.into();
        Self(reason.chars().take(LONGEST_REASON).collect())
    }
}

/// Characters of a reason that are kept.
const LONGEST_REASON: usize = 2_000;

/// A number for an `integer` column.
pub(crate) fn integer<N: TryInto<i32> + Copy + std::fmt::Display>(number: N, field: &str) -> Result<i32, Refused> {
    number.try_into().map_err(|_| Refused::new(format!("{field} is {number}, which no integer column holds")))
}
