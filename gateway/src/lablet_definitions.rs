//! Definitions.

pub(crate) mod create;
pub(crate) mod deviations;
pub(crate) mod list;
pub(crate) mod observations;
pub(crate) mod revise;
pub(crate) mod revisions;
pub(crate) mod shape;
pub(crate) mod show;
pub(crate) mod sizing_gaps;
