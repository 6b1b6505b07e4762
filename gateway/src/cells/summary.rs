//! What a cell's gateway told of it, as a value.
//!
//! A cell may be of another version than the console: of its answers only what is shown is read.

use projections::search::{SearchHit, SearchResults};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::Cell;
use crate::search::pages_of_hits::page_of;

/// Sessions of these states are running.
fn is_up(status: &str) -> bool {
    use domain::lablet_session::SessionStatus;
    SessionStatus::UP.iter().any(|up| up.as_str() == status)
}

/// Part of the answer of `/api/overview`.
#[derive(Debug, Deserialize)]
pub(super) struct OverviewAnswer {
    sessions: Vec<CountedSessions>,
    requests: CountedRequests,
    read_models: Vec<ReadModelLag>,
}

#[derive(Debug, Deserialize)]
struct CountedSessions {
    status: String,
    sessions: u64,
    drifted: u64,
    #[serde(default)]
    drift_acknowledged: u64,
}

#[derive(Debug, Deserialize)]
struct CountedRequests {
    open: u64,
    failed_last_24_hours: u64,
}

#[derive(Debug, Deserialize)]
struct ReadModelLag {
    events_behind: u64,
}

/// Part of the answer of `/api/attention`.
#[derive(Debug, Deserialize)]
pub(super) struct AttentionAnswer {
    bad: u64,
    warn: u64,
    items: Vec<AttentionWords>,
}

#[derive(Debug, Deserialize)]
struct AttentionWords {
    words: String,
}

/// A cell as its gateway told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct CellSummary {
    /// Its name.
    pub(crate) name: String,
    /// Where its workers are; null: the configuration does not say.
    pub(crate) region: Option<String>,
    /// Its gateway, where its pages are.
    pub(crate) gateway: String,
    /// What it told; null: it did not answer.
    pub(crate) numbers: Option<CellNumbers>,
    /// Why nothing is known of it; null: it answered.
    pub(crate) problem: Option<String>,
}

/// The numbers of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct CellNumbers {
    /// Sessions whose lab is up.
    pub(crate) running_sessions: u64,
    /// Sessions in all.
    pub(crate) sessions: u64,
    /// Running sessions whose ports drifted, of which nobody knows.
    pub(crate) drifted_sessions: u64,
    /// Requests for observations without an outcome.
    pub(crate) open_requests: u64,
    /// Requests that failed within the last 24 hours.
    pub(crate) failed_requests_last_24_hours: u64,
    /// Things that do not work.
    pub(crate) attention_bad: u64,
    /// Things that work, and need somebody all the same.
    pub(crate) attention_warn: u64,
    /// The worst of them, in a sentence; null: nothing needs anybody.
    pub(crate) worst: Option<String>,
    /// Events by which the read model is behind that is furthest behind.
    pub(crate) events_behind: u64,
}

impl CellNumbers {
    pub(super) fn new(overview: &OverviewAnswer, attention: &AttentionAnswer) -> Self {
        let up = || overview.sessions.iter().filter(|counted| is_up(&counted.status));
        Self {
            running_sessions: up().map(|counted| counted.sessions).sum(),
            sessions: overview.sessions.iter().map(|counted| counted.sessions).sum(),
            drifted_sessions: up().map(|counted| counted.drifted.saturating_sub(counted.drift_acknowledged)).sum(),
            open_requests: overview.requests.open,
            failed_requests_last_24_hours: overview.requests.failed_last_24_hours,
            attention_bad: attention.bad,
            attention_warn: attention.warn,
            worst: attention.items.first().map(|item| item.words.clone()),
            events_behind: overview.read_models.iter().map(|lag| lag.events_behind).max().unwrap_or_default(),
        }
    }
}

impl CellSummary {
    pub(super) fn new(cell: &Cell, answer: Result<CellNumbers, String>) -> Self {
        let (numbers, problem) = match answer {
            Ok(numbers) => (Some(numbers), None),
            Err(problem) => (None, Some(problem)),
        };
        Self {
            name: cell.name.clone(),
            region: cell.region.clone(),
            gateway: cell.gateway.to_string(),
            numbers,
            problem,
        }
    }
}

/// What a search found in a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct CellHits {
    /// The cell.
    pub(crate) name: String,
    /// Its page of all that it found.
    pub(crate) page: String,
    /// What it found: what has exactly this id first.
    pub(crate) hits: Vec<CellHit>,
    /// Why it is not known what it has; null: it answered.
    pub(crate) problem: Option<String>,
}

/// Something that was found in a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct CellHit {
    /// Where it is shown.
    pub(crate) page: String,
    /// What it is.
    #[serde(flatten)]
    pub(crate) hit: SearchHit,
}

impl CellHits {
    pub(super) fn new(cell: &Cell, page: &str, answer: Result<SearchResults, String>) -> Self {
        let (hits, problem) = match answer {
            Ok(found) => (found.exact.into_iter().chain(found.containing).collect(), None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        let linked = |hit: SearchHit| CellHit { page: cell.address(&page_of(&hit)), hit };
        Self {
            name: cell.name.clone(),
            page: cell.address(page),
            hits: hits.into_iter().map(linked).collect(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cells_numbers_are_those_of_its_overview_whatever_else_a_newer_one_tells() {
        let overview = json!({
            "sessions": [
                {"status": "running", "sessions": 3, "drifted": 2, "drift_acknowledged": 1, "drift_unknown": 0},
                {"status": "collecting", "sessions": 1, "drifted": 0, "drift_unknown": 1},
                {"status": "hibernated", "sessions": 5, "drifted": 5, "drift_unknown": 0},
            ],
            "requests": {"open": 2, "failed_last_24_hours": 1, "oldest_open_at": null},
            "read_models": [{"read_model": "sessions", "events_behind": 0}, {"read_model": "new", "events_behind": 7}],
            "weather": "fair",
        });
        let attention = json!({"bad": 1, "warn": 2, "items": [{"words": "A worker is short.", "kind": "new"}]});
        let numbers =
            CellNumbers::new(&serde_json::from_value(overview).unwrap(), &serde_json::from_value(attention).unwrap());
        assert_eq!((numbers.running_sessions, numbers.sessions, numbers.drifted_sessions), (4, 9, 1));
        assert_eq!((numbers.open_requests, numbers.failed_requests_last_24_hours, numbers.events_behind), (2, 1, 7));
        assert_eq!((numbers.attention_bad, numbers.attention_warn), (1, 2));
        assert_eq!(numbers.worst.as_deref(), Some("A worker is short."));
    }
}
