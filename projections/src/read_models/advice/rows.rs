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
}

/// The only row of the whole fleet.
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

fn fleet_key() -> (String,) {
    (FLEET.to_owned(),)
}

fn bucket_number(bucket: Bucket) -> i32 {
    i32::try_from(bucket.index()).unwrap_or_default()
}

/// The keys of the rows of scores of a bucket.
fn score_keys(resource: Resource, bucket: Bucket) -> impl Iterator<Item = (String, i32, i32)> {
    FROM_SPREADS.map(move |four| (resource.as_str().to_owned(), bucket_number(bucket), SPREADS * four))
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

    /// Asks for what there is once: the fleet, the scores, the default policy.
    pub(super) fn want_fleet(&mut self) {
        self.fleet.want(fleet_key());
        self.current_policy.want((DEFAULT_POLICY.to_owned(),));
        for resource in Resource::ALL {
            for key in Bucket::ALL.into_iter().flat_map(|bucket| score_keys(resource, bucket)) {
                self.scores.want(key);
            }
        }
    }

    /// Asks for what there is once of a definition.
    pub(super) fn want_definition(&mut self, id: &DefinitionId) {
        self.definitions.want((id.to_string(),));
        self.sums.want((id.to_string(),));
    }

    /// Asks for the pools of a topology's nodes, in all labs and in those of a definition.
    pub(super) fn want_pools<'a>(&mut self, id: Option<&DefinitionId>, names: impl Iterator<Item = &'a String>) {
        for name in names {
            self.pools.want((ALL_LABS.to_owned(), name.clone()));
            if let Some(id) = id {
                self.pools.want((id.to_string(), name.clone()));
            }
        }
    }

    /// Asks for the row of a definition's sessions of a topology, and for the pools of its nodes.
    pub(super) fn want_topology(&mut self, id: &DefinitionId, topology: &Topology) {
        self.topologies.want((id.to_string(), topology.key()));
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

    /// The fleet as far as a definition needs it, and the nodes of these names.
    pub(super) fn fleet(&self, id: Option<&DefinitionId>, also: &BTreeSet<String>) -> Result<Fleet, Refused> {
        let whole = self.fleet.get(&fleet_key())?.map(|row| row.whole.0).unwrap_or_default();
        let mut scores: ByResource<[Scores; 7]> = ByResource::default();
        for resource in Resource::ALL {
            for bucket in Bucket::ALL {
                let mut had = Vec::new();
                for key in score_keys(resource, bucket) {
                    had.extend(self.scores.get(&key)?.into_iter().flat_map(|row| row.counts.0.iter().copied()));
                }
                resource.part_mut(&mut scores)[bucket.index()] = Scores::from(had);
            }
        }
        let mut rows = FleetRows { whole, scores, ..FleetRows::default() };
        let own = id.map(|id| self.definition_rows(id, also)).transpose()?;
        let known = own.iter().flat_map(|own| own.topologies.keys()).flat_map(names);
        let wanted: BTreeSet<&String> = known.chain(also).collect();
        for name in wanted {
            if let Some(pools) = self.node_pools(ALL_LABS, name)? {
                rows.pools.insert(name.clone(), pools);
            }
        }
        if let Some((id, own)) = id.zip(own).filter(|(_, own)| !own.is_empty()) {
            rows.definitions.insert(id.clone(), own);
        }
        Ok(Fleet::from_rows(rows))
    }

    fn node_pools(&self, owner: &str, name: &str) -> Result<Option<NodePools>, Refused> {
        let row = self.pools.get(&(owner.to_owned(), name.to_owned()))?;
        Ok(row.map(|row| row.pools.0.clone()).filter(|pools| *pools != NodePools::default()))
    }

    fn definition_rows(&self, id: &DefinitionId, also: &BTreeSet<String>) -> Result<DefinitionRows, Refused> {
        let mut own = DefinitionRows::default();
        if let Some(row) = self.sums.get(&(id.to_string(),))? {
            (own.ended, own.sums) = (row.ended.unsigned_abs(), row.sums.0.clone());
        }
        let definition = self.definitions.get(&(id.to_string(),))?;
        for topology in definition.into_iter().flat_map(|row| &row.topologies.0) {
            let row = self.topologies.get(&(id.to_string(), topology.key()))?;
            if let Some(row) = row.filter(|row| row.own.0 != ByResource::default()) {
                own.topologies.insert(topology.clone(), row.own.0.clone());
            }
        }
        let wanted: BTreeSet<&String> = own.topologies.keys().flat_map(names).chain(also).collect();
        let mut pools = BTreeMap::new();
        for name in wanted {
            pools.extend(self.node_pools(id.as_str(), name)?.map(|pools| (name.clone(), pools)));
        }
        own.pools = pools;
        Ok(own)
    }

    /// Puts a fleet back that came from [`Rows::fleet`] and has changed by a session of the definition.
    pub(super) fn put_fleet(
        &mut self,
        id: &DefinitionId,
        also: &BTreeSet<String>,
        fleet: Fleet,
        position: Position,
    ) -> Result<(), Refused> {
        let mut rows = fleet.into_rows();
        let own = rows.definitions.remove(id).unwrap_or_default();
        let mut definition = self.definition_or_new(id, position)?;
        let before = std::mem::replace(&mut definition.topologies.0, own.topologies.keys().cloned().collect());
        let all: BTreeSet<&Topology> = before.iter().chain(own.topologies.keys()).collect();
        let touched: BTreeSet<&String> = all.iter().copied().flat_map(names).chain(also).collect();
        for name in touched {
            let (all, own) = (rows.pools.remove(name), own.pools.get(name).cloned());
            self.put_pools(ALL_LABS, name, all.unwrap_or_default())?;
            self.put_pools(id.as_str(), name, own.unwrap_or_default())?;
        }
        for topology in all {
            let key = (id.to_string(), topology.key());
            let own = Json(own.topologies.get(topology).cloned().unwrap_or_default());
            if self.topologies.get(&key)?.is_none_or(|row| row.own != own) {
                self.topologies.put(StoredTopology { definition_id: key.0, topology_key: key.1, own })?;
            }
        }
        if before != definition.topologies.0 || self.definitions.get(&(id.to_string(),))?.is_none() {
            self.definitions.put(definition)?;
        }
        let mut sums = self.sums_or_new(id, position)?;
        (sums.ended, sums.sums, sums.position) = (own.ended.cast_signed(), Json(own.sums), position);
        self.sums.put(sums)?;
        self.put_whole(rows.whole)?;
        for resource in Resource::ALL {
            for bucket in Bucket::ALL {
                self.put_scores(resource, bucket, &resource.part(&rows.scores)[bucket.index()])?;
            }
        }
        Ok(())
    }

    fn put_pools(&mut self, owner: &str, name: &str, pools: NodePools) -> Result<(), Refused> {
        let key = (owner.to_owned(), name.to_owned());
        let is_same = match self.pools.get(&key)? {
            Some(row) => row.pools.0 == pools,
            None => pools == NodePools::default(),
        };
        if is_same {
            return Ok(());
        }
        self.pools.put(StoredPools { owner: key.0, node_definition: key.1, pools: Json(pools) })
    }

    fn put_whole(&mut self, whole: ByResource<WholeFleet>) -> Result<(), Refused> {
        if self.fleet.get(&fleet_key())?.is_some_and(|row| row.whole.0 == whole) {
            return Ok(());
        }
        self.fleet.put(StoredFleet { fleet: FLEET.to_owned(), whole: Json(whole) })
    }

    fn put_scores(&mut self, resource: Resource, bucket: Bucket, scores: &Scores) -> Result<(), Refused> {
        let mut parts: BTreeMap<i32, Vec<(Score, u32)>> = BTreeMap::new();
        for (score, count) in scores.iter() {
            let from_spread = SPREADS * score.whole_spreads().div_euclid(SPREADS);
            parts.entry(from_spread).or_default().push((score, count));
        }
        for key in score_keys(resource, bucket) {
            let counts = parts.remove(&key.2).unwrap_or_default();
            let is_same = match self.scores.get(&key)? {
                Some(row) => row.counts.0 == counts,
                None => counts.is_empty(),
            };
            if !is_same {
                let (resource, bucket, from_spread) = key;
                self.scores.put(StoredScores { resource, bucket, from_spread, counts: Json(counts) })?;
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
            scores: Json::default(),
            finding: None,
            requirement: Json::default(),
            value: Json::default(),
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
