//! `/api/dead-letters`: what got stuck, and what operators do about it.
//!
//! Two kinds: commands that arrived by NATS and could not be handled, and events that a read model could not apply
//! (with those of the same aggregate behind them).

pub(crate) mod discard;
pub(crate) mod letter_id;
pub(crate) mod list;
pub(crate) mod retry;
pub(crate) mod show;
