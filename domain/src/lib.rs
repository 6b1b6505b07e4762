//! The rules of Lablet: aggregates, events and value objects.
//!
//! Pure by construction. Nothing here performs I/O, reads a clock or draws a random number: a decision takes what it
//! needs, time included, in its command. cqrs-es is used for its `Aggregate` trait alone.
//!
//! Read [`lablet_session`] first; it is the reason for everything else.

pub mod actor;
pub mod advice_policy;
pub mod cml_lab;
pub mod controller_report;
pub mod decision;
pub mod demand;
pub mod evidence;
pub mod ids;
pub mod invalid;
pub mod lab_topology;
pub mod lablet_definition;
pub mod lablet_session;
pub mod list;
pub mod live_sample;
pub mod nominal;
pub mod number;
pub mod observation;
pub mod observation_summary;
pub mod phases;
pub mod port_drift;
pub mod port_names;
pub mod port_tags;
pub mod ports;
pub mod raw_json;
pub mod resource;
pub mod stored;
pub mod text;
pub mod time;
pub mod timeslot;
pub mod worker;

pub use actor::{Actor, ActorName};
pub use decision::{Decide, Decision};
pub use ids::{DefinitionId, EventId, LabId, ProposalId, RequestId, SessionId, WorkerId};
pub use invalid::Invalid;
pub use list::List;
pub use number::{Amount, Share, Whole};
pub use observation_summary::{Contribution, ObservationSummary};
pub use raw_json::RawJson;
