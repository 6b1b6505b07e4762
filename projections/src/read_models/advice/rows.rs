//! The rows in memory, and the fleet that the estimator sees in them.

use std::collections::{BTreeMap, BTreeSet};

use advice::fleet::Fleet;
use advice::fleet_rows::{DefinitionRows, FleetRows, WholeFleet};
use advice::node_pools::NodePools;
use advice::scores::{Bucket, Score, Scores};
use advice::topology::Topology;
use app::log::Position;
use domain::DefinitionId;
use domain::advice_policy::{DEFAULT_POLICY, Policy};
use domain::demand::ByResource;
use domain::phases::{ByPhases, Phases};
use domain::resource::Resource;

use super::stored::{
    StoredCurrentPolicy, StoredDefaultPolicy, StoredDefinition, StoredDefinitionSums, StoredExclusion, StoredFacts,
    StoredFleet, StoredLearntTopology, StoredMonth, StoredPools, StoredProposal, StoredScores, StoredSession,
    StoredTopology,
};
use crate::refused::Refused;
use crate::table::cell::Json;
use crate::table::{AnyTable, AppendOnly, Table};

#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) sessions: Table<StoredSession>,
    pub(super) exclusions: AppendOnly<StoredExclusion>,
    pub(super) definitions: Table<StoredDefinition>,
    pub(super) sums: Table<StoredDefinitionSums>,
    pub(super) topologies: Table<StoredTopology>,
    pub(super) facts: AppendOnly<StoredFacts>,
    pub(super) learnt: AppendOnly<StoredLearntTopology>,
    pub(super) default_policies: AppendOnly<StoredDefaultPolicy>,
    pub(super) current_policy: Table<StoredCurrentPolicy>,
    pub(super) pools: Table<StoredPools>,
    pub(super) fleet: Table<StoredFleet>,
    pub(super) scores: Table<StoredScores>,
    pub(super) months: Table<StoredMonth>,
    pub(super) proposals: Table<StoredProposal>,
    /// The scores as their rows hold them, read once: a session changes a few of them.
    histograms: ByPhases<Option<ByResource<[Scores; 7]>>>,
}

/// The row of the whole fleet.
const FLEET: &str = "fleet";
/// The owner of the pools of all labs.
const ALL_LABS: &str = "";
/// Spreads of a row of scores.
const SPREADS: i32 = 4;
/// The first spread of each row of scores.
const FROM_SPREADS: std::ops::RangeInclusive<i32> = -4..=4;

/// The node definitions of a topology.
pub(super) fn names(topology: &Topology) -> impl Iterator<Item = &String> {
    topology.kinds().map(|(kind, _)| &kind.node_definition)
}

fn fleet_key(phases: Phases) -> (String, String) {
    (phases.as_str().to_owned(), FLEET.to_owned())
}

fn pool_key(phases: Phases, owner: &str, node_definition: &str) -> (String, String, String) {
    (phases.as_str().to_owned(), owner.to_owned(), node_definition.to_owned())
}

fn topology_key(phases: Phases, id: &DefinitionId, topology: &Topology) -> (String, String, String) {
    (phases.as_str().to_owned(), id.to_string(), topology.key())
}

fn bucket_number(bucket: Bucket) -> i32 {
    i32::try_from(bucket.index()).unwrap_or_default()
}

/// The keys of the rows of scores of a bucket.
fn score_keys(phases: Phases, resource: Resource, bucket: Bucket) -> impl Iterator<Item = (String, String, i32, i32)> {
    FROM_SPREADS.map(move |four| {
        (phases.as_str().to_owned(), resource.as_str().to_owned(), bucket_number(bucket), SPREADS * four)
    })
}

pub(super) fn month_key(month: &str, bucket: Bucket, resource: Resource) -> (String, i32, String) {
    (month.to_owned(), bucket_number(bucket), resource.as_str().to_owned())
}

impl Rows {
    pub(super) fn all_tables(&mut self) -> Vec<&mut dyn AnyTable> {
        vec![
            &mut self.sessions,
            &mut self.exclusions,
            &mut self.definitions,
            &mut self.sums,
            &mut self.topologies,
            &mut self.facts,
            &mut self.learnt,
            &mut self.default_policies,
            &mut self.current_policy,
            &mut self.pools,
            &mut self.fleet,
            &mut self.scores,
            &mut self.months,
            &mut self.proposals,
        ]
    }

    /// Asks for the default policy.
    pub(super) fn want_default_policy(&mut self) {
        self.current_policy.want((DEFAULT_POLICY.to_owned(),));
    }

    /// Asks for what there is once over these phases: the fleet and the scores.
    pub(super) fn want_fleet(&mut self, phases: Phases) {
        self.fleet.want(fleet_key(phases));
        let keys = || {
            let buckets = Resource::ALL.into_iter().flat_map(|resource| Bucket::ALL.map(|bucket| (resource, bucket)));
            buckets.flat_map(move |(resource, bucket)| score_keys(phases, resource, bucket))
        };
        // They are asked for together, and leave memory together.
        if keys().next().is_some_and(|first| self.scores.knows(&first)) {
            return;
        }
        keys().for_each(|key| self.scores.want(key));
    }

    /// Asks for what there is once of a definition.
    pub(super) fn want_definition(&mut self, id: &DefinitionId) {
        self.definitions.want((id.to_string(),));
        self.sums.want((id.to_string(),));
    }

    /// Asks for the pools of a topology's nodes, in all labs and in those of a definition.
    pub(super) fn want_pools<'a>(&mut self, id: Option<&DefinitionId>, names: impl Iterator<Item = &'a String>) {
        for name in names {
            for owner in [Some(ALL_LABS), id.map(DefinitionId::as_str)].into_iter().flatten() {
                Phases::ALL.into_iter().for_each(|phases| self.pools.want(pool_key(phases, owner, name)));
            }
        }
    }

    /// Asks for the row of a definition's sessions of a topology, and for the pools of its nodes.
    pub(super) fn want_topology(&mut self, id: &DefinitionId, topology: &Topology) {
        Phases::ALL.into_iter().for_each(|phases| self.topologies.want(topology_key(phases, id, topology)));
        self.want_pools(Some(id), names(topology));
    }

    /// Asks for what a definition's own row names, if that is loaded.
    pub(super) fn want_named(&mut self, id: &DefinitionId) {
        let Ok(Some(row)) = self.definitions.get(&(id.to_string(),)) else { return };
        let stated = row.stated.as_ref().map(|stated| Topology::from(&stated.0));
        let learnt = row.learnt.as_ref().map(|learnt| learnt.0.clone());
        let named: Vec<Topology> = row.topologies.0.iter().cloned().chain(stated).chain(learnt).collect();
        named.iter().for_each(|topology| self.want_topology(id, topology));
    }

    /// The default policy.
    pub(super) fn default_policy(&self) -> Result<Policy, Refused> {
        let row = self.current_policy.get(&(DEFAULT_POLICY.to_owned(),))?;
        Ok(row.and_then(|row| row.policy.as_ref()).map(|policy| policy.0).unwrap_or_default())
    }

    /// The policy by which a definition is advised: its own, else the default one.
    pub(super) fn policy(&self, definition: &StoredDefinition) -> Result<Policy, Refused> {
        definition.policy.as_ref().map_or_else(|| self.default_policy(), |policy| Ok(policy.0))
    }

    /// The fleet of these phases as far as a definition needs it, and the nodes of these names.
    pub(super) fn fleet(
        &mut self,
        phases: Phases,
        id: Option<&DefinitionId>,
        also: &BTreeSet<String>,
    ) -> Result<Fleet, Refused> {
        let whole = self.fleet.get(&fleet_key(phases))?.map(|row| row.whole.0).unwrap_or_default();
        let mut rows = FleetRows { whole, scores: self.histograms(phases)?, ..FleetRows::default() };
        let own = id.map(|id| self.definition_rows(phases, id, also)).transpose()?;
        let known = own.iter().flat_map(|own| own.topologies.keys()).flat_map(names);
        let wanted: BTreeSet<&String> = known.chain(also).collect();
        for name in wanted {
            if let Some(pools) = self.node_pools(phases, ALL_LABS, name)? {
                rows.pools.insert(name.clone(), pools);
            }
        }
        if let Some((id, own)) = id.zip(own).filter(|(_, own)| !own.is_empty()) {
            rows.definitions.insert(id.clone(), own);
        }
        Ok(Fleet::from_rows(rows))
    }

    /// The scores of past advice, as their rows hold them.
    fn histograms(&mut self, phases: Phases) -> Result<ByResource<[Scores; 7]>, Refused> {
        if let Some(known) = phases.part(&self.histograms) {
            return Ok(known.clone());
        }
        let mut scores: ByResource<[Scores; 7]> = ByResource::default();
        for resource in Resource::ALL {
            for bucket in Bucket::ALL {
                let mut had = Vec::new();
                for key in score_keys(phases, resource, bucket) {
                    had.extend(self.scores.get(&key)?.into_iter().flat_map(|row| row.counts.0.iter().copied()));
                }
                resource.part_mut(&mut scores)[bucket.index()] = Scores::from(had);
            }
        }
        *phases.part_mut(&mut self.histograms) = Some(scores.clone());
        Ok(scores)
    }

    fn node_pools(&self, phases: Phases, owner: &str, name: &str) -> Result<Option<NodePools>, Refused> {
        let row = self.pools.get(&pool_key(phases, owner, name))?;
        Ok(row.map(|row| row.pools.0.clone()).filter(|pools| *pools != NodePools::default()))
    }

    fn definition_rows(
        &self,
        phases: Phases,
        id: &DefinitionId,
        also: &BTreeSet<String>,
    ) -> Result<DefinitionRows, Refused> {
        let mut own = DefinitionRows::default();
        if let Some(row) = self.sums.get(&(id.to_string(),))? {
            (own.ended, own.sums) = (row.ended.unsigned_abs(), row.over(phases));
        }
        let definition = self.definitions.get(&(id.to_string(),))?;
        for topology in definition.into_iter().flat_map(|row| &row.topologies.0) {
            let row = self.topologies.get(&topology_key(phases, id, topology))?;
            if let Some(row) = row.filter(|row| row.own.0 != ByResource::default()) {
                own.topologies.insert(topology.clone(), row.own.0.clone());
            }
        }
        let wanted: BTreeSet<&String> = own.topologies.keys().flat_map(names).chain(also).collect();
        let mut pools = BTreeMap::new();
        for name in wanted {
            pools.extend(self.node_pools(phases, id.as_str(), name)?.map(|pools| (name.clone(), pools)));
        }
        own.pools = pools;
        Ok(own)
    }

    /// Puts fleets back that came from [`Rows::fleet`] and have changed by a session of the definition.
    pub(super) fn put_fleets(
        &mut self,
        id: &DefinitionId,
        also: &BTreeSet<String>,
        fleets: ByPhases<Fleet>,
        position: Position,
    ) -> Result<(), Refused> {
        let mut definition = self.definition_or_new(id, position)?;
        let rows = ByPhases { steady: fleets.steady.into_rows(), with_boot: fleets.with_boot.into_rows() };
        let own = |phases: Phases| phases.part(&rows).definitions.get(id);
        let apart = |phases: Phases| own(phases).into_iter().flat_map(|own| own.topologies.keys());
        // Those of which nothing is known over some phases have no row there.
        let topologies: BTreeSet<&Topology> = Phases::ALL.into_iter().flat_map(apart).collect();
        let topologies = topologies.into_iter().cloned().collect();
        let before = std::mem::replace(&mut definition.topologies.0, topologies);
        let all: BTreeSet<Topology> = before.iter().chain(&definition.topologies.0).cloned().collect();
        let touched: BTreeSet<String> = all.iter().flat_map(names).chain(also).cloned().collect();
        if before != definition.topologies.0 || self.definitions.get(&(id.to_string(),))?.is_none() {
            self.definitions.put(definition)?;
        }
        let mut sums = self.sums_or_new(id, position)?;
        for (phases, mut rows) in [(Phases::Steady, rows.steady), (Phases::WithBoot, rows.with_boot)] {
            let own = rows.definitions.remove(id).unwrap_or_default();
            for name in &touched {
                let (all, own) = (rows.pools.remove(name), own.pools.get(name).cloned());
                self.put_pools(pool_key(phases, ALL_LABS, name), all.unwrap_or_default())?;
                self.put_pools(pool_key(phases, id.as_str(), name), own.unwrap_or_default())?;
            }
            for topology in &all {
                let key = topology_key(phases, id, topology);
                let own = Json(own.topologies.get(topology).cloned().unwrap_or_default());
                let is_same = match self.topologies.get(&key)? {
                    Some(row) => row.own == own,
                    None => own.0 == ByResource::default(),
                };
                if !is_same {
                    let (phases, definition_id, topology_key) = key;
                    self.topologies.put(StoredTopology { phases, definition_id, topology_key, own })?;
                }
            }
            sums.ended = own.ended.cast_signed();
            match phases {
                Phases::Steady => sums.sums = Json(own.sums),
                Phases::WithBoot => sums.sums_with_boot = Some(Json(own.sums)),
            }
            self.put_whole(phases, rows.whole)?;
            self.put_histograms(phases, rows.scores)?;
        }
        sums.position = position;
        self.sums.put(sums)
    }

    fn put_pools(&mut self, key: (String, String, String), pools: NodePools) -> Result<(), Refused> {
        let is_same = match self.pools.get(&key)? {
            Some(row) => row.pools.0 == pools,
            None => pools == NodePools::default(),
        };
        if is_same {
            return Ok(());
        }
        let (phases, owner, node_definition) = key;
        self.pools.put(StoredPools { phases, owner, node_definition, pools: Json(pools) })
    }

    fn put_whole(&mut self, phases: Phases, whole: ByResource<WholeFleet>) -> Result<(), Refused> {
        let key = fleet_key(phases);
        if self.fleet.get(&key)?.is_some_and(|row| row.whole.0 == whole) {
            return Ok(());
        }
        self.fleet.put(StoredFleet { phases: key.0, fleet: key.1, whole: Json(whole) })
    }

    /// Puts those of the scores that differ from what is stored.
    fn put_histograms(&mut self, phases: Phases, scores: ByResource<[Scores; 7]>) -> Result<(), Refused> {
        let before = self.histograms(phases)?;
        for resource in Resource::ALL {
            for bucket in Bucket::ALL {
                let [before, now] = [&before, &scores].map(|scores| &resource.part(scores)[bucket.index()]);
                if before != now {
                    self.put_scores(phases, resource, bucket, now)?;
                }
            }
        }
        *phases.part_mut(&mut self.histograms) = Some(scores);
        Ok(())
    }

    fn put_scores(
        &mut self,
        phases: Phases,
        resource: Resource,
        bucket: Bucket,
        scores: &Scores,
    ) -> Result<(), Refused> {
        let mut parts: BTreeMap<i32, Vec<(Score, u32)>> = BTreeMap::new();
        for (score, count) in scores.iter() {
            let from_spread = SPREADS * score.whole_spreads().div_euclid(SPREADS);
            parts.entry(from_spread).or_default().push((score, count));
        }
        for key in score_keys(phases, resource, bucket) {
            let counts = parts.remove(&key.3).unwrap_or_default();
            let is_same = match self.scores.get(&key)? {
                Some(row) => row.counts.0 == counts,
                None => counts.is_empty(),
            };
            if !is_same {
                let (phases, resource, bucket, from_spread) = key;
                self.scores.put(StoredScores { phases, resource, bucket, from_spread, counts: Json(counts) })?;
            }
        }
        Ok(())
    }

    pub(super) fn definition_or_new(&self, id: &DefinitionId, position: Position) -> Result<StoredDefinition, Refused> {
        let known = self.definitions.get(&(id.to_string(),))?;
        Ok(known.cloned().unwrap_or_else(|| StoredDefinition {
            definition_id: id.to_string(),
            revision: None,
            requirements: None,
            stated: None,
            policy: None,
            learnt: None,
            learnt_observed_at: None,
            topologies: Json::default(),
            position,
        }))
    }

    pub(super) fn sums_or_new(&self, id: &DefinitionId, position: Position) -> Result<StoredDefinitionSums, Refused> {
        let known = self.sums.get(&(id.to_string(),))?;
        Ok(known.cloned().unwrap_or_else(|| StoredDefinitionSums {
            definition_id: id.to_string(),
            ended: 0,
            sums: Json::default(),
            sums_with_boot: Some(Json::default()),
            scores: Json::default(),
            finding: None,
            requirement: Json::default(),
            value: Json::default(),
            sizing: None,
            position,
        }))
    }
}

/// The topology that is asked about: the stated one, else the learnt one.
pub(super) fn asked(row: &StoredDefinition) -> Option<Topology> {
    let stated = row.stated.as_ref().map(|stated| Topology::from(&stated.0));
    stated.or_else(|| row.learnt.as_ref().map(|learnt| learnt.0.clone()))
}

#[cfg(test)]
mod tests {
    use advice::topology::NodeKind;

    use super::*;

    #[test]
    fn topologies_have_the_same_key_where_they_are_equal() {
        let of = |image: Option<&str>, count| {
            let kind = NodeKind::new("iosv", image.map(str::to_owned), Some(1.0), Some(512.0));
            Topology::new([(kind, count), (NodeKind::new("csr", None, None, None), 1)]).key()
        };
        assert_eq!(of(Some("159"), 2), of(Some("159"), 2));
        let all: BTreeSet<String> = [of(Some("159"), 2), of(Some("159"), 3), of(None, 2), of(Some(""), 2)].into();
        assert_eq!((all.len(), of(None, 2).len()), (4, 32));
    }
}
