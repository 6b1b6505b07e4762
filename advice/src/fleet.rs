//! What is kept of all sessions: sums and counts, from which an estimate is made without looking at a session again.

mod view;

use std::sync::LazyLock;

use domain::demand::ByResource;
use domain::lablet_definition::ResourceRequirements;
use domain::{DefinitionId, Whole};
use serde::{Deserialize, Serialize};

use self::view::{Scored, View};
use crate::advice_score::ScoredAdvice;
use crate::estimate::Estimate;
use crate::evidence::{SessionEvidence, amount};
use crate::fleet_moments::DefinitionMoments;
use crate::fleet_rows::{DefinitionRows, FleetRows, MOST_TOPOLOGIES};
use crate::largest::Trial;
use crate::method::Method;
use crate::node_pools::{NodePools, PoolPlace};
use crate::own_past::PastScore;
use crate::persistence::Recent;
use crate::ratios::LogDemand;
use crate::scores::{Bucket, Score, Scores};
use crate::sizing::SizingFacts;
use crate::topology::{AssumedKind, NodeKind, ResolvedTopology, Topology};
use domain::advice_policy::{Policy, Promise};
use domain::resource::Resource;

/// How advice that was possible before a session did, and what it added: kept with the session, so that it can be taken out
/// again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSteps {
    /// Its number among the sessions of its definition, from 1.
    pub number: u64,
    /// Each resource.
    pub resources: ByResource<SessionStep>,
    /// Its topology is not kept apart, and its ratios were put down.
    has_ratios: bool,
    /// Its kinds that are pooled with the rest of their node definition.
    rest: Vec<NodeKind>,
}

/// What a session added of one resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionStep {
    /// Sessions of the definition that were known before it.
    pub sessions_before: u64,
    learnt: Option<LogDemand>,
    by_sessions: Option<BySessions>,
    by_topology: Option<Score>,
    /// Its ratio to the base that was known then.
    ratio: Option<LogDemand>,
    /// Whether the largest session before it needed as much, where it is the first one of a day.
    trial: Option<Trial>,
}

/// What the advice by the sessions before added.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct BySessions {
    score: Score,
    past: PastScore,
    recent: Recent,
}

/// What excluding a session took out: kept with the session, so that including it puts exactly that back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exclusion {
    /// Sessions of the definition that had ended.
    ended: u64,
    resources: ByResource<ResourceExclusion>,
}

/// What of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct ResourceExclusion {
    was_among_greatest: bool,
    was_in_own_past: bool,
    was_by_topology: bool,
    was_among_days: bool,
    moments_before: Option<DefinitionMoments>,
    moments_after: Option<DefinitionMoments>,
}

/// What an estimate is to keep, and what it is to rest on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// The share of future sessions to cover.
    pub promise: Promise,
    /// After so many days a session of the definition counts half; `None`: each counts as much.
    pub half_life_days: Option<u32>,
}

impl From<Promise> for Wanted {
    fn from(promise: Promise) -> Self {
        Self { promise, half_life_days: None }
    }
}

impl From<&Policy> for Wanted {
    fn from(policy: &Policy) -> Self {
        Self { promise: policy.promise, half_life_days: policy.half_life_days.map(Whole::get) }
    }
}

/// What is kept of all sessions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fleet {
    method: Method,
    rows: FleetRows,
}

static NEW: LazyLock<DefinitionRows> = LazyLock::new(DefinitionRows::default);

impl Fleet {
    /// A fleet without sessions, whose estimates take these steps.
    pub fn with_method(method: Method) -> Self {
        Self { method, ..Self::default() }
    }

    /// A fleet of which these rows are kept, or the part of them that one definition needs.
    pub fn from_rows(rows: FleetRows) -> Self {
        Self { method: Method::default(), rows }
    }

    /// What is kept.
    pub fn rows(&self) -> &FleetRows {
        &self.rows
    }

    /// What is kept, to be stored.
    pub fn into_rows(self) -> FleetRows {
        self.rows
    }

    /// The part that an estimate for a definition with this topology reads, and that a session of it changes.
    #[must_use]
    pub fn part_for(&self, definition: &DefinitionId, topology: &Topology) -> Self {
        Self { method: self.method, rows: self.rows.part_for(definition, topology) }
    }

    fn view<'a>(&'a self, definition: &DefinitionId, resource: Resource) -> View<'a> {
        let definition = self.rows.definitions.get(definition).unwrap_or(&NEW);
        View { method: self.method, resource, fleet: &self.rows, definition }
    }

    /// The topology with the sizes and images that its nodes do not state: those of the most measured nodes like them, of the
    /// definition's own labs first. What was never measured stays as it is.
    #[must_use]
    pub fn resolve(&self, definition: Option<&DefinitionId>, stated: &Topology) -> ResolvedTopology {
        let own = definition.and_then(|definition| self.rows.definitions.get(definition));
        let mut assumed = Vec::new();
        let kinds: Vec<(NodeKind, u32)> = stated
            .kinds()
            .map(|(kind, count)| {
                if kind.is_complete() {
                    return (kind.clone(), count);
                }
                let of = |pools: &std::collections::BTreeMap<String, NodePools>| {
                    let found = pools.get(&kind.node_definition)?.most_measured(kind);
                    found.map(|(measured, runs)| (kind.completed_by(measured), runs))
                };
                let Some((taken, runs)) = own.and_then(|own| of(&own.pools)).or_else(|| of(&self.rows.pools)) else {
                    return (kind.clone(), count);
                };
                if taken != *kind {
                    assumed.push(AssumedKind { stated: kind.clone(), taken: taken.clone(), count, runs });
                }
                (taken, count)
            })
            .collect();
        ResolvedTopology { topology: Topology::new(kinds), assumed }
    }

    /// The amount of a resource that keeps a promise for a definition with this topology. `None`: nothing is known of its
    /// nodes nor of its sessions.
    pub fn estimate(
        &self,
        definition: &DefinitionId,
        topology: &Topology,
        resource: Resource,
        wanted: impl Into<Wanted>,
    ) -> Option<Estimate> {
        let Wanted { promise, half_life_days } = wanted.into();
        self.view(definition, resource).with_basis(topology, half_life_days, |basis| basis.estimate(promise))
    }

    /// What is known of the sessions of a definition, and of those that had this topology.
    pub fn sizing_facts(&self, definition: &DefinitionId, topology: &Topology, resource: Resource) -> SizingFacts {
        let view = self.view(definition, resource);
        SizingFacts {
            ended_sessions: view.definition.ended,
            largest_use: view.with_basis(topology, None, |basis| basis.largest),
        }
    }

    /// The amount that keeps a promise for a lab of this topology, of whose definition nothing is known.
    pub fn estimate_for_topology(&self, topology: &Topology, resource: Resource, promise: Promise) -> Option<Estimate> {
        let view = View { method: self.method, resource, fleet: &self.rows, definition: &NEW };
        view.with_basis(topology, None, |basis| basis.estimate(promise))
    }

    /// What is possible to advise before a session, beside what it needed. `None`: it does not know the resource.
    pub fn scored_advice(
        &self,
        session: &SessionEvidence,
        configured: Option<&ResourceRequirements>,
        wanted: impl Into<Wanted>,
    ) -> ByResource<Option<ScoredAdvice>> {
        let wanted = wanted.into();
        Resource::each(|resource| {
            let demand = amount(*resource.part(&session.demand))?;
            let estimate = self.estimate(&session.definition_id, &session.topology, resource, wanted);
            Some(ScoredAdvice {
                promise: wanted.promise,
                advised: estimate.map(|estimate| estimate.value),
                demand,
                configured: configured.map(|stated| f64::from(resource.configured(stated)) * resource.unit()),
                nominal: session.topology.nominal(resource),
            })
        })
    }

    /// Adds a session that ended after all others. How the advice that was possible before it did goes into the scores.
    pub fn advance(&mut self, session: &SessionEvidence) -> SessionSteps {
        let id = &session.definition_id;
        let known = Resource::each(|resource| {
            let demand = amount(*resource.part(&session.demand))?;
            Some((demand, Scored::new(&self.view(id, resource), &session.topology, demand)))
        });
        let definition = self.rows.definitions.entry(id.clone()).or_default();
        definition.ended += 1;
        let is_apart =
            definition.topologies.contains_key(&session.topology) || definition.topologies.len() < MOST_TOPOLOGIES;
        let place = |kind: &&NodeKind| {
            self.rows.pools.get(&kind.node_definition).is_some_and(|pools| pools.place(kind) == PoolPlace::Rest)
        };
        let rest = session.nodes.iter().map(|node| &node.kind).filter(place).cloned().collect();
        let mut steps =
            SessionSteps { number: definition.ended, resources: ByResource::default(), has_ratios: !is_apart, rest };
        for resource in Resource::ALL {
            resource.part_mut(&mut steps.resources).sessions_before = definition.sessions(resource);
        }
        self.add_nodes(session, &steps);
        let topology_key = session.topology.short_key();
        for resource in Resource::ALL {
            let Some((demand, scored)) = resource.part(&known) else { continue };
            let step = resource.part_mut(&mut steps.resources);
            step.learnt = if is_apart { Some(scored.learnt) } else { scored.ratio };
            step.by_topology = scored.by_topology;
            step.ratio = scored.ratio;
            let Some(definition) = self.rows.definitions.get_mut(id) else { continue };
            let own_past = &resource.part(&definition.sums).own_past;
            step.by_sessions = scored.by_sessions.map(|(score, past)| BySessions {
                score,
                past,
                recent: Recent::new(own_past.recent()),
            });
            let is_first_of_day = resource.part(&definition.sums).days.newest() != Some(session.day());
            if is_apart {
                let own = resource.part_mut(definition.topologies.entry(session.topology.clone()).or_default());
                let units = resource.units(*demand);
                step.trial = own.greatest.first().filter(|_| is_first_of_day).map(|greatest| {
                    // What was known before it; its own is not added yet.
                    Trial { sessions: own.sums.sessions, is_covered: units <= greatest }
                });
                own.greatest.add(units);
            }
            let sums = resource.part_mut(&mut definition.sums);
            if let Some(ratio) = step.ratio {
                sums.days.add(session.day(), &topology_key, ratio);
            }
            let newest_before = sums.by_topology.newest().copied();
            if let Some(score) = step.by_topology {
                sums.by_topology.push(steps.number, score);
            }
            if let Some(by_sessions) = step.by_sessions {
                sums.own_past.0.push(steps.number, by_sessions.past);
            }
            let newest = sums.by_topology.newest().copied();
            let step = step.clone();
            self.replace_by_topology(resource, newest_before, newest);
            self.add_counts(session, resource, &steps, &step);
        }
        self.settle(id, |_, computed| computed);
        steps
    }

    /// Takes out what a session itself contributes, and nothing of others: the scores of later sessions tell what advice was
    /// possible then, and stay. [`Fleet::restore`] takes what is given back.
    pub fn exclude(&mut self, session: &SessionEvidence, steps: &SessionSteps) -> Exclusion {
        let id = &session.definition_id;
        let (ended, moments_before) = self.rows.definitions.get(id).map_or_else(Default::default, |definition| {
            (definition.ended, Resource::each(|resource| resource.part(&definition.sums).moments))
        });
        self.remove_nodes(session, steps);
        let mut exclusion = Exclusion { ended, resources: ByResource::default() };
        let topology_key = session.topology.short_key();
        for resource in Resource::ALL {
            let step = resource.part(&steps.resources);
            self.remove_counts(session, resource, steps, step);
            let taken = resource.part_mut(&mut exclusion.resources);
            taken.moments_before = *resource.part(&moments_before);
            let Some(definition) = self.rows.definitions.get_mut(id) else { continue };
            if let Some(own) = definition.topologies.get_mut(&session.topology)
                && let Some(demand) = amount(*resource.part(&session.demand))
                && !steps.has_ratios
            {
                taken.was_among_greatest = resource.part_mut(own).greatest.take_out(resource.units(demand));
            }
            let sums = resource.part_mut(&mut definition.sums);
            taken.was_in_own_past = sums.own_past.0.take_out(steps.number);
            taken.was_among_days =
                step.ratio.is_some_and(|ratio| sums.days.take_out(session.day(), &topology_key, ratio));
            let newest_before = sums.by_topology.newest().copied();
            taken.was_by_topology = sums.by_topology.take_out(steps.number);
            let newest = sums.by_topology.newest().copied();
            self.replace_by_topology(resource, newest_before, newest);
        }
        self.settle(id, |_, computed| computed);
        if let Some(definition) = self.rows.definitions.get(id) {
            for resource in Resource::ALL {
                resource.part_mut(&mut exclusion.resources).moments_after = resource.part(&definition.sums).moments;
            }
        }
        exclusion
    }

    /// Adds again what excluding a session took out. Where nothing came between, everything is as it was before.
    pub fn restore(&mut self, session: &SessionEvidence, steps: &SessionSteps, exclusion: &Exclusion) {
        let id = &session.definition_id;
        let topology_key = session.topology.short_key();
        self.add_nodes(session, steps);
        for resource in Resource::ALL {
            let (step, taken) = (resource.part(&steps.resources), resource.part(&exclusion.resources));
            self.add_counts(session, resource, steps, step);
            let definition = self.rows.definitions.entry(id.clone()).or_default();
            if let Some(demand) = amount(*resource.part(&session.demand)).filter(|_| taken.was_among_greatest) {
                let own = definition.topologies.entry(session.topology.clone()).or_default();
                resource.part_mut(own).greatest.add(resource.units(demand));
            }
            let sums = resource.part_mut(&mut definition.sums);
            if let Some(by_sessions) = step.by_sessions.filter(|_| taken.was_in_own_past) {
                sums.own_past.0.put_back(steps.number, by_sessions.past);
            }
            if let Some(ratio) = step.ratio.filter(|_| taken.was_among_days) {
                sums.days.add(session.day(), &topology_key, ratio);
            }
            let newest_before = sums.by_topology.newest().copied();
            if let Some(score) = step.by_topology.filter(|_| taken.was_by_topology) {
                sums.by_topology.put_back(steps.number, score);
            }
            let newest = sums.by_topology.newest().copied();
            self.replace_by_topology(resource, newest_before, newest);
        }
        let now =
            self.rows.definitions.get(id).map(|definition| {
                (definition.ended, Resource::each(|resource| resource.part(&definition.sums).moments))
            });
        self.settle(id, |resource, computed| {
            let taken = resource.part(&exclusion.resources);
            // Bases have moved since, and with them what the sums would say.
            let is_untouched = now.is_some_and(|(ended, moments)| {
                ended == exclusion.ended && *resource.part(&moments) == taken.moments_after
            });
            if is_untouched { taken.moments_before } else { computed }
        });
    }

    fn add_nodes(&mut self, session: &SessionEvidence, steps: &SessionSteps) {
        for node in &session.nodes {
            let name = &node.kind.node_definition;
            let place = steps.place(&node.kind);
            self.rows.pools.entry(name.clone()).or_default().add(&node.kind, place, node.runs);
            for resource in Resource::ALL {
                let any = &mut resource.part_mut(&mut self.rows.whole).any;
                *any = any.with(*resource.part(&node.runs));
            }
            // What is pooled with the rest is nowhere taken for a kind of its own.
            if place == PoolPlace::Kind {
                let own = self.rows.definitions.entry(session.definition_id.clone()).or_default();
                own.pools.entry(name.clone()).or_default().add(&node.kind, place, node.runs);
            }
        }
    }

    fn remove_nodes(&mut self, session: &SessionEvidence, steps: &SessionSteps) {
        let mut own = self.rows.definitions.get_mut(&session.definition_id);
        for node in &session.nodes {
            let name = &node.kind.node_definition;
            let place = steps.place(&node.kind);
            for resource in Resource::ALL {
                let any = &mut resource.part_mut(&mut self.rows.whole).any;
                *any = any.without(*resource.part(&node.runs));
            }
            let own = own.as_mut().filter(|_| place == PoolPlace::Kind).map(|own| &mut own.pools);
            for pools in [Some(&mut self.rows.pools), own].into_iter().flatten() {
                if let Some(held) = pools.get_mut(name) {
                    held.remove(&node.kind, place, node.runs);
                    if *held == NodePools::default() {
                        pools.remove(name);
                    }
                }
            }
        }
    }

    /// Adds what can be added in any order: what the definition learns, and the scores of the fleet.
    fn add_counts(&mut self, session: &SessionEvidence, resource: Resource, steps: &SessionSteps, step: &SessionStep) {
        if let Some(learnt) = step.learnt {
            let definition = self.rows.definitions.entry(session.definition_id.clone()).or_default();
            if steps.has_ratios {
                resource.part_mut(&mut definition.sums).ratios.add(learnt);
            } else {
                let own = definition.topologies.entry(session.topology.clone()).or_default();
                resource.part_mut(own).sums.add(learnt);
            }
        }
        if let Some(BySessions { score, past, recent }) = step.by_sessions {
            self.scores_mut(resource, Bucket::from_sessions(step.sessions_before)).add(score);
            resource.part_mut(&mut self.rows.whole).persistence.add(past.score, recent);
        }
        if let Some(trial) = step.trial {
            resource.part_mut(&mut self.rows.whole).largest.add(trial);
        }
    }

    fn remove_counts(
        &mut self,
        session: &SessionEvidence,
        resource: Resource,
        steps: &SessionSteps,
        step: &SessionStep,
    ) {
        if let Some(learnt) = step.learnt
            && let Some(definition) = self.rows.definitions.get_mut(&session.definition_id)
        {
            if steps.has_ratios {
                resource.part_mut(&mut definition.sums).ratios.remove(learnt);
            } else if let Some(own) = definition.topologies.get_mut(&session.topology) {
                resource.part_mut(own).sums.remove(learnt);
            }
        }
        if let Some(BySessions { score, past, recent }) = step.by_sessions {
            self.scores_mut(resource, Bucket::from_sessions(step.sessions_before)).remove(score);
            resource.part_mut(&mut self.rows.whole).persistence.remove(past.score, recent);
        }
        if let Some(trial) = step.trial {
            resource.part_mut(&mut self.rows.whole).largest.remove(trial);
        }
    }

    fn scores_mut(&mut self, resource: Resource, bucket: Bucket) -> &mut Scores {
        &mut resource.part_mut(&mut self.rows.scores)[bucket.index()]
    }

    /// A definition has one score by topology among those of the fleet: that of its newest session.
    fn replace_by_topology(&mut self, resource: Resource, before: Option<Score>, now: Option<Score>) {
        if before == now {
            return;
        }
        let scores = self.scores_mut(resource, Bucket::None);
        if let Some(before) = before {
            scores.remove(before);
        }
        if let Some(now) = now {
            scores.add(now);
        }
    }

    /// Drops what is empty of a definition, and puts its moments in the place of those before: what `choose` takes, beside
    /// what its sums say. A definition of which nothing is known is not kept: it is as if its sessions had never been.
    fn settle(
        &mut self,
        id: &DefinitionId,
        choose: impl Fn(Resource, Option<DefinitionMoments>) -> Option<DefinitionMoments>,
    ) {
        if let Some(definition) = self.rows.definitions.get_mut(id) {
            definition.topologies.retain(|_, own| *own != ByResource::default());
        }
        for resource in Resource::ALL {
            let moments = choose(resource, self.view(id, resource).moments());
            let Some(definition) = self.rows.definitions.get_mut(id) else { continue };
            let before = std::mem::replace(&mut resource.part_mut(&mut definition.sums).moments, moments);
            let fleet = &mut resource.part_mut(&mut self.rows.whole).moments;
            if let Some(before) = before {
                fleet.remove(&before);
            }
            if let Some(moments) = moments {
                fleet.add(&moments);
            }
        }
        if self.rows.definitions.get(id).is_some_and(DefinitionRows::is_empty) {
            self.rows.definitions.remove(id);
        }
    }
}

impl SessionSteps {
    fn place(&self, kind: &NodeKind) -> PoolPlace {
        if self.rest.contains(kind) { PoolPlace::Rest } else { PoolPlace::Kind }
    }
}

#[cfg(test)]
mod tests;
