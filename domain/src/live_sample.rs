//! What came of each attempt to sample a running session, as controllers tell it: to each other, so that they know who
//! samples what, and to whoever shows live pages. Nobody keeps these messages: whoever does not hear one finds what it says
//! in the session's summary later.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ids::SessionId;
use crate::observation::{GapReason, MOST_NODES, Phase};

/// Largest message, in bytes.
pub const LARGEST: usize = 1024 * 1024;

/// What came of one attempt to sample a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LiveSample<Id> {
    /// The session.
    pub session_id: SessionId,
    /// The controller that samples it.
    pub controller: Id,
    /// Revision of the store at which that controller took the session over. Of two controllers, the one with the greater
    /// term samples it.
    pub term: u64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A sample, why there is none, that there will be one, or that the controller leaves the session to others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// A sample.
    Sampled {
        /// The sample.
        sample: Sample,
        /// What it says of the lab as a whole.
        #[serde(default)]
        lab: LabSample,
    },
    /// There is none.
    Missed {
        /// Why.
        reason: GapReason,
    },
    /// Nothing yet; the session is sampled all the same.
    Pending,
    /// The controller ends.
    Released,
}

/// What a lab uses at one instant: what counts for its profile. Null is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabSample {
    /// What the lab was doing.
    #[serde(default)]
    pub phase: Phase,
    /// The time that it stands for: that since the last sample, and no longer than planned.
    #[serde(default)]
    pub seconds: u32,
    /// Cores.
    pub cpu_cores: Option<f64>,
    /// MB.
    pub memory_mb: Option<f64>,
    /// MB.
    pub storage_mb: Option<f64>,
}

/// What the nodes of a lab use at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// When, by the controller's clock.
    pub at: DateTime<Utc>,
    /// Nodes that have started, by id.
    pub nodes: BTreeMap<String, NodeSample>,
    /// Nodes of which nothing is known, not even whether they have started.
    #[serde(default)]
    pub unknown_nodes: u32,
    /// Entries that could not be read, and the first of them.
    #[serde(default)]
    pub unreadable: Option<(u32, String)>,
}

/// What a node uses at one instant. Null is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeSample {
    /// Seconds since it started, by the worker's clock.
    pub started_for: Option<u64>,
    /// Seconds since it booted, by the worker's clock; 0: it has not.
    pub booted_for: Option<u64>,
    /// Cores.
    pub cpu_cores: Option<f64>,
    /// MB.
    pub memory_mb: Option<f64>,
    /// MB.
    pub storage_mb: Option<f64>,
    /// Bytes read and written by its disk, which only grow while it runs.
    pub disk_bytes: Option<u64>,
}

impl<Id: DeserializeOwned> LiveSample<Id> {
    /// Reads a message. `None`: it is too large, has too many nodes, or is of another form.
    pub fn read(payload: &[u8]) -> Option<Self> {
        if payload.len() > LARGEST {
            return None;
        }
        let read: Self = serde_json::from_slice(payload).ok()?;
        let fits = match &read.outcome {
            Outcome::Sampled { sample, .. } => sample.nodes.len() <= MOST_NODES,
            Outcome::Missed { .. } | Outcome::Pending | Outcome::Released => true,
        };
        fits.then_some(read)
    }
}

impl LabSample {
    /// Of a sample that was counted for this phase, and stands for so many seconds.
    pub fn new(phase: Phase, seconds: u32, sample: &Sample) -> Self {
        let [cpu_cores, memory_mb, storage_mb] = sample.totals();
        Self { phase, seconds, cpu_cores, memory_mb, storage_mb }
    }
}

impl Sample {
    /// Leaves out nodes that are not of the lab, and notes them as unreadable.
    pub fn keep_only(&mut self, nodes_of_lab: &BTreeSet<String>) {
        let mut strangers = self.nodes.extract_if(.., |id, _| !nodes_of_lab.contains(id)).map(|(id, _)| id);
        if let Some(first) = strangers.next() {
            let count = u32::try_from(strangers.count()).unwrap_or(u32::MAX).saturating_add(1);
            let (before, example) = self.unreadable.take().unwrap_or_default();
            let example = if example.is_empty() { format!("{first} is no node of this lab") } else { example };
            self.unreadable = Some((before.saturating_add(count), example));
        }
    }

    /// What the lab uses: cores, MB of memory, MB on disk. A sum of which a part is unknown is unknown.
    pub fn totals(&self) -> [Option<f64>; 3] {
        [0, 1, 2].map(|which| self.nodes.values().map(|node| node.amounts()[which]).sum())
    }

    /// Whether any amount of it is known.
    pub fn has_amounts(&self) -> bool {
        self.nodes.values().any(|node| node.amounts().into_iter().any(|amount| amount.is_some()))
    }
}

impl NodeSample {
    /// Cores, MB of memory, MB on disk.
    pub fn amounts(&self) -> [Option<f64>; 3] {
        [self.cpu_cores, self.memory_mb, self.storage_mb]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(outcome: Outcome) -> LiveSample<String> {
        LiveSample { session_id: SessionId::parse("s-1").unwrap(), controller: "c-1".to_owned(), term: 7, outcome }
    }

    fn sampled() -> LiveSample<String> {
        let node = NodeSample {
            started_for: Some(95),
            booted_for: Some(0),
            cpu_cores: Some(1.5),
            memory_mb: None,
            storage_mb: Some(900.0),
            disk_bytes: Some(46_081_024),
        };
        let sample = Sample {
            at: "2026-03-01T10:00:00Z".parse().unwrap(),
            nodes: [("n0".to_owned(), node)].into(),
            unknown_nodes: 1,
            unreadable: Some((2, "n1: disk_usage is negative".to_owned())),
        };
        live(Outcome::Sampled { lab: LabSample::new(Phase::Boot, 3, &sample), sample })
    }

    #[test]
    fn each_outcome_has_its_form_on_the_wire_and_is_read_from_it() {
        let all = [
            sampled(),
            live(Outcome::Missed { reason: GapReason::WorkerAway }),
            live(Outcome::Pending),
            live(Outcome::Released),
        ];
        for one in &all {
            assert_eq!(LiveSample::read(&serde_json::to_vec(one).unwrap()).as_ref(), Some(one));
        }
        insta::assert_json_snapshot!(all, @r#"
        [
          {
            "session_id": "s-1",
            "controller": "c-1",
            "term": 7,
            "outcome": "sampled",
            "sample": {
              "at": "2026-03-01T10:00:00Z",
              "nodes": {
                "n0": {
                  "started_for": 95,
                  "booted_for": 0,
                  "cpu_cores": 1.5,
                  "memory_mb": null,
                  "storage_mb": 900.0,
                  "disk_bytes": 46081024
                }
              },
              "unknown_nodes": 1,
              "unreadable": [
                2,
                "n1: disk_usage is negative"
              ]
            },
            "lab": {
              "phase": "boot",
              "seconds": 3,
              "cpu_cores": 1.5,
              "memory_mb": null,
              "storage_mb": 900.0
            }
          },
          {
            "session_id": "s-1",
            "controller": "c-1",
            "term": 7,
            "outcome": "missed",
            "reason": "worker_away"
          },
          {
            "session_id": "s-1",
            "controller": "c-1",
            "term": 7,
            "outcome": "pending"
          },
          {
            "session_id": "s-1",
            "controller": "c-1",
            "term": 7,
            "outcome": "released"
          }
        ]
        "#);
    }

    #[test]
    fn members_that_are_missing_are_unknown_and_what_does_not_fit_is_not_read() {
        let message = |outcome: serde_json::Value| {
            let mut message = serde_json::json!({"session_id": "s-1", "controller": "c-1", "term": 7});
            message.as_object_mut().unwrap().extend(outcome.as_object().unwrap().clone());
            LiveSample::<String>::read(message.to_string().as_bytes())
        };
        let nodes = |count: usize| -> serde_json::Value {
            let nodes: BTreeMap<String, _> = (0..count).map(|at| (format!("n{at}"), serde_json::json!({}))).collect();
            serde_json::json!({"outcome": "sampled", "sample": {"at": "2026-03-01T10:00:00Z", "nodes": nodes}})
        };
        let Some(Outcome::Sampled { sample, lab }) = message(nodes(1)).map(|read| read.outcome) else {
            panic!("no sample")
        };
        assert_eq!((sample.totals(), lab), ([None, None, None], LabSample::default()));
        assert!(message(nodes(MOST_NODES)).is_some() && message(nodes(MOST_NODES + 1)).is_none());
        assert!(message(serde_json::json!({"outcome": "teleported"})).is_none());
        assert!(LiveSample::<String>::read(&vec![b' '; LARGEST + 1]).is_none());
    }
}
