//! The controller against a real nats-server and a CML simulator that speaks the real protocol over TLS.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod cml;
mod command_consumer;
mod destinations;
mod pressure;
mod requests;
mod sampling;
mod sampling_faults;
mod surroundings;
mod timeslots;
mod wake_ups;
