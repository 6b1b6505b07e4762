//! What somebody changed, in words that go around the name of what was changed.

use domain::advice_policy::AdvicePolicyEvent;
use domain::lablet_definition::{DefinitionContent, LabletDefinitionEvent};
use domain::lablet_session::LabletSessionEvent;
use domain::stored;
use domain::worker::{WorkerEvent, WorkerProfile};
use projections::projector::AggregateKind;
use projections::read_models::session_history::EventRow;

/// A change without who made it: `changed memory of` NAME `from 16 GB to 8 GB`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangeWords {
    /// Before the name.
    pub(crate) before: String,
    /// After it; empty: nothing.
    pub(crate) after: String,
    /// Why, where somebody said so.
    pub(crate) reason: Option<String>,
}

/// One thing that is different: what, as it was, as it is.
type Difference = (&'static str, String, String);

impl ChangeWords {
    fn new(before: &str) -> Self {
        Self { before: before.to_owned(), after: String::new(), reason: None }
    }

    fn after(self, after: impl Into<String>) -> Self {
        Self { after: after.into(), ..self }
    }

    fn because(self, reason: &str) -> Self {
        Self { reason: (!reason.is_empty()).then(|| reason.to_owned()), ..self }
    }

    /// One difference is told in full, several are listed.
    fn changed(differences: &[Difference], others: &[&str]) -> Self {
        match (differences, others) {
            ([], []) => Self::new("changed"),
            ([(what, was, is)], []) => Self::new(&format!("changed {what} of")).after(format!("from {was} to {is}")),
            ([], [other]) => Self::new(&format!("changed {other} of")),
            _ => {
                let listed = differences.iter().map(|(what, was, is)| format!("{what} from {was} to {is}"));
                let listed: Vec<String> = listed.chain(others.iter().map(|other| (*other).to_owned())).collect();
                Self::new("changed").after(format!(": {}", listed.join(", ")))
            }
        }
    }

    /// The words of an event; `None`: this build does not understand it, or it is no change.
    pub(crate) fn from_event(event: &EventRow) -> Option<Self> {
        let text = event.data.text();
        match AggregateKind::from_type(&event.aggregate_type)? {
            AggregateKind::Session => of_session(&stored::read::<LabletSessionEvent>(text).ok()?),
            AggregateKind::Definition => of_definition(&stored::read::<LabletDefinitionEvent>(text).ok()?),
            AggregateKind::Worker => of_worker(&stored::read::<WorkerEvent>(text).ok()?),
            AggregateKind::AdvicePolicy => {
                let AdvicePolicyEvent::Set { policy, reason, .. } = stored::read::<AdvicePolicyEvent>(text).ok()?;
                let words = if policy.is_some() { "set" } else { "gave up" };
                Some(Self::new(words).because(&reason))
            }
        }
    }
}

fn of_session(event: &LabletSessionEvent) -> Option<ChangeWords> {
    match event {
        LabletSessionEvent::EvidenceExcluded { reason, .. } => {
            Some(ChangeWords::new("excluded").after("from the evidence").because(reason))
        }
        LabletSessionEvent::EvidenceIncluded { reason, .. } => {
            Some(ChangeWords::new("included").after("in the evidence again").because(reason))
        }
        LabletSessionEvent::PortDriftAcknowledged { reason, until, .. } => {
            let until = until.format("until %Y-%m-%d %H:%M UTC").to_string();
            Some(ChangeWords::new("acknowledged the port drift of").after(until).because(reason))
        }
        LabletSessionEvent::PortDriftAcknowledgementWithdrawn { reason, .. } => {
            Some(ChangeWords::new("withdrew the acknowledgement of the port drift of").because(reason))
        }
        LabletSessionEvent::AllocationCorrected { reason, .. } => {
            Some(ChangeWords::new("corrected the allocated ports of").because(reason))
        }
        LabletSessionEvent::Created { .. }
        | LabletSessionEvent::Scheduled(_)
        | LabletSessionEvent::Instantiating(_)
        | LabletSessionEvent::Ready(_)
        | LabletSessionEvent::Running(_)
        | LabletSessionEvent::Collecting(_)
        | LabletSessionEvent::Grading(_)
        | LabletSessionEvent::Stopping(_)
        | LabletSessionEvent::Stopped(_)
        | LabletSessionEvent::Archived(_)
        | LabletSessionEvent::Terminated(_)
        | LabletSessionEvent::Expired(_)
        | LabletSessionEvent::ObserveResourcesRequested { .. }
        | LabletSessionEvent::ResourcesObserved { .. }
        | LabletSessionEvent::PortDriftDetected { .. }
        | LabletSessionEvent::ObservationFailed { .. } => None,
    }
}

fn of_definition(event: &LabletDefinitionEvent) -> Option<ChangeWords> {
    match event {
        LabletDefinitionEvent::Created { content, .. } => {
            let needs = &content.resource_requirements;
            Some(ChangeWords::new("created").after(format!(
                "with {}, {} GB of memory, {} GB of storage",
                cores(needs.cpu_cores.get()),
                needs.memory_gb,
                needs.storage_gb
            )))
        }
        LabletDefinitionEvent::Revised { before, after, reason, .. } => Some(revised(before, after).because(reason)),
        LabletDefinitionEvent::PolicySet { policy, reason, .. } => {
            let words = if policy.is_some() { "set the advice policy of" } else { "gave up the advice policy of" };
            Some(ChangeWords::new(words).because(reason))
        }
        LabletDefinitionEvent::ProposalClaimed { reason, .. } => {
            Some(ChangeWords::new("claimed a proposal for").because(reason.as_deref().unwrap_or_default()))
        }
        LabletDefinitionEvent::ProposalApplied { revision, .. } => {
            Some(ChangeWords::new("applied a proposal to").after(format!("as revision {revision}")))
        }
        LabletDefinitionEvent::ProposalFailed { reason, .. } => {
            Some(ChangeWords::new("failed to apply a proposal to").because(reason))
        }
        LabletDefinitionEvent::ProposalDismissed { reason, .. } => {
            Some(ChangeWords::new("dismissed a proposal for").because(reason))
        }
        LabletDefinitionEvent::ProposalOpened { .. }
        | LabletDefinitionEvent::ProposalSuperseded { .. }
        | LabletDefinitionEvent::ProposalVerified { .. } => None,
    }
}

fn cores(count: u32) -> String {
    if count == 1 { "1 core".to_owned() } else { format!("{count} cores") }
}

fn different(all: impl IntoIterator<Item = Difference>) -> Vec<Difference> {
    all.into_iter().filter(|(_, was, is)| was != is).collect()
}

fn revised(before: &DefinitionContent, after: &DefinitionContent) -> ChangeWords {
    let (was, is) = (&before.resource_requirements, &after.resource_requirements);
    let gb = |amount: u32| format!("{amount} GB");
    let differences = different([
        ("CPU", cores(was.cpu_cores.get()), cores(is.cpu_cores.get())),
        ("memory", gb(was.memory_gb.get()), gb(is.memory_gb.get())),
        ("storage", gb(was.storage_gb.get()), gb(is.storage_gb.get())),
    ]);
    let others = [
        ("the port template", before.port_template != after.port_template),
        ("the description", before.description != after.description),
        ("the topology", before.topology != after.topology),
    ];
    let others: Vec<&str> = others.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect();
    ChangeWords::changed(&differences, &others)
}

fn of_worker(event: &WorkerEvent) -> Option<ChangeWords> {
    match event {
        WorkerEvent::Registered { profile, .. } => {
            Some(ChangeWords::new("registered").after(format!("at {}", String::from(profile.address.clone()))))
        }
        WorkerEvent::Changed { before, after, .. } => {
            let (was, is) = (&before.capacity, &after.capacity);
            let gb = |amount: u32| format!("{amount} GB");
            let address = |profile: &WorkerProfile| String::from(profile.address.clone());
            let ports =
                |profile: &WorkerProfile| format!("{} to {}", profile.port_range.first(), profile.port_range.last());
            Some(ChangeWords::changed(
                &different([
                    ("the name", before.name.clone(), after.name.clone()),
                    ("the address", address(before), address(after)),
                    ("CPU", cores(was.cpu_cores.get()), cores(is.cpu_cores.get())),
                    ("memory", gb(was.memory_gb.get()), gb(is.memory_gb.get())),
                    ("storage", gb(was.storage_gb.get()), gb(is.storage_gb.get())),
                    ("the most nodes", was.max_nodes.to_string(), is.max_nodes.to_string()),
                    ("the port range", ports(before), ports(after)),
                ]),
                &[],
            ))
        }
        WorkerEvent::PressureObserved { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(what: &'static str, was: &str, is: &str) -> Difference {
        (what, was.to_owned(), is.to_owned())
    }

    #[test]
    fn one_difference_is_told_in_full_and_several_are_listed() {
        let memory = difference("memory", "16 GB", "8 GB");
        let words = ChangeWords::changed(std::slice::from_ref(&memory), &[]);
        assert_eq!((words.before.as_str(), words.after.as_str()), ("changed memory of", "from 16 GB to 8 GB"));
        let words = ChangeWords::changed(&[memory, difference("CPU", "4 cores", "2 cores")], &["the topology"]);
        assert_eq!(
            (words.before.as_str(), words.after.as_str()),
            ("changed", ": memory from 16 GB to 8 GB, CPU from 4 cores to 2 cores, the topology")
        );
        let words = ChangeWords::changed(&[], &["the description"]);
        assert_eq!((words.before.as_str(), words.after.as_str()), ("changed the description of", ""));
    }

    #[test]
    fn what_did_not_change_is_left_out() {
        let found = different([difference("CPU", "4 cores", "4 cores"), difference("memory", "1 GB", "2 GB")]);
        assert_eq!(found, [difference("memory", "1 GB", "2 GB")]);
    }
}
