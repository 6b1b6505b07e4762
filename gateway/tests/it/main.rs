//! The gateway over real HTTP, on a real Postgres, with the read models following along.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod advice;
mod attention;
mod bad_input;
mod bodies;
mod connections;
mod csv_files;
mod definitions;
mod documents;
mod events;
mod everything;
mod fairness;
mod first_steps;
mod lists;
mod operations;
mod page_forms;
mod pages_advice;
mod pages_definitions;
mod pages_more;
mod pages_sessions;
mod port_drift;
mod proposals;
mod provider;
mod public_path;
mod replica;
mod samples;
mod sessions;
mod sign_in;
mod sign_in_at_provider;
mod stream;
mod two_entrances;
mod unshowable;
mod webhooks;
mod what_is_accepted;
mod who;
mod workers;
mod world;
