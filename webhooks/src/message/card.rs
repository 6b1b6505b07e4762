//! An event as people read it, whichever program shows it to them.

use app::log::RecordedEvent;
use app::notice::{self, PublicUrl};
use app::printable::storable;
use chrono::{DateTime, Utc};
use domain::advice_policy::AdvicePolicyEvent;
use domain::lablet_definition::{LabletDefinitionEvent, ProposalKind, ResourceRequirements};
use domain::lablet_session::{FailureOutcome, LabletSessionEvent, LifeStep};
use domain::port_drift::PortDrift;
use domain::worker::{PressureCondition, Shortage, WorkerEvent};

use super::TEST_TYPE;

/// Longest text, in bytes. Slack takes 3,000 characters.
const LONGEST: usize = 1_500;
/// Most differences that are listed.
const MOST_LISTED: usize = 10;

/// An event in words. None of its texts is markup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    /// What it is about, with its id.
    pub(super) title: String,
    /// What happened.
    pub(super) sentence: String,
    /// What belongs to it.
    pub(super) facts: Vec<(&'static str, String)>,
    /// The event's type and when it happened.
    pub(super) origin: String,
    /// Where more of it is.
    pub(super) link: Option<Link>,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) label: String,
    pub(super) url: String,
}

impl Card {
    /// What an event says. Of an event that this build does not know, its type.
    pub(super) fn from_event(event: &RecordedEvent, links: Option<&PublicUrl>) -> Self {
        let words = match event.aggregate_type.as_str() {
            "lablet_session" => event.decode_session_event().ok().as_ref().map(session),
            "lablet_definition" => event.decode::<LabletDefinitionEvent>().ok().as_ref().map(definition),
            "worker" => event.decode::<WorkerEvent>().ok().as_ref().map(worker),
            "advice_policy" => event.decode::<AdvicePolicyEvent>().ok().as_ref().map(advice_policy),
            _ => None,
        };
        let words =
            words.unwrap_or_else(|| Words::new("Something happened that this version of Lablet has no words for."));
        let (noun, folder) = match event.aggregate_type.as_str() {
            "lablet_session" => ("Session", Some("sessions")),
            "lablet_definition" => ("Definition", Some("definitions")),
            "worker" => ("Worker", Some("workers")),
            "advice_policy" => ("Policy of advice", None),
            _ => ("Event", None),
        };
        let page = |url: &PublicUrl| {
            let base = url.as_str();
            match folder.filter(|_| is_id(&event.aggregate_id)) {
                Some(folder) => Link {
                    label: format!("Open the {}", noun.to_lowercase()),
                    url: format!("{base}/{folder}/{}", event.aggregate_id),
                },
                None => Link { label: "Open the event".to_owned(), url: format!("{base}/events/{}", event.event_id) },
            }
        };
        let ty = notice::cloud_event_type(&event.event_type, &event.event_version);
        Self::new(format!("{noun} {}", event.aggregate_id), words, &ty, Some(event.recorded_at), links.map(page))
    }

    /// What a message says by which an operator tries a target.
    pub(super) fn test(target: &str, said: &str, links: Option<&PublicUrl>) -> Self {
        let link = links.map(|url| Link { label: "Open Lablet".to_owned(), url: url.as_str().to_owned() });
        Self::new(format!("Test of {target}"), Words::new(said), TEST_TYPE, None, link)
    }

    fn new(title: String, words: Words, ty: &str, at: Option<DateTime<Utc>>, link: Option<Link>) -> Self {
        let text = |text: &str| storable(text, LONGEST);
        let origin = match at {
            Some(at) => format!("{ty}, {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
            None => ty.to_owned(),
        };
        Self {
            title: storable(&title, 140),
            sentence: text(&words.sentence),
            facts: words.facts.iter().map(|(name, value)| (*name, text(value))).collect(),
            origin: text(&origin),
            link,
        }
    }
}

/// Whether it can stand in a path as it is.
fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '-' | '_'))
}

/// A sentence and what belongs to it.
struct Words {
    sentence: String,
    facts: Vec<(&'static str, String)>,
}

impl Words {
    fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), facts: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.facts.push((name, value.into()));
        self
    }

    fn with_some(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value.to_string()),
            None => self,
        }
    }
}

fn session(event: &LabletSessionEvent) -> Words {
    let ids = event.ids();
    let words = match event {
        LabletSessionEvent::Created { owner_id, .. } => {
            Words::new("It was created and waits for a worker.").with_some("For", owner_id.as_deref())
        }
        LabletSessionEvent::Scheduled(step) => life_step("It has a worker and its ports.", step),
        LabletSessionEvent::Instantiating(step) => life_step("Its lab is being brought up.", step),
        LabletSessionEvent::Ready(step) => life_step("Its lab is up.", step),
        LabletSessionEvent::Running(step) => life_step("It runs: the learner can work in the lab.", step),
        LabletSessionEvent::Collecting(step) => life_step("What is needed to grade it is being collected.", step),
        LabletSessionEvent::Grading(step) => life_step("The work in it is being graded.", step),
        LabletSessionEvent::Stopping(step) => life_step("Its lab is being stopped.", step),
        LabletSessionEvent::Stopped(step) => life_step("Its lab is stopped.", step),
        LabletSessionEvent::Archived(step) => life_step("Nothing is left of it but its record.", step),
        LabletSessionEvent::Terminated(step) => life_step("It was ended before its natural end.", step),
        LabletSessionEvent::Expired(step) => life_step("The end of its timeslot overtook it.", step),
        LabletSessionEvent::ObserveResourcesRequested { requested_by, worker_id, .. } => {
            Words::new(format!("An observation of its lab was requested by {requested_by}."))
                .with("Worker", worker_id.as_str())
        }
        LabletSessionEvent::ResourcesObserved { observed_resources, port_drift_detected, worker_id, .. } => {
            let drift = match port_drift_detected {
                Some(true) => "not where they were allocated",
                Some(false) => "as planned",
                None => "unknown",
            };
            Words::new("Its lab was observed.")
                .with_some("Nodes", observed_resources.actual_node_count.map(|count| count.get()))
                .with("Ports", drift)
                .with_some("Worker", worker_id.as_ref())
        }
        LabletSessionEvent::PortDriftDetected { drift_details, worker_id, .. } => {
            Words::new("Its ports are not where they were allocated.")
                .with("Differences", differences(drift_details))
                .with_some("Worker", worker_id.as_ref())
        }
        LabletSessionEvent::ObservationFailed { outcome, reason, .. } => Words::new(match outcome {
            FailureOutcome::Failed => "An observation of its lab failed.",
            FailureOutcome::Skipped => "An observation was not made, as it had moved on.",
        })
        .with("Reason", reason),
        LabletSessionEvent::EvidenceExcluded { reason, excluded_by, .. } => {
            Words::new(format!("What was measured in it was excluded as evidence by {excluded_by}."))
                .with("Reason", reason)
        }
        LabletSessionEvent::EvidenceIncluded { reason, included_by, .. } => {
            Words::new(format!("What was measured in it was included again as evidence by {included_by}."))
                .with("Reason", reason)
        }
        LabletSessionEvent::PortDriftAcknowledged { drift_details, reason, until, acknowledged_by, .. } => {
            Words::new(format!("Its drifted ports were acknowledged by {acknowledged_by}."))
                .with("Differences", differences(drift_details))
                .with("Reason", reason)
                .with("Until", until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
        }
        LabletSessionEvent::PortDriftAcknowledgementWithdrawn { drift_details, reason, withdrawn_by, .. } => {
            Words::new(format!("Its drifted ports are open again: {withdrawn_by} withdrew their acknowledgement."))
                .with("Differences", differences(drift_details))
                .with("Reason", reason)
        }
        LabletSessionEvent::AllocationCorrected { after, reason, corrected_by, .. } => {
            Words::new(format!("Its allocated ports were corrected by {corrected_by}."))
                .with("Allocated ports", after.len().to_string())
                .with("Reason", reason)
        }
    };
    words.with("Definition", format!("{} {}", ids.definition_id, ids.definition_version.as_str()))
}

fn life_step(sentence: &str, step: &LifeStep) -> Words {
    Words::new(sentence).with_some("Reason", step.reason.as_deref()).with_some("Worker", step.worker_id.as_ref())
}

fn differences(drift: &PortDrift) -> String {
    let added = drift.added.iter().map(|(name, port)| format!("{} added at {port}", name.as_str()));
    let removed = drift.removed.iter().map(|(name, port)| format!("{} missing, allocated at {port}", name.as_str()));
    let changed = drift
        .changed
        .iter()
        .map(|(name, port)| format!("{} at {}, allocated at {}", name.as_str(), port.observed, port.allocated));
    let all: Vec<String> = changed.chain(removed).chain(added).collect();
    let listed = all.get(..MOST_LISTED).unwrap_or(&all).join("; ");
    if all.len() > MOST_LISTED { format!("{listed}; and {} more", all.len() - MOST_LISTED) } else { listed }
}

fn definition(event: &LabletDefinitionEvent) -> Words {
    match event {
        LabletDefinitionEvent::Created { name, version, content, .. } => Words::new("It was created.")
            .with("Name", name)
            .with("Version", version.as_str())
            .with("Configured", size(&content.resource_requirements)),
        LabletDefinitionEvent::Revised { revision, before, after, reason, revised_by, .. } => {
            Words::new(format!("It was revised by {revised_by}: it is now revision {revision}."))
                .with("Before", size(&before.resource_requirements))
                .with("Now", size(&after.resource_requirements))
                .with("Reason", reason)
        }
        LabletDefinitionEvent::PolicySet { policy, reason, set_by, .. } => Words::new(match policy {
            Some(_) => format!("Its policy of advice was set by {set_by}."),
            None => format!("Its policy of advice was given up by {set_by}: the default one applies."),
        })
        .with("Reason", reason),
        LabletDefinitionEvent::ProposalOpened { proposal, opened_by, .. } => Words::new(match proposal.kind {
            ProposalKind::Size => format!("Another size was proposed by {opened_by}."),
            ProposalKind::RollBack => format!("The size before was proposed by {opened_by}."),
        })
        .with("Configured", size(&proposal.before))
        .with("Proposed", size(&proposal.after))
        .with("Reason", &proposal.reason),
        LabletDefinitionEvent::ProposalClaimed { claimed_by, reason, .. } => {
            Words::new(format!("{claimed_by} takes care of the proposal of another size."))
                .with_some("Reason", reason.as_deref())
        }
        LabletDefinitionEvent::ProposalApplied { revision, applied_by, .. } => {
            Words::new(format!("The proposed size was applied by {applied_by}: it is now revision {revision}."))
        }
        LabletDefinitionEvent::ProposalFailed { reason, .. } => {
            Words::new("The proposed size could not be applied.").with("Reason", reason)
        }
        LabletDefinitionEvent::ProposalDismissed { reason, dismissed_by, .. } => {
            Words::new(format!("The proposed size was dismissed by {dismissed_by}.")).with("Reason", reason)
        }
        LabletDefinitionEvent::ProposalSuperseded { reason, .. } => {
            Words::new("The proposed size holds no more.").with("Reason", reason)
        }
        LabletDefinitionEvent::ProposalVerified { revision, verification, .. } => Words::new(if verification.held {
            "The size that was applied held."
        } else {
            "The size that was applied did not hold."
        })
        .with("Sessions", format!("{} of revision {revision}", verification.sessions)),
    }
}

fn size(needs: &ResourceRequirements) -> String {
    let (cores, memory, storage) = (needs.cpu_cores.get(), needs.memory_gb.get(), needs.storage_gb.get());
    let unit = if cores == 1 { "core" } else { "cores" };
    format!("{cores} {unit}, {memory} GB of memory, {storage} GB of storage")
}

fn worker(event: &WorkerEvent) -> Words {
    match event {
        WorkerEvent::Registered { profile, .. } => Words::new("It was registered.").with("Name", &profile.name),
        WorkerEvent::Changed { before, after, .. } => {
            let words = Words::new("It was changed.");
            if before.name == after.name {
                words.with("Name", &after.name)
            } else {
                words.with("New name", &after.name)
            }
        }
        WorkerEvent::PressureObserved { pressure, .. } => match pressure.condition() {
            PressureCondition::Short => {
                let names: Vec<&str> = pressure.shortages().map(shortage_name).collect();
                Words::new(format!("It is short of {}.", names.join(" and ")))
            }
            PressureCondition::NotShort => Words::new("It is short of nothing."),
            PressureCondition::Unknown => Words::new("Whether it is short of anything is unknown."),
        },
    }
}

fn shortage_name(shortage: Shortage) -> &'static str {
    match shortage {
        Shortage::Cpu => "CPU",
        Shortage::Memory => "memory",
        Shortage::Storage => "storage",
        Shortage::LaunchQueue => "launches",
    }
}

fn advice_policy(event: &AdvicePolicyEvent) -> Words {
    match event {
        AdvicePolicyEvent::Set { reason, set_by, .. } => {
            Words::new(format!("The default policy of advice was set by {set_by}.")).with("Reason", reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use app::log::{Metadata, Position};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::super::{slack, teams};
    use super::*;

    fn event(sample: &Value) -> RecordedEvent {
        let ty = sample["type"].as_str().unwrap();
        let (event_type, version) = ty.rsplit_once(".v").unwrap();
        RecordedEvent {
            position: Position::START,
            event_id: Uuid::nil(),
            aggregate_type: ty.split('.').next().unwrap().to_owned(),
            aggregate_id: "exam-7".to_owned(),
            sequence: 1,
            event_type: event_type.to_owned(),
            event_version: version.to_owned(),
            payload: domain::RawJson::from(sample),
            metadata: Metadata::default(),
            recorded_at: "2026-03-01T10:00:00Z".parse().unwrap(),
        }
    }

    fn sample(name: &str) -> Value {
        let file = format!("{}/../domain/samples/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    }

    fn card(sample: &Value) -> Card {
        let url = PublicUrl::parse("https://lablet.example.com").unwrap();
        Card::from_event(&event(sample), Some(&url))
    }

    #[test]
    fn every_event_that_there_is_has_words() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/samples");
        let mut lines = Vec::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
            let card = card(&sample(&name));
            assert!(card.sentence.ends_with('.') && !card.sentence.contains("no words"), "{name}: {}", card.sentence);
            lines.push(format!("{name}: {} {}", card.title, card.sentence));
        }
        lines.sort();
        insta::assert_snapshot!("sentences", lines.join("\n"));
    }

    #[test]
    fn messages_for_slack_and_teams_are_these() {
        let drift = card(&sample("lablet_session.port_drift_detected.v1"));
        insta::assert_json_snapshot!("slack_drift", slack::message(&drift));
        insta::assert_json_snapshot!("teams_drift", teams::message(&drift));
        let mut terminated = sample("lablet_session.terminated.v1");
        terminated["reason"] = json!("<!channel> [Sign in](https://evil.example) & <at>Ada</at>\u{202e}\n*now*");
        let terminated = card(&terminated);
        insta::assert_json_snapshot!("slack_hostile_reason", slack::message(&terminated));
        insta::assert_json_snapshot!("teams_hostile_reason", teams::message(&terminated));
    }

    #[test]
    fn without_a_configured_address_nothing_is_linked_and_an_unknown_event_has_its_type() {
        let card = Card::from_event(&event(&json!({"type": "invoice.sent.v1"})), None);
        assert_eq!(card.link, None);
        assert_eq!(card.origin, "io.lablet.invoice.sent.v1, 2026-03-01 10:00:00 UTC");
        let foreign = RecordedEvent { aggregate_id: "a b/../<x>".to_owned(), ..event(&sample("worker.changed.v1")) };
        let url = PublicUrl::parse("https://lablet.example.com").unwrap();
        let link = Card::from_event(&foreign, Some(&url)).link.unwrap();
        assert_eq!(link.url, format!("https://lablet.example.com/events/{}", Uuid::nil()));
    }

    #[test]
    fn a_text_of_any_length_is_one_that_slack_takes() {
        let mut terminated = sample("lablet_session.terminated.v1");
        terminated["reason"] = json!("\u{1f600}".repeat(5_000));
        let card = card(&terminated);
        assert!(card.facts.iter().all(|(_, value)| value.chars().count() < 2_900));
    }
}
