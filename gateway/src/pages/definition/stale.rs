//! What a revision meets that rests on an older version of its definition.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use projections::PageRequest;
use projections::read_models::definitions::{DefinitionRow, RevisionRow};

use super::change::{content_of, fields};
use super::draft::{Draft, ParsedDraft};
use super::may_revise;
use crate::pages::parts::When;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::{Permit, Visit};
use crate::problem::Problem;
use crate::queries::Queries;

/// Most revisions between the one that a draft rests on and the newest that are told one by one.
const MOST_BETWEEN: u32 = 10;

/// A field in the three versions that matter.
struct ThreeSides {
    name: &'static str,
    /// What the draft rests on; `None` where that is no longer known.
    base: Option<String>,
    now: String,
    wanted: String,
    /// It was changed meanwhile.
    moved: bool,
    /// It would be changed.
    differs: bool,
}

#[derive(Template)]
#[template(path = "definition/stale.html")]
struct StalePage {
    shell: Shell,
    definition: DefinitionRow,
    base: Option<u32>,
    sides: Vec<ThreeSides>,
    /// The revisions since, the newest first.
    since: Vec<RevisionRow>,
    permit: Permit,
    reason: String,
    review: String,
    edit: String,
}

/// 412: what the draft rests on, what is there now, who changed it and why, and what was wanted.
///
/// # Errors
/// 503 where the revisions cannot be read, 500 when the page cannot be rendered.
pub(crate) async fn stale(
    queries: &Queries,
    visit: &Visit,
    now: DefinitionRow,
    draft: &Draft,
    parsed: &ParsedDraft,
) -> Result<Response, Problem> {
    let revisions = |cursor: Option<u32>, limit| {
        let request = PageRequest { limit, cursor: cursor.map(|revision| revision.to_string()) };
        let (reads, id) = (queries, &now.id);
        async move { reads.definition_revisions(id, &request).await.map(|page| page.items) }
    };
    let mut since = revisions(None, MOST_BETWEEN).await?;
    since.retain(|row| draft.revision.is_none_or(|base| row.revision > base));
    let base = match draft.revision {
        None => None,
        Some(base) => revisions(Some(base.saturating_add(1)), 1).await?.pop().filter(|row| row.revision == base),
    };
    let on_newest = draft.on(&now);
    let current = fields(&content_of(&now));
    let wanted = fields(&parsed.after(&now));
    let before = base.as_ref().map(|row| fields(&row.after));
    let sides = current.into_iter().zip(wanted).enumerate().map(|(index, ((name, now), (_, wanted)))| {
        let base = before.as_ref().map(|fields| fields[index].1.clone());
        ThreeSides {
            name,
            moved: base.as_ref().is_some_and(|base| *base != now),
            differs: wanted != now,
            base,
            now,
            wanted,
        }
    });
    let mut response = page(&StalePage {
        shell: Shell::new(visit, Section::Definitions).twin(format!("/api/lablet-definitions/{}", now.id)),
        base: draft.revision,
        sides: sides.collect(),
        since,
        permit: may_revise(visit, &now),
        reason: draft.reason(),
        review: on_newest.review_address(&now.id),
        edit: on_newest.edit_address(&now.id),
        definition: now,
    })?;
    *response.status_mut() = StatusCode::PRECONDITION_FAILED;
    Ok(response)
}
