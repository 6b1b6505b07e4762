//! The newest states that this process knows. A stale one shows as a conflict, and is loaded again.

use std::any::Any;
use std::hash::Hash;
use std::sync::Arc;

use domain::Decide;
use quick_cache::sync::Cache as QuickCache;
use quick_cache::{Equivalent, Weighter};

use super::position::Position;

/// An aggregate's state at a sequence. Cloning shares the state.
#[derive(Debug)]
pub(super) struct LoadedAggregate<A> {
    pub(super) state: Arc<A>,
    pub(super) sequence: i64,
    pub(super) position: Position,
}

impl<A> Clone for LoadedAggregate<A> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), sequence: self.sequence, position: self.position }
    }
}

impl<A: Default> Default for LoadedAggregate<A> {
    fn default() -> Self {
        Self { state: Arc::default(), sequence: 0, position: Position::START }
    }
}

/// States of aggregates of all types, the least used ones evicted.
pub(super) struct Cache(QuickCache<Key, Entry, ByWeight>);

/// Type and id of an aggregate.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key(&'static str, Box<str>);

#[derive(Hash)]
struct BorrowedKey<'a>(&'static str, &'a str);

impl Equivalent<Key> for BorrowedKey<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.0 && self.1 == &*key.1
    }
}

#[derive(Clone)]
struct Entry {
    /// The epoch of the log in which it was read: in a later one it may rest on events that were lost.
    epoch: i32,
    state: Arc<dyn Any + Send + Sync>,
    sequence: i64,
    position: Position,
    weight: u64,
}

/// What an entry takes beside its state.
const ENTRY_BYTES: u64 = 256;

#[derive(Clone)]
struct ByWeight;

impl Weighter<Key, Entry> for ByWeight {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        entry.weight
    }
}

impl Cache {
    /// Room for about so many aggregates, whose states take so many bytes together.
    pub(super) fn new(aggregates: usize, bytes: u64) -> Self {
        Self(QuickCache::with_weighter(aggregates, bytes, ByWeight))
    }

    /// What was read in this epoch.
    pub(super) fn get<A: Decide>(&self, id: &str, epoch: i32) -> Option<LoadedAggregate<A>> {
        let entry = self.0.get(&BorrowedKey(A::TYPE, id)).filter(|entry| entry.epoch == epoch)?;
        let Entry { state, sequence, position, .. } = entry;
        Some(LoadedAggregate { state: state.downcast().ok()?, sequence, position })
    }

    pub(super) fn put<A: Decide>(&self, id: &str, loaded: &LoadedAggregate<A>, epoch: i32) {
        let LoadedAggregate { state, sequence, position } = loaded.clone();
        let weight = ENTRY_BYTES + state.weight() as u64;
        self.0.insert(Key(A::TYPE, id.into()), Entry { epoch, state, sequence, position, weight });
    }

    pub(super) fn remove<A: Decide>(&self, id: &str) {
        self.0.remove(&BorrowedKey(A::TYPE, id));
    }

    /// What all entries weigh together.
    #[cfg(test)]
    fn weight(&self) -> u64 {
        self.0.weight()
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::Aggregate as _;
    use domain::lablet_definition::{LabletDefinition, LabletDefinitionEvent};
    use domain::worker::Worker;
    use serde_json::json;

    use super::*;

    /// A definition whose state has some 40 KB.
    fn large_definition(id: &str) -> LoadedAggregate<LabletDefinition> {
        let ports: Vec<_> =
            (0..400).map(|port| json!({"name": format!("{port}_{}", "x".repeat(60)), "protocol": "serial"})).collect();
        let created: LabletDefinitionEvent = serde_json::from_value(json!({
            "type": "lablet_definition.created.v1", "definition_id": id, "name": "large", "version": "1",
            "resource_requirements": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1}, "port_template": {"ports": ports},
            "created_at": "2026-03-01T10:00:00Z"
        }))
        .unwrap();
        let mut state = LabletDefinition::default();
        state.apply(created);
        LoadedAggregate { state: Arc::new(state), sequence: 1, position: Position::START }
    }

    #[test]
    fn states_are_kept_up_to_a_number_of_bytes_however_many_there_are() {
        const MOST: u64 = 1024 * 1024;
        let cache = Cache::new(1_000, MOST);
        for number in 0..200 {
            let id = format!("d{number}");
            cache.put(&id, &large_definition(&id), 1);
            assert!(cache.weight() <= MOST);
        }
        let kept = (0..200).filter(|number| cache.get::<LabletDefinition>(&format!("d{number}"), 1).is_some()).count();
        assert!((5..50).contains(&kept), "{kept} states of some 40 KB are kept within 1 MB");
    }

    #[test]
    fn aggregates_of_two_types_may_have_one_id() {
        let cache = Cache::new(10, 1024 * 1024);
        cache.put("x", &large_definition("x"), 1);
        assert!(cache.get::<Worker>("x", 1).is_none());
        cache.put("x", &LoadedAggregate::<Worker> { sequence: 7, ..LoadedAggregate::default() }, 1);
        assert_eq!(cache.get::<LabletDefinition>("x", 1).unwrap().sequence, 1);
        assert_eq!(cache.get::<Worker>("x", 1).unwrap().sequence, 7);
        assert!(cache.get::<Worker>("x", 2).is_none(), "what was read before a standby was promoted");
        cache.remove::<Worker>("x");
        assert!(cache.get::<Worker>("x", 1).is_none());
    }
}
