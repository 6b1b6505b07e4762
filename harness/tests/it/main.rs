//! Journeys through the whole system, and the rules of this repository.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod browser;
mod circles;
mod compose;
mod debian;
mod documents;
mod journeys;
mod kubernetes;
mod monitoring;
mod otlp_receiver;
mod packaging;
mod pages;
mod sign_in;
mod tidy;
mod vendored;
mod words;
