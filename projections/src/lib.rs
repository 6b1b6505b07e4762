//! Read models: rows derived from the log, kept by projectors that follow it, and the queries on them.
//!
//! One file per read model under [`read_models`] holds its rows, its fold and its queries. A fold is a function of rows in
//! memory and an event; how rows come from Postgres and go there is the same for all. [`Runner`] moves them along the
//! [`Feed`], [`rebuild`] makes them anew, [`verify`] compares them with the log. The history of a session needs no read model: it
//! is the log's own rows in the order of its primary key, see [`read_models::session_history`].

mod allocation_warnings;
mod checkpoint;
pub mod dead_letters;
pub mod discarded_letters;
pub mod feed;
pub mod freshness;
pub mod names;
pub mod overview;
pub mod page;
pub mod parked;
pub mod port_drift;
pub mod projector;
pub mod read_models;
pub mod rebuild;
pub mod refused;
pub mod replica;
mod requested_retries;
pub mod rights;
pub mod runner;
pub mod search;
mod sharing;
mod stored_ports;
mod table;
pub mod verifications;
pub mod verify;
mod working_set;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use app::log::{Log, Position};
use bus::{Bus, subjects};
use futures_util::StreamExt as _;
use sqlx::Connection as _;
use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::PgPool;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use checkpoint::Checkpoint;
pub use feed::Feed;
pub use page::{Listed, Page, PageRequest, UnreadableRow};
pub use parked::Parked;
pub use read_models::ReadModel;
pub use runner::{FeedSource, Runner, RunnerOptions};

/// A read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(domain::Invalid),
    /// The database does not answer, or what it answers is not understood: [`app::database::DatabaseFailure`] tells
    /// which.
    #[error("the read models cannot be read")]
    Database(#[source] sqlx::Error),
    /// The log does not answer, or what it holds is not understood.
    #[error("the log cannot be read")]
    Log(#[source] app::log::LogError),
    /// What was asked for is there, and its row cannot be read.
    #[error("the row {} of {list} cannot be read: {}", .row.id, .row.reason)]
    Unreadable {
        /// Of which rows it is one.
        list: &'static str,
        /// The row.
        row: UnreadableRow,
    },
    /// A retry that a process that keeps the read model was asked for.
    #[error("the retry was not carried out by a process that keeps the read model {model}: {failure}")]
    NotCarriedOut {
        /// Which one.
        model: ReadModel,
        /// Why not.
        failure: String,
    },
}

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<app::log::LogError> for ReadError {
    fn from(error: app::log::LogError) -> Self {
        Self::Log(error)
    }
}

/// A read model did not come to a position in time.
#[derive(Debug, thiserror::Error)]
pub enum Behind {
    /// It is still on its way.
    #[error("the read model {model} has not come to position {wanted}; it is at {reached}")]
    Late {
        /// Which one.
        model: ReadModel,
        /// Where it was to be.
        wanted: Position,
        /// Where it is.
        reached: Position,
    },
    /// The database does not answer.
    #[error("the read models cannot be read")]
    Unavailable(#[source] sqlx::Error),
}

/// How long a waiter sleeps at most before it looks again without a signal.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Connections of one process for reading rows.
const READING_CONNECTIONS: u32 = 12;
/// Answers of one process at once for which sessions are gone through again: each takes a core for a while, and one of these
/// connections.
const REPLAYS: usize = 2;
/// A connection that came back alive, and has rested no longer than this since, is given out without being asked again.
const TRUSTED_FOR: Duration = Duration::from_millis(100);

/// Connections for reading rows of read models. A pool asks a connection that comes back whether it lives, and again before
/// it gives it out, which is a third of what a read sends under load. A command must not fail because Postgres has ended
/// its connection in between; a read is simply made again by whoever asked.
fn reading_pool(pool: &PgPool) -> PgPool {
    pool.options()
        .clone()
        .max_connections(READING_CONNECTIONS.min(pool.options().get_max_connections()))
        .test_before_acquire(false)
        .before_acquire(|connection, PoolConnectionMetadata { idle_for, .. }| {
            Box::pin(async move {
                if idle_for > TRUSTED_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(pool.connect_options().as_ref().clone())
}

/// The read models of one database. Cheap to clone; clones hear of each other's moves.
#[derive(Debug, Clone)]
pub struct Projections {
    pub(crate) pool: PgPool,
    /// For reading rows, see [`reading_pool`].
    pub(crate) reads: PgPool,
    pub(crate) log: Log,
    pub(crate) moved: watch::Sender<u64>,
    pub(crate) unreadable: Arc<page::UnreadableWatch>,
    pub(crate) feed: Arc<Feed>,
    /// Turns at going through sessions again, for what was advised at an earlier position.
    pub(crate) replays: Arc<Semaphore>,
}

impl Projections {
    /// The read models beside this log, in the same database.
    pub fn new(log: Log) -> Self {
        freshness::describe_metrics();
        allocation_warnings::describe_metrics();
        Self {
            pool: log.pool().clone(),
            reads: reading_pool(log.pool()),
            log,
            moved: watch::Sender::new(0),
            unreadable: Arc::default(),
            feed: Arc::default(),
            replays: Arc::new(Semaphore::new(REPLAYS)),
        }
    }

    /// Changes whenever a read model is heard to have moved.
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    pub(crate) fn announce_move(&self) {
        self.moved.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Waits until every one of these read models has come to a position: a read after it sees what was written there.
    ///
    /// # Errors
    /// [`Behind`] when one has not within `timeout`.
    pub async fn wait_for(&self, models: &[ReadModel], wanted: Position, timeout: Duration) -> Result<(), Behind> {
        let until = tokio::time::Instant::now() + timeout;
        let mut moved = self.moved();
        for model in models {
            loop {
                moved.mark_unchanged();
                let reached = self.position(*model).await.map_err(Behind::Unavailable)?;
                if reached >= wanted {
                    break;
                }
                let now = tokio::time::Instant::now();
                if now >= until {
                    return Err(Behind::Late { model: *model, wanted, reached });
                }
                // Elapsing is no failure: another process's signal may be lost, and then looking again has to do.
                if let Ok(Err(_)) = tokio::time::timeout(LOOK_AGAIN.min(until - now), moved.changed()).await {
                    tokio::time::sleep(LOOK_AGAIN.min(until - now)).await;
                }
            }
        }
        Ok(())
    }

    /// How far a read model has come.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn position(&self, model: ReadModel) -> sqlx::Result<Position> {
        Ok(Checkpoint::read(&self.reads, model.schema()).await?.position)
    }

    /// The newest events of the log, which all read models of this process share.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Listens to the nudges of other processes, until cancelled. Needed only where no [`Runner`] runs.
    pub async fn listen(&self, bus: &Bus, token: CancellationToken) {
        let hear = forward(bus, subjects::NUDGE_PROJECTIONS, &self.moved);
        if token.run_until_cancelled(hear).await.is_none() {
            tracing::debug!("listening to nudges stopped");
        }
    }
}

/// Passes on the wake-up signals of other processes on a subject. Never ends: without a connection it tries again.
pub(crate) async fn forward(bus: &Bus, subject: &'static str, wake: &watch::Sender<u64>) {
    let mut backoff = bus::Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        match bus.nudges(subject).await {
            Ok(mut nudges) => {
                backoff.reset();
                while nudges.next().await.is_some() {
                    wake.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, subject, "cannot listen to nudges"),
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

pub(crate) fn parse_position(text: &str) -> sqlx::Result<Position> {
    text.parse().map_err(|error| sqlx::Error::ColumnDecode { index: "position".to_owned(), source: Box::new(error) })
}
