//! Filters of lists under a name: a person's own ones, and those that are shared with everybody. They are preferences, no
//! facts, so they are rows of a table and not in the log.

pub(crate) mod list;
pub(crate) mod remove;
pub(crate) mod rules;
pub(crate) mod save;
pub(crate) mod store;
