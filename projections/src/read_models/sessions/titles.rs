//! What sessions are called: nobody knows them by their ids.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::{DefinitionId, SessionId};
use serde::Deserialize;
use sqlx::QueryBuilder;

use super::LIST;
use crate::page::Listed;
use crate::{Projections, ReadError, names, page};

/// By what a session is known.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SessionTitle {
    /// The session.
    pub id: SessionId,
    /// Its definition.
    pub definition_id: DefinitionId,
    /// The definition's name; null: not shown yet.
    pub definition_name: Option<String>,
    /// The worker's name; null: there is none, or it is not shown yet.
    pub worker_name: Option<String>,
    /// When its timeslot starts; of one without, when it was created.
    pub starts_at: DateTime<Utc>,
}

/// By what sessions are known, of those that can be read.
#[derive(Debug, Clone, Default)]
pub struct SessionTitles(BTreeMap<SessionId, SessionTitle>);

impl SessionTitles {
    /// That of a session; `None`: it is not shown, or cannot be read.
    pub fn get(&self, id: &SessionId) -> Option<&SessionTitle> {
        self.0.get(id)
    }

    /// The name of a session's worker.
    pub fn worker_name(&self, id: &SessionId) -> Option<String> {
        self.get(id)?.worker_name.clone()
    }
}

impl Projections {
    /// By what these sessions are known.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn session_titles(&self, ids: BTreeSet<SessionId>) -> Result<SessionTitles, ReadError> {
        if ids.is_empty() {
            return Ok(SessionTitles::default());
        }
        let ids: Vec<String> = ids.into_iter().map(String::from).collect();
        let mut query = QueryBuilder::new(page::select("id", "id"));
        query.push("SELECT id, definition_id, ").push(names::definition("definition_id"));
        query.push(" AS definition_name, ").push(names::worker("worker_id"));
        query.push(" AS worker_name, coalesce(timeslot_start, created_at) AS starts_at");
        query.push(" FROM read_sessions.sessions WHERE id = ANY(").push_bind(ids).push(")) r");
        let found: Listed<SessionTitle> = self.list_of(LIST, query).await?;
        Ok(SessionTitles(found.items.into_iter().map(|title| (title.id.clone(), title)).collect()))
    }
}
