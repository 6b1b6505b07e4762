//! A fleet walked through session by session: what each rule says before a session, and what the session then needed.

use std::collections::{BTreeMap, BTreeSet};

use advice::fleet::Fleet;
use advice::promise::Promise;
use advice::resource::Resource;
use advice::rules::{PastSession, Rule};
use domain::demand::ByResource;

use crate::simulated_fleet::SimulatedFleet;

/// What was advised of one resource before a session, and what the session then needed.
#[derive(Debug, Clone)]
pub struct Advised {
    /// The resource.
    pub resource: Resource,
    /// The number of the definition.
    pub definition: usize,
    /// Sessions of the definition whose demand was known.
    pub known: usize,
    /// Whether no session of this topology was known, though the definition had some.
    pub is_first_of_topology: bool,
    /// Sessions of this topology that were known, where the definition had grown.
    pub known_since_growth: Option<usize>,
    /// What it needed: cores or MB.
    pub demand: f64,
    /// What its nodes were given.
    pub nominal: Option<f64>,
    /// Sizes by the promises, in their order; `None`: silent.
    pub sizes: Vec<Option<f64>>,
    /// Sizes by the other rules, in the order of [`Rule::ALL`].
    pub by_rules: [Option<f64>; 3],
    /// The greatest demand that was known.
    pub largest: Option<f64>,
    /// What covers the promised shares of the sessions to come, in the order of the promises: what only the simulation
    /// knows. `None`: the definition grows.
    pub ideal: Option<Vec<f64>>,
}

/// How often the greatest demand of the first sessions of a definition covers sessions of days to come.
#[derive(Debug, Clone, Copy)]
pub struct CoveredFuture {
    /// Sessions among which it was the greatest.
    pub sessions: usize,
    /// Share of the sessions to come.
    pub share: f64,
}

/// Walks through a fleet.
pub fn walk(simulated: &SimulatedFleet, promises: &[Promise]) -> (Vec<Advised>, Vec<CoveredFuture>, Fleet) {
    let mut fleet = Fleet::default();
    let mut past: BTreeMap<(usize, Resource), Vec<PastSession>> = BTreeMap::new();
    let mut of_topology: BTreeMap<(usize, Resource, bool), usize> = BTreeMap::new();
    let ideal = ideal_sizes(simulated, promises);
    let mut advised = Vec::new();
    for session in &simulated.sessions {
        let evidence = &session.evidence;
        for resource in Resource::ALL {
            let Some(demand) = *resource.part(&evidence.demand) else { continue };
            let nominal = evidence.topology.nominal(resource);
            let past = past.entry((session.definition, resource)).or_default();
            let count = of_topology.entry((session.definition, resource, session.grown)).or_default();
            let size = |promise: &Promise| {
                let estimate = fleet.estimate(&evidence.definition_id, &evidence.topology, resource, *promise);
                estimate.map(|estimate| estimate.value)
            };
            advised.push(Advised {
                resource,
                definition: session.definition,
                known: past.len(),
                is_first_of_topology: *count == 0 && !past.is_empty(),
                known_since_growth: session.grown.then_some(*count),
                demand,
                nominal,
                sizes: promises.iter().map(size).collect(),
                by_rules: Rule::ALL.map(|rule| rule.size(resource, past)),
                largest: past.iter().map(|session| session.demand).reduce(f64::max),
                ideal: ideal.get(&(session.definition, resource)).cloned(),
            });
            *count += 1;
            past.push(PastSession { ended_at: evidence.ended_at, demand, nominal });
        }
        fleet.advance(evidence);
    }
    (advised, covered_future(simulated, &past), fleet)
}

/// Of definitions that do not grow, what covers the promised shares of their sessions to come.
fn ideal_sizes(simulated: &SimulatedFleet, promises: &[Promise]) -> BTreeMap<(usize, Resource), Vec<f64>> {
    let grown = grown(simulated);
    let mut found = BTreeMap::new();
    for (definition, future) in simulated.future.iter().enumerate().filter(|(number, _)| !grown.contains(number)) {
        for resource in Resource::ALL {
            let mut demands: Vec<f64> = future.iter().map(|demand| *resource.part(demand)).collect();
            demands.sort_by(f64::total_cmp);
            let rank =
                |promise: &Promise| ((demands.len() as f64 * promise.share()).ceil() as usize).clamp(1, demands.len());
            found.insert((definition, resource), promises.iter().map(|promise| demands[rank(promise) - 1]).collect());
        }
    }
    found
}

/// The definitions that grow.
fn grown(simulated: &SimulatedFleet) -> BTreeSet<usize> {
    simulated.sessions.iter().filter(|session| session.grown).map(|session| session.definition).collect()
}

fn covered_future(
    simulated: &SimulatedFleet,
    past: &BTreeMap<(usize, Resource), Vec<PastSession>>,
) -> Vec<CoveredFuture> {
    let grown = grown(simulated);
    let mut found = Vec::new();
    for ((definition, resource), past) in past.iter().filter(|((definition, _), _)| !grown.contains(definition)) {
        for sessions in [3, 10, 20].into_iter().filter(|sessions| *sessions <= past.len()) {
            let largest = past[..sessions].iter().map(|session| session.demand).fold(0.0, f64::max);
            let future = &simulated.future[*definition];
            let covered = future.iter().filter(|demand: &&ByResource<f64>| *resource.part(demand) <= largest).count();
            found.push(CoveredFuture { sessions, share: covered as f64 / future.len() as f64 });
        }
    }
    found
}
