//! The only crate that appends to the log or reads it: commands, the event store, the relay,
//! and the consumer of commands that arrive by NATS.

pub mod authority;
pub mod body;
pub mod command;
pub mod command_consumer;
pub mod commands;
pub mod database;
pub mod dead_letters;
pub mod lease;
pub mod log;
pub mod notice;
pub mod printable;
pub mod records;
pub mod relay;
pub mod schemas;
pub mod warning;
pub mod watcher;
pub mod webhook_targets;
