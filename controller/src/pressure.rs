//! How much of a worker is free, and what it is short of: read of CML, reported to the gateway, told in observations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use domain::observation::Coverage;
use domain::worker::{
    KnownShortage, PressureCondition, PressureRead, PressureReport, WaitSeconds, WorkerNodeCount, WorkerPressure,
};
use domain::{Amount, List, WorkerId};

use crate::cml::answers::{LaunchQueue, Reading, WorkerStatistics};
use crate::cml::{CmlError, WorkerReader};
use crate::gateway::{Gateway, GatewayError};

/// Reads what a worker tells of itself. What cannot be read is unknown, with what came of the read.
pub async fn read(reader: &WorkerReader) -> WorkerPressure {
    let (statistics, queue) = tokio::join!(reader.system_statistics(), reader.launch_queue());
    from_reads(statistics, queue)
}

/// What is known of a worker that cannot be reached.
pub(crate) fn unreached() -> WorkerPressure {
    let failed = Some(PressureRead::Failed);
    WorkerPressure { statistics: failed, launch_queue: failed, ..WorkerPressure::default() }
}

fn from_reads(
    statistics: Result<Reading<WorkerStatistics>, CmlError>,
    queue: Result<Reading<LaunchQueue>, CmlError>,
) -> WorkerPressure {
    let mut pressure = WorkerPressure {
        statistics: Some(outcome_of(&statistics)),
        launch_queue: Some(outcome_of(&queue)),
        ..WorkerPressure::default()
    };
    let amount = |amount: Option<f64>| amount.and_then(|amount| Amount::new(amount).ok());
    let count = |count: Option<u64>| count.and_then(|count| u32::try_from(count).ok());
    if let Ok(Reading { value, unreadable, .. }) = statistics {
        if let Some(first) = unreadable.first() {
            tracing::debug!(entries = unreadable.len(), ?first, "entries of statistics could not be read");
        }
        pressure.free_cpu_cores = amount(value.free_cpu_cores);
        pressure.total_cpu_cores = amount(value.total_cpu_cores);
        pressure.free_memory_mb = amount(value.free_memory_mb);
        pressure.total_memory_mb = amount(value.total_memory_mb);
        pressure.free_storage_mb = amount(value.free_storage_mb);
        pressure.total_storage_mb = amount(value.total_storage_mb);
        pressure.running_nodes = count(value.running_nodes).and_then(|nodes| WorkerNodeCount::new(nodes).ok());
    }
    if let Ok(Reading { value, unreadable, .. }) = queue {
        if let Some(first) = unreadable.first() {
            tracing::debug!(entries = unreadable.len(), ?first, "entries of the launch queue could not be read");
        }
        pressure.queued_nodes = count(value.queued_nodes).and_then(|nodes| WorkerNodeCount::new(nodes).ok());
        pressure.longest_wait_seconds = count(value.longest_wait_seconds).and_then(|wait| WaitSeconds::new(wait).ok());
        pressure.short_of_cpu = value.short_of_cpu;
        pressure.short_of_memory = value.short_of_memory;
        pressure.short_of_storage = value.short_of_storage;
    }
    pressure
}

fn outcome_of<T>(read: &Result<T, CmlError>) -> PressureRead {
    match read {
        Ok(_) => PressureRead::Answered,
        Err(CmlError::Forbidden { .. }) => PressureRead::NoRights,
        Err(CmlError::NotFound { .. }) => PressureRead::NotServed,
        Err(_) => PressureRead::Failed,
    }
}

/// Whether a read failed in a way that may pass.
pub(crate) fn has_failed(pressure: &WorkerPressure) -> bool {
    [pressure.statistics, pressure.launch_queue].contains(&Some(PressureRead::Failed))
}

/// Reports pressures, and knows what the gateway knows of shortages. Cloning shares what was not sent yet.
#[derive(Debug, Clone)]
pub struct PressureReports {
    gateway: Gateway,
    unsent: Arc<Mutex<BTreeMap<WorkerId, Unsent>>>,
}

/// What could not be sent of a worker: the newest report, and the first one by which it was short. Nothing piles up.
#[derive(Debug, Clone, Default, PartialEq)]
struct Unsent {
    short: Option<PressureReport>,
    newest: Option<PressureReport>,
    /// Why it was not sent; said once.
    reason: Option<GatewayError>,
}

impl Unsent {
    fn push(&mut self, report: PressureReport) {
        if let Some(before) = self.newest.replace(report)
            && before.pressure.condition() == PressureCondition::Short
        {
            self.short.get_or_insert(before);
        }
    }

    /// What is to be sent next.
    fn first(&self) -> Option<&PressureReport> {
        self.short.as_ref().or(self.newest.as_ref())
    }

    fn remove(&mut self, sent: &PressureReport) {
        for slot in [&mut self.short, &mut self.newest] {
            if slot.as_ref() == Some(sent) {
                *slot = None;
            }
        }
    }
}

impl PressureReports {
    /// Reports to `gateway`.
    pub fn new(gateway: Gateway) -> Self {
        Self { gateway, unsent: Arc::default() }
    }

    fn unsent(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Unsent>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets every worker that is not among `workers`.
    pub(crate) fn keep_only(&self, workers: &BTreeSet<WorkerId>) {
        self.unsent().retain(|worker, _| workers.contains(worker));
    }

    /// Sends a report, and before it what could not be sent the last time. What cannot be sent now is sent with the next.
    pub(crate) async fn send(&self, worker: &WorkerId, report: PressureReport) {
        self.unsent().entry(worker.clone()).or_default().push(report);
        loop {
            let Some(next) = self.unsent().get(worker).and_then(Unsent::first).cloned() else { return };
            match self.gateway.record_pressure(worker, &next).await {
                Ok(()) => self.forget(worker, &next, None),
                Err(error @ (GatewayError::NotFound | GatewayError::Refused { .. })) => {
                    self.forget(worker, &next, Some(error));
                }
                Err(error) => {
                    self.note(worker, Some(error));
                    return;
                }
            }
        }
    }

    fn forget(&self, worker: &WorkerId, sent: &PressureReport, refusal: Option<GatewayError>) {
        if let Some(unsent) = self.unsent().get_mut(worker) {
            unsent.remove(sent);
        }
        self.note(worker, refusal);
    }

    /// Keeps why a report was not taken, and says it when it is another reason than the last time.
    fn note(&self, worker: &WorkerId, reason: Option<GatewayError>) {
        let mut unsent = self.unsent();
        let Some(unsent) = unsent.get_mut(worker) else { return };
        if let Some(error) = &reason
            && unsent.reason != reason
        {
            tracing::warn!(worker.id = %worker, error = error as &dyn std::error::Error, "pressure not reported");
        }
        unsent.reason = reason;
    }

    /// What the worker was short of between `since` and `until`, as far as gateway and this controller know.
    pub(crate) async fn shortage(
        &self,
        worker: &WorkerId,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> KnownShortage {
        let mut known = match self.gateway.worker_shortage(worker, since, until).await {
            Ok(known) => known,
            Err(error) => {
                tracing::debug!(worker.id = %worker, %error, "shortage of the worker unknown");
                KnownShortage::default()
            }
        };
        let unsent = self.unsent();
        let of_worker = unsent.get(worker).into_iter().flat_map(|unsent| [&unsent.short, &unsent.newest]);
        for report in of_worker.flatten() {
            if report.observed_at.is_some_and(|at| (since..=until).contains(&at.at())) {
                known.add(report.pressure.shortages());
            }
        }
        known
    }
}

/// Says in an observation's coverage whether the worker was short.
pub(crate) fn add_to(coverage: &mut Coverage, known: &KnownShortage) {
    coverage.worker_short = known.worker_short();
    coverage.worker_short_of = List::first(known.shortages());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(seconds: i64, short_of_cpu: bool) -> PressureReport {
        let at = DateTime::from_timestamp(1_772_000_000 + seconds, 0).unwrap();
        let pressure = WorkerPressure { short_of_cpu: Some(short_of_cpu), ..WorkerPressure::default() };
        PressureReport { observed_at: Some(domain::time::BoundedTime::nearest(at)), observer: None, pressure }
    }

    #[test]
    fn of_what_cannot_be_sent_the_first_shortage_and_the_newest_report_are_kept() {
        let mut unsent = Unsent::default();
        for (seconds, short) in [(0, false), (60, true), (120, true), (180, false), (240, true), (300, false)] {
            unsent.push(report(seconds, short));
        }
        assert_eq!(unsent.first(), Some(&report(60, true)));
        unsent.remove(&report(60, true));
        assert_eq!(unsent.first(), Some(&report(300, false)));
        unsent.remove(&report(300, false));
        assert_eq!(unsent.first(), None);
    }

    #[test]
    fn what_came_of_a_read_is_told_apart() {
        let none = || String::new();
        let statistics = || Err(CmlError::Forbidden { description: none() });
        let queue = Err(CmlError::NotFound { description: none() });
        let denied = from_reads(statistics(), queue);
        assert_eq!(denied.statistics, Some(PressureRead::NoRights));
        assert_eq!(denied.launch_queue, Some(PressureRead::NotServed));
        assert!(!has_failed(&denied) && denied.condition() == PressureCondition::Unknown);
        let broken = Err(CmlError::TooLarge { limit: 5 });
        assert!(has_failed(&from_reads(statistics(), broken)));
    }
}
