//! One console for several cells: `GET /api/cells`, `GET /api/cell-hits`, and the page `/cells`.
//!
//! A cell is a Lablet of its own with its own log, for the workers of a region; none knows of the others. A console is the
//! gateway of any of them that knows where the others are. It asks each with a token of its own, of the role viewer: at most
//! every two seconds for all who look, and by nobody where nobody looks. A cell that does not answer is said to be
//! unreachable, and holds up nothing for longer than the answer's timeout.

mod file;
pub(crate) mod summary;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use futures_util::future::join_all;
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION};
use projections::search::{MOST_HITS, SearchResults};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::file::MOST_CELLS;
pub use self::file::{Cell, CellsError};
use self::summary::{AttentionAnswer, CellHits, CellNumbers, CellSummary, OverviewAnswer};
use crate::caller::{Caller, Viewing};
use crate::outward::{OutwardClient, OutwardError};
use crate::pages::parts::encoded;
use crate::problem::Problem;
use crate::query::Query;
use crate::search::{most_hits, sought};

/// How old what cells told may be.
const SERVES: Duration = Duration::from_secs(2);
/// How long a cell is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Hits of each kind and cell unless the caller says otherwise.
const DEFAULT_HITS: u32 = 10;

/// What is known of the cells. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct CellWatch(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// `None`: this gateway is no console.
    file: Option<PathBuf>,
    /// Held by whoever asks.
    newest: Mutex<Option<(Instant, Arc<Vec<CellSummary>>)>>,
    /// By the certificates that they trust.
    clients: std::sync::Mutex<HashMap<Option<Vec<u8>>, OutwardClient>>,
}

impl CellWatch {
    /// Of the cells in this file, which is read again whenever they are asked: a token that is replaced needs no restart.
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner { file, ..Inner::default() }))
    }

    /// Whether this gateway is a console of several cells.
    pub(crate) fn is_console(&self) -> bool {
        self.0.file.is_some()
    }

    /// The cells, each as it told at most two seconds ago.
    ///
    /// # Errors
    /// The file cannot be used any more.
    pub(crate) async fn summaries(&self) -> Result<Arc<Vec<CellSummary>>, Problem> {
        let mut newest = self.0.newest.lock().await;
        if let Some((_, known)) = newest.as_ref().filter(|(at, _)| at.elapsed() < SERVES) {
            return Ok(Arc::clone(known));
        }
        let cells = self.cells()?;
        let at = Instant::now();
        let asked = cells.iter().map(|cell| async move { CellSummary::new(cell, self.numbers(cell).await) });
        let summaries = Arc::new(join_all(asked).await);
        *newest = Some((at, Arc::clone(&summaries)));
        Ok(summaries)
    }

    /// What contains a text, in each cell.
    ///
    /// # Errors
    /// The file cannot be used any more.
    pub(crate) async fn hits(&self, text: &str, limit: u32) -> Result<Vec<CellHits>, Problem> {
        let text = encoded(text);
        let (page, path) = (format!("/search?text={text}"), format!("/api/search?text={text}&limit={limit}"));
        let cells = self.cells()?;
        let asked = cells.iter().map(|cell| async {
            let found: Result<SearchResults, String> = within(self.ask(cell, &path)).await;
            CellHits::new(cell, &page, found)
        });
        Ok(join_all(asked).await)
    }

    fn cells(&self) -> Result<Vec<Cell>, Problem> {
        let Some(file) = &self.0.file else { return Ok(Vec::new()) };
        Cell::read_all(file).map_err(|error| Problem::internal("the file of cells cannot be used", &error))
    }

    async fn numbers(&self, cell: &Cell) -> Result<CellNumbers, String> {
        let asked = async {
            let overview = self.ask::<OverviewAnswer>(cell, "/api/overview");
            let attention = self.ask::<AttentionAnswer>(cell, "/api/attention");
            let (overview, attention) = tokio::try_join!(overview, attention)?;
            Ok(CellNumbers::new(&overview, &attention))
        };
        within(asked).await
    }

    /// Asks a cell's gateway; why there is no answer is said without anything that the cell chose.
    async fn ask<T: DeserializeOwned>(&self, cell: &Cell, path: &str) -> Result<T, String> {
        let request = http::Request::get(cell.address(path))
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, cell.authorization.clone())
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        let answer = self.client(cell)?.ask(request).await.map_err(|error| match &error {
            OutwardError::NoAnswer(cause) if cause.is_connect() => "no connection".to_owned(),
            OutwardError::NoAnswer(_) | OutwardError::Unsafe | OutwardError::TooLarge | OutwardError::Malformed(_) => {
                error.to_string()
            }
        })?;
        match answer.status() {
            StatusCode::OK => serde_json::from_slice(answer.body()).map_err(|_| "the answer is no Lablet's".to_owned()),
            StatusCode::UNAUTHORIZED => Err("the token is not valid (401)".to_owned()),
            StatusCode::FORBIDDEN => Err("the token does not suffice (403)".to_owned()),
            other => Err(format!("the answer has the status {}", other.as_u16())),
        }
    }

    /// A client that trusts the cell's certificates: to make one reads those of the system.
    fn client(&self, cell: &Cell) -> Result<OutwardClient, String> {
        let mut clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&cell.certificates) {
            return Ok(client.clone());
        }
        let client = OutwardClient::new(cell.certificates.as_deref());
        let client = client.map_err(|invalid| format!("ca_file {}", invalid.problem))?;
        // Certificates that were replaced stay behind.
        if clients.len() >= MOST_CELLS {
            clients.clear();
        }
        clients.insert(cell.certificates.clone(), client.clone());
        Ok(client)
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = |_| format!("no answer within {} s", ANSWER_WITHIN.as_secs());
    tokio::time::timeout(ANSWER_WITHIN, asked).await.map_err(late)?
}

/// The cells of a console.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Cells {
    /// Each, by name; empty: this gateway is no console of several cells.
    pub(crate) items: Vec<CellSummary>,
}

pub(crate) async fn list(State(watch): State<CellWatch>, _: Caller<Viewing>) -> Result<Json<Cells>, Problem> {
    Ok(Json(Cells { items: watch.summaries().await?.to_vec() }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_cells")
        .tag("operations")
        .summary("The cells that this console knows, each with what runs in it and what needs somebody")
}

/// What is searched for.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CellSearchQuery {
    /// What is searched for, as in `/api/search`.
    #[schemars(required, length(min = 1, max = crate::paging::LONGEST_TEXT))]
    text: Option<String>,
    /// Most hits of each kind and cell, 1 to 50; 10 unless stated.
    #[schemars(range(min = 1, max = MOST_HITS))]
    limit: Option<u32>,
}

/// What a search found in the cells.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct FoundInCells {
    /// Each cell, by name; empty: this gateway is no console of several cells.
    pub(crate) items: Vec<CellHits>,
}

pub(crate) async fn search(
    State(watch): State<CellWatch>,
    _: Caller<Viewing>,
    Query(query): Query<CellSearchQuery>,
) -> Result<Json<FoundInCells>, Problem> {
    let (text, limit) = (sought(query.text)?, most_hits(query.limit, DEFAULT_HITS)?);
    Ok(Json(FoundInCells { items: watch.hits(&text, limit).await? }))
}

pub(crate) fn describe_search(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("search_cells")
        .tag("operations")
        .summary("What people hold, in every cell that this console knows, with the address of its page")
}
