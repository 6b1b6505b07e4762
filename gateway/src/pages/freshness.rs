//! How far the read models are, for every page, asked of the database at most once a second.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use app::log::Position;
use projections::freshness::Freshness;
use projections::{Projections, ReadError};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How old an answer may be.
const SERVES: Duration = Duration::from_secs(1);

/// A read model that does not show what was written so long ago counts as late.
const TOLERATED: Duration = Duration::from_secs(5);

/// How old an answer may be while another request asks for the next.
const SERVES_MEANWHILE: Duration = Duration::from_secs(5);

/// Holds the newest answer, and one old enough to tell whether a read model is late. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct FreshnessWatch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reads: Projections,
    newest: std::sync::Mutex<Option<Arc<FreshnessReading>>>,
    asking: Mutex<()>,
}

#[derive(Debug)]
struct FreshnessReading {
    at: Instant,
    all: Vec<Freshness>,
    /// Ends of the log, each with the time at which it was read: the newest that is older than [`TOLERATED`], and those
    /// after it.
    heads: Vec<(Instant, Position)>,
}

/// How far the read models are.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Every read model shows at least this.
    pub(crate) position: Position,
    /// Those that lack what was written some time ago.
    pub(crate) late: Vec<Freshness>,
}

impl FreshnessWatch {
    /// Of these read models.
    pub(crate) fn new(reads: Projections) -> Self {
        Self(Arc::new(Inner { reads, newest: std::sync::Mutex::default(), asking: Mutex::default() }))
    }

    /// How far the read models are, or were a second ago.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn look(&self) -> Result<State, ReadError> {
        let is_younger = |reading: &Arc<FreshnessReading>, than| reading.at.elapsed() < than;
        let known = self.newest();
        if let Some(reading) = known.as_ref().filter(|reading| is_younger(reading, SERVES)) {
            return Ok(reading.state());
        }
        // One request asks. The others take the last answer, or wait where it is too old.
        let asking = match (self.0.asking.try_lock(), known) {
            (Ok(asking), _) => asking,
            (Err(_), Some(reading)) if is_younger(&reading, SERVES_MEANWHILE) => return Ok(reading.state()),
            (Err(_), _) => self.0.asking.lock().await,
        };
        let known = self.newest();
        if let Some(reading) = known.as_ref().filter(|reading| is_younger(reading, SERVES)) {
            return Ok(reading.state());
        }
        let all = self.0.reads.freshness().await?.items;
        let now = Instant::now();
        let mut heads = known.map(|reading| reading.heads.clone()).unwrap_or_default();
        heads.extend(all.first().map(|model| (now, model.head)));
        let settled = heads.iter().rposition(|(at, _)| now.duration_since(*at) >= TOLERATED).unwrap_or(0);
        heads.drain(..settled);
        let reading = Arc::new(FreshnessReading { at: now, all, heads });
        *self.0.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&reading));
        drop(asking);
        Ok(reading.state())
    }

    fn newest(&self) -> Option<Arc<FreshnessReading>> {
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl FreshnessReading {
    fn state(&self) -> State {
        let written = self.heads.first().filter(|(at, _)| self.at.duration_since(*at) >= TOLERATED);
        let late = |model: &&Freshness| written.is_some_and(|(_, head)| model.position < *head);
        State {
            position: self.all.iter().map(|model| model.position).min().unwrap_or(Position::START),
            late: self.all.iter().filter(late).cloned().collect(),
        }
    }
}
