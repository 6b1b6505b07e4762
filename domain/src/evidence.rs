//! What of an observation counts, and which observation is the newest.
//!
//! Every report is recorded and shown. It is no evidence where it contradicts itself (a total that is not the sum of its
//! own nodes may be off by any factor), and where nothing ran (a lab without a running node uses nothing, whatever its
//! definition needs).

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::demand::ByResource;
use crate::nominal::has_machine;
use crate::number::{Amount, Whole};
use crate::observation::{NodeObservation, NodeUsage, Phase, ResourceObservation};
use crate::time;

/// A stated total may differ from the sum of its nodes by this share of the greater one.
const TOLERATED_SHARE: f64 = 0.01;
/// Cores by which it may differ in any case.
const TOLERATED_CORES: f64 = 0.1;
/// MB by which it may differ in any case.
const TOLERATED_MB: f64 = 16.0;

/// When an observation counts as made: as its observer says, and no later than it was recorded.
///
/// Whatever picks the newest observation compares this time, and of two with the same time takes the one recorded later.
/// So a sender whose clock is ahead cannot hide later observations. Stored times may lie anywhere; this one can be
/// shown.
pub(crate) fn made_at(observed_at: DateTime<Utc>, recorded_at: DateTime<Utc>) -> DateTime<Utc> {
    time::shown(observed_at.min(recorded_at))
}

/// Whether what was seen at `at` replaces what was seen at `held`, if anything was.
pub fn replaces(at: DateTime<Utc>, held: Option<DateTime<Utc>>) -> bool {
    held.is_none_or(|held| held <= at)
}

/// The numbers of an observation that count. Null: unknown, or no evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Nominal cores.
    pub cpu_cores: Option<f64>,
    /// Nominal MB of memory.
    pub memory_mb: Option<f64>,
    /// Measured MB on disk.
    pub storage_mb: Option<f64>,
    /// Number of nodes.
    pub node_count: Option<u32>,
}

/// Why an observation as a whole is no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoEvidence {
    /// No node of the lab was running.
    NothingRan,
}

impl NoEvidence {
    /// In its wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NothingRan => "nothing_ran",
        }
    }
}

/// A stated total that is not the sum of its own nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Contradiction {
    /// The total's field, e.g. `total_cpu_cores`, `usage.memory_mb` or `profile.storage_mb`.
    pub field: String,
    /// What it says: cores or MB.
    pub stated: f64,
    /// What its nodes add up to.
    pub of_nodes: f64,
}

/// What a total is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    Cpu,
    Memory,
    Storage,
}

/// Parts of a total, of which some may be unknown.
struct Sum {
    known: f64,
    whole: bool,
}

impl Sum {
    fn over(parts: impl Iterator<Item = Option<f64>>) -> Self {
        parts.fold(Self { known: 0.0, whole: true }, |sum, part| match part {
            Some(part) => Self { known: sum.known + part, ..sum },
            None => Self { whole: false, ..sum },
        })
    }

    /// Whether a total cannot be that of these parts. Where parts are unknown it may be greater, never less.
    fn contradicts(&self, total: f64, resource: Resource) -> bool {
        let least = match resource {
            Resource::Cpu => TOLERATED_CORES,
            Resource::Memory | Resource::Storage => TOLERATED_MB,
        };
        let off = total - self.known;
        // Allows for the rounding of floating-point numbers.
        let tolerated = (total.max(self.known) * TOLERATED_SHARE).max(least) + 1e-9;
        if self.whole { off.abs() > tolerated } else { -off > tolerated }
    }
}

impl NodeObservation {
    fn nominal_cores(&self) -> Option<f64> {
        if !has_machine(&self.node_definition) {
            return Some(0.0);
        }
        let percent = || self.cpu_limit.map_or(100, Whole::get);
        let by_cpus = || Some(f64::from(self.cpus?.get()) * f64::from(percent()) / 100.0);
        self.nominal_cpu_cores.map(Amount::get).or_else(by_cpus)
    }

    #[expect(clippy::cast_precision_loss, reason = "a node has at most 100,000,000 MB")]
    fn nominal_mb(&self) -> Option<f64> {
        self.ram_mb.map(|ram| ram.get() as f64).or_else(|| (!has_machine(&self.node_definition)).then_some(0.0))
    }

    fn used(&self, quantity: impl Fn(&NodeUsage) -> Option<Amount>) -> Option<f64> {
        self.usage
            .as_ref()
            .and_then(quantity)
            .map(Amount::get)
            .or_else(|| (!has_machine(&self.node_definition)).then_some(0.0))
    }

    /// Whether the node certainly does not run. A node in an unknown state may run.
    pub(crate) fn stands_still(&self) -> bool {
        matches!(self.state.as_deref(), Some("DEFINED_ON_CORE" | "STOPPED" | "QUEUED"))
    }
}

impl ResourceObservation {
    /// Nominal cores in total: the compatible total, which is nominal, or the newer field.
    pub fn nominal_cpu_cores(&self) -> Option<f64> {
        self.total_cpu_cores.or(self.nominal.and_then(|nominal| nominal.cpu_cores)).map(Amount::get)
    }

    /// Nominal MB of memory in total, likewise.
    pub fn nominal_memory_mb(&self) -> Option<f64> {
        self.total_memory_mb.or(self.nominal.and_then(|nominal| nominal.memory_mb)).map(Amount::get)
    }

    /// Measured MB on disk in total: the compatible total, which is measured, or the newer field.
    pub fn used_storage_mb(&self) -> Option<f64> {
        self.total_storage_mb.or(self.usage.and_then(|usage| usage.used.storage_mb)).map(Amount::get)
    }

    fn lists_every_node(&self) -> bool {
        self.actual_node_count.is_none_or(|count| count.get() as usize <= self.nodes.len())
    }

    /// Every stated total, with what it is about and what its nodes add up to.
    fn totals(&self) -> impl Iterator<Item = (&'static str, Resource, f64, Sum)> {
        // Where fewer nodes are listed than there are, those that are not listed are unknown.
        let all = self.lists_every_node();
        let sum = |part: &dyn Fn(&NodeObservation) -> Option<f64>| {
            let sum = Sum::over(self.nodes.iter().map(part));
            Sum { whole: sum.whole && all, ..sum }
        };
        let cores = || sum(&NodeObservation::nominal_cores);
        let memory = || sum(&NodeObservation::nominal_mb);
        let disk = || sum(&|node| node.used(|usage| usage.disk_mb));
        let used = self.usage.map(|usage| usage.used).unwrap_or_default();
        let nominal = self.nominal.unwrap_or_default();
        let totals = [
            ("total_cpu_cores", Resource::Cpu, self.total_cpu_cores, cores()),
            ("total_memory_mb", Resource::Memory, self.total_memory_mb, memory()),
            ("total_storage_mb", Resource::Storage, self.total_storage_mb, disk()),
            ("nominal.cpu_cores", Resource::Cpu, nominal.cpu_cores, cores()),
            ("nominal.memory_mb", Resource::Memory, nominal.memory_mb, memory()),
            ("usage.cpu_cores", Resource::Cpu, used.cpu_cores, sum(&|node| node.used(|usage| usage.cpu_cores))),
            ("usage.memory_mb", Resource::Memory, used.memory_mb, sum(&|node| node.used(|usage| usage.memory_mb))),
            ("usage.storage_mb", Resource::Storage, used.storage_mb, disk()),
        ];
        // Without listed nodes there is nothing that totals could contradict.
        let knows_nodes = self.node_count() == Some(0) || !self.nodes.is_empty();
        totals.into_iter().filter_map(move |(field, resource, total, sum)| {
            knows_nodes.then_some(())?;
            Some((field, resource, total?.get(), sum))
        })
    }

    /// The greatest amounts of the lab's profile, with the sums of those of its nodes. The nodes had their peaks at
    /// different times, so the lab's is at most their sum.
    fn sampled_peaks(&self) -> impl Iterator<Item = (&'static str, Resource, f64, Sum)> {
        let all = !self.nodes.is_empty() && self.lists_every_node();
        let of_nodes: Vec<_> = self.nodes.iter().filter(|node| has_machine(&node.node_definition)).collect();
        let of_nodes: Vec<_> = of_nodes.into_iter().map(NodeObservation::profile_peaks).collect();
        let lab = self.profile_peaks();
        let sum = |part: fn(&ByResource<Option<f64>>) -> Option<f64>| {
            let sum = Sum::over(of_nodes.iter().map(part));
            Sum { whole: sum.whole && all, ..sum }
        };
        [
            ("profile.cpu_cores", Resource::Cpu, lab.cpu_cores, sum(|peaks| peaks.cpu_cores)),
            ("profile.memory_mb", Resource::Memory, lab.memory_mb, sum(|peaks| peaks.memory_mb)),
            ("profile.storage_mb", Resource::Storage, lab.storage_mb, sum(|peaks| peaks.storage_mb)),
        ]
        .into_iter()
        .filter_map(|(field, resource, peak, sum)| Some((field, resource, peak?, sum)))
        .filter(|(_, _, peak, sum)| *peak > sum.known)
    }

    /// The totals that are not the sums of their own nodes, by more than 1 % and more than 0.1 core or 16 MB, and the peaks
    /// that exceed those of all nodes together by as much.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        self.totals()
            .chain(self.sampled_peaks())
            .filter(|(_, resource, total, sum)| sum.contradicts(*total, *resource))
            .map(|(field, _, stated, sum)| Contradiction { field: field.to_owned(), stated, of_nodes: sum.known })
            .collect()
    }

    /// Why the observation as a whole is no evidence; `None` where it is some.
    pub fn no_evidence(&self) -> Option<NoEvidence> {
        let stopped = self.coverage.as_ref().is_some_and(|coverage| coverage.phase == Phase::Stopped);
        let all_listed = !self.nodes.is_empty() && self.lists_every_node();
        let stand_still = all_listed && self.nodes.iter().all(NodeObservation::stands_still);
        // Totals of zero without a single node are those of a lab that does not exist.
        let totals = [self.nominal_cpu_cores(), self.nominal_memory_mb(), self.used_storage_mb()];
        let no_node = match self.node_count() {
            Some(count) => count == 0,
            None => totals.iter().any(Option::is_some),
        };
        let nothing = no_node && totals.iter().flatten().all(|total| *total == 0.0);
        (stopped || stand_still || nothing).then_some(NoEvidence::NothingRan)
    }

    /// The numbers that count.
    pub fn evidence(&self) -> Evidence {
        if self.no_evidence().is_some() {
            return Evidence::default();
        }
        let contradictions = self.contradictions();
        // A quantity that is stated twice does not count where one of the two statements is refuted.
        let counts = |fields: [&str; 2]| !contradictions.iter().any(|found| fields.contains(&found.field.as_str()));
        Evidence {
            cpu_cores: self.nominal_cpu_cores().filter(|_| counts(["total_cpu_cores", "nominal.cpu_cores"])),
            memory_mb: self.nominal_memory_mb().filter(|_| counts(["total_memory_mb", "nominal.memory_mb"])),
            storage_mb: self.used_storage_mb().filter(|_| counts(["total_storage_mb", "usage.storage_mb"])),
            node_count: self.node_count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn observation(value: Value) -> ResourceObservation {
        serde_json::from_value(value).unwrap()
    }

    fn nodes(count: usize) -> Value {
        (0..count)
            .map(|index| json!({"node_id": index.to_string(), "node_definition": "iosv", "state": "BOOTED", "cpus": 1, "ram_mb": 512}))
            .collect()
    }

    fn fields(observation: &ResourceObservation) -> Vec<String> {
        observation.contradictions().into_iter().map(|found| found.field).collect()
    }

    #[test]
    fn a_total_that_contradicts_its_nodes_is_marked_and_no_evidence() {
        let seen = observation(json!({"total_cpu_cores": 300, "total_memory_mb": 1536, "nodes": nodes(3)}));
        let found = seen.contradictions();
        assert_eq!(found, [Contradiction { field: "total_cpu_cores".into(), stated: 300.0, of_nodes: 3.0 }]);
        let evidence = seen.evidence();
        assert_eq!((evidence.cpu_cores, evidence.memory_mb, evidence.node_count), (None, Some(1536.0), Some(3)));
        let too_little = observation(json!({"total_memory_mb": 100, "nodes": nodes(3)}));
        assert_eq!(fields(&too_little), ["total_memory_mb"]);
    }

    #[test]
    fn a_rounding_error_is_no_contradiction() {
        for total in [3.0, 3.1, 2.9] {
            assert!(fields(&observation(json!({"total_cpu_cores": total, "nodes": nodes(3)}))).is_empty(), "{total}");
        }
        assert_eq!(fields(&observation(json!({"total_cpu_cores": 3.2, "nodes": nodes(3)}))), ["total_cpu_cores"]);
        // 1 % of 102,400 MB is more than 16 MB.
        assert!(fields(&observation(json!({"total_memory_mb": 103_000, "nodes": nodes(200)}))).is_empty());
        assert_eq!(fields(&observation(json!({"total_memory_mb": 104_000, "nodes": nodes(200)}))), ["total_memory_mb"]);
    }

    #[test]
    fn where_a_share_is_unknown_a_total_may_be_greater_and_never_less() {
        let with = |total: f64, count: u32| {
            fields(&observation(json!({"total_cpu_cores": total, "actual_node_count": count, "nodes": [
                {"node_id": "a", "cpus": 2}, {"node_id": "b", "node_definition": "external_connector"}, {"node_id": "c"}
            ]})))
        };
        assert!(with(8.0, 3).is_empty() && with(2.0, 5).is_empty());
        assert_eq!(with(1.0, 3), ["total_cpu_cores"]);
        let partly = json!({"total_cpu_cores": 5, "actual_node_count": 5, "nodes": nodes(3)});
        assert!(fields(&observation(partly)).is_empty(), "two nodes are not listed");
        assert!(fields(&observation(json!({"total_cpu_cores": 300}))).is_empty(), "no node is listed");
        assert_eq!(fields(&observation(json!({"total_cpu_cores": 2, "actual_node_count": 0}))), ["total_cpu_cores"]);
    }

    #[test]
    fn every_total_is_compared_with_its_own_nodes() {
        let node = json!({"node_id": "a", "cpus": 1, "ram_mb": 100, "usage": {"cpu_cores": 1, "memory_mb": 50, "disk_mb": 10}});
        let amounts = json!({"cpu_cores": 9, "memory_mb": 900, "storage_mb": 900});
        let seen = observation(json!({"nodes": [node], "total_storage_mb": 900, "nominal": amounts, "usage": amounts}));
        assert_eq!(
            fields(&seen),
            [
                "total_storage_mb",
                "nominal.cpu_cores",
                "nominal.memory_mb",
                "usage.cpu_cores",
                "usage.memory_mb",
                "usage.storage_mb"
            ]
        );
        assert_eq!(seen.evidence(), Evidence { node_count: Some(1), ..Evidence::default() });
    }

    #[test]
    fn a_lab_of_which_nothing_ran_is_no_evidence() {
        let still = |state: &str| json!([{"node_id": "a", "cpus": 1, "state": state}]);
        for nothing in [
            json!({"actual_node_count": 0, "total_cpu_cores": 0, "total_memory_mb": 0, "total_storage_mb": 0,
                   "coverage": {"nodes_total": 0, "nodes_booted": 0}}),
            json!({"total_cpu_cores": 0, "total_memory_mb": 0}),
            json!({"total_cpu_cores": 1, "nodes": still("STOPPED")}),
            json!({"total_cpu_cores": 1, "nodes": still("DEFINED_ON_CORE")}),
            json!({"total_cpu_cores": 1, "nodes": still("BOOTED"), "coverage": {"nodes_total": 1, "nodes_booted": 1, "phase": "stopped"}}),
        ] {
            let seen = observation(nothing.clone());
            assert_eq!(seen.no_evidence(), Some(NoEvidence::NothingRan), "{nothing}");
            assert_eq!(seen.evidence(), Evidence::default());
        }
        for something in [
            json!({"total_cpu_cores": 1}),
            json!({"total_cpu_cores": 1, "nodes": still("STARTED")}),
            json!({"total_cpu_cores": 1, "nodes": [{"node_id": "a"}]}),
            // Two connectors need nothing, and they do run.
            json!({"total_cpu_cores": 0, "total_memory_mb": 0, "actual_node_count": 2}),
            json!({}),
        ] {
            assert_eq!(observation(something.clone()).no_evidence(), None, "{something}");
        }
    }
}
