//! What a recommendation costs, and what a new session costs.

use std::time::Instant;

use advice::evidence::SessionEvidence;
use advice::fleet::Fleet;
use domain::Invalid;
use domain::advice_policy::Promise;
use domain::resource::Resource;

use crate::families::FAMILIES;
use crate::simulated_fleet::{SimulatedFleet, Size};

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Sessions of the fleet.
    pub sessions: usize,
    /// Definitions of the fleet.
    pub definitions: usize,
    /// Microseconds that a recommendation of all three resources takes.
    pub recommendation: f64,
    /// Microseconds that a new session takes.
    pub session: f64,
    /// Rows that a recommendation of three resources reads, in the mean, beside the scores.
    pub rows: f64,
}

/// Measures over 10,000 sessions of 1,000 definitions.
///
/// # Errors
/// None of the fleet's ids is refused.
pub fn measure(seed: u64) -> Result<Cost, Invalid> {
    let size = Size { definitions: 1_000, sessions: Some(10) };
    let simulated = SimulatedFleet::new(&FAMILIES[5], size, seed)?;
    let mut fleet = Fleet::default();
    let begin = Instant::now();
    for session in &simulated.sessions {
        fleet.advance(&session.evidence);
    }
    let session = begin.elapsed().as_secs_f64();
    let newest: Vec<&SessionEvidence> =
        simulated.sessions.iter().rev().take(1_000).map(|known| &known.evidence).collect();
    let begin = Instant::now();
    let mut answers = 0;
    for evidence in &newest {
        for resource in Resource::ALL {
            let estimate = fleet.estimate(&evidence.definition_id, &evidence.topology, resource, Promise::default());
            answers += usize::from(estimate.is_some());
        }
    }
    let recommendation = begin.elapsed().as_secs_f64() / newest.len() as f64;
    let rows = |evidence: &&SessionEvidence| fleet.rows().part_for(&evidence.definition_id, &evidence.topology).count();
    let rows = newest.iter().map(rows).sum::<usize>() as f64 / newest.len() as f64;
    Ok(Cost {
        rows,
        sessions: simulated.sessions.len(),
        definitions: size.definitions,
        recommendation: if answers > 0 { recommendation * 1e6 } else { f64::NAN },
        session: session / simulated.sessions.len() as f64 * 1e6,
    })
}
