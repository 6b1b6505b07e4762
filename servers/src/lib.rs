//! A private Postgres cluster and a private nats-server as child processes, below a data folder of their own,
//! on 127.0.0.1 and free ports. They end with the process that started them however that ends; the next start
//! finds what is left and clears it. `lablet up` runs on these, and so do all tests ([`testing`]).
//!
//! Everything is blocking-free except starting the children themselves and small files.

mod error;
mod folder;
mod nats;
mod postgres;
mod process;
pub mod testing;

pub use self::error::ServerError;
pub use self::nats::{NatsAccounts, NatsOptions, NatsServer};
pub use self::postgres::{PostgresOptions, PostgresServer, SUPERUSER, client_program};
