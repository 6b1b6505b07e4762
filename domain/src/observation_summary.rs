//! What observations add up to: the newest one, the newest known reading of each quantity, the newest verdict on the ports.
//!
//! The rule is here and nowhere else. A session's state and every read model hold an [`ObservationSummary`] and give it
//! each observation in the order of the log. Over all sessions of a definition it says when that was last observed.
//!
//! - The newest observation is the one with the latest [`made_at`]; of two at the same time, the one recorded later.
//! - An observation that arrives late, after a newer one, is history. It is counted, and fills in what no newer one
//!   knows. It replaces nothing newer.
//! - A quantity that an observation does not know, or of which it is no evidence, keeps its earlier reading with that
//!   reading's age. The same holds for the verdict on the ports where the tags could not be read.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::evidence::{Contradiction, Evidence, NoEvidence, made_at, replaces};
use crate::observation::ResourceObservation;
use crate::port_drift::{AcknowledgedDrift, PortDrift, RenamedPort};
use crate::ports::{PortMap, PortName};

/// What one observation contributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution<'a> {
    /// When it was made, and no later than it was recorded.
    pub made_at: DateTime<Utc>,
    /// Whether it saw everything. `None`: its sender did not say.
    pub complete: Option<bool>,
    /// The numbers that count.
    pub evidence: Evidence,
    /// Totals that are not the sums of their own nodes.
    pub contradictions: Vec<Contradiction>,
    /// Why it is no evidence as a whole.
    pub no_evidence: Option<NoEvidence>,
    /// Its verdict on the ports. `None`: it could not read the tags.
    pub drift_detected: Option<bool>,
    /// The ports that it saw. `None`: it could not read the tags.
    pub observed_ports: Option<&'a PortMap>,
    /// The ports that it saw where nothing was allocated.
    pub unallocated: Option<&'a PortMap>,
    /// Allocated ports that it saw as planned, by another name.
    pub renamed_ports: &'a BTreeMap<PortName, RenamedPort>,
}

impl<'a> Contribution<'a> {
    /// What the observation itself says. Its verdict on the ports comes from the event that records it.
    pub(crate) fn new(resources: &ResourceObservation, observed_at: DateTime<Utc>, recorded_at: DateTime<Utc>) -> Self {
        static NONE_RENAMED: BTreeMap<PortName, RenamedPort> = BTreeMap::new();
        Self {
            made_at: made_at(observed_at, recorded_at),
            complete: resources.is_complete(),
            evidence: resources.evidence(),
            contradictions: resources.contradictions(),
            no_evidence: resources.no_evidence(),
            drift_detected: None,
            observed_ports: None,
            unallocated: None,
            renamed_ports: &NONE_RENAMED,
        }
    }
}

/// What observations add up to. `Id` names the event of an observation; a session's own state needs no name for it.
///
/// The fields are what a row keeps. Whoever keeps less of it loads the rest as unknown, and stores what it keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservationSummary<Id> {
    /// How many observations were recorded.
    pub count: u64,
    /// The newest one.
    pub newest: Option<NewestObservation<Id>>,
    /// The newest known nominal cores.
    pub cpu_cores: Option<Reading<f64, Id>>,
    /// The newest known nominal MB of memory.
    pub memory_mb: Option<Reading<f64, Id>>,
    /// The newest known MB on disk.
    pub storage_mb: Option<Reading<f64, Id>>,
    /// The newest known number of nodes.
    pub node_count: Option<Reading<u32, Id>>,
    /// The newest verdict on the ports.
    pub drift: Option<LatestDrift<Id>>,
}

/// The newest observation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewestObservation<Id> {
    /// Its event.
    pub event: Id,
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// Whether it saw everything. `None`: its sender did not say.
    pub complete: Option<bool>,
    /// The numbers that it is evidence of: its own, not the newest known ones.
    pub evidence: Evidence,
    /// Totals that are not the sums of their own nodes.
    pub contradictions: Vec<Contradiction>,
    /// Why it is no evidence as a whole.
    pub no_evidence: Option<NoEvidence>,
}

/// A known quantity, with where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading<T, Id> {
    /// The quantity.
    pub value: T,
    /// The event of the observation.
    pub event: Id,
    /// When the observation was made.
    pub made_at: DateTime<Utc>,
}

impl<T, Id> Reading<T, Id> {
    /// Puts this reading in the place of the `held` one unless that is newer; tells whether it did.
    fn replace(self, held: &mut Option<Self>) -> bool {
        let replaces = replaces(self.made_at, held.as_ref().map(|held| held.made_at));
        if replaces {
            *held = Some(self);
        }
        replaces
    }
}

/// The newest verdict on a session's ports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatestDrift<Id> {
    /// Whether they drifted.
    pub detected: bool,
    /// The event of the observation.
    pub event: Id,
    /// When the observation was made.
    pub made_at: DateTime<Utc>,
    /// Since when the verdicts have been saying that the ports drifted. `None`: they do not.
    pub since: Option<DateTime<Utc>>,
    /// The ports that the observation saw.
    pub observed_ports: Option<PortMap>,
    /// The ports that it saw where nothing was allocated.
    pub unallocated: Option<PortMap>,
    /// What differs.
    pub details: PortDrift,
    /// That somebody knows of this very drift. Another one, or one that ended and came again, is open.
    pub acknowledgement: Option<AcknowledgedDrift<Id>>,
    /// Whether the verdict is of the observation that was recorded last, to which the next `port_drift_detected` belongs.
    pub is_recorded_last: bool,
}

impl<Id> LatestDrift<Id> {
    /// How many ports it holds.
    pub fn ports(&self) -> usize {
        let of = |PortDrift { added, removed, changed, renamed }: &PortDrift| {
            added.len() + removed.len() + changed.len() + renamed.len()
        };
        let maps = [self.observed_ports.as_ref(), self.unallocated.as_ref()];
        let acknowledged = self.acknowledgement.as_ref().map_or(0, |acknowledged| of(&acknowledged.details));
        maps.into_iter().flatten().map(PortMap::len).sum::<usize>() + of(&self.details) + acknowledged
    }
}

impl<Id> Default for ObservationSummary<Id> {
    fn default() -> Self {
        Self {
            count: 0,
            newest: None,
            cpu_cores: None,
            memory_mb: None,
            storage_mb: None,
            node_count: None,
            drift: None,
        }
    }
}

impl<Id> ObservationSummary<Id> {
    /// When the newest observation was made.
    pub fn newest_at(&self) -> Option<DateTime<Utc>> {
        self.newest.as_ref().map(|newest| newest.made_at)
    }

    /// The newest verdict on the ports; `None` until an observation could read the tags.
    pub fn drift_detected(&self) -> Option<bool> {
        self.drift.as_ref().map(|drift| drift.detected)
    }

    /// Whether an observation made then would be the newest one.
    pub(crate) fn would_be_newest(&self, made_at: DateTime<Utc>) -> bool {
        replaces(made_at, self.newest_at())
    }

    /// Adds the details of the drift that the observation recorded last has detected. Where that observation was not the
    /// newest one, they are history.
    pub fn record_drift(&mut self, details: &PortDrift) {
        if let Some(drift) = self.drift.as_mut().filter(|drift| drift.is_recorded_last) {
            drift.take_details(details);
        }
    }

    /// Acknowledges the newest drift.
    pub fn acknowledge(&mut self, acknowledged: AcknowledgedDrift<Id>) {
        if let Some(drift) = self.drift.as_mut().filter(|drift| drift.detected) {
            drift.acknowledgement = Some(acknowledged);
        }
    }

    /// Opens the newest drift again.
    pub fn withdraw_acknowledgement(&mut self) {
        if let Some(drift) = &mut self.drift {
            drift.acknowledgement = None;
        }
    }

    /// Takes the verdict that a corrected allocation gives on what was observed last: the observation stays the same.
    pub fn correct(&mut self, allocated: &PortMap, details: &PortDrift, at: DateTime<Utc>) {
        if let Some(drift) = &mut self.drift {
            drift.detected = !details.is_none();
            drift.since = drift.since.or(Some(at)).filter(|_| drift.detected);
            drift.unallocated = drift.observed_ports.clone().filter(|_| allocated.is_empty());
            drift.take_details(details);
        }
    }
}

impl<Id> LatestDrift<Id> {
    fn take_details(&mut self, details: &PortDrift) {
        self.details.clone_from(details);
        self.acknowledgement.take_if(|acknowledged| !self.detected || !acknowledged.details.is_same_drift(details));
    }
}

impl<Id: Clone> ObservationSummary<Id> {
    /// Adds the next observation in the order of the log; tells whether it is the newest one now.
    pub fn record(&mut self, event: Id, next: &Contribution<'_>) -> bool {
        let made_at = next.made_at;
        self.count += 1;
        let is_newest = self.would_be_newest(made_at);
        if is_newest {
            self.newest = Some(NewestObservation {
                event: event.clone(),
                made_at,
                complete: next.complete,
                evidence: next.evidence,
                contradictions: next.contradictions.clone(),
                no_evidence: next.no_evidence,
            });
        }
        for (held, value) in [
            (&mut self.cpu_cores, next.evidence.cpu_cores),
            (&mut self.memory_mb, next.evidence.memory_mb),
            (&mut self.storage_mb, next.evidence.storage_mb),
        ] {
            if let Some(value) = value {
                Reading { value, event: event.clone(), made_at }.replace(held);
            }
        }
        if let Some(value) = next.evidence.node_count {
            Reading { value, event: event.clone(), made_at }.replace(&mut self.node_count);
        }
        self.judge(event, next);
        is_newest
    }

    fn judge(&mut self, event: Id, next: &Contribution<'_>) {
        let held = self.drift.as_mut();
        let held_at = held.as_ref().map(|held| held.made_at);
        let Some(detected) = next.drift_detected.filter(|_| replaces(next.made_at, held_at)) else {
            if let Some(held) = held {
                held.is_recorded_last = false;
            }
            return;
        };
        // Whether it is the same drift, its details say, which come with the event that follows.
        let (since, acknowledgement) = held.map(|held| (held.since, held.acknowledgement.take())).unwrap_or_default();
        let since = since.or(Some(next.made_at)).filter(|_| detected);
        self.drift = Some(LatestDrift {
            detected,
            event,
            made_at: next.made_at,
            since,
            observed_ports: next.observed_ports.cloned(),
            unallocated: next.unallocated.cloned(),
            details: PortDrift { renamed: next.renamed_ports.clone(), ..PortDrift::default() },
            acknowledgement: acknowledgement.filter(|_| detected),
            is_recorded_last: true,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::lablet_session::LabletSessionEvent;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_772_000_000 + 60 * minute, 0).unwrap()
    }

    fn ports(value: Value) -> PortMap {
        serde_json::from_value(value).unwrap()
    }

    /// What an observation of that minute says, with this verdict on the ports.
    fn seen(minute: i64, resources: Value, drift_detected: Option<bool>) -> Contribution<'static> {
        let resources = serde_json::from_value(resources).unwrap();
        Contribution { drift_detected, ..Contribution::new(&resources, at(minute), at(10_000)) }
    }

    fn summary(observations: &[Contribution<'_>]) -> ObservationSummary<usize> {
        let mut summary = ObservationSummary::default();
        for (number, next) in observations.iter().enumerate() {
            summary.record(number, next);
        }
        summary
    }

    fn drift(details: Value) -> PortDrift {
        serde_json::from_value(details).unwrap()
    }

    #[test]
    fn of_each_quantity_the_newest_known_reading_stays_with_its_age() {
        let known = summary(&[
            seen(1, json!({"total_cpu_cores": 2, "total_memory_mb": 512, "actual_node_count": 1}), None),
            seen(2, json!({"total_cpu_cores": 3, "total_storage_mb": 10}), None),
        ]);
        assert_eq!(known.cpu_cores, Some(Reading { value: 3.0, event: 1, made_at: at(2) }));
        assert_eq!(known.memory_mb, Some(Reading { value: 512.0, event: 0, made_at: at(1) }));
        assert_eq!(known.storage_mb, Some(Reading { value: 10.0, event: 1, made_at: at(2) }));
        assert_eq!(known.node_count, Some(Reading { value: 1, event: 0, made_at: at(1) }));
        let newest = known.newest.unwrap();
        assert_eq!((newest.event, newest.evidence.memory_mb), (1, None), "the newest one says what it says itself");
    }

    #[test]
    fn an_observation_that_arrives_late_is_counted_and_replaces_nothing_newer() {
        let mut known = summary(&[seen(2, json!({"total_cpu_cores": 2}), Some(false))]);
        let before = known.clone();
        let is_newest = known.record(1, &seen(1, json!({"total_cpu_cores": 9, "total_memory_mb": 512}), Some(true)));
        known.record_drift(&drift(json!({"removed": {"PC_serial": 5041}})));
        assert!(!is_newest);
        assert_eq!((known.count, &known.newest, &known.cpu_cores), (2, &before.newest, &before.cpu_cores));
        assert_eq!((known.drift_detected(), known.drift.clone().unwrap().details), (Some(false), PortDrift::default()));
        assert_eq!(
            known.memory_mb,
            Some(Reading { value: 512.0, event: 1, made_at: at(1) }),
            "of what no newer one knows it is the newest"
        );
    }

    #[test]
    fn of_two_made_at_the_same_time_the_one_recorded_later_is_the_newer() {
        let known = summary(&[
            seen(1, json!({"total_cpu_cores": 2}), Some(true)),
            seen(1, json!({"total_cpu_cores": 3}), Some(false)),
        ]);
        assert_eq!((known.newest.unwrap().event, known.cpu_cores.unwrap().value), (1, 3.0));
        assert!(!known.drift.unwrap().detected);
    }

    #[test]
    fn what_is_no_evidence_takes_nothing_away() {
        let node = json!([{"node_id": "a", "cpus": 2, "ram_mb": 512}]);
        let known = summary(&[
            seen(1, json!({"total_cpu_cores": 2, "nodes": node}), None),
            seen(2, json!({"total_cpu_cores": 200, "nodes": node}), None),
            seen(3, json!({"total_cpu_cores": 0, "total_memory_mb": 0, "actual_node_count": 0}), None),
        ]);
        assert_eq!(known.cpu_cores.unwrap().event, 0);
        assert_eq!(known.newest.unwrap().no_evidence, Some(NoEvidence::NothingRan));
    }

    #[test]
    fn a_verdict_stands_with_its_age_until_the_tags_can_be_read_again() {
        let mut known = summary(&[seen(1, json!({}), Some(true))]);
        known.record_drift(&drift(json!({"removed": {"PC_serial": 5041}})));
        known.record(1, &seen(2, json!({}), Some(true)));
        known.record_drift(&drift(json!({"removed": {"PC_vnc": 5042}})));
        known.record(2, &seen(3, json!({}), None));
        // It belongs to an observation without a verdict, so it is no detail of the earlier one.
        known.record_drift(&drift(json!({})));
        let latest = known.drift.clone().unwrap();
        assert_eq!((latest.event, latest.made_at, latest.since), (1, at(2), Some(at(1))));
        assert_eq!(latest.details.removed, ports(json!({"PC_vnc": 5042})));
        assert_eq!(known.newest_at(), Some(at(3)));
        known.record(3, &seen(4, json!({}), Some(false)));
        assert_eq!((known.drift.clone().unwrap().since, known.drift_detected()), (None, Some(false)));
        known.record(4, &seen(5, json!({}), Some(true)));
        assert_eq!(known.drift.unwrap().since, Some(at(5)), "it drifted again");
    }

    #[test]
    fn an_acknowledgement_stays_with_its_drift_and_goes_with_it() {
        let (first, other) = (drift(json!({"removed": {"PC_vnc": 5042}})), drift(json!({"removed": {"PC_vnc": 5043}})));
        let acknowledged = |known: &mut ObservationSummary<usize>| {
            let (reason, by) = ("known".to_owned(), "admin:ada".to_owned());
            let details = known.drift.clone().unwrap().details;
            known.acknowledge(AcknowledgedDrift { details, reason, until: at(99), by, at: at(2), event: 9 });
        };
        let is_acknowledged = |known: &ObservationSummary<usize>| {
            known.drift.as_ref().is_some_and(|drift| drift.acknowledgement.is_some())
        };
        let mut known = summary(&[seen(1, json!({}), Some(true))]);
        known.record_drift(&first);
        acknowledged(&mut known);
        known.record(1, &seen(2, json!({}), Some(true)));
        known.record_drift(&first);
        known.record(2, &seen(3, json!({}), None));
        assert!(is_acknowledged(&known), "seen again as it was, and not seen at all");
        let mut changed = known.clone();
        changed.record(3, &seen(4, json!({}), Some(true)));
        changed.record_drift(&other);
        assert!(!is_acknowledged(&changed), "another drift is open");
        known.record(3, &seen(4, json!({}), Some(false)));
        known.record(4, &seen(5, json!({}), Some(true)));
        known.record_drift(&first);
        assert!(!is_acknowledged(&known), "one that ended and came again is open");
    }

    #[test]
    fn a_corrected_allocation_gives_another_verdict_on_the_same_observation() {
        let observed = ports(json!({"PC_vnc": 5142}));
        let next = Contribution { observed_ports: Some(&observed), ..seen(1, json!({}), Some(true)) };
        let mut known = summary(&[next]);
        known.record_drift(&drift(json!({"changed": {"PC_vnc": {"allocated": 5042, "observed": 5142}}})));
        let mut empty = known.clone();
        known.correct(&observed, &PortDrift::default(), at(5));
        let latest = known.drift.unwrap();
        assert_eq!((latest.detected, latest.since, latest.made_at), (false, None, at(1)));
        assert_eq!((latest.details, latest.unallocated), (PortDrift::default(), None));
        empty.correct(&PortMap::default(), &PortDrift::default(), at(5));
        assert_eq!(empty.drift.unwrap().unallocated, Some(observed), "nothing is allocated any more");
    }

    #[test]
    fn an_event_contributes_what_it_says() {
        let sample = include_str!("../samples/lablet_session.resources_observed.v1.json");
        let event: LabletSessionEvent = serde_json::from_str(sample).unwrap();
        let next = event.contribution().unwrap();
        let LabletSessionEvent::ResourcesObserved { observed_ports, port_drift_detected, observed_at, .. } = &event
        else {
            panic!("{event:?}");
        };
        assert_eq!((next.made_at, next.drift_detected), (*observed_at, *port_drift_detected));
        assert_eq!(next.observed_ports, observed_ports.as_ref());
        let step = include_str!("../samples/lablet_session.running.v1.json");
        assert_eq!(serde_json::from_str::<LabletSessionEvent>(step).unwrap().contribution(), None);
    }

    proptest! {
        #[test]
        fn however_observations_of_different_times_are_ordered_the_same_is_newest(
            order in Just((0..8_i64).collect::<Vec<_>>()).prop_shuffle(),
            known in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<Option<bool>>()), 8),
        ) {
            let observation = |minute: i64| {
                let (cpu, memory, drift) = known[usize::try_from(minute).unwrap()];
                let resources = json!({"total_cpu_cores": cpu.then_some(minute), "total_memory_mb": memory.then_some(minute)});
                seen(minute, resources, drift)
            };
            let mut shuffled = ObservationSummary::default();
            for minute in order {
                shuffled.record(minute, &observation(minute));
            }
            let mut sorted = ObservationSummary::default();
            for minute in 0..8 {
                sorted.record(minute, &observation(minute));
            }
            // `since` depends on the order in which the verdicts were recorded.
            for summary in [&mut shuffled, &mut sorted] {
                if let Some(drift) = &mut summary.drift {
                    (drift.since, drift.is_recorded_last) = (None, false);
                }
            }
            prop_assert_eq!(shuffled, sorted);
        }
    }
}
