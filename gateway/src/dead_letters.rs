//! `/api/dead-letters`: what got stuck, and what operators do about it.
//!
//! Two kinds: commands that arrived by NATS and could not be handled, and events that a read model could not apply
//! (with those of the same aggregate behind them).

pub(crate) mod discard;
pub(crate) mod letter_id;
pub(crate) mod list;
pub(crate) mod retry;
pub(crate) mod show;

use app::dead_letters::DeadLetters;

use crate::queries::Queries;

/// Both kinds, where they are kept. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DeadLetterStores {
    pub(crate) commands: DeadLetters,
    pub(crate) queries: Queries,
}
