//! Webhooks against a real receiver and a real Postgres.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod addresses;
mod deliveries;
mod failures;
mod operators;
mod world;
