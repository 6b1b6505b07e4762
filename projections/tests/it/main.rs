//! Read models on a real Postgres.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod advice;
mod analytics;
mod any_command;
mod evidence;
mod fed_by_the_bus;
mod given;
#[path = "../../../domain/tests/it/hostile.rs"]
mod hostile;
mod of_a_definition;
mod of_a_session;
mod of_a_worker;
mod of_an_event;
mod of_everything;
mod parking;
mod port_drift;
mod queries;
mod rebuilding;
mod running;
mod sharing;
mod sizing;
mod speed;
mod transaction_ids;
mod unreadable;
mod unreadable_advice;
mod verifying;
