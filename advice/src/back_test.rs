//! What a size would have meant for the sessions of the past.

use domain::SessionId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most sessions that are listed as short.
const MOST_LISTED: usize = 100;

/// What a session needed: cores or MB; `None` is unknown.
#[derive(Debug, Clone, PartialEq)]
pub struct PastDemand {
    /// The session.
    pub session_id: SessionId,
    /// Cores or MB.
    pub demand: Option<f64>,
}

/// A session that needed more than the size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShortSession {
    /// The session.
    pub session_id: SessionId,
    /// What it needed: cores or MB.
    pub demand: f64,
    /// By how much that exceeds the size.
    pub shortfall: f64,
}

/// What one resource of a size would have meant for past sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackTest {
    /// The size: cores or MB.
    pub size: f64,
    /// Sessions whose demand is known.
    pub sessions: u64,
    /// Sessions whose demand is unknown: nothing is said of them.
    pub unknown_sessions: u64,
    /// Sessions that would have been short.
    pub sessions_short: u64,
    /// The most by which one would have been short; null: none would.
    pub worst_shortfall: Option<f64>,
    /// What the middle one of the sessions would have left unused, less than zero where it would have been short; null: no
    /// demand is known.
    pub median_unused: Option<f64>,
    /// The sessions that would have been short, the worst first, at most 100.
    pub short: Vec<ShortSession>,
}

impl BackTest {
    /// Tries a size of cores or MB on the sessions of the past.
    pub fn new(size: f64, past: &[PastDemand]) -> Self {
        let known = |session: &PastDemand| {
            crate::evidence::amount(session.demand).map(|demand| (session.session_id.clone(), demand))
        };
        let mut known: Vec<(SessionId, f64)> = past.iter().filter_map(known).collect();
        known.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        let short = known.iter().take_while(|(_, demand)| *demand > size);
        let sessions_short = short.clone().count();
        let listed = short.take(MOST_LISTED).map(|(session_id, demand)| ShortSession {
            session_id: session_id.clone(),
            demand: *demand,
            shortfall: demand - size,
        });
        let short: Vec<ShortSession> = listed.collect();
        // Of an even number the one that needed more: what is unused is not overstated.
        let middle = known.len().saturating_sub(1) / 2;
        Self {
            size,
            sessions: known.len() as u64,
            unknown_sessions: (past.len() - known.len()) as u64,
            sessions_short: sessions_short as u64,
            worst_shortfall: short.first().map(|session| session.shortfall),
            median_unused: known.get(middle).map(|(_, demand)| size - demand),
            short,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(demands: &[Option<f64>]) -> Vec<PastDemand> {
        let session = |(number, demand): (usize, &Option<f64>)| PastDemand {
            session_id: SessionId::parse(format!("s-{number}")).unwrap(),
            demand: *demand,
        };
        demands.iter().enumerate().map(session).collect()
    }

    #[test]
    fn sessions_that_would_have_been_short_are_counted_and_the_worst_is_told() {
        let found =
            BackTest::new(4096.0, &past(&[Some(1000.0), Some(5000.0), None, Some(4200.0), Some(3000.0), Some(4096.0)]));
        assert_eq!((found.sessions, found.unknown_sessions, found.sessions_short), (5, 1, 2));
        assert_eq!((found.worst_shortfall, found.median_unused), (Some(904.0), Some(0.0)));
        let short: Vec<&str> = found.short.iter().map(|session| session.session_id.as_str()).collect();
        assert_eq!(short, ["s-1", "s-3"]);
    }

    #[test]
    fn without_a_known_demand_nothing_is_said() {
        let found = BackTest::new(4096.0, &past(&[None, Some(f64::NAN)]));
        assert_eq!((found.sessions, found.unknown_sessions, found.sessions_short), (0, 2, 0));
        assert_eq!((found.worst_shortfall, found.median_unused), (None, None));
    }

    #[test]
    fn a_long_list_is_cut_and_the_count_is_not() {
        let found = BackTest::new(1.0, &past(&vec![Some(2.0); 50_000]));
        assert_eq!((found.sessions_short, found.short.len()), (50_000, MOST_LISTED));
    }
}
