//! What sessions and nodes needed: the greatest amount of each resource that they were seen to use, boot and steady phase
//! apart.
//!
//! The rule is here and nowhere else. A [`Demand`] is given what each observation of a session knows, in any order.
//!
//! - A profile tells of every sample up to a time, so the next one repeats what it says and adds to it: the greatest of
//!   their peaks is the session's, and nothing counts twice. Where the samples so far were lost, the next profile begins
//!   later, and what the one before it saw still counts.
//! - A snapshot counts only where no profile knows the resource in that phase.
//! - Of equal peaks, that of the earliest observation is named, so that those after it change nothing.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::number::Amount;
use crate::observation::{NodeObservation, Phase, PhaseProfile, ResourceObservation, Spread};
use crate::phases::Phases;

/// Something of each resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByResource<T> {
    /// CPU, in cores.
    pub cpu_cores: T,
    /// Memory, in MB.
    pub memory_mb: T,
    /// Disk, in MB.
    pub storage_mb: T,
}

impl<T> ByResource<T> {
    /// Of each resource what `change` makes of it.
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> ByResource<U> {
        let Self { cpu_cores, memory_mb, storage_mb } = self;
        ByResource { cpu_cores: change(cpu_cores), memory_mb: change(memory_mb), storage_mb: change(storage_mb) }
    }

    /// Both of each resource.
    pub fn zip<U>(self, other: ByResource<U>) -> ByResource<(T, U)> {
        ByResource {
            cpu_cores: (self.cpu_cores, other.cpu_cores),
            memory_mb: (self.memory_mb, other.memory_mb),
            storage_mb: (self.storage_mb, other.storage_mb),
        }
    }
}

/// How a peak was measured. The later one outranks the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DemandSource {
    /// By observations, each of one instant: the peak may have been between them.
    Snapshot,
    /// By samples, from the first to the last.
    Profile,
}

impl DemandSource {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Profile => "profile",
        }
    }
}

/// An amount that was in use, and how that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredPeak {
    /// Cores or MB.
    pub value: f64,
    /// How it was measured.
    pub source: DemandSource,
}

/// What one observation knows of one resource. `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PhasePeaks {
    /// Of the steady phase.
    pub steady: Option<MeasuredPeak>,
    /// Of the boot phase.
    pub boot: Option<MeasuredPeak>,
}

/// The greatest amount that was in use in one phase, with where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Peak<Id> {
    /// Cores or MB.
    pub value: f64,
    /// How it was measured.
    pub source: DemandSource,
    /// The event of the observation.
    pub event_id: Id,
    /// When the observation was made.
    pub observed_at: DateTime<Utc>,
}

impl<Id> Peak<Id> {
    /// Whether it takes the place of the `held` one, which was recorded before it.
    fn replaces(&self, held: &Self) -> bool {
        let order = self.source.cmp(&held.source);
        order.then(self.value.total_cmp(&held.value)).then(held.observed_at.cmp(&self.observed_at)) == Ordering::Greater
    }
}

/// What was needed of one resource. `None` is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Demand<Id> {
    /// The demand: the peak of the steady phase.
    #[serde(rename = "demand")]
    pub steady: Option<Peak<Id>>,
    /// The peak of the boot phase.
    pub boot: Option<Peak<Id>>,
}

impl<Id> Default for Demand<Id> {
    fn default() -> Self {
        Self { steady: None, boot: None }
    }
}

impl<Id> Demand<Id> {
    /// What was needed over these phases: the peak of the steady phase, or of the boot where that was greater. Whoever was
    /// never seen steady ended before it was up, so that what it needed is unknown. Where the boot was not seen, at least this
    /// was needed.
    pub fn over(&self, phases: Phases) -> Option<&Peak<Id>> {
        let steady = self.steady.as_ref()?;
        let boot = self.boot.as_ref().filter(|boot| phases.include_boot() && boot.value > steady.value);
        Some(boot.unwrap_or(steady))
    }
}

impl<Id: Clone> Demand<Id> {
    /// Adds what an observation knows, which was made at `observed_at`.
    pub fn record(&mut self, known: PhasePeaks, event_id: &Id, observed_at: DateTime<Utc>) {
        for (held, next) in [(&mut self.steady, known.steady), (&mut self.boot, known.boot)] {
            let Some(MeasuredPeak { value, source }) = next else { continue };
            let next = Peak { value, source, event_id: event_id.clone(), observed_at };
            if held.as_ref().is_none_or(|held| next.replaces(held)) {
                *held = Some(next);
            }
        }
    }
}

/// The peaks that a phase of a profile knows.
fn peaks(profile: Option<&PhaseProfile>) -> ByResource<Option<f64>> {
    let peak = |spread: Option<Spread>| spread.and_then(|spread| spread.peak()).map(Amount::get);
    profile.map_or_else(ByResource::default, |phase| ByResource {
        cpu_cores: peak(phase.cpu_cores),
        memory_mb: peak(phase.memory_mb),
        storage_mb: peak(phase.storage_mb),
    })
}

/// What an observation knows by its profile, else by what it saw in use at its instant.
fn known(
    steady: ByResource<Option<f64>>,
    boot: ByResource<Option<f64>>,
    snapshot: ByResource<Option<f64>>,
    phase: Phase,
) -> ByResource<PhasePeaks> {
    steady.zip(boot).zip(snapshot).map(|((steady, boot), snapshot)| {
        let by = |source| move |value| MeasuredPeak { value, source };
        let during = |wanted: bool| snapshot.filter(|_| wanted).map(by(DemandSource::Snapshot));
        let (boots, stopped) = (phase == Phase::Boot, phase == Phase::Stopped);
        PhasePeaks {
            steady: steady.map(by(DemandSource::Profile)).or_else(|| during(!boots && !stopped)),
            boot: boot.map(by(DemandSource::Profile)).or_else(|| during(boots)),
        }
    })
}

impl ResourceObservation {
    fn phase(&self) -> Phase {
        self.coverage.as_ref().map(|coverage| coverage.phase).unwrap_or_default()
    }

    /// Whether it carries amounts of samples.
    pub fn has_profile(&self) -> bool {
        self.profile.as_ref().is_some_and(|profile| !profile.says_nothing())
    }

    /// What its lab is known to have needed. What is no evidence is not known: what a lab without a running node uses, and
    /// amounts that contradict those of the lab's own nodes. What was sampled before the nodes stopped is evidence.
    pub fn known_demand(&self) -> ByResource<PhasePeaks> {
        let contradictions = self.contradictions();
        let counts = |fields: &[&str]| !contradictions.iter().any(|found| fields.contains(&found.field.as_str()));
        let used = self.usage.map(|usage| usage.used).unwrap_or_default();
        let snapshot = if self.no_evidence().is_some() {
            ByResource::default()
        } else {
            ByResource {
                cpu_cores: used.cpu_cores.map(Amount::get).filter(|_| counts(&["usage.cpu_cores"])),
                memory_mb: used.memory_mb.map(Amount::get).filter(|_| counts(&["usage.memory_mb"])),
                storage_mb: self.used_storage_mb().filter(|_| counts(&["total_storage_mb", "usage.storage_mb"])),
            }
        };
        let of_phase = |phase| {
            let peaks = peaks(phase);
            ByResource {
                cpu_cores: peaks.cpu_cores.filter(|_| counts(&["profile.cpu_cores"])),
                memory_mb: peaks.memory_mb.filter(|_| counts(&["profile.memory_mb"])),
                storage_mb: peaks.storage_mb.filter(|_| counts(&["profile.storage_mb"])),
            }
        };
        let profile = self.profile.as_deref();
        let steady = of_phase(profile.and_then(|profile| profile.steady()));
        known(steady, of_phase(profile.and_then(|profile| profile.boot())), snapshot, self.phase())
    }

    /// What each of its nodes is known to have needed, in their order. A node's snapshot belongs to the phase of its lab.
    pub fn known_node_demands(&self) -> impl Iterator<Item = ByResource<PhasePeaks>> {
        let (phase, is_evidence) = (self.phase(), self.no_evidence().is_none());
        self.nodes.iter().map(move |node| {
            let used = node.usage.filter(|_| is_evidence && !node.stands_still()).unwrap_or_default();
            let snapshot =
                ByResource { cpu_cores: used.cpu_cores, memory_mb: used.memory_mb, storage_mb: used.disk_mb };
            let profile = node.profile.as_deref();
            let steady = peaks(profile.and_then(|profile| profile.steady.as_ref()));
            let boot = peaks(profile.and_then(|profile| profile.boot.as_ref()));
            known(steady, boot, snapshot.map(|amount| amount.map(Amount::get)), phase)
        })
    }

    /// The greatest amounts that its profile knows, over both phases.
    pub(crate) fn profile_peaks(&self) -> ByResource<Option<f64>> {
        let profile = self.profile.as_deref();
        greatest(profile.and_then(|profile| profile.boot()), profile.and_then(|profile| profile.steady()))
    }
}

impl NodeObservation {
    /// The greatest amounts that its profile knows, over both phases.
    pub(crate) fn profile_peaks(&self) -> ByResource<Option<f64>> {
        let profile = self.profile.as_deref();
        let phase = |of: fn(&crate::observation::NodeProfile) -> Option<&PhaseProfile>| profile.and_then(of);
        greatest(phase(|profile| profile.boot.as_ref()), phase(|profile| profile.steady.as_ref()))
    }
}

fn greatest(boot: Option<&PhaseProfile>, steady: Option<&PhaseProfile>) -> ByResource<Option<f64>> {
    peaks(boot).zip(peaks(steady)).map(|(boot, steady)| boot.into_iter().chain(steady).reduce(f64::max))
}

/// Demands of many runs of one kind of node, one resource, added up so that a run can be taken out again.
///
/// Sums are of amounts rounded to a binary fraction ([`ROUNDING`]), so that adding and taking out is exact: what is left
/// does not depend on what was there meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DemandPool {
    /// Runs whose demand is known.
    pub runs: u64,
    /// Sum of their demands: cores or MB.
    pub sum: f64,
    /// Sum of the squares of their demands.
    pub sum_of_squares: f64,
    /// The greatest demand that a run was ever known to have. It stays where a snapshot gave it and a profile then said
    /// less.
    pub maximum: Option<f64>,
}

/// Parts of a core, and of a MB, to which the amounts of a pool are rounded.
pub const ROUNDING: ByResource<f64> = ByResource { cpu_cores: 256.0, memory_mb: 16.0, storage_mb: 16.0 };

impl DemandPool {
    /// Adds the demand of a run; `parts` is its [`ROUNDING`].
    pub fn add(&mut self, demand: f64, parts: f64) {
        let rounded = (demand * parts).round() / parts;
        self.runs += 1;
        self.sum += rounded;
        self.sum_of_squares += rounded * rounded;
        self.maximum = self.maximum.map_or(Some(demand), |maximum| Some(maximum.max(demand)));
    }

    /// Takes the demand of a run out that was added before.
    pub fn remove(&mut self, demand: f64, parts: f64) {
        let rounded = (demand * parts).round() / parts;
        self.runs = self.runs.saturating_sub(1);
        if self.runs == 0 {
            *self = Self::default();
        } else {
            self.sum -= rounded;
            self.sum_of_squares -= rounded * rounded;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_772_000_000 + 60 * minute, 0).unwrap()
    }

    fn observation(value: Value) -> ResourceObservation {
        serde_json::from_value(value).unwrap()
    }

    fn profile(steady: f64, boot: f64) -> Value {
        json!({"samples": 9, "steady": {"cpu_cores": {"peak": steady}}, "boot": {"cpu_cores": {"peak": boot}}})
    }

    /// Steady and boot peak of CPU over these observations, made minute by minute.
    fn cpu(observations: &[Value]) -> Demand<usize> {
        let mut demand = Demand::default();
        for (number, value) in observations.iter().enumerate() {
            let known = observation(value.clone()).known_demand().cpu_cores;
            demand.record(known, &number, at(i64::try_from(number).unwrap()));
        }
        demand
    }

    #[test]
    fn the_demand_is_the_peak_of_the_steady_phase_with_boot_beside_it() {
        let demand = cpu(&[json!({"profile": profile(1.5, 4.0), "usage": {"cpu_cores": 1.0}})]);
        let peak = |value| Some(Peak { value, source: DemandSource::Profile, event_id: 0, observed_at: at(0) });
        assert_eq!((demand.steady, demand.boot), (peak(1.5), peak(4.0)));
    }

    #[test]
    fn with_the_boot_it_is_the_larger_of_both_peaks_and_unknown_where_the_steady_one_is() {
        let over = |demand: Demand<usize>| Phases::ALL.map(|phases| demand.over(phases).map(|peak| peak.value));
        let sampled = |profile: Value| over(cpu(&[json!({"profile": profile})]));
        assert_eq!(sampled(profile(1.5, 4.0)), [Some(1.5), Some(4.0)]);
        assert_eq!(sampled(profile(1.5, 1.0)), [Some(1.5), Some(1.5)]);
        let steady = json!({"samples": 9, "steady": {"cpu_cores": {"peak": 2.0}}});
        assert_eq!(sampled(steady), [Some(2.0), Some(2.0)], "its boot was not seen: it needed at least this");
        let boot = json!({"samples": 9, "boot": {"cpu_cores": {"peak": 2.0}}});
        assert_eq!(sampled(boot), [None, None], "it ended before it was up");
        assert_eq!(
            over(cpu(&[json!({"usage": {"cpu_cores": 3.0}})])),
            [Some(3.0), Some(3.0)],
            "a snapshot counts in both"
        );
    }

    #[test]
    fn without_a_profile_it_is_the_greatest_use_outside_the_boot_phase() {
        let seen = |cores: f64, phase: &str| json!({"usage": {"cpu_cores": cores}, "coverage": {"phase": phase}});
        let demand = cpu(&[seen(4.0, "boot"), seen(2.0, "steady"), seen(1.0, "unknown"), seen(9.0, "stopped")]);
        let peak = |value, event_id, minute| {
            Some(Peak { value, source: DemandSource::Snapshot, event_id, observed_at: at(minute) })
        };
        assert_eq!((demand.steady, demand.boot), (peak(2.0, 1, 1), peak(4.0, 0, 0)));
    }

    #[test]
    fn a_profile_outranks_snapshots_and_a_later_profile_repeats_the_earlier() {
        let demand = cpu(&[
            json!({"usage": {"cpu_cores": 3.0}}),
            json!({"profile": profile(1.5, 4.0)}),
            json!({"profile": profile(1.5, 4.0)}),
            json!({"usage": {"cpu_cores": 5.0}}),
        ]);
        let steady = demand.steady.unwrap();
        assert_eq!((steady.value, steady.source, steady.event_id), (1.5, DemandSource::Profile, 1));
    }

    #[test]
    fn what_is_unknown_is_not_zero_and_what_is_no_evidence_is_unknown() {
        let node = |used: f64| json!([{"node_id": "a", "state": "BOOTED", "usage": {"cpu_cores": used}}]);
        for nothing in [
            json!({}),
            json!({"usage": {"cpu_cores": 0.0}, "nodes": [{"node_id": "a", "state": "STOPPED"}]}),
            json!({"usage": {"cpu_cores": 9.0}, "nodes": node(1.0)}),
            json!({"profile": profile(9.0, 9.0), "nodes": [
                {"node_id": "a", "profile": {"steady": {"cpu_cores": {"peak": 1.0}}}}
            ]}),
        ] {
            assert_eq!(observation(nothing.clone()).known_demand().cpu_cores, PhasePeaks::default(), "{nothing}");
        }
        let stopped = json!({"profile": profile(1.0, 2.0), "nodes": [{"node_id": "a", "state": "STOPPED"}]});
        assert!(cpu(&[stopped]).steady.is_some(), "it ran while it was sampled");
    }

    #[test]
    fn a_node_has_a_demand_of_its_own() {
        let lab = observation(json!({"nodes": [
            {"node_id": "a", "state": "BOOTED", "usage": {"cpu_cores": 0.5, "disk_mb": 7},
             "profile": {"steady": {"cpu_cores": {"peak": 1.0}}, "boot": {"cpu_cores": {"peak": 2.0}}}},
            {"node_id": "b", "state": "STOPPED", "usage": {"cpu_cores": 0.0}},
        ]}));
        let known: Vec<_> = lab.known_node_demands().collect();
        let values = |peaks: PhasePeaks| (peaks.steady.map(|peak| peak.value), peaks.boot.map(|peak| peak.value));
        assert_eq!(
            (values(known[0].cpu_cores), values(known[0].storage_mb)),
            ((Some(1.0), Some(2.0)), (Some(7.0), None))
        );
        assert_eq!((known[0].memory_mb, known[1]), (PhasePeaks::default(), ByResource::default()));
    }

    fn phase_peaks() -> impl Strategy<Value = PhasePeaks> {
        let peak = || {
            let source = prop_oneof![Just(DemandSource::Snapshot), Just(DemandSource::Profile)];
            proptest::option::of(
                (0_u8..5, source).prop_map(|(value, source)| MeasuredPeak { value: value.into(), source }),
            )
        };
        (peak(), peak()).prop_map(|(steady, boot)| PhasePeaks { steady, boot })
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter_where_times_differ(
            known in proptest::collection::vec(phase_peaks(), 0..8).prop_map(|known| known.into_iter().enumerate().collect::<Vec<_>>()),
            order in any::<u64>(),
        ) {
            let over = |known: &[(usize, PhasePeaks)]| {
                let mut demand = Demand::default();
                for (number, peaks) in known {
                    demand.record(*peaks, number, at(i64::try_from(*number).unwrap()));
                }
                demand
            };
            let mut shuffled = known.clone();
            shuffled.sort_by_key(|(number, _)| (*number as u64 + 1).wrapping_mul(order | 1).rotate_left(7));
            prop_assert_eq!(over(&shuffled), over(&known));
            // Whatever is told twice counts once.
            prop_assert_eq!(over(&[known.clone(), shuffled].concat()), over(&known));
        }

        #[test]
        fn what_is_taken_out_of_a_pool_leaves_it_as_if_it_had_not_been_there(
            stay in proptest::collection::vec(0.0..1e4_f64, 1..20), go in proptest::collection::vec(0.0..1e4_f64, 0..20),
        ) {
            for parts in [ROUNDING.cpu_cores, ROUNDING.memory_mb] {
                let (mut pool, mut without) = (DemandPool::default(), DemandPool::default());
                go.iter().for_each(|demand| pool.add(*demand, parts));
                stay.iter().for_each(|demand| {
                    pool.add(*demand, parts);
                    without.add(*demand, parts);
                });
                go.iter().for_each(|demand| pool.remove(*demand, parts));
                prop_assert_eq!((pool.runs, pool.sum, pool.sum_of_squares), (without.runs, without.sum, without.sum_of_squares));
                stay.iter().for_each(|demand| pool.remove(*demand, parts));
                prop_assert_eq!(pool, DemandPool::default());
            }
        }
    }
}
