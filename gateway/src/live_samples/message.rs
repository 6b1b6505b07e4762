//! A live sample: as a controller publishes it, and as pages show it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::live_sample::{LabSample, LiveSample, NodeSample, Outcome, Sample};
use domain::observation::GapReason;
use serde::Serialize;
use serde::de::IgnoredAny;

use super::Heard;

/// What a session's lab used at one instant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ShownSample {
    /// When, by the controller's clock.
    at: DateTime<Utc>,
    #[serde(flatten)]
    lab: LabSample,
    /// Nodes that have started, by id.
    nodes: BTreeMap<String, ShownNode>,
}

/// A sample that could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct MissedSample {
    /// When that was heard.
    at: DateTime<Utc>,
    reason: GapReason,
}

/// What one node uses. What is not known is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct ShownNode {
    cpu_cores: Option<f64>,
    memory_mb: Option<f64>,
    storage_mb: Option<f64>,
}

impl ShownNode {
    fn new(node: &NodeSample) -> Self {
        let [cpu_cores, memory_mb, storage_mb] = node.amounts();
        Self { cpu_cores, memory_mb, storage_mb }
    }
}

/// Reads the messages about one session.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Of two controllers that sample the session for a moment, the one with the greater term does.
    term: u64,
}

impl Reader {
    /// What a message that came `now` says. `None`: nothing that is shown, nothing that can be read, or it comes from a
    /// controller that was replaced.
    pub(super) fn read(&mut self, payload: &[u8], now: DateTime<Utc>) -> Option<Heard> {
        let LiveSample::<IgnoredAny> { term, outcome, .. } = LiveSample::read(payload)?;
        if term < self.term {
            return None;
        }
        self.term = term;
        match outcome {
            Outcome::Sampled { sample, lab } => {
                let Sample { at, nodes, .. } = sample;
                let nodes = nodes.into_iter().map(|(id, node)| (id, ShownNode::new(&node))).collect();
                Some(Heard::Sampled(Box::new(ShownSample { at, lab, nodes })))
            }
            Outcome::Missed { reason } => Some(Heard::Missed(MissedSample { at: now, reason })),
            Outcome::Pending | Outcome::Released => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(reader: &mut Reader, message: &Value) -> Option<Heard> {
        reader.read(message.to_string().as_bytes(), DateTime::UNIX_EPOCH)
    }

    fn sampled(term: u64) -> Value {
        json!({
            "session_id": "s1", "controller": "00000000-0000-0000-0000-000000000001", "term": term, "outcome": "sampled",
            "sample": {"at": "2026-03-01T10:00:00Z", "unknown_nodes": 0, "unreadable": null, "nodes": {
                "n0": {"started_for": 9, "booted_for": 0, "cpu_cores": 1.5, "memory_mb": null, "storage_mb": 7.0,
                       "disk_bytes": 1}}},
            "lab": {"phase": "boot", "seconds": 3, "cpu_cores": 1.5, "memory_mb": null, "storage_mb": 7.0},
        })
    }

    #[test]
    fn a_sample_is_shown_with_what_is_unknown_of_it() {
        let Some(Heard::Sampled(sample)) = read(&mut Reader::default(), &sampled(3)) else { panic!("no sample") };
        assert_eq!(
            serde_json::to_value(&sample).unwrap(),
            json!({"at": "2026-03-01T10:00:00Z", "seconds": 3, "phase": "boot", "cpu_cores": 1.5, "memory_mb": null,
                   "storage_mb": 7.0, "nodes": {"n0": {"cpu_cores": 1.5, "memory_mb": null, "storage_mb": 7.0}}})
        );
    }

    #[test]
    fn a_missed_sample_is_shown_with_its_reason_and_what_cannot_be_read_is_not() {
        let mut reader = Reader::default();
        let missed =
            json!({"session_id": "s1", "controller": "c", "term": 1, "outcome": "missed", "reason": "worker_away"});
        let Some(Heard::Missed(missed)) = read(&mut reader, &missed) else { panic!("nothing missed") };
        assert_eq!(serde_json::to_value(missed).unwrap()["reason"], "worker_away");
        for nothing in [
            json!({"session_id": "s1", "controller": "c", "term": 1, "outcome": "pending"}),
            json!({"session_id": "s1", "controller": "c", "term": 1, "outcome": "sampled"}),
            json!([]),
        ] {
            assert!(read(&mut reader, &nothing).is_none(), "{nothing}");
        }
    }

    #[test]
    fn a_controller_that_was_replaced_is_not_heard() {
        let mut reader = Reader::default();
        assert!(read(&mut reader, &sampled(4)).is_some());
        assert!(read(&mut reader, &sampled(3)).is_none());
        assert!(read(&mut reader, &sampled(4)).is_some());
    }
}
