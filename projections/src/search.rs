//! One search over everything that people hold: what it names exactly, then what contains it.

mod held;

use app::log::RecordedEvent;
use domain::lablet_session::SessionStatus;
use domain::{DefinitionId, SessionId, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::page::{self, Page, PageRequest};
use crate::read_models::definitions::{DefinitionFilter, DefinitionRow};
use crate::read_models::sessions::{SessionFilter, SessionRow};
use crate::read_models::workers::WorkerRow;
use crate::{Projections, ReadError, UnreadableRow};

pub use self::held::EVENTS_LOOKED_THROUGH;

/// Most hits of each kind.
pub const MOST_HITS: u32 = 50;

/// What is looked through beside what has an id or a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchDepth {
    /// Dead letters, which not everybody may see.
    pub dead_letters: bool,
    /// The newest events, for those of a correlation, and the newest failed requests, for their reasons.
    pub history: bool,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchResults {
    /// What has exactly this id.
    pub exact: Vec<SearchHit>,
    /// What contains it: definitions, workers, then sessions, of each the newest first.
    pub containing: Vec<SearchHit>,
    /// Kinds of which there is more that contains it.
    pub more: Vec<SearchKind>,
    /// What is there and cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableRow>,
}

/// Something that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchHit {
    /// What it is.
    pub kind: SearchKind,
    /// Its id.
    pub id: String,
    /// What it is called: a definition's name and version, a worker's name, the name of a session's definition, an event's
    /// type.
    pub title: String,
    /// What else tells it: a definition's description, a worker's address, where a session is in its life, whose event it is.
    pub detail: Option<String>,
    /// What its lab is called in CML, of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab_title: Option<String>,
    /// The session that it is of: of a port, a node, a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// The worker that it is on: of a port, a node, a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
}

/// What can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchKind {
    /// A session.
    Session,
    /// A definition.
    Definition,
    /// A worker.
    Worker,
    /// An event, by its own id, or by the correlation or the message that led to it.
    Event,
    /// A port that a session holds now; its id is the number.
    Port,
    /// A node of a session that holds ports now; its id is CML's.
    Node,
    /// Somebody for whom sessions are.
    Owner,
    /// A request for an observation.
    Request,
    /// A dead letter that waits.
    DeadLetter,
}

impl SearchHit {
    fn new(kind: SearchKind, id: impl Into<String>, title: impl Into<String>, detail: Option<String>) -> Self {
        let (id, title) = (id.into(), title.into());
        Self { kind, id, title, detail, lab_title: None, session_id: None, worker_id: None }
    }
}

impl From<SessionRow> for SearchHit {
    fn from(row: SessionRow) -> Self {
        let status: SessionStatus = row.status;
        let detail = Some(status.as_str().to_owned());
        let title = row.definition_name.unwrap_or_else(|| row.definition_id.into());
        Self { lab_title: row.lab_title, ..Self::new(SearchKind::Session, row.id, title, detail) }
    }
}

impl From<DefinitionRow> for SearchHit {
    fn from(row: DefinitionRow) -> Self {
        let title = format!("{} {}", row.name, row.version.as_str());
        Self::new(SearchKind::Definition, row.id, title, row.description)
    }
}

impl From<WorkerRow> for SearchHit {
    fn from(row: WorkerRow) -> Self {
        Self::new(SearchKind::Worker, row.id, row.profile.name, Some(row.profile.address.into()))
    }
}

impl From<RecordedEvent> for SearchHit {
    fn from(event: RecordedEvent) -> Self {
        let title = event.versioned_type();
        let detail = Some(format!("{} {}", event.aggregate_type, event.aggregate_id));
        Self::new(SearchKind::Event, event.event_id.to_string(), title, detail)
    }
}

impl Projections {
    /// What has this id, and up to `limit` (1 to [`MOST_HITS`]) of each kind that contain the text, in whatever case.
    /// White space around the text does not count; of nothing, nothing is found.
    ///
    /// # Errors
    /// The database or the log does not answer.
    pub async fn search(&self, text: &str, limit: u32, depth: SearchDepth) -> Result<SearchResults, ReadError> {
        let text = text.trim();
        let mut results = SearchResults::default();
        if text.is_empty() {
            return Ok(results);
        }
        if let Ok(id) = SessionId::parse(text) {
            results.add_exact(self.session_summary(&id).await)?;
        }
        if let Ok(id) = DefinitionId::parse(text) {
            results.add_exact(self.definition(&id).await)?;
        }
        if let Ok(id) = WorkerId::parse(text) {
            results.add_exact(self.worker(&id).await)?;
        }
        if let Ok(id) = text.parse::<Uuid>() {
            results.exact.extend(self.log.events_without_payload(&[id]).await?.into_iter().map(SearchHit::from));
        }
        let request = PageRequest::first(limit.clamp(1, MOST_HITS));
        let filter = DefinitionFilter { text: Some(text.to_owned()), ..DefinitionFilter::default() };
        let definitions = self.definitions(&filter, &request).await?;
        results.add(SearchKind::Definition, definitions);
        results.add(SearchKind::Worker, self.workers_containing(text, &request).await?);
        let filter = SessionFilter { text: Some(text.to_owned()), ..SessionFilter::default() };
        let sessions = self.sessions(&filter, &request).await?;
        results.add(SearchKind::Session, sessions);
        self.search_what_is_held(text, limit.clamp(1, MOST_HITS), depth, &mut results).await?;
        Ok(results)
    }

    /// Workers are few: their rows have no column for searching.
    async fn workers_containing(&self, text: &str, request: &PageRequest) -> Result<Page<WorkerRow>, ReadError> {
        let mut query = crate::read_models::workers::select();
        query.push(" AND lower(concat_ws(' ', id, name, address)) LIKE ").push_bind(page::like(text));
        query.push(" ORDER BY created_position DESC LIMIT ").push_bind(request.fetch()).push(") r");
        self.page_of(crate::read_models::workers::LIST, query, request).await
    }
}

impl SearchResults {
    fn add<T: Into<SearchHit>>(&mut self, kind: SearchKind, found: Page<T>) {
        for row in found.unreadable {
            self.add_unreadable(row);
        }
        let exact = &self.exact;
        let known = |hit: &SearchHit| exact.iter().any(|exact| exact.kind == hit.kind && exact.id == hit.id);
        self.containing.extend(found.items.into_iter().map(Into::into).filter(|hit| !known(hit)));
        if found.next.is_some() {
            self.more.push(kind);
        }
    }

    /// What has exactly the id that was searched for, if there is such a thing.
    fn add_exact<T: Into<SearchHit>>(&mut self, found: Result<Option<T>, ReadError>) -> Result<(), ReadError> {
        match found {
            Ok(found) => self.exact.extend(found.map(Into::into)),
            Err(ReadError::Unreadable { row, .. }) => self.add_unreadable(row),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn add_unreadable(&mut self, row: UnreadableRow) {
        if !self.unreadable.contains(&row) {
            self.unreadable.push(row);
        }
    }
}
