//! Evidence that was not gathered under one condition.

use std::collections::BTreeMap;

use domain::demand::DemandSource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most values of a condition that are listed.
const MOST_VALUES: usize = 20;

/// Under which conditions a session was measured. `None` is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// What the lab consisted of.
    pub topology: Option<String>,
    /// The definition's revision.
    pub revision: Option<u32>,
    /// Version of the CML controller.
    pub cml_version: Option<String>,
    /// The worker.
    pub worker: Option<String>,
    /// Whether the worker was short of anything.
    pub worker_short: Option<bool>,
    /// By a profile or by snapshots.
    pub source: Option<DemandSource>,
    /// Whether the boot was seen, of each resource that is known; `None`: it does not count.
    pub boot_seen: Option<bool>,
}

/// What sessions may differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Topologies.
    Topologies,
    /// Revisions of the definition.
    Revisions,
    /// Versions of CML.
    CmlVersions,
    /// Workers.
    Workers,
    /// Workers that were short of something, and others.
    WorkerShort,
    /// Profiles and snapshots.
    Sources,
    /// Sessions whose boot was seen, and others, where the policy includes it.
    BootSeen,
}

/// One value of a condition, and the sessions that had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MixedValue {
    /// The value; null: unknown.
    pub value: Option<String>,
    /// Number of sessions.
    pub sessions: u64,
}

/// A condition in which the evidence differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mixture {
    /// The condition.
    pub condition: Condition,
    /// Number of its values.
    pub count: u64,
    /// Its values, the most frequent first, at most 20.
    pub values: Vec<MixedValue>,
    /// What that means.
    pub text: String,
}

impl Condition {
    const ALL: [Self; 7] = [
        Self::Topologies,
        Self::Revisions,
        Self::CmlVersions,
        Self::Workers,
        Self::WorkerShort,
        Self::Sources,
        Self::BootSeen,
    ];

    /// The value that says something also where all sessions have it.
    fn telling(self) -> Option<&'static str> {
        match self {
            Self::WorkerShort => Some("true"),
            Self::BootSeen => Some("false"),
            Self::Topologies | Self::Revisions | Self::CmlVersions | Self::Workers | Self::Sources => None,
        }
    }

    fn value(self, conditions: &Conditions) -> Option<String> {
        match self {
            Self::Topologies => conditions.topology.clone(),
            Self::Revisions => conditions.revision.map(|revision| revision.to_string()),
            Self::CmlVersions => conditions.cml_version.clone(),
            Self::Workers => conditions.worker.clone(),
            Self::WorkerShort => conditions.worker_short.map(|short| short.to_string()),
            Self::Sources => conditions.source.map(|source| match source {
                DemandSource::Snapshot => "snapshot".to_owned(),
                DemandSource::Profile => "profile".to_owned(),
            }),
            Self::BootSeen => conditions.boot_seen.map(|seen| seen.to_string()),
        }
    }

    /// What so many values mean, and so many sessions with the one that is [telling](Self::telling).
    fn text(self, count: usize, sessions: u64) -> String {
        match self {
            Self::Topologies => format!("The sessions had {count} topologies; each counts beside what its own nodes need."),
            Self::Revisions => format!("The sessions were of {count} revisions of the definition."),
            Self::CmlVersions => format!("The sessions ran on {count} versions of CML."),
            Self::Workers => format!("The sessions ran on {count} workers."),
            Self::WorkerShort => {
                "Some sessions ran on a worker that was short of something: what they used may be less than they needed."
                    .to_owned()
            }
            Self::Sources => {
                "Some sessions were sampled, of others there are snapshots alone: these may have missed the peak.".to_owned()
            }
            Self::BootSeen => {
                let counted = if sessions == 1 { "1 session".to_owned() } else { format!("{sessions} sessions") };
                format!("The boot was not seen in {counted}: at least as much was needed as afterwards, and maybe more.")
            }
        }
    }
}

/// The conditions in which sessions differ.
pub fn mixtures<'a>(sessions: impl Iterator<Item = &'a Conditions> + Clone) -> Vec<Mixture> {
    let mixture = |condition: Condition| {
        let mut counts: BTreeMap<Option<String>, u64> = BTreeMap::new();
        for conditions in sessions.clone() {
            *counts.entry(condition.value(conditions)).or_default() += 1;
        }
        let known = counts.keys().flatten().count();
        let telling = condition.telling().and_then(|value| counts.get(&Some(value.to_owned())));
        let telling = telling.copied().unwrap_or_default();
        // What is unknown of some is no difference between them; that a worker was short is one also if it always was.
        (known > 1 || telling > 0).then(|| {
            let mut values: Vec<MixedValue> =
                counts.into_iter().map(|(value, sessions)| MixedValue { value, sessions }).collect();
            values.sort_by(|one, other| other.sessions.cmp(&one.sessions).then_with(|| one.value.cmp(&other.value)));
            values.truncate(MOST_VALUES);
            Mixture { condition, count: known as u64, values, text: condition.text(known, telling) }
        })
    };
    Condition::ALL.into_iter().filter_map(mixture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_told_apart_by_what_its_sessions_differ_in() {
        let session = |worker: &str, revision, source| Conditions {
            worker: Some(worker.to_owned()),
            revision: Some(revision),
            source,
            ..Conditions::default()
        };
        let profile = Some(DemandSource::Profile);
        let sessions = [session("w-1", 2, profile), session("w-2", 2, None), session("w-2", 2, profile)];
        let found = mixtures(sessions.iter());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].condition, found[0].count), (Condition::Workers, 2));
        let values: Vec<_> = found[0].values.iter().map(|value| (value.value.as_deref(), value.sessions)).collect();
        assert_eq!(values, [(Some("w-2"), 2), (Some("w-1"), 1)]);
    }

    #[test]
    fn a_worker_that_was_short_is_told_also_where_it_always_was() {
        let session = Conditions { worker_short: Some(true), ..Conditions::default() };
        assert_eq!(mixtures([session].iter())[0].condition, Condition::WorkerShort);
        assert!(mixtures([Conditions { worker_short: Some(false), ..Conditions::default() }].iter()).is_empty());
    }

    #[test]
    fn sessions_whose_boot_was_not_seen_are_counted_where_the_boot_is_included() {
        let session = |boot_seen| Conditions { boot_seen, ..Conditions::default() };
        let found = mixtures([Some(false), Some(true), Some(false)].map(session).iter());
        assert_eq!((found[0].condition, found.len()), (Condition::BootSeen, 1));
        assert!(found[0].text.starts_with("The boot was not seen in 2 sessions"), "{}", found[0].text);
        assert_eq!(mixtures([session(Some(false))].iter()).len(), 1, "also where it never was");
        assert!(mixtures([Some(true), None].map(session).iter()).is_empty());
    }

    #[test]
    fn only_so_many_values_are_listed() {
        let sessions: Vec<Conditions> =
            (0..50).map(|revision| Conditions { revision: Some(revision), ..Conditions::default() }).collect();
        let found = mixtures(sessions.iter());
        assert_eq!((found[0].count, found[0].values.len()), (50, MOST_VALUES));
    }
}
