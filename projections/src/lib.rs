//! Read models: one file each, with the fold that fills its rows and the queries that read them; and the runner that
//! follows the log.
//!
//! Everything here is derived. Rows and checkpoint move in one transaction, so an event counts once whatever is killed;
//! a read model that is lost or wrong is rebuilt from the log beside the live one and swapped in.

mod checkpoint;
pub mod dead_letters;
pub mod definitions;
pub mod observation_requests;
pub mod observations;
mod page;
mod projector;
mod runner;
pub mod sessions;
pub mod workers;

use std::collections::BTreeMap;

use app::log::Position;
use sqlx::PgPool;
use tokio::sync::watch;

pub use self::checkpoint::{Behind, ProjectionStatus, WaitError};
pub use self::page::{Cursor, MOST_ROWS, Page, QueryError};
pub use self::projector::{Applied, ApplyError, DomainEvent, Projector, ReadModel, read_models};
pub use self::runner::{Bell, RunError, Runner, RunnerOptions};

/// The way to the read models. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Projections {
    pool: PgPool,
    /// How far the runner of this process has come; empty where there is none.
    moved: watch::Sender<BTreeMap<&'static str, Position>>,
}

impl Projections {
    /// The read models of this database, which has been migrated.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, moved: watch::Sender::new(BTreeMap::new()) }
    }

    /// The connections that it uses.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Changes whenever the runner of this process has moved a read model on: its name and where it is now.
    pub fn moved(&self) -> watch::Receiver<BTreeMap<&'static str, Position>> {
        self.moved.subscribe()
    }

    pub(crate) fn publish(&self, name: &'static str, position: Position) {
        self.moved.send_modify(|moved| {
            moved.insert(name, position);
        });
    }
}
