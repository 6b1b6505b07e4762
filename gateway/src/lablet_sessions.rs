//! Sessions.

pub(crate) mod create;
pub(crate) mod events;
pub(crate) mod evidence;
pub(crate) mod filter;
pub(crate) mod life;
pub(crate) mod list;
pub(crate) mod node;
pub(crate) mod node_profile;
pub(crate) mod nodes;
pub(crate) mod observations;
pub(crate) mod port_drift;
pub(crate) mod profile;
pub(crate) mod record_observation;
pub(crate) mod request_observation;
pub(crate) mod samples;
pub(crate) mod shape;
pub(crate) mod show;
pub(crate) mod status_counts;
pub(crate) mod transition;
