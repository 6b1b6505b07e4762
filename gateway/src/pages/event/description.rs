//! What an event says, in plain words.
//!
//! An event that this build does not understand (of a later version, or of another writer) has no words; its raw form
//! is shown all the same.

mod proposal;

use domain::advice_policy::{AdvicePolicyEvent, Policy};
use domain::lablet_definition::{DefinitionContent, LabletDefinitionEvent};
use domain::lablet_session::{FailureOutcome, LabletSessionEvent, LifeStep, SessionIds};
use domain::observation::ResourceObservation;
use domain::port_drift::PortDrift;
use domain::ports::PortMap;
use domain::timeslot::Timeslot;
use domain::worker::{PressureCondition, Shortage, WorkerEvent, WorkerProfile};
use domain::{Amount, stored};
use projections::projector::AggregateKind;
use projections::read_models::session_history::EventRow;

use crate::pages::parts::{self, counted};
use crate::pages::pressure;

/// Most differences, ports or events that are listed; the raw form has all.
const MOST_LISTED: usize = 20;

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventDescription {
    /// In a sentence.
    pub(super) sentence: String,
    /// What belongs to it.
    pub(super) facts: Vec<Fact>,
}

/// Something that an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    /// What it is about.
    pub(super) name: &'static str,
    /// What is so.
    pub(super) value: String,
    /// Where more of it is.
    pub(super) page: Option<String>,
    /// Whether it is an id, which is to be copied rather than read.
    pub(super) is_id: bool,
}

impl EventDescription {
    /// What this event says; `None`: this build does not understand it.
    pub(super) fn from_event(event: &EventRow) -> Option<Self> {
        Some(match AggregateKind::from_type(&event.aggregate_type)? {
            AggregateKind::Session => of_session(&stored::read::<LabletSessionEvent>(event.data.text()).ok()?),
            AggregateKind::Definition => of_definition(&stored::read::<LabletDefinitionEvent>(event.data.text()).ok()?),
            AggregateKind::Worker => of_worker(&stored::read::<WorkerEvent>(event.data.text()).ok()?),
            AggregateKind::AdvicePolicy => {
                of_advice_policy(&stored::read::<AdvicePolicyEvent>(event.data.text()).ok()?)
            }
        })
    }

    fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), facts: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.facts.push(Fact { name, value: value.into(), page: None, is_id: false });
        self
    }

    fn with_page(mut self, name: &'static str, value: impl Into<String>, page: String) -> Self {
        self.facts.push(Fact { name, value: value.into(), page: Some(page), is_id: false });
        self
    }

    fn with_id(mut self, name: &'static str, id: Option<&impl ToString>) -> Self {
        self.facts.extend(id.map(|id| Fact { name, value: id.to_string(), page: None, is_id: true }));
        self
    }

    fn with_some(self, name: &'static str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn on_worker(self, worker: Option<&domain::WorkerId>) -> Self {
        match worker {
            Some(worker) => self.with_page("Worker", worker.as_str(), format!("/workers/{worker}")),
            None => self,
        }
    }

    fn of_the_session(self, ids: &SessionIds) -> Self {
        let version = format!("{} (version {})", ids.definition_id, ids.definition_version.as_str());
        self.with_page("Definition", version, format!("/definitions/{}", ids.definition_id))
    }
}

fn of_session(event: &LabletSessionEvent) -> EventDescription {
    let told = match event {
        LabletSessionEvent::Created { owner_id, timeslot, .. } => {
            EventDescription::new("A session was created. It waits for a worker.")
                .with_some("For", owner_id.clone())
                .with_some("Timeslot", timeslot.as_ref().map(booked))
        }
        LabletSessionEvent::Scheduled(step) => of_step("A worker and its ports were given to the session.", step),
        LabletSessionEvent::Instantiating(step) => of_step("The session's lab is being brought up.", step),
        LabletSessionEvent::Ready(step) => of_step("The session's lab is up.", step),
        LabletSessionEvent::Running(step) => of_step("The session runs: the learner can work in the lab.", step),
        LabletSessionEvent::Collecting(step) => {
            of_step("What is needed to grade the session is being collected.", step)
        }
        LabletSessionEvent::Grading(step) => of_step("The session's work is being graded.", step),
        LabletSessionEvent::Stopping(step) => of_step("The session's lab is being stopped.", step),
        LabletSessionEvent::Stopped(step) => of_step("The session's lab is stopped.", step),
        LabletSessionEvent::Archived(step) => of_step("Nothing is left of the session but its record.", step),
        LabletSessionEvent::Terminated(step) => of_step("The session was ended before its natural end.", step),
        LabletSessionEvent::Expired(step) => of_step("The end of its timeslot overtook the session.", step),
        LabletSessionEvent::ObserveResourcesRequested { request_id, worker_id, cml_lab_id, requested_by, .. } => {
            EventDescription::new(format!("An observation of the session's lab was requested by {requested_by}."))
                .with_id("Request", Some(request_id))
                .with_id("Lab", Some(cml_lab_id))
                .on_worker(Some(worker_id))
        }
        LabletSessionEvent::ResourcesObserved {
            observed_resources,
            observed_ports,
            port_drift_detected,
            unallocated,
            request_id,
            worker_id,
            cml_lab_id,
            ..
        } => of_observation(observed_resources)
            .with("Ports", ports_seen(observed_ports.as_ref(), *port_drift_detected, unallocated.as_ref()))
            .with_id("Answers the request", request_id.as_ref())
            .with_id("Lab", cml_lab_id.as_ref())
            .on_worker(worker_id.as_ref()),
        LabletSessionEvent::PortDriftDetected { drift_details, worker_id, .. } => {
            of_drift(drift_details).on_worker(worker_id.as_ref())
        }
        LabletSessionEvent::ObservationFailed { request_id, outcome, reason, requested_by, .. } => {
            let sentence = match outcome {
                FailureOutcome::Failed => "An observation of the session's lab failed.",
                FailureOutcome::Skipped => "An observation was not made, as the session had moved on.",
            };
            EventDescription::new(sentence)
                .with("Why", reason)
                .with_some("Asked for by", requested_by.clone())
                .with_id("Answers the request", request_id.as_ref())
        }
        LabletSessionEvent::EvidenceExcluded { reason, excluded_by, .. } => EventDescription::new(format!(
            "What was measured in the session was excluded by {excluded_by}: it is no evidence of what its definition needs."
        ))
        .with("Why", reason),
        LabletSessionEvent::EvidenceIncluded { reason, included_by, .. } => EventDescription::new(format!(
            "What was measured in the session was included again by {included_by}: it is evidence of what its definition needs."
        ))
        .with("Why", reason),
        LabletSessionEvent::PortDriftAcknowledged {
            drift_details, reason, until, acknowledged_by, worker_id, ..
        } => {
            let EventDescription { facts, .. } = of_drift(drift_details);
            let sentence = format!("The session's drifted ports were acknowledged by {acknowledged_by}.");
            EventDescription { sentence, facts }
                .with("Why", reason)
                .with("Until", until.format("%Y-%m-%d %H:%M UTC").to_string())
                .on_worker(worker_id.as_ref())
        }
        LabletSessionEvent::PortDriftAcknowledgementWithdrawn {
            drift_details, reason, withdrawn_by, worker_id, ..
        } => {
            let EventDescription { facts, .. } = of_drift(drift_details);
            let sentence =
                format!("The acknowledgement of the session's drifted ports was withdrawn by {withdrawn_by}: they are open again.");
            EventDescription { sentence, facts }.with("Why", reason).on_worker(worker_id.as_ref())
        }
        LabletSessionEvent::AllocationCorrected {
            before, after, reason, evidence, corrected_by, worker_id, port_drift_detected, ..
        } => {
            let told = EventDescription::new(format!("The session's allocated ports were corrected by {corrected_by}."))
                .with("Allocated before", before.as_ref().map_or_else(|| "nothing".to_owned(), ports))
                .with("Allocated now", ports(after))
                .with("Why", reason);
            let told = match evidence {
                Some(evidence) => told.with_page("Rests on", evidence.as_str(), format!("/events/{evidence}")),
                None => told,
            };
            let verdict = match port_drift_detected {
                Some(true) => "they still differ from what was observed",
                Some(false) => "as observed",
                None => "unknown: no ports were observed yet",
            };
            told.with("Ports", verdict).on_worker(worker_id.as_ref())
        }
    };
    told.of_the_session(event.ids())
}

fn of_step(sentence: &str, step: &LifeStep) -> EventDescription {
    EventDescription::new(sentence)
        .with_some("Why", step.reason.clone())
        .with_some("Allocated ports", step.allocated_ports.as_ref().map(ports))
        .with_some("Timeslot", step.timeslot.as_ref().map(booked))
        .with_id("Lab", step.cml_lab_id.as_ref())
        .on_worker(step.worker_id.as_ref())
}

fn of_observation(seen: &ResourceObservation) -> EventDescription {
    let who = seen.observer.as_deref().unwrap_or("somebody");
    let nodes = seen
        .actual_node_count
        .map_or_else(|| "an unknown number of nodes".to_owned(), |count| counted(&u64::from(count.get()), "node"));
    let complete = match seen.coverage.as_ref().map(|coverage| (coverage.is_complete(), coverage)) {
        Some((true, _)) => "yes".to_owned(),
        Some((false, coverage)) => {
            let booted = match (coverage.nodes_booted, coverage.nodes_total) {
                (Some(booted), Some(total)) => format!("{booted} of {total} nodes booted"),
                _ => "how many nodes were booted is unknown".to_owned(),
            };
            match coverage.failed_reads.len() + coverage.unreadable_entries.len() {
                0 => format!("no: {booted}"),
                unread => format!("no: {booted}; could not be read: {unread}"),
            }
        }
        None => "its sender did not say".to_owned(),
    };
    EventDescription::new(format!("The session's lab was observed by {who}, which saw {nodes}."))
        .with("Nominal CPU", parts::known_cores(&seen.total_cpu_cores.map(Amount::get)))
        .with("Nominal memory", parts::known_gb(&seen.total_memory_mb.map(Amount::get)))
        .with("Disk in use", parts::known_gb(&seen.total_storage_mb.map(Amount::get)))
        .with("Complete coverage", complete)
        .with_some("Lab title", seen.lab_title.as_ref().map(ToString::to_string))
        .with_some("Worker", worker_in(seen))
}

/// Whether the worker was short meanwhile; `None`: unknown.
fn worker_in(seen: &ResourceObservation) -> Option<String> {
    let coverage = seen.coverage.as_ref()?;
    Some(if coverage.worker_short? {
        format!("short of {}: what was measured may be too low", pressure::shortage_names(&coverage.worker_short_of))
    } else {
        "short of nothing".to_owned()
    })
}

fn ports_seen(observed: Option<&PortMap>, drifted: Option<bool>, unallocated: Option<&PortMap>) -> String {
    match (observed, drifted, unallocated) {
        (None, ..) | (Some(_), None, _) => "unknown: the tags could not be read".to_owned(),
        (Some(_), Some(true), _) => "drifted from what was allocated".to_owned(),
        (Some(_), Some(false), Some(found)) if !found.is_empty() => {
            format!("{} where nothing was allocated", counted(&(found.len() as u64), "port"))
        }
        (Some(_), Some(false), _) => "as planned".to_owned(),
    }
}

fn of_drift(drift: &PortDrift) -> EventDescription {
    let count = drift.added.len() + drift.removed.len() + drift.changed.len();
    let differ = if count == 1 { "differs" } else { "differ" };
    let mut told = EventDescription::new(format!(
        "The observed ports are not the allocated ones: {} {differ}.",
        counted(&(count as u64), "port")
    ));
    let added = drift.added.iter().map(|(name, port)| ("Added", format!("{}: {port} observed", name.as_str())));
    let removed = drift.removed.iter().map(|(name, port)| ("Removed", format!("{}: {port} allocated", name.as_str())));
    let changed = drift.changed.iter().map(|(name, port)| {
        ("Changed", format!("{}: {} allocated, {} observed", name.as_str(), port.allocated, port.observed))
    });
    let renamed = drift.renamed.iter().map(|(name, port)| {
        ("As planned, named otherwise", format!("{}: {} as {}", name.as_str(), port.port, port.observed_name.as_str()))
    });
    for (name, value) in added.chain(removed).chain(changed).chain(renamed).take(MOST_LISTED) {
        told = told.with(name, value);
    }
    if count > MOST_LISTED { told.with("And", format!("{} more", count - MOST_LISTED)) } else { told }
}

fn of_definition(event: &LabletDefinitionEvent) -> EventDescription {
    match event {
        LabletDefinitionEvent::Created { name, version, content, node_count, .. } => {
            let sentence =
                format!("The definition \u{201c}{name}\u{201d} was created in version {}.", version.as_str());
            EventDescription::new(sentence)
                .with("Configured", configured(content))
                .with_some("Nodes", node_count.map(|count| count.to_string()))
        }
        LabletDefinitionEvent::PolicySet { policy, reason, set_by, .. } => EventDescription::new(match policy {
            Some(_) => format!("The definition's policy of advice was set by {set_by}."),
            None => format!("The definition's policy of advice was given up by {set_by}: the default one applies."),
        })
        .with_some("Promise", policy.map(|policy| format!("{:.1} %", 100.0 * policy.promise.share())))
        .with("Why", reason),
        LabletDefinitionEvent::ProposalOpened { .. }
        | LabletDefinitionEvent::ProposalClaimed { .. }
        | LabletDefinitionEvent::ProposalApplied { .. }
        | LabletDefinitionEvent::ProposalFailed { .. }
        | LabletDefinitionEvent::ProposalDismissed { .. }
        | LabletDefinitionEvent::ProposalSuperseded { .. }
        | LabletDefinitionEvent::ProposalVerified { .. } => proposal::describe(event),
        LabletDefinitionEvent::Revised { revision, before, after, reason, evidence, revised_by, .. } => {
            let mut told = EventDescription::new(format!(
                "The definition was revised by {revised_by}: it is now revision {revision}."
            ))
            .with("Why", reason);
            for (name, change) in changes_of_definition(before, after) {
                told = told.with(name, change);
            }
            for event in evidence.iter().take(MOST_LISTED) {
                told = told.with_page("Rests on", event.to_string(), format!("/events/{event}"));
            }
            match evidence.len() {
                0 => told.with("Rests on", "no observation"),
                count if count > MOST_LISTED => told.with("And", format!("{} more events", count - MOST_LISTED)),
                _ => told,
            }
        }
    }
}

fn configured(content: &DefinitionContent) -> String {
    let needs = &content.resource_requirements;
    format!(
        "{}, {} GB of memory, {} GB of storage, {}",
        counted(&u64::from(needs.cpu_cores.get()), "core"),
        needs.memory_gb,
        needs.storage_gb,
        counted(&(content.port_template.ports().len() as u64), "port")
    )
}

fn changes_of_definition(before: &DefinitionContent, after: &DefinitionContent) -> Vec<(&'static str, String)> {
    let (was, is) = (&before.resource_requirements, &after.resource_requirements);
    let mut changes: Vec<(&'static str, String)> = [
        ("CPU cores", was.cpu_cores.get(), is.cpu_cores.get()),
        ("Memory GB", was.memory_gb.get(), is.memory_gb.get()),
        ("Storage GB", was.storage_gb.get(), is.storage_gb.get()),
    ]
    .into_iter()
    .filter(|(_, was, is)| was != is)
    .map(|(name, was, is)| (name, from_to(&was, &is)))
    .collect();
    if before.port_template != after.port_template {
        let (was, is) = (before.port_template.ports().len(), after.port_template.ports().len());
        changes.push(("Port template", from_to(&counted(&(was as u64), "port"), &counted(&(is as u64), "port"))));
    }
    if before.description != after.description {
        changes.push(("Description", "was changed".to_owned()));
    }
    if before.topology != after.topology {
        changes.push(("Topology", "was changed".to_owned()));
    }
    changes
}

fn of_worker(event: &WorkerEvent) -> EventDescription {
    match event {
        WorkerEvent::Registered { profile, .. } => {
            EventDescription::new(format!("The worker \u{201c}{}\u{201d} was registered.", profile.name))
                .with("Address", String::from(profile.address.clone()))
                .with("Capacity", capacity(profile))
                .with("Port range", port_range(profile))
        }
        WorkerEvent::Changed { before, after, .. } => {
            let mut told = EventDescription::new(format!("The worker \u{201c}{}\u{201d} was changed.", after.name));
            let address = |profile: &WorkerProfile| String::from(profile.address.clone());
            for (name, was, is) in [
                ("Name", before.name.clone(), after.name.clone()),
                ("Address", address(before), address(after)),
                ("Capacity", capacity(before), capacity(after)),
                ("Port range", port_range(before), port_range(after)),
            ] {
                if was != is {
                    told = told.with(name, from_to(&was, &is));
                }
            }
            told
        }
        WorkerEvent::PressureObserved { pressure, .. } => {
            let short_of: Vec<Shortage> = pressure.shortages().collect();
            EventDescription::new(match pressure.condition() {
                PressureCondition::Short => format!("The worker was short of {}.", pressure::shortage_names(&short_of)),
                PressureCondition::NotShort => "The worker was short of nothing.".to_owned(),
                PressureCondition::Unknown => "Whether the worker was short was not known.".to_owned(),
            })
            .with("Free CPU", pressure::free_cores(pressure))
            .with("Free memory", pressure::free_memory(pressure))
            .with("Free storage", pressure::free_storage(pressure))
            .with("Launch queue", pressure::queue(pressure))
        }
    }
}

fn of_advice_policy(event: &AdvicePolicyEvent) -> EventDescription {
    let AdvicePolicyEvent::Set { before, policy, reason, set_by, .. } = event;
    let promise = |policy: &Option<Policy>| format!("{:.1} %", 100.0 * policy.unwrap_or_default().promise.share());
    EventDescription::new(match policy {
        Some(_) => "The default policy of advice was set.",
        None => "The default policy of advice was given up: it is again as where nobody has set one.",
    })
    .with("Promise", from_to(&promise(before), &promise(policy)))
    .with("Reason", reason)
    .with("Set by", set_by)
}

fn capacity(profile: &WorkerProfile) -> String {
    let capacity = &profile.capacity;
    format!(
        "{}, {} GB of memory, {} GB of storage, {}",
        counted(&u64::from(capacity.cpu_cores.get()), "core"),
        capacity.memory_gb,
        capacity.storage_gb,
        counted(&u64::from(capacity.max_nodes.get()), "node")
    )
}

fn port_range(profile: &WorkerProfile) -> String {
    format!("{} to {}", profile.port_range.first(), profile.port_range.last())
}

fn from_to(was: &impl ToString, is: &impl ToString) -> String {
    format!("{} → {}", was.to_string(), is.to_string())
}

fn booked(timeslot: &Timeslot) -> String {
    let minute = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M UTC").to_string();
    format!("{} to {}", minute(timeslot.start()), minute(timeslot.end()))
}

fn ports(ports: &PortMap) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    let listed: Vec<String> =
        ports.iter().take(MOST_LISTED).map(|(name, port)| format!("{} {port}", name.as_str())).collect();
    let more = ports.len().saturating_sub(MOST_LISTED);
    if more > 0 { format!("{} and {more} more", listed.join(", ")) } else { listed.join(", ") }
}

#[cfg(test)]
mod tests {
    use app::log::{Metadata, Position};
    use serde_json::{Value, json};

    use super::*;

    fn event(aggregate_type: &str, data: Value) -> EventRow {
        EventRow {
            event_id: uuid::Uuid::nil(),
            position: Position::START,
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id: "x".to_owned(),
            sequence: 1,
            event_type: data["type"].as_str().unwrap_or_default().to_owned(),
            recorded_at: chrono::DateTime::UNIX_EPOCH,
            metadata: Metadata::default(),
            data: domain::RawJson::from(&data),
        }
    }

    fn samples() -> Vec<(String, Value)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/samples");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let read = |path: &std::path::PathBuf| {
            let value: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), value)
        };
        files.iter().map(read).collect()
    }

    #[test]
    fn every_event_that_there_is_can_be_told() {
        for (name, sample) in samples() {
            let told = EventDescription::from_event(&event(name.split('.').next().unwrap(), sample))
                .unwrap_or_else(|| panic!("{name}"));
            assert!(told.sentence.ends_with('.') && !told.facts.is_empty(), "{name}: {told:?}");
        }
    }

    #[test]
    fn a_default_policy_tells_its_promise_its_reason_and_who_set_it() {
        let set = json!({"type": "advice_policy.set.v1", "policy_id": "default", "before": null,
                         "policy": {"promise": 0.9}, "reason": "a trial", "set_by": "admin:ada",
                         "set_at": "2026-03-01T10:00:00Z"});
        let told = EventDescription::from_event(&event("advice_policy", set)).unwrap();
        let facts: Vec<(&str, &str)> = told.facts.iter().map(|fact| (fact.name, fact.value.as_str())).collect();
        assert_eq!(facts, [("Promise", "95.0 % → 90.0 %"), ("Reason", "a trial"), ("Set by", "admin:ada")]);
    }

    #[test]
    fn an_event_that_is_not_understood_has_no_words() {
        assert_eq!(
            EventDescription::from_event(&event("lablet_session", json!({"type": "lablet_session.created.v9"}))),
            None
        );
        assert_eq!(EventDescription::from_event(&event("invoice", json!({"type": "invoice.sent.v1"}))), None);
    }

    #[test]
    fn a_drift_names_each_port_and_both_numbers() {
        let map = |ports: Value| serde_json::from_value::<PortMap>(ports).unwrap();
        let (allocated, observed) = (map(json!({"a": 1, "b": 2})), map(json!({"b": 3, "c": 4})));
        let told = of_drift(&PortDrift::between(&allocated, &observed, &[]));
        assert_eq!(told.sentence, "The observed ports are not the allocated ones: 3 ports differ.");
        let facts: Vec<(&str, &str)> = told.facts.iter().map(|fact| (fact.name, fact.value.as_str())).collect();
        assert_eq!(
            facts,
            [("Added", "c: 4 observed"), ("Removed", "a: 1 allocated"), ("Changed", "b: 2 allocated, 3 observed")]
        );
    }
}
