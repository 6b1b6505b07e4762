//! A fleet walked through session by session: what each rule says before a session, and what the session then needed.

use std::collections::{BTreeMap, BTreeSet};

use advice::estimate::Estimate;
use advice::fleet::Fleet;
use advice::method::Method;
use advice::rules::{PastSession, Rule};
use domain::advice_policy::Promise;
use domain::demand::ByResource;
use domain::resource::Resource;

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
    /// Whether each of its nodes was measured before, in whatever lab.
    pub is_measured: bool,
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
    /// The same by base, shrinkage and calibration alone.
    pub plain: Vec<Option<f64>>,
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
    /// As how many exchangeable ones they count, by what the fleet shows.
    pub counted: f64,
    /// Share of the sessions to come.
    pub share: f64,
}

/// Walks through a fleet.
pub fn walk(simulated: &SimulatedFleet, promises: &[Promise]) -> (Vec<Advised>, Vec<CoveredFuture>, Fleet) {
    let (mut fleet, mut plain) = (Fleet::default(), Fleet::with_method(Method::PLAIN));
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
            let estimates = |fleet: &Fleet| -> Vec<Option<Estimate>> {
                let of_promise =
                    |promise: &Promise| fleet.estimate(&evidence.definition_id, &evidence.topology, resource, *promise);
                promises.iter().map(of_promise).collect()
            };
            let (of_plain, estimates) = (estimates(&plain), estimates(&fleet));
            let base = estimates.iter().flatten().find_map(|estimate| estimate.base.as_ref());
            advised.push(Advised {
                resource,
                definition: session.definition,
                known: past.len(),
                is_measured: base.is_some_and(|base| base.measured_share > 0.999),
                is_first_of_topology: *count == 0 && !past.is_empty(),
                known_since_growth: session.grown.then_some(*count),
                demand,
                nominal,
                sizes: sizes(&estimates),
                plain: sizes(&of_plain),
                by_rules: Rule::ALL.map(|rule| rule.size(resource, past)),
                largest: past.iter().map(|session| session.demand).reduce(f64::max),
                ideal: ideal.get(&(session.definition, resource)).cloned(),
            });
            *count += 1;
            past.push(PastSession { ended_at: evidence.ended_at, demand, nominal });
        }
        fleet.advance(evidence);
        plain.advance(evidence);
    }
    (advised, covered_future(simulated, &past, &fleet), fleet)
}

fn sizes(estimates: &[Option<Estimate>]) -> Vec<Option<f64>> {
    estimates.iter().map(|estimate| estimate.as_ref().map(|estimate| estimate.value)).collect()
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
    fleet: &Fleet,
) -> Vec<CoveredFuture> {
    let grown = grown(simulated);
    let mut found = Vec::new();
    for ((definition, resource), past) in past.iter().filter(|((definition, _), _)| !grown.contains(definition)) {
        for sessions in [3, 10, 20].into_iter().filter(|sessions| *sessions <= past.len()) {
            let largest = past[..sessions].iter().map(|session| session.demand).fold(0.0, f64::max);
            let future = &simulated.future[*definition];
            let covered = future.iter().filter(|demand: &&ByResource<f64>| *resource.part(demand) <= largest).count();
            let counted = resource.part(&fleet.rows().whole).largest.session_counts() * sessions as f64;
            found.push(CoveredFuture { sessions, counted, share: covered as f64 / future.len() as f64 });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::comparison::tally;
    use crate::families::{FAMILIES, HELD_OUT};
    use crate::simulated_fleet::Size;

    /// Small fleets of two families, by one seed: the same numbers in every run.
    static FLEETS: LazyLock<Vec<Vec<Advised>>> = LazyLock::new(|| {
        let promises = [0.9, 0.95].map(|share| Promise::new(share).unwrap());
        let size = Size { definitions: 30, sessions: Some(12) };
        let families = [FAMILIES[3], HELD_OUT[1]];
        families.iter().map(|family| walk(&SimulatedFleet::new(family, size, 7).unwrap(), &promises).0).collect()
    });

    #[test]
    fn the_promise_is_kept_and_nobody_is_answered_by_silence() {
        for resource in Resource::ALL {
            for (number, promise) in [0.9, 0.95].into_iter().enumerate() {
                let of = |least: usize| {
                    let counts = |advised: &Advised| advised.resource == resource && advised.known >= least;
                    tally(&FLEETS, counts, |advised| advised.sizes[number])
                };
                let found = of(1).coverage();
                assert!((found - promise).abs() < 0.025, "{resource:?} at {promise}: {found}");
                assert_eq!(of(3).silent, 0);
            }
        }
    }

    #[test]
    fn it_wastes_less_memory_than_a_percentile_with_a_margin() {
        let counts = |advised: &Advised| advised.resource == Resource::MemoryMb && advised.known >= 3;
        let (own, vpa) =
            (tally(&FLEETS, counts, |advised| advised.sizes[1]), tally(&FLEETS, counts, |advised| advised.by_rules[0]));
        assert!(own.waste() < 0.75 * vpa.waste(), "{} {}", own.waste(), vpa.waste());
    }

    #[test]
    fn a_fleet_is_the_same_for_the_same_seed() {
        let fleet = |seed| SimulatedFleet::new(&FAMILIES[5], Size { definitions: 5, sessions: Some(4) }, seed).unwrap();
        let evidence = |seed| fleet(seed).sessions.into_iter().map(|session| session.evidence).collect::<Vec<_>>();
        assert_eq!(evidence(3), evidence(3));
        assert_ne!(evidence(3), evidence(4));
    }
}
