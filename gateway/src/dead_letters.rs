//! `/api/dead-letters`: what got stuck, and what operators do about it.
//!
//! Three kinds: commands that arrived by NATS and could not be handled, events that the target of a webhook did not take, and
//! events that a read model could not apply (with those of the same aggregate behind them).

pub(crate) mod cause;
pub(crate) mod discard;
pub(crate) mod discarded;
pub(crate) mod groups;
pub(crate) mod letter_id;
pub(crate) mod list;
pub(crate) mod retry;
pub(crate) mod show;

use app::dead_letters::DeadLetters;

use crate::queries::Queries;

/// All kinds, where they are kept. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DeadLetterStores {
    /// Commands, and events of webhooks.
    pub(crate) messages: DeadLetters,
    pub(crate) queries: Queries,
}
