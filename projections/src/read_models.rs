//! The read models, one file each: rows, fold, queries.

pub mod definitions;
pub mod event_relations;
pub mod observation_requests;
pub mod observations;
pub mod session_history;
pub mod sessions;
pub mod workers;
