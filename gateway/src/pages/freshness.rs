//! How far the read models are, for every page, asked of the database at most once a second.

use std::time::Duration;

use app::log::Position;
use projections::freshness::Freshness;
use projections::{Projections, ReadError};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer serves.
const SERVES: Duration = Duration::from_secs(1);

/// What was written so long ago a read model should show: else it counts as late.
const TOLERATED: Duration = Duration::from_secs(5);

/// Keeps the newest answer, and one old enough to tell whether a read model is late.
#[derive(Debug, Default)]
pub(crate) struct FreshnessWatch {
    kept: Mutex<Option<FreshnessReading>>,
}

#[derive(Debug)]
struct FreshnessReading {
    at: Instant,
    all: Vec<Freshness>,
    /// Ends of the log, each with when it was looked at: the newest that is older than [`TOLERATED`], and those after it.
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
    /// How far the read models are, or were a second ago.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn look(&self, reads: &Projections) -> Result<State, ReadError> {
        // Whoever comes while one asks waits for that answer.
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_none_or(|kept| kept.at.elapsed() >= SERVES) {
            let all = reads.freshness().await?.items;
            let now = Instant::now();
            let mut heads = kept.take().map(|kept| kept.heads).unwrap_or_default();
            heads.extend(all.first().map(|model| (now, model.head)));
            let settled = heads.iter().rposition(|(at, _)| now.duration_since(*at) >= TOLERATED).unwrap_or(0);
            heads.drain(..settled);
            *kept = Some(FreshnessReading { at: now, all, heads });
        }
        let Some(kept) = kept.as_ref() else {
            return Ok(State { position: Position::START, late: Vec::new() });
        };
        let written = kept.heads.first().filter(|(at, _)| kept.at.duration_since(*at) >= TOLERATED);
        let late = |model: &&Freshness| written.is_some_and(|(_, head)| model.position < *head);
        Ok(State {
            position: kept.all.iter().map(|model| model.position).min().unwrap_or(Position::START),
            late: kept.all.iter().filter(late).cloned().collect(),
        })
    }
}
