//! Comparisons of the log with stock postgres-es, and the counting aggregate that both are compared on.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use domain::{Decide, Decision};
use serde::{Deserialize, Serialize};

/// An aggregate whose state tells how often each event was applied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    /// The sum of all additions.
    pub total: u64,
}

/// Add to the counter.
#[derive(Debug, Clone)]
pub struct Add {
    /// How much, in one event each.
    pub amounts: Vec<u64>,
    /// Ballast that gives the events a size.
    pub note: String,
}

/// Something was added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Added {
    /// How much.
    pub amount: u64,
    /// Ballast.
    pub note: String,
}

/// A counter refuses to count beyond its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the counter is full")]
pub struct Full;

impl DomainEvent for Added {
    fn event_type(&self) -> String {
        "counter.added".to_owned()
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

    fn decide(&self, command: Add) -> Result<Decision<Added>, Full> {
        let added = command.amounts.iter().try_fold(self.total, |total, amount| total.checked_add(*amount));
        added.ok_or(Full)?;
        Ok(Decision::Record(
            command.amounts.into_iter().map(|amount| Added { amount, note: command.note.clone() }).collect(),
        ))
    }
}

impl Aggregate for Counter {
    const TYPE: &'static str = "counter";
    type Command = Add;
    type Event = Added;
    type Error = Full;
    type Services = ();

    async fn handle(&mut self, command: Add, (): &(), sink: &EventSink<Self>) -> Result<(), Full> {
        if let Decision::Record(events) = self.decide(command)? {
            for event in events {
                sink.write(event, self).await;
            }
        }
        Ok(())
    }

    fn apply(&mut self, event: Added) {
        self.total = self.total.saturating_add(event.amount);
    }
}

/// A note of about this many bytes, as compressible as an observation is. Without colons: pgbench takes them for its
/// variables.
pub fn note(bytes: usize, seed: u64) -> String {
    let mut state = seed | 1;
    let mut note = String::with_capacity(bytes + 64);
    while note.len() < bytes {
        // xorshift: cheap, and different for every event.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        note.push_str(&format!("GigabitEthernet0/{} 5254.00{:06x} STARTED; ", state % 8, state & 0x00ff_ffff));
    }
    note.truncate(bytes);
    note
}
