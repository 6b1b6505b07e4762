//! An aggregate whose commands record as many events as they are told to.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use domain::{Decide, Decision};
use serde::{Deserialize, Serialize};

/// How often something was counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counter {
    pub(super) total: u64,
}

/// Count this often, one event each, of this type and with this text.
#[derive(Debug, Clone)]
pub(super) struct Count {
    pub(super) times: usize,
    pub(super) event_type: &'static str,
    pub(super) note: String,
}

impl Count {
    pub(super) fn times(times: usize, note: impl Into<String>) -> Self {
        Self { times, event_type: "counter.counted", note: note.into() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(super) struct Counted {
    event_type: String,
    pub(super) note: String,
}

/// Counters never refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("never")]
pub(super) enum Never {}

impl DomainEvent for Counted {
    fn event_type(&self) -> String {
        self.event_type.clone()
    }
    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Decide for Counter {
    const SNAPSHOT_SHAPE: i32 = 1;

    fn weight(&self) -> usize {
        size_of::<Self>()
    }

    fn decide(&self, count: Count) -> Result<Decision<Counted>, Never> {
        let counted = Counted { event_type: count.event_type.to_owned(), note: count.note };
        Ok(Decision::Record(vec![counted; count.times]))
    }
}

impl Aggregate for Counter {
    const TYPE: &'static str = "counter";
    type Command = Count;
    type Event = Counted;
    type Error = Never;
    type Services = ();

    async fn handle(&mut self, command: Count, (): &(), sink: &EventSink<Self>) -> Result<(), Never> {
        if let Decision::Record(events) = self.decide(command)? {
            for event in events {
                sink.write(event, self).await;
            }
        }
        Ok(())
    }

    fn apply(&mut self, _: Counted) {
        self.total += 1;
    }
}
