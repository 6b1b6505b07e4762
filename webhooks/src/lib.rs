//! Webhooks: what the log records, sent to targets by HTTP.
//!
//! They follow the log and not the bus, so that losing the bus loses nothing. Each target gets the notices that the bus gets,
//! in the order of the log and at least once, by CloudEvents' HTTP binding and signed by Standard Webhooks, or as a message
//! for people in Slack or Teams. Nothing is sent to an address inside, unless the target's settings allow it.

mod address;
mod answer;
mod deliverer;
mod log_pages;
mod message;
mod resolver;
mod sender;
mod signature;
mod targets;
mod trial;
mod worker;

pub use address::{AddressRefused, AllowedNetworks};
pub use answer::RetryWaits;
pub use deliverer::{Deliverer, DelivererOptions};
pub use message::{Site, TEST_TYPE};
pub use resolver::Lookup;
pub use sender::SenderError;
pub use signature::SigningSecret;
pub use targets::{EventFilter, Format, RetryLimits, Target, TargetsError};
pub use trial::{Trial, TrialError};
