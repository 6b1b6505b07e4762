//! `GET /definitions/{id}/review`: what a revision would change, what it rests on, and the reason that it needs. It
//! changes nothing, and whoever may not revise may still look.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::{DefinitionId, EventId, Invalid, ProposalId, SessionId};
use http::StatusCode;
use projections::ReadModel;
use projections::read_models::advice::proposals::ProposalRow;
use projections::read_models::definitions::DefinitionRow;
use projections::read_models::observations::ObservedSession;
use projections::read_models::sessions::SessionTitles;

use super::change::{changes, content_of};
use super::draft::{Draft, ParsedDraft};
use super::observed::{SourcedNumber, UsedAmount};
use super::stale::stale;
use super::suggestion::Source;
use super::{Basis, ROWS, edit, may_revise, window};
use crate::caller::{Caller, Viewing};
use crate::pages::advice::back_test::BackTestTable;
use crate::pages::advice::back_test_page::tried;
use crate::pages::confirmation::{ChangesTable, Confirmation, FormFields, Labels, WayOut};
use crate::pages::form::PageForm;
use crate::pages::parts::{self, Badge, NamedLink, SessionLink, When};
use crate::pages::query::PageQuery;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::{Permit, Visit};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::sign_in::SignIn;
use crate::sign_in::saved_forms::SavedForm;

/// Events that are listed at once; the others are behind a fold.
const MOST_LISTED: usize = 10;

/// An event that the revision will name.
struct Evidence {
    id: EventId,
    /// What it says, as far as the sessions that are looked at tell.
    says: Vec<String>,
    /// Whose it is.
    session: Option<SessionId>,
}

#[derive(Template)]
#[template(path = "definition/review.html")]
struct ReviewPage {
    shell: Shell,
    definition: DefinitionRow,
    source: Source,
    changes: ChangesTable,
    would_change: bool,
    evidence: Vec<Evidence>,
    evidence_count: u64,
    sessions: Vec<ObservedSession>,
    titles: SessionTitles,
    sessions_in_all: usize,
    excluded: BTreeMap<SessionId, String>,
    /// Leads to a revision, or to a proposal that becomes one.
    confirmation: Confirmation,
    edit: String,
    back_test: Option<BackTestTable>,
    proposal: Option<ProposalId>,
}

/// What is reviewed.
pub(crate) struct Reviewed<'a> {
    pub(crate) draft: &'a Draft,
    pub(crate) parsed: &'a ParsedDraft,
    /// What is wrong with the reason that was given.
    pub(crate) reason_wrong: Option<Invalid>,
    /// The proposal that it applies, as somebody saw it.
    pub(crate) proposal: Option<&'a ProposalRow>,
    /// Whether the visitor may do it.
    pub(crate) permit: Permit,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    PageQuery(draft): PageQuery<Draft>,
    saved: Option<Extension<SavedForm>>,
) -> Result<Response, Problem> {
    let draft = draft.came_with(saved.as_deref());
    if !draft.is_filled() && draft.source() != Source::Recommended {
        return Ok(Redirect::to(&draft.edit_address(&id)).into_response());
    }
    let window = window(draft.sessions)?;
    since.reached(&queries, &[ReadModel::Definitions, ReadModel::Observations, ReadModel::Advice]).await?;
    let basis = Basis::read(&queries, &id, window).await?;
    let draft = if draft.is_filled() { draft } else { draft.filled_in(&basis.now, &basis.suggestions(draft.source())) };
    match draft.parse(&basis.now) {
        Err(wrong) => edit::form(&visit, basis, &draft, &wrong),
        Ok(parsed) if !draft.rests_on(&basis.now) => stale(&queries, &visit, basis.now, &draft, &parsed).await,
        Ok(parsed) => {
            let permit = may_revise(&visit, &basis.now);
            let reviewed = Reviewed { draft: &draft, parsed: &parsed, reason_wrong: None, proposal: None, permit };
            review(&queries, &visit, basis, reviewed).await
        }
    }
}

/// `POST /definitions/{id}/review`: to the review of what was filled in, which changes nothing. The address of the review
/// holds it, or names it where it is long.
pub(crate) async fn fill_in(
    State(sign_in): State<SignIn>,
    _: Caller<Viewing>,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    form: PageForm<Draft>,
) -> Result<Response, Problem> {
    let draft = form.fields.fit_for_addresses(&sign_in, &visit, &id).await?;
    Ok(Redirect::to(&draft.review_address(&id)).into_response())
}

/// The review.
///
/// # Errors
/// 400 where the draft names evidence that is none, 500 when the page cannot be rendered, and what the read models answer.
pub(crate) async fn review(
    queries: &Queries,
    visit: &Visit,
    basis: Basis,
    reviewed: Reviewed<'_>,
) -> Result<Response, Problem> {
    let Reviewed { draft, parsed, reason_wrong, proposal, permit } = reviewed;
    let back_test = tried(queries, &basis.now.id, parsed.resource_requirements).await?;
    let evidence = draft.evidence(&basis.now, &basis.observed, basis.recommended.as_ref())?;
    let carried = Draft {
        evidence: Some(evidence.iter().map(EventId::as_str).collect::<Vec<_>>().join(","))
            .filter(|ids| !ids.is_empty()),
        ..draft.clone()
    };
    let evidence: Vec<Evidence> = evidence.into_iter().map(|id| explained(id, draft.source(), &basis)).collect();
    let Basis { now, observed, titles, recommended: _, excluded, unreadable } = basis;
    let failed = reason_wrong.is_some();
    let edit = draft.edit_address(&now.id);
    let (action, form_page, hidden) = match proposal {
        Some(row) => {
            let page = format!("/proposals/{}/apply", row.proposal.proposal_id);
            (page.clone(), page, vec![("version".to_owned(), row.version.to_string())])
        }
        None => {
            let at = |page: &str| format!("/definitions/{}/{page}", now.id);
            (at("revise"), at("review"), carried.hidden(&["reason"]))
        }
    };
    let fields = FormFields { action, form_page, hidden, reason: draft.reason(), reason_wrong };
    let labels = Labels { subject: "revision", confirm: "Apply this revision" };
    let by_hand = if proposal.is_some() { "Revise by hand instead" } else { "Back to the form" };
    let ways_out = vec![
        WayOut { address: edit.clone(), words: by_hand },
        WayOut { address: format!("/definitions/{}", now.id), words: "Cancel" },
    ];
    let mut response = page(&ReviewPage {
        shell: Shell::new(visit, Section::Definitions)
            .twin(format!("/api/lablet-definitions/{}", now.id))
            .without(unreadable),
        excluded,
        source: draft.source(),
        changes: ChangesTable {
            field: "Field",
            before: format!("revision {}", now.revision),
            after: format!("revision {}", now.revision + 1),
            remark: "",
            changes: changes(&content_of(&now), &parsed.after(&now)),
        },
        would_change: parsed.would_change(&now)?,
        evidence_count: evidence.len() as u64,
        evidence,
        sessions_in_all: observed.sessions.len(),
        sessions: observed.sessions.into_iter().take(ROWS).collect(),
        titles,
        confirmation: Confirmation::new(visit, permit, fields, labels, ways_out),
        proposal: proposal.map(|row| row.proposal.proposal_id.clone()),
        back_test,
        edit,
        definition: now,
    })?;
    if failed {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

/// What an event says, and of which session.
fn explained(id: EventId, source: Source, basis: &Basis) -> Evidence {
    let suggestions = basis.suggestions(source);
    let is = |event: Option<uuid::Uuid>| event.is_some_and(|event| event.to_string() == id.as_str());
    let numbers =
        [("CPU", suggestions.cpu_cores), ("memory", suggestions.memory_gb), ("storage", suggestions.storage_gb)];
    let says = numbers.into_iter().filter(|(_, suggestion)| is(suggestion.event_id));
    let of = |session: &&ObservedSession| {
        [
            Some(session.observed_event_id),
            session.cpu_cores_event_id,
            session.memory_mb_event_id,
            session.storage_mb_event_id,
        ]
        .into_iter()
        .any(is)
    };
    Evidence {
        says: says.map(|(name, suggestion)| format!("{name} {}", suggestion.words)).collect(),
        session: basis.observed.sessions.iter().find(of).map(|session| session.session_id.clone()),
        id,
    }
}
