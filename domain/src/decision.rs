//! What an aggregate answers to a command.

use cqrs_es::Aggregate;
use schemars::JsonSchema;

/// The answer of a decision that was not refused.
///
/// Repeating a command that already took effect is neither an error nor a second event, and it is not hidden either:
/// the caller sees which of the two it was.
#[must_use]
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<E> {
    /// Append these events, all or none, in this order.
    Record(Vec<E>),
    /// The command took effect before; there is nothing to append.
    AlreadyDone,
}

impl<E> Decision<E> {
    /// A decision with exactly one event.
    pub fn one(event: E) -> Self {
        Self::Record(vec![event])
    }
}

/// A pure, synchronous decision over an aggregate. `Aggregate::handle` of every aggregate is a shell around it.
pub trait Decide:
    Aggregate<
        Services = (),
        Command: Clone + Send + Sync,
        Event: JsonSchema + 'static,
        Error: Clone + Send + Sync + 'static,
    > + Clone
    + 'static
{
    /// Raised whenever the serialised state changes its shape, so that older snapshots are discarded.
    const SNAPSHOT_SHAPE: i32;

    /// Decides on a command. Same state and same command give the same answer.
    ///
    /// # Errors
    /// The aggregate's own error when a rule refuses the command; nothing is to be appended then.
    fn decide(&self, command: Self::Command) -> Result<Decision<Self::Event>, Self::Error>;

    /// About how many bytes the state takes. It is called after every command, so it counts entries without looking at
    /// them.
    fn weight(&self) -> usize;

    /// The version on which a caller's change rests (`If-Match`), of the state after `sequence` events: that number, unless
    /// some events do not outdate what a caller had seen.
    fn version(&self, sequence: i64) -> i64 {
        sequence
    }
}

/// The body of `Aggregate::handle` for every aggregate here: decide, then write each event.
pub(crate) async fn handle<A: Decide>(
    aggregate: &mut A,
    command: A::Command,
    sink: &cqrs_es::event_sink::EventSink<A>,
) -> Result<(), A::Error> {
    match aggregate.decide(command)? {
        Decision::AlreadyDone => Ok(()),
        Decision::Record(events) => {
            for event in events {
                sink.write(event, aggregate).await;
            }
            Ok(())
        }
    }
}
