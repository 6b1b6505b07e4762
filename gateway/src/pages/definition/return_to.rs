//! The way back to an earlier revision: its content, as a draft rests on it.

use domain::DefinitionId;
use projections::PageRequest;
use projections::read_models::definitions::RevisionRow;

use super::draft::{Draft, ParsedDraft};
use crate::problem::{Problem, ProblemKind};
use crate::queries::Queries;

/// The revision that a draft leads back to. `None`: it leads to none.
///
/// # Errors
/// 404 where the definition has no such revision, 503 where it cannot be read.
pub(crate) async fn revision(
    queries: &Queries,
    id: &DefinitionId,
    draft: &Draft,
) -> Result<Option<RevisionRow>, Problem> {
    let Some(wanted) = draft.return_to else { return Ok(None) };
    let request = PageRequest { limit: 1, cursor: Some(wanted.saturating_add(1).to_string()) };
    let newest = queries.definition_revisions(id, &request).await?.items.into_iter().next();
    match newest.filter(|revision| revision.revision == wanted) {
        Some(revision) => Ok(Some(revision)),
        None => Err(Problem::new(ProblemKind::NotFound, format!("The definition {id} has no revision {wanted}."))),
    }
}

impl ParsedDraft {
    /// The same, with ports and topology of the revision that it leads back to.
    #[must_use]
    pub(crate) fn restoring(self, revision: Option<&RevisionRow>) -> Self {
        Self { restored: revision.map(|revision| revision.after.clone()), ..self }
    }
}
