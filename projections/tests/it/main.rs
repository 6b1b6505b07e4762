//! The read models against real Postgres.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod folding;
mod world;
