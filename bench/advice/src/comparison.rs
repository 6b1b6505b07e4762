//! What advice was worth: how often it held, and what it gave that was not used.

use std::collections::BTreeMap;

use domain::resource::Resource;

use crate::walk::{Advised, CoveredFuture};

/// Advice that was given, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Sessions with advice.
    pub sessions: u64,
    /// Those among them that it covered.
    pub covered: u64,
    /// What was given and not used: cores or MB.
    pub unused: f64,
    /// What was needed: cores or MB.
    pub demand: f64,
    /// Sessions without advice.
    pub silent: u64,
}

impl Tally {
    /// Adds what was said before a session, and what the session needed.
    pub fn add(&mut self, size: Option<f64>, demand: f64) {
        let Some(size) = size else {
            self.silent += 1;
            return;
        };
        self.sessions += 1;
        // Floating-point numbers of equal amounts may differ in their last bit.
        self.covered += u64::from(size * (1.0 + 1e-9) >= demand);
        self.unused += (size - demand).max(0.0);
        self.demand += demand;
    }

    /// The share of sessions that it covered.
    pub fn coverage(&self) -> f64 {
        self.covered as f64 / self.sessions as f64
    }

    /// What was given and not used, as a share of what was needed.
    pub fn waste(&self) -> f64 {
        self.unused / self.demand
    }
}

/// A tally over those advised that `counts`, of what `size` says.
pub fn tally(
    fleets: &[Vec<Advised>],
    counts: impl Fn(&Advised) -> bool,
    size: impl Fn(&Advised) -> Option<f64>,
) -> Tally {
    let mut tally = Tally::default();
    for advised in fleets.iter().flatten().filter(|advised| counts(advised)) {
        tally.add(size(advised), advised.demand);
    }
    tally
}

/// Of the definitions with at least `least` sessions after their 20th: the share of which more than twice as many sessions as
/// promised were missed by what `size` says, and their number.
pub fn missing_too_often(
    fleets: &[Vec<Advised>],
    resource: Resource,
    promise: f64,
    least: u64,
    size: impl Fn(&Advised) -> Option<f64>,
) -> (f64, usize) {
    let (mut too_often, mut all) = (0, 0);
    for fleet in fleets {
        let mut definitions: BTreeMap<usize, Tally> = BTreeMap::new();
        for advised in fleet.iter().filter(|advised| advised.resource == resource && advised.known >= 20) {
            definitions.entry(advised.definition).or_default().add(size(advised), advised.demand);
        }
        for tally in definitions.values().filter(|tally| tally.sessions >= least) {
            all += 1;
            too_often += u32::from(1.0 - tally.coverage() > 2.0 * (1.0 - promise) + 1e-9);
        }
    }
    (f64::from(too_often) / all.max(1) as f64, all)
}

/// How often the largest of the sessions before covered the next one, beside n/(n + 1), for each of these n.
pub fn next_by_largest(fleets: &[Vec<Advised>], known: &[usize]) -> Vec<(usize, f64, f64)> {
    let covered = |known: &usize| {
        let tally = tally(
            fleets,
            |advised| advised.known == *known && advised.known_since_growth.is_none(),
            |advised| advised.largest,
        );
        (*known, *known as f64 / (*known as f64 + 1.0), tally.coverage())
    };
    known.iter().map(covered).collect()
}

/// How often the largest of n sessions covered at least this share of the sessions to come, beside 1 − pⁿ, where n is what
/// `counted` says.
pub fn share_by_largest(
    future: &[CoveredFuture],
    share: f64,
    counted: impl Fn(&CoveredFuture) -> f64,
) -> Vec<(usize, f64, f64)> {
    let mut by_sessions: BTreeMap<usize, (f64, f64, f64)> = BTreeMap::new();
    for covered in future {
        let (all, stated, held) = by_sessions.entry(covered.sessions).or_default();
        *all += 1.0;
        *stated += 1.0 - share.powf(counted(covered));
        *held += f64::from(u8::from(covered.share >= share));
    }
    by_sessions.iter().map(|(n, (all, stated, held))| (*n, stated / all, held / all)).collect()
}
