//! What is kept of all sessions: sums and counts, from which an estimate is made without looking at a session again.

use std::collections::{BTreeMap, BTreeSet};

use domain::DefinitionId;
use domain::demand::ByResource;
use domain::lablet_definition::ResourceRequirements;
use serde::{Deserialize, Serialize};

use crate::advice_score::ScoredAdvice;
use crate::base::{Base, KindPools, PoolSum};
use crate::estimate::{Basis, Estimate};
use crate::evidence::{SessionEvidence, amount};
use crate::fleet_moments::{DefinitionMoments, FleetMoments};
use crate::method::Method;
use crate::own_past::{OwnPast, PastScore, ShareBelow};
use crate::persistence::Persistence;
use crate::prediction::Prediction;
use crate::ratios::{LogDemand, LogDemands, TopologyDemands};
use crate::scores::{Bucket, Score, Scores};
use crate::topology::{NodeKind, Topology};
use domain::advice_policy::Promise;
use domain::resource::Resource;

/// Advice by topology is scored where this share of its base was measured.
const MEASURED_ENOUGH: f64 = 0.8;

/// Sessions further than this many spreads from what was expected count as ones that lie at this distance.
const LEARNT_WITHIN: f64 = 2.5;

/// What is kept of one resource over the whole fleet.
#[derive(Debug, Clone, Default, PartialEq)]
struct FleetSums {
    pools: BTreeMap<NodeKind, PoolSum>,
    by_size: BTreeMap<NodeKind, PoolSum>,
    by_node_definition: BTreeMap<String, PoolSum>,
    any: PoolSum,
    moments: FleetMoments,
    scores: [Scores; 7],
    persistence: Persistence,
}

/// What is kept of one resource of one definition.
#[derive(Debug, Clone, Default, PartialEq)]
struct DefinitionSums {
    pools: BTreeMap<NodeKind, PoolSum>,
    topologies: BTreeMap<Topology, OwnDemands>,
    moments: Option<DefinitionMoments>,
    /// The score that its newest session had by its topology alone.
    by_topology: Option<Score>,
    own_past: OwnPast,
}

/// The demands of a definition's sessions of one topology: their sums, and each of them in whole parts.
#[derive(Debug, Clone, Default, PartialEq)]
struct OwnDemands {
    sums: LogDemands,
    units: BTreeMap<i64, u32>,
}

/// How advice that was possible before a session did, and what has to be known to take the session out again: kept with the
/// session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionStep {
    /// Sessions of the definition that were known before it.
    pub sessions_before: u64,
    learnt: Option<LogDemand>,
    score: Option<Score>,
    past: Option<PastScore>,
    pushed_out: Option<PastScore>,
    by_topology: Option<Score>,
    by_topology_before: Option<Score>,
    moments_before: Option<DefinitionMoments>,
}

/// What is kept of all sessions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fleet {
    method: Method,
    sums: ByResource<FleetSums>,
    definitions: BTreeMap<DefinitionId, ByResource<DefinitionSums>>,
}

static NEW: DefinitionSums = DefinitionSums {
    pools: BTreeMap::new(),
    topologies: BTreeMap::new(),
    moments: None,
    by_topology: None,
    own_past: OwnPast::NONE,
};

/// One resource of the fleet and of one definition, to be read.
struct View<'a> {
    method: Method,
    resource: Resource,
    fleet: &'a FleetSums,
    definition: &'a DefinitionSums,
}

impl View<'_> {
    fn base(&self, topology: &Topology) -> Option<Base> {
        Base::new(topology, self.resource, |kind| {
            let own = self.definition.pools.get(kind).copied().unwrap_or_default();
            KindPools {
                others: self.fleet.pools.get(kind).copied().unwrap_or_default().without(own),
                own,
                any_image: self.fleet.by_size.get(&kind.of_any_image()).copied().unwrap_or_default(),
                node_definition: self.fleet.by_node_definition.get(&kind.node_definition).copied().unwrap_or_default(),
                any: self.fleet.any,
            }
        })
    }

    /// The definition's sessions by topology, each beside its base, or beside 1 where the asked topology has none.
    fn topologies(&self, asked: &Topology, base: Option<&Base>) -> Vec<TopologyDemands> {
        let mut found = Vec::new();
        for (topology, own) in &self.definition.topologies {
            let is_asked = topology == asked;
            let value = if is_asked { base.map(|base| base.value) } else { self.base(topology).map(|base| base.value) };
            let value = if base.is_none() { Some(1.0) } else { value };
            found.extend(value.map(|base| TopologyDemands { demands: own.sums, base, is_asked }));
        }
        found
    }

    /// What the definition contributes to the moments.
    fn moments(&self) -> Option<DefinitionMoments> {
        let topologies: Vec<TopologyDemands> = self
            .definition
            .topologies
            .iter()
            .filter_map(|(topology, own)| {
                let base = self.base(topology)?;
                Some(TopologyDemands { demands: own.sums, base: base.value, is_asked: false })
            })
            .collect();
        DefinitionMoments::new(&topologies)
    }

    /// What `answer` makes of everything that an estimate for this topology rests on.
    fn with_basis<T>(&self, topology: &Topology, answer: impl FnOnce(&Basis<'_>) -> T) -> T {
        let base = self.base(topology);
        let topologies = self.topologies(topology, base.as_ref());
        let largest = self.definition.topologies.get(topology).and_then(|own| own.units.keys().next_back().copied());
        #[expect(clippy::cast_precision_loss, reason = "an amount has fewer than 2^53 parts")]
        let largest = largest.map(|units| units as f64 * self.resource.smallest());
        answer(&Basis {
            resource: self.resource,
            base: base.as_ref(),
            nominal: topology.nominal(self.resource),
            topologies: &topologies,
            moments: &self.fleet.moments,
            scores: &self.fleet.scores,
            persistence: &self.fleet.persistence,
            own_past: &self.definition.own_past,
            method: self.method,
            largest,
        })
    }
}

impl Fleet {
    /// A fleet without sessions, whose estimates take these steps.
    pub fn with_method(method: Method) -> Self {
        Self { method, ..Self::default() }
    }

    fn view<'a>(&'a self, definition: &DefinitionId, resource: Resource) -> View<'a> {
        let sums = self.definitions.get(definition).map_or(&NEW, |sums| resource.part(sums));
        View { method: self.method, resource, fleet: resource.part(&self.sums), definition: sums }
    }

    /// The part that an estimate for a definition with this topology reads, and that a session of it changes: what is kept of
    /// the definition, of the kinds of nodes of its topologies and of this one, and what there is once for the whole fleet.
    #[must_use]
    pub fn part_for(&self, definition: &DefinitionId, topology: &Topology) -> Self {
        let own = self.definitions.get(definition);
        let part = |resource: Resource| {
            let sums = resource.part(&self.sums);
            let known = own.into_iter().flat_map(|own| resource.part(own).topologies.keys());
            let kinds: BTreeSet<&NodeKind> =
                known.chain([topology]).flat_map(Topology::kinds).map(|(kind, _)| kind).collect();
            let sizes: BTreeSet<NodeKind> = kinds.iter().map(|kind| kind.of_any_image()).collect();
            let names: BTreeSet<&String> = kinds.iter().map(|kind| &kind.node_definition).collect();
            FleetSums {
                pools: only(&sums.pools, |kind| kinds.contains(kind)),
                by_size: only(&sums.by_size, |kind| sizes.contains(kind)),
                by_node_definition: only(&sums.by_node_definition, |name| names.contains(name)),
                any: sums.any,
                moments: sums.moments,
                scores: sums.scores.clone(),
                persistence: sums.persistence,
            }
        };
        let definitions = own.map(|own| (definition.clone(), own.clone())).into_iter().collect();
        Self { method: self.method, sums: Resource::each(part), definitions }
    }

    /// Number of sums and counts of one resource that are kept apart: what a read model has as rows, scores left out.
    pub fn row_count(&self, resource: Resource) -> usize {
        let sums = resource.part(&self.sums);
        let own = self.definitions.values().map(|own| {
            let own = resource.part(own);
            1 + own.pools.len() + own.topologies.len()
        });
        1 + sums.pools.len() + own.sum::<usize>()
    }

    /// The amount of a resource that keeps a promise for a definition with this topology. `None`: nothing is known of its
    /// nodes nor of its sessions.
    pub fn estimate(
        &self,
        definition: &DefinitionId,
        topology: &Topology,
        resource: Resource,
        promise: Promise,
    ) -> Option<Estimate> {
        self.view(definition, resource).with_basis(topology, |basis| basis.estimate(promise))
    }

    /// What is possible to advise before a session, beside what it needed. `None`: it does not know the resource.
    pub fn scored_advice(
        &self,
        session: &SessionEvidence,
        configured: Option<&ResourceRequirements>,
        promise: Promise,
    ) -> ByResource<Option<ScoredAdvice>> {
        Resource::each(|resource| {
            let demand = amount(*resource.part(&session.demand))?;
            let estimate = self.estimate(&session.definition_id, &session.topology, resource, promise);
            Some(ScoredAdvice {
                promise,
                advised: estimate.map(|estimate| estimate.value),
                demand,
                configured: configured.map(|stated| f64::from(resource.configured(stated)) * resource.unit()),
                nominal: session.topology.nominal(resource),
            })
        })
    }

    /// Adds a session that ended after all others. How the advice that was possible before it did goes into the scores.
    pub fn advance(&mut self, session: &SessionEvidence) -> ByResource<SessionStep> {
        let steps = Resource::each(|resource| {
            let demand = amount(*resource.part(&session.demand));
            let view = self.view(&session.definition_id, resource);
            let scored = demand.map(|demand| Scored::new(&view, &session.topology, demand));
            let sums = self.definitions.entry(session.definition_id.clone()).or_default();
            let (definition, fleet) = (resource.part_mut(sums), resource.part_mut(&mut self.sums));
            let mut step = SessionStep {
                sessions_before: definition.topologies.values().map(|own| own.sums.sessions).sum(),
                learnt: None,
                score: None,
                past: None,
                pushed_out: None,
                by_topology: None,
                by_topology_before: definition.by_topology,
                moments_before: definition.moments,
            };
            for (kind, demand) in session.node_demands(resource) {
                definition.pools.entry(kind.clone()).or_default().add(demand, resource);
                fleet.add_node(kind, demand, resource);
            }
            let Some((demand, scored)) = demand.zip(scored) else { return step };
            let own = definition.topologies.entry(session.topology.clone()).or_default();
            own.sums.add(scored.learnt);
            step.learnt = Some(scored.learnt);
            *own.units.entry(resource.units(demand)).or_default() += 1;
            step.by_topology = scored.by_topology;
            if let Some(score) = scored.by_topology {
                fleet.replace_by_topology(definition.by_topology, Some(score));
                definition.by_topology = Some(score);
            }
            if let Some((score, past)) = scored.by_sessions {
                fleet.scores[Bucket::from_sessions(step.sessions_before).index()].add(score);
                fleet.persistence.add(past.score, definition.own_past.recent());
                step.pushed_out = definition.own_past.push(past);
                (step.score, step.past) = (Some(score), Some(past));
            }
            self.set_moments(&session.definition_id, resource, None);
            step
        });
        self.forget_if_unknown(&session.definition_id);
        steps
    }

    /// A definition of which nothing is known is not kept, so that it is as if its sessions had never been.
    fn forget_if_unknown(&mut self, id: &DefinitionId) {
        if self.definitions.get(id).is_some_and(|sums| *sums == ByResource::default()) {
            self.definitions.remove(id);
        }
    }

    /// Takes the session out that was added last, by the step that adding it gave.
    pub fn retreat(&mut self, session: &SessionEvidence, steps: &ByResource<SessionStep>) {
        for resource in Resource::ALL {
            let step = resource.part(steps);
            let Some(sums) = self.definitions.get_mut(&session.definition_id) else { continue };
            let (definition, fleet) = (resource.part_mut(sums), resource.part_mut(&mut self.sums));
            for (kind, demand) in session.node_demands(resource) {
                take_from(&mut definition.pools, kind, demand, resource);
                fleet.remove_node(kind, demand, resource);
            }
            let Some(demand) = amount(*resource.part(&session.demand)) else { continue };
            if let Some(own) = definition.topologies.get_mut(&session.topology) {
                if let Some(learnt) = step.learnt {
                    own.sums.remove(learnt);
                }
                let units = resource.units(demand);
                match own.units.get_mut(&units) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => drop(own.units.remove(&units)),
                }
            }
            definition.topologies.retain(|_, own| own.sums.sessions > 0);
            if step.by_topology.is_some() {
                fleet.replace_by_topology(step.by_topology, step.by_topology_before);
                definition.by_topology = step.by_topology_before;
            }
            if let Some((score, past)) = step.score.zip(step.past) {
                fleet.scores[Bucket::from_sessions(step.sessions_before).index()].remove(score);
                definition.own_past.pop(step.pushed_out);
                fleet.persistence.remove(past.score, definition.own_past.recent());
            }
            self.set_moments(&session.definition_id, resource, Some(step.moments_before));
        }
        self.forget_if_unknown(&session.definition_id);
    }

    /// Puts what a definition contributes to the moments in the place of what it contributed: as given, or as its sums say.
    fn set_moments(&mut self, id: &DefinitionId, resource: Resource, given: Option<Option<DefinitionMoments>>) {
        let moments = given.unwrap_or_else(|| self.view(id, resource).moments());
        let Some(sums) = self.definitions.get_mut(id) else { return };
        let (definition, fleet) = (resource.part_mut(sums), resource.part_mut(&mut self.sums));
        if let Some(before) = std::mem::replace(&mut definition.moments, moments) {
            fleet.moments.remove(&before);
        }
        if let Some(moments) = &moments {
            fleet.moments.add(moments);
        }
    }
}

/// The pools whose key is wanted.
fn only<K: Ord + Clone>(pools: &BTreeMap<K, PoolSum>, wanted: impl Fn(&K) -> bool) -> BTreeMap<K, PoolSum> {
    pools.iter().filter(|(key, _)| wanted(key)).map(|(key, pool)| (key.clone(), *pool)).collect()
}

/// Takes the demand of a run out of a pool, and the pool with its last run.
fn take_from<K: Ord>(pools: &mut BTreeMap<K, PoolSum>, key: &K, demand: f64, resource: Resource) {
    if let Some(pool) = pools.get_mut(key) {
        pool.remove(demand, resource);
        if pool.runs == 0 {
            pools.remove(key);
        }
    }
}

impl FleetSums {
    fn add_node(&mut self, kind: &NodeKind, demand: f64, resource: Resource) {
        self.pools.entry(kind.clone()).or_default().add(demand, resource);
        self.by_size.entry(kind.of_any_image()).or_default().add(demand, resource);
        self.by_node_definition.entry(kind.node_definition.clone()).or_default().add(demand, resource);
        self.any.add(demand, resource);
    }

    fn remove_node(&mut self, kind: &NodeKind, demand: f64, resource: Resource) {
        take_from(&mut self.pools, kind, demand, resource);
        take_from(&mut self.by_size, &kind.of_any_image(), demand, resource);
        take_from(&mut self.by_node_definition, &kind.node_definition, demand, resource);
        self.any.remove(demand, resource);
    }

    /// A definition has one score by topology: that of its newest session.
    fn replace_by_topology(&mut self, before: Option<Score>, now: Option<Score>) {
        let scores = &mut self.scores[Bucket::None.index()];
        if let Some(before) = before {
            scores.remove(before);
        }
        if let Some(now) = now {
            scores.add(now);
        }
    }
}

/// The scores of a session under the advice that was possible before it.
struct Scored {
    /// What the definition learns of it.
    learnt: LogDemand,
    /// As if its definition had never run.
    by_topology: Option<Score>,
    /// By the sessions before it, with the share of scores below; `None`: there were none.
    by_sessions: Option<(Score, PastScore)>,
}

impl Scored {
    fn new(view: &View<'_>, topology: &Topology, demand: f64) -> Self {
        let log = demand.max(view.resource.smallest()).ln();
        view.with_basis(topology, |basis| {
            let by_topology = basis.base.filter(|base| base.measured_share >= MEASURED_ENOUGH).map(|base| {
                let prior = basis.moments.prior(view.resource);
                Score::new(Prediction::new(&prior, &[]).score(log - base.value.ln()))
            });
            let expected = basis.expectation().filter(|(prediction, _)| prediction.sessions > 0);
            let Some((prediction, calibration)) = expected else {
                return Self { learnt: LogDemand::new(demand, view.resource), by_topology, by_sessions: None };
            };
            let base = basis.base.map_or(1.0, |base| base.value).ln();
            let score = Score::new(prediction.score(log - base));
            let past = PastScore {
                score: Score::new(prediction.score(log - base + prediction.followed)),
                share: ShareBelow::new(calibration.share_below(score)),
            };
            let (expected, furthest) = (base + prediction.location, LEARNT_WITHIN * prediction.spread);
            let learnt = if view.method.bounds_learning {
                LogDemand::within(demand, view.resource, expected, furthest)
            } else {
                LogDemand::new(demand, view.resource)
            };
            Self { learnt, by_topology, by_sessions: Some((score, past)) }
        })
    }
}
