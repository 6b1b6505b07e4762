//! Rows of files beside the names of what they belong to: nobody knows sessions, definitions and workers by their ids.

use domain::SessionId;
use projections::ReadError;
use projections::read_models::sessions::SessionTitle;

use super::table::{cell, time};
use crate::queries::Queries;

/// A row, and by what its session is known; `None`: the session is not shown, or cannot be read.
pub(crate) struct NamedRow<T> {
    pub(crate) row: T,
    title: Option<SessionTitle>,
}

impl<T> NamedRow<T> {
    /// Rows with the titles of their sessions, which are read at once.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn all(
        queries: &Queries,
        rows: Vec<T>,
        session: fn(&T) -> &SessionId,
    ) -> Result<Vec<Self>, ReadError> {
        let titles = queries.session_titles(rows.iter().map(|row| session(row).clone()).collect()).await?;
        Ok(rows.into_iter().map(|row| Self { title: titles.get(session(&row)).cloned(), row }).collect())
    }

    /// When the session starts, as its name on the pages has it.
    pub(crate) fn starts_at(&self) -> String {
        cell(self.title.as_ref().map(|title| time(&title.starts_at)).as_ref())
    }

    pub(crate) fn definition_name(&self) -> String {
        cell(self.title.as_ref().and_then(|title| title.definition_name.as_ref()))
    }

    pub(crate) fn worker_name(&self) -> String {
        cell(self.title.as_ref().and_then(|title| title.worker_name.as_ref()))
    }
}
