//! The log as all targets of a process read it: a page is read once, and without the events' content.

use std::collections::VecDeque;
use std::sync::Arc;

use app::log::{Log, LogError, Position, RecordedEvent};
use tokio::sync::Mutex;

/// Events of a page.
const PAGE: i64 = 1_000;
/// Pages that are remembered, for targets that are a little behind the others.
const REMEMBERED: usize = 8;

/// Events that follow upon a position, whose payloads are null.
#[derive(Debug, Clone)]
pub(crate) struct LogPage {
    pub(crate) after: Position,
    pub(crate) events: Arc<Vec<RecordedEvent>>,
}

/// Reads pages for several targets.
pub(crate) struct LogPages {
    log: Log,
    recent: Mutex<VecDeque<LogPage>>,
}

impl LogPages {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, recent: Mutex::default() }
    }

    /// The events after a position, none where there are no more.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn after(&self, after: Position) -> Result<LogPage, LogError> {
        // Held while the log is read: who else asks for the same page gets this one.
        let mut recent = self.recent.lock().await;
        if let Some(page) = recent.iter().find(|page| page.after == after) {
            return Ok(page.clone());
        }
        let events = self.log.read_without_payloads(after, PAGE).await?;
        let page = LogPage { after, events: Arc::new(events) };
        // What follows upon a position never changes, but for an end to which something is added.
        if !page.events.is_empty() {
            if recent.len() == REMEMBERED {
                recent.pop_front();
            }
            recent.push_back(page.clone());
        }
        Ok(page)
    }
}
