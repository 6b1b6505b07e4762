#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod databases;
mod lives;
mod processes;
mod replicas;
mod with_servers;
