//! How much of a worker is free, and what it is short of, as its controller tells.
//!
//! Every member may be unknown. A controller whose user is no admin is refused the launch queue and the overload flags:
//! such a worker is not known to be short, and not known not to be.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::WorkerCapacity;
use crate::actor::Actor;
use crate::number::{Amount, Whole};
use crate::time::BoundedTime;

/// A node that waits longer than this for its launch says that its worker is short. Nodes of a lab that is started are
/// queued for seconds even on an idle worker.
pub const LONGEST_LAUNCH: TimeDelta = TimeDelta::seconds(60);
/// A pressure that is news for no other reason is recorded again after this time, so that it is known to last.
pub const REPEATED_AFTER: TimeDelta = TimeDelta::hours(1);
/// How long a recorded pressure is taken to last. Whoever reports again within [`REPEATED_AFTER`] leaves no gap.
pub const LASTS: TimeDelta = TimeDelta::minutes(75);
/// Amounts that moved are news only this long after the last recorded pressure: CPU moves all the time.
const MOVED_AFTER: TimeDelta = TimeDelta::minutes(10);
/// The share of the worker's total by which an amount has to move to be news.
const MOVED_SHARE: f64 = 0.1;
const MB_PER_GB: f64 = 1024.0;

/// A number of nodes of a worker.
pub type WorkerNodeCount = Whole<u32, 0, 100_000>;
/// How long a node waits for its launch, in seconds: at most ten years.
pub type WaitSeconds = Whole<u32, 0, 315_360_000>;

/// What CML tells of a worker: its statistics, its launch queue, and what it is short of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerPressure {
    /// Nodes that wait for their launch. Null is unknown.
    #[serde(default)]
    pub queued_nodes: Option<WorkerNodeCount>,
    /// How long the first of them has waited, in seconds; 0 where none waits. Null is unknown.
    #[serde(default)]
    pub longest_wait_seconds: Option<WaitSeconds>,
    /// Whether CML says that CPU is overloaded. Null is unknown.
    #[serde(default)]
    pub short_of_cpu: Option<bool>,
    /// Whether CML says that memory is overloaded. Null is unknown.
    #[serde(default)]
    pub short_of_memory: Option<bool>,
    /// Whether CML says that the disk is overloaded. Null is unknown.
    #[serde(default)]
    pub short_of_storage: Option<bool>,
    /// Nodes that run. Null is unknown.
    #[serde(default)]
    pub running_nodes: Option<WorkerNodeCount>,
    /// Cores that nothing uses. Null is unknown.
    #[serde(default)]
    pub free_cpu_cores: Option<Amount>,
    /// Cores in all. Null is unknown.
    #[serde(default)]
    pub total_cpu_cores: Option<Amount>,
    /// Memory that nothing uses, in MB. Null is unknown.
    #[serde(default)]
    pub free_memory_mb: Option<Amount>,
    /// Memory in all, in MB. Null is unknown.
    #[serde(default)]
    pub total_memory_mb: Option<Amount>,
    /// Disk that nothing uses, in MB. Null is unknown.
    #[serde(default)]
    pub free_storage_mb: Option<Amount>,
    /// Disk in all, in MB. Null is unknown.
    #[serde(default)]
    pub total_storage_mb: Option<Amount>,
    /// What came of reading the statistics, from which amounts and running nodes are. Null: the sender does not say.
    #[serde(default)]
    pub statistics: Option<PressureRead>,
    /// What came of reading the launch queue, from which queued nodes, waits and shortages are. Null: the sender does
    /// not say.
    #[serde(default)]
    pub launch_queue: Option<PressureRead>,
}

/// What came of a read of a worker's pressure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PressureRead {
    /// It was answered.
    Answered,
    /// The controller's user may not read it.
    NoRights,
    /// This version of CML does not have it.
    NotServed,
    /// It was not answered, or not legibly.
    Failed,
}

/// A reading of a worker's pressure, as it arrives over HTTP or NATS.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PressureReport {
    /// When the worker was read, by the reader's clock and never by the worker's: from 2000 to 2199, and at most 5 minutes
    /// ahead of the log's clock. Absent means the time at which the report is recorded.
    #[serde(default)]
    pub observed_at: Option<BoundedTime>,
    /// Who read it, e.g. `controller`.
    #[serde(default)]
    pub observer: Option<Actor>,
    /// What was read.
    #[serde(default)]
    pub pressure: WorkerPressure,
}

/// Whether a worker is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PressureCondition {
    /// It is short of something.
    Short,
    /// It is known to be short of nothing.
    NotShort,
    /// It is not known to be short, and something is not known.
    Unknown,
}

/// What a worker is short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shortage {
    /// CPU.
    Cpu,
    /// Memory.
    Memory,
    /// Disk.
    Storage,
    /// Launches: nodes wait for longer than [`LONGEST_LAUNCH`].
    LaunchQueue,
}

impl PressureRead {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NoRights => "no_rights",
            Self::NotServed => "not_served",
            Self::Failed => "failed",
        }
    }
}

impl PressureCondition {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::NotShort => "not_short",
            Self::Unknown => "unknown",
        }
    }
}

impl Shortage {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Storage => "storage",
            Self::LaunchQueue => "launch_queue",
        }
    }

    /// All of them, in the order in which they are named.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Storage, Self::LaunchQueue];
}

impl WorkerPressure {
    /// Whether the worker is short of this. `None` is unknown.
    pub fn is_short_of(&self, shortage: Shortage) -> Option<bool> {
        match shortage {
            Shortage::Cpu => self.short_of_cpu,
            Shortage::Memory => self.short_of_memory,
            Shortage::Storage => self.short_of_storage,
            Shortage::LaunchQueue => {
                let waits = |wait: WaitSeconds| i64::from(wait.get()) > LONGEST_LAUNCH.num_seconds();
                let is_empty = self.queued_nodes.is_some_and(|queued| queued.get() == 0);
                if is_empty { Some(false) } else { self.longest_wait_seconds.map(waits) }
            }
        }
    }

    /// Everything that the worker is known to be short of.
    pub fn shortages(&self) -> impl Iterator<Item = Shortage> {
        Shortage::ALL.into_iter().filter(|shortage| self.is_short_of(*shortage) == Some(true))
    }

    /// Whether the worker is short: of one thing is enough, and to be not short everything has to be known.
    pub fn condition(&self) -> PressureCondition {
        let known = Shortage::ALL.map(|shortage| self.is_short_of(shortage));
        if known.contains(&Some(true)) {
            PressureCondition::Short
        } else if known.contains(&None) {
            PressureCondition::Unknown
        } else {
            PressureCondition::NotShort
        }
    }

    /// Whether this, read `after` that long, says something that `recorded` does not: a shortage, what is known or why
    /// not has changed, the queue filled, emptied or doubled, its wait doubled, an amount moved by more than a tenth of the
    /// worker's total, or it is about to be forgotten. The log does not grow with every reading.
    fn is_news(&self, recorded: &Self, after: TimeDelta, capacity: &WorkerCapacity) -> bool {
        after >= REPEATED_AFTER
            || self.flags() != recorded.flags()
            || self.known() != recorded.known()
            || (self.statistics, self.launch_queue) != (recorded.statistics, recorded.launch_queue)
            || doubled(recorded.queued_nodes, self.queued_nodes, 1)
            || doubled(recorded.longest_wait_seconds, self.longest_wait_seconds, LONGEST_LAUNCH.num_seconds())
            || (after >= MOVED_AFTER && self.has_moved(recorded, capacity))
    }

    /// What is news as soon as it is otherwise.
    fn flags(&self) -> impl PartialEq {
        let is_empty = self.queued_nodes.map(|queued| queued.get() == 0);
        (Shortage::ALL.map(|shortage| self.is_short_of(shortage)), is_empty)
    }

    /// Which amounts are known.
    fn known(&self) -> impl PartialEq {
        let amounts = [
            self.free_cpu_cores,
            self.total_cpu_cores,
            self.free_memory_mb,
            self.total_memory_mb,
            self.free_storage_mb,
            self.total_storage_mb,
        ];
        (amounts.map(|amount| amount.is_some()), self.running_nodes.is_some(), self.longest_wait_seconds.is_some())
    }

    fn has_moved(&self, recorded: &Self, capacity: &WorkerCapacity) -> bool {
        let gb = |gb: u32| f64::from(gb) * MB_PER_GB;
        let moved = |from: Option<Amount>, to: Option<Amount>, total: Option<Amount>, capacity: f64| {
            let total = total.map(Amount::get).filter(|total| *total > 0.0).unwrap_or(capacity);
            from.zip(to).is_some_and(|(from, to)| (to.get() - from.get()).abs() > total * MOVED_SHARE)
        };
        moved(recorded.free_cpu_cores, self.free_cpu_cores, self.total_cpu_cores, f64::from(capacity.cpu_cores.get()))
            || moved(recorded.free_memory_mb, self.free_memory_mb, self.total_memory_mb, gb(capacity.memory_gb.get()))
            || moved(
                recorded.free_storage_mb,
                self.free_storage_mb,
                self.total_storage_mb,
                gb(capacity.storage_gb.get()),
            )
            || [
                (recorded.total_cpu_cores, self.total_cpu_cores),
                (recorded.total_memory_mb, self.total_memory_mb),
                (recorded.total_storage_mb, self.total_storage_mb),
            ]
            .into_iter()
            .any(|(from, to)| moved(from, to, from, 0.0))
    }
}

/// Whether a number is at least twice what it was, and above `least`. Only growth counts, so that a number that swings
/// is no news each time.
fn doubled<const MOST: u64>(from: Option<Whole<u32, 0, MOST>>, to: Option<Whole<u32, 0, MOST>>, least: i64) -> bool {
    from.zip(to).is_some_and(|(from, to)| {
        let (from, to) = (i64::from(from.get()), i64::from(to.get()));
        to > least && to >= 2 * from
    })
}

/// The newest pressure that was recorded of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RecordedPressure {
    /// When it was read.
    pub observed_at: DateTime<Utc>,
    /// What was read.
    pub pressure: WorkerPressure,
}

impl RecordedPressure {
    /// Whether a reading is to be recorded too. An older one is history, and changes nothing.
    pub(super) fn is_outdated_by(&self, newer: &Self, capacity: &WorkerCapacity) -> bool {
        let after = newer.observed_at - self.observed_at;
        after > TimeDelta::zero() && newer.pressure.is_news(&self.pressure, after, capacity)
    }
}

/// What is known of a worker over a time, as far as shortage is concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KnownShortage {
    /// What it was short of at any moment that is known.
    pub short_of: [bool; Shortage::ALL.len()],
    /// Whether it was short at any moment that is known.
    pub was_short: bool,
    /// Whether all of the time is known.
    pub is_known_throughout: bool,
}

impl KnownShortage {
    /// Whether the worker was short. To be not short, all of the time has to be known.
    pub fn worker_short(&self) -> Option<bool> {
        if self.was_short { Some(true) } else { self.is_known_throughout.then_some(false) }
    }

    /// Adds what it was short of at a moment.
    pub fn add(&mut self, shortages: impl IntoIterator<Item = Shortage>) {
        for shortage in shortages {
            self.was_short = true;
            for (known, short) in Shortage::ALL.iter().zip(&mut self.short_of) {
                *short |= *known == shortage;
            }
        }
    }

    /// What it was short of.
    pub fn shortages(&self) -> impl Iterator<Item = Shortage> {
        let short_of = self.short_of;
        Shortage::ALL.into_iter().zip(short_of).filter(|(_, short)| *short).map(|(shortage, _)| shortage)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn names_are_those_on_the_wire() {
        use {PressureCondition as Condition, PressureRead as Read};
        let conditions = [Condition::Short, Condition::NotShort, Condition::Unknown];
        assert_eq!(json!(conditions), json!(conditions.map(Condition::name)));
        let reads = [Read::Answered, Read::NoRights, Read::NotServed, Read::Failed];
        assert_eq!(json!(reads), json!(reads.map(Read::name)));
        assert_eq!(json!(Shortage::ALL), json!(Shortage::ALL.map(Shortage::name)));
    }

    fn pressure(value: Value) -> WorkerPressure {
        serde_json::from_value(value).unwrap()
    }

    fn quiet() -> Value {
        json!({
            "queued_nodes": 0, "longest_wait_seconds": 0, "short_of_cpu": false, "short_of_memory": false,
            "short_of_storage": false, "running_nodes": 40, "free_cpu_cores": 60.0, "total_cpu_cores": 64.0,
            "free_memory_mb": 400_000, "total_memory_mb": 524_288, "free_storage_mb": 1_000_000,
            "total_storage_mb": 2_048_000, "statistics": "answered", "launch_queue": "answered"
        })
    }

    fn with(changes: Value) -> WorkerPressure {
        let mut value = quiet();
        let (Value::Object(members), Value::Object(changes)) = (&mut value, changes) else { panic!("no objects") };
        members.extend(changes);
        pressure(value)
    }

    fn capacity() -> WorkerCapacity {
        serde_json::from_value(json!({"cpu_cores": 64, "memory_gb": 512, "storage_gb": 2000, "max_nodes": 300}))
            .unwrap()
    }

    fn is_news(before: &WorkerPressure, after: &WorkerPressure, minutes: i64) -> bool {
        after.is_news(before, TimeDelta::minutes(minutes), &capacity())
    }

    #[test]
    fn a_worker_is_short_by_one_thing_and_not_short_only_where_all_is_known() {
        let short_of = |pressure: WorkerPressure| pressure.shortages().collect::<Vec<_>>();
        assert_eq!(with(json!({})).condition(), PressureCondition::NotShort);
        assert_eq!(WorkerPressure::default().condition(), PressureCondition::Unknown);
        for (flag, shortage) in [
            ("short_of_cpu", Shortage::Cpu),
            ("short_of_memory", Shortage::Memory),
            ("short_of_storage", Shortage::Storage),
        ] {
            assert_eq!(with(json!({flag: null})).condition(), PressureCondition::Unknown, "{flag}");
            let short = pressure(json!({flag: true}));
            assert_eq!((short.condition(), short_of(short)), (PressureCondition::Short, vec![shortage]), "{flag}");
        }
        let waits = |seconds: Value| with(json!({"queued_nodes": 3, "longest_wait_seconds": seconds}));
        assert_eq!(waits(json!(60)).condition(), PressureCondition::NotShort, "nodes of a lab that starts");
        assert_eq!(waits(json!(61)).condition(), PressureCondition::Short);
        assert_eq!(short_of(waits(json!(61))), [Shortage::LaunchQueue]);
        assert_eq!(waits(json!(null)).condition(), PressureCondition::Unknown);
        let empty = with(json!({"longest_wait_seconds": null}));
        assert_eq!(empty.condition(), PressureCondition::NotShort, "nobody waits in an empty queue");
    }

    #[test]
    fn what_says_nothing_new_is_no_news() {
        let before = with(json!({}));
        for same in
            [json!({}), json!({"running_nodes": 50}), json!({"free_cpu_cores": 54.0, "free_memory_mb": 360_000})]
        {
            assert!(!is_news(&before, &with(same.clone()), 59), "{same}");
        }
        assert!(is_news(&before, &before, 60), "it is recorded again before it is forgotten");
        assert!(REPEATED_AFTER < LASTS);
    }

    #[test]
    fn a_flag_an_emptiness_and_what_is_known_are_news_at_once() {
        let before = with(json!({}));
        for news in [
            json!({"short_of_cpu": true}),
            json!({"short_of_memory": null}),
            json!({"queued_nodes": 1, "longest_wait_seconds": 2}),
            json!({"queued_nodes": null}),
            json!({"free_cpu_cores": null}),
            json!({"running_nodes": null}),
            json!({"statistics": "failed"}),
            json!({"launch_queue": "no_rights"}),
        ] {
            assert!(is_news(&before, &with(news.clone()), 1), "{news}");
            assert!(is_news(&with(news.clone()), &before, 1), "back from {news}");
        }
    }

    #[test]
    fn amounts_that_move_by_more_than_a_tenth_are_news_every_ten_minutes() {
        let before = with(json!({}));
        for moved in [
            json!({"free_cpu_cores": 53.5}),
            json!({"free_memory_mb": 300_000}),
            json!({"free_storage_mb": 700_000}),
            json!({"total_cpu_cores": 96.0}),
        ] {
            assert!(!is_news(&before, &with(moved.clone()), 9), "{moved}");
            assert!(is_news(&before, &with(moved.clone()), 10), "{moved}");
        }
        let (from, to) = (
            json!({"total_cpu_cores": null, "free_cpu_cores": 60.0}),
            json!({"total_cpu_cores": null, "free_cpu_cores": 50.0}),
        );
        assert!(is_news(&with(from), &with(to), 10), "by what the worker is registered with");
    }

    #[test]
    fn a_queue_that_grows_is_news_each_time_that_it_doubled() {
        let queue = |nodes: u32, wait: u32| with(json!({"queued_nodes": nodes, "longest_wait_seconds": wait}));
        assert!(!is_news(&queue(3, 10), &queue(5, 55), 1));
        assert!(is_news(&queue(3, 10), &queue(6, 10), 1));
        assert!(!is_news(&queue(6, 10), &queue(3, 10), 1), "a number that swings is no news each time");
        assert!(is_news(&queue(3, 61), &queue(3, 122), 1));
        assert!(!is_news(&queue(3, 61), &queue(3, 121), 1));
    }

    #[test]
    fn over_a_time_one_moment_is_enough_to_be_short_and_none_may_be_unknown_to_be_not_short() {
        let known = |was_short, is_known_throughout| {
            KnownShortage { was_short, is_known_throughout, ..KnownShortage::default() }.worker_short()
        };
        assert_eq!(known(true, false), Some(true));
        assert_eq!(known(true, true), Some(true));
        assert_eq!(known(false, true), Some(false));
        assert_eq!(known(false, false), None);
        let short = KnownShortage { short_of: [true, false, false, true], was_short: true, is_known_throughout: true };
        assert_eq!(short.shortages().collect::<Vec<_>>(), [Shortage::Cpu, Shortage::LaunchQueue]);
    }

    proptest! {
        #[test]
        fn what_is_older_changes_nothing(seconds in 0_i64..10_000_000, queued in 0_u32..100) {
            let at = |offset: i64| DateTime::from_timestamp(1_772_000_000 + offset, 0).unwrap();
            let recorded = RecordedPressure { observed_at: at(0), pressure: with(json!({})) };
            let older = RecordedPressure { observed_at: at(-seconds), pressure: with(json!({"queued_nodes": queued})) };
            prop_assert!(!recorded.is_outdated_by(&older, &capacity()));
        }
    }
}
