//! What observed sessions add up to. Unknown is never counted as zero.

use schemars::JsonSchema;
use serde::Serialize;

use super::ObservedSession;

/// What sessions add up to.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Aggregate {
    /// Nominal cores.
    pub cpu_cores: Quantity,
    /// Nominal memory in MB.
    pub memory_mb: Quantity,
    /// Measured disk in MB.
    pub storage_mb: Quantity,
    /// Number of nodes.
    pub node_count: Quantity,
    /// Of how many sessions the ports drifted.
    pub port_drift_sessions: usize,
}

/// One quantity over sessions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Quantity {
    /// The greatest known number; null where none is known.
    pub max: Option<f64>,
    /// The mean of the known numbers; null where none is known.
    pub avg: Option<f64>,
    /// The number of the session that was observed last; null where that is unknown.
    pub latest: Option<f64>,
    /// Sessions of which the number is unknown; they are in neither `max` nor `avg`.
    pub unknown_sessions: usize,
}

impl Aggregate {
    /// Adds up sessions, of which the first was observed last.
    pub(super) fn of(sessions: &[ObservedSession]) -> Self {
        let over = |number: fn(&ObservedSession) -> Option<f64>| Quantity::of(sessions.iter().map(number));
        Self {
            cpu_cores: over(|session| session.total_cpu_cores),
            memory_mb: over(|session| session.total_memory_mb),
            storage_mb: over(|session| session.total_storage_mb),
            node_count: over(|session| session.node_count.map(f64::from)),
            port_drift_sessions: sessions.iter().filter(|session| session.port_drift_detected == Some(true)).count(),
        }
    }
}

impl Quantity {
    fn of(numbers: impl Iterator<Item = Option<f64>>) -> Self {
        let mut quantity = Self { max: None, avg: None, latest: None, unknown_sessions: 0 };
        let (mut sum, mut known) = (0.0, 0.0);
        for (index, number) in numbers.enumerate() {
            if index == 0 {
                quantity.latest = number;
            }
            match number {
                Some(number) => {
                    quantity.max = Some(quantity.max.map_or(number, |max| max.max(number)));
                    sum += number;
                    known += 1.0;
                }
                None => quantity.unknown_sessions += 1,
            }
        }
        quantity.avg = quantity.max.map(|_| sum / known);
        quantity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_neither_zero_nor_forgotten() {
        let quantity = Quantity::of([None, Some(4.0), Some(2.0)].into_iter());
        assert_eq!(quantity, Quantity { max: Some(4.0), avg: Some(3.0), latest: None, unknown_sessions: 1 });
        let quantity = Quantity::of([Some(0.0), None].into_iter());
        assert_eq!(quantity, Quantity { max: Some(0.0), avg: Some(0.0), latest: Some(0.0), unknown_sessions: 1 });
        let nothing = Quantity { max: None, avg: None, latest: None, unknown_sessions: 0 };
        assert_eq!(Quantity::of(std::iter::empty()), nothing);
    }
}
