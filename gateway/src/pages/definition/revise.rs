//! `POST /definitions/{id}/revise`: the reviewed revision is made, unless somebody made another one meanwhile.

use app::commands::CommandError;
use app::log::Outcome;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::DefinitionId;
use domain::lablet_definition::LabletDefinition;
use http::StatusCode;
use projections::read_models::definitions::{DefinitionRow, RevisionRow};
use projections::{PageRequest, ReadError, ReadModel};

use super::change::{content_of, fields};
use super::draft::{Draft, ParsedDraft};
use super::{Basis, edit, may_revise, review, window};
use crate::caller::{Administering, Caller};
use crate::command::present;
use crate::lablet_definitions::show::row;
use crate::pages::form::PageForm;
use crate::pages::parts::When;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::{Permit, Visit};
use crate::path::Id;
use crate::problem::{Problem, ProblemKind};
use crate::state::Shared;

/// Most revisions between the one that a draft rests on and the newest that are told one by one.
const MOST_BETWEEN: u32 = 10;

pub(crate) async fn revise(
    State(shared): State<Shared>,
    _: Caller<Administering>,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    form: PageForm<Draft>,
) -> Result<Response, Problem> {
    let PageForm { fields: draft, origin } = form;
    let draft = draft.fit_for_addresses(&shared, &visit, &id).await?;
    let window = window(draft.sessions)?;
    let now = row(&shared, &id).await?;
    if let Some(refusal) = may_revise(&visit, &now).refusal {
        return Err(Problem::new(ProblemKind::Conflict, refusal));
    }
    let parsed = match draft.parse(&now) {
        Ok(parsed) => parsed,
        Err(wrong) => return edit::form(&visit, Basis::read(&shared, &id, window).await?, &draft, &wrong),
    };
    let expected = draft.expected()?;
    // What was reviewed is what is recorded: the form names it. A form without it comes from a review that had none.
    let evidence = match &draft.evidence {
        None => Vec::new(),
        Some(_) => draft.evidence(&now, &shared.reads.definition_observations(&id, 1).await?)?,
    };
    let revision = match parsed.revision(&now, &draft.reason(), evidence) {
        Ok(revision) => revision,
        Err(invalid) if invalid.field == "reason" => {
            return review::review(&visit, Basis::read(&shared, &id, window).await?, &draft, &parsed, Some(invalid));
        }
        Err(invalid) => return Err(invalid.into()),
    };
    match shared.commands.revise_definition(&id, revision, Some(expected), &origin).await {
        Ok(done) => {
            let told = match done.outcome {
                Outcome::Recorded | Outcome::Repeated => {
                    format!("revised={}", present(done.state.present())?.revision)
                }
                Outcome::AlreadyDone => "unchanged=true".to_owned(),
            };
            let to = format!("/definitions/{id}?position={}&{told}#revisions", done.position);
            Ok(Redirect::to(&to).into_response())
        }
        Err(CommandError::Stale { .. }) => {
            // The read model may not show yet what the log refused for.
            let newest = shared.log.load::<LabletDefinition>(id.as_str()).await.map_err(ReadError::Log)?;
            if let Some((_, _, position)) = newest {
                shared.wait_for(&[ReadModel::Definitions], position).await?;
            }
            stale(&shared, &visit, row(&shared, &id).await?, &draft, &parsed).await
        }
        Err(error) => Err(error.into()),
    }
}

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
    shared: &Shared,
    visit: &Visit,
    now: DefinitionRow,
    draft: &Draft,
    parsed: &ParsedDraft,
) -> Result<Response, Problem> {
    let revisions = |cursor: Option<u32>, limit| {
        let request = PageRequest { limit, cursor: cursor.map(|revision| revision.to_string()) };
        let (reads, id) = (&shared.reads, &now.id);
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
