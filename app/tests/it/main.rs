//! The application against real Postgres and NATS.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod advice;
mod authority;
mod bodies;
mod bus_configuration;
mod bus_sign_in;
mod bus_store;
mod command_consumer;
mod consumers;
mod dead_letters;
mod log;
mod proposals;
mod records;
mod relay;
mod repair;
mod stage;
mod statements;
mod traces;
mod watcher;
