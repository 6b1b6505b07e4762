//! `GET /definitions/{id}/review`: what a revision would change, what it rests on, and the reason that it needs. It
//! changes nothing, and whoever may not revise may still look.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::lablet_definition::ResourceRequirements;
use domain::lablet_session::SessionStatus;
use domain::resource::Resource;
use domain::{DefinitionId, EventId, Invalid, ProposalId, SessionId};
use http::StatusCode;
use projections::ReadModel;
use projections::read_models::advice::proposals::ProposalRow;
use projections::read_models::definitions::DefinitionRow;
use projections::read_models::observations::ObservedSession;
use projections::read_models::sessions::SessionTitles;
use uuid::Uuid;

use super::change::{changes, content_of};
use super::consequence::{Stance, objections};
use super::draft::{Draft, ParsedDraft};
use super::observed::{SourcedNumber, UsedAmount};
use super::stale::stale;
use super::suggestion::{Source, Suggestion, Suggestions};
use super::{Basis, ROWS, edit, may_revise, return_to};
use crate::caller::{Caller, Viewing};
use crate::pages::advice::back_test::BackTestTable;
use crate::pages::advice::back_test_page::tried;
use crate::pages::confirmation::{ChangesTable, Confirmation, FormFields, Labels, WayOut};
use crate::pages::form::PageForm;
use crate::pages::parts::{self, Badge, NamedLink, SessionLink, Tone, When};
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
    stance: Stance,
}

/// Events that say the same of the new size.
struct EvidenceGroup {
    title: &'static str,
    badge: Badge,
    events: Vec<Evidence>,
}

/// The events apart by whether they support the size: having looked at one makes it no support.
fn groups(evidence: Vec<Evidence>) -> Vec<EvidenceGroup> {
    let (mut supports, mut otherwise, mut consulted) = (Vec::new(), Vec::new(), Vec::new());
    for event in evidence {
        match &event.stance {
            Stance::Supports(_) => supports.push(event),
            Stance::SaysOtherwise(_) => otherwise.push(event),
            Stance::SaysNothing => consulted.push(event),
        }
    }
    let group = |title, tone, sign, words: &str, events: Vec<Evidence>| {
        let badge = Badge::new(tone, sign, words);
        (!events.is_empty()).then_some(EvidenceGroup { title, badge, events })
    };
    [
        group("Supports this size", Tone::Good, "✓", "supports", supports),
        group("Says otherwise", Tone::Bad, "▲", "says otherwise", otherwise),
        group("Consulted, says nothing of what changes", Tone::Calm, "○", "consulted", consulted),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What becomes of sessions that run.
fn running(by_revision: &[(u32, u64)]) -> String {
    if by_revision.is_empty() {
        return "No session runs: the new size counts for every session to come.".to_owned();
    }
    let told: Vec<String> = by_revision
        .iter()
        .map(|(revision, sessions)| {
            let runs = if *sessions == 1 { "runs" } else { "run" };
            format!("{} {runs} with revision {revision}", parts::counted(sessions, "session"))
        })
        .collect();
    format!(
        "{}: what they were given stays until they end. The new size counts for sessions that are created from then on.",
        told.join(", ")
    )
}

#[derive(Template)]
#[template(path = "definition/review.html")]
struct ReviewPage {
    shell: Shell,
    definition: DefinitionRow,
    source: Source,
    changes: ChangesTable,
    would_change: bool,
    evidence: Vec<EvidenceGroup>,
    evidence_count: u64,
    /// What becomes of sessions that run.
    running: String,
    sessions: Vec<ObservedSession>,
    titles: SessionTitles,
    /// Which sessions count, in words, and how many they are.
    scope: String,
    sessions_in_all: u64,
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
    if !draft.is_filled() && !draft.fills_itself_in() {
        return Ok(Redirect::to(&draft.edit_address(&id)).into_response());
    }
    since.reached(&queries, &[ReadModel::Definitions, ReadModel::Observations, ReadModel::Advice]).await?;
    let basis = Basis::read(&queries, &id, draft.scope()).await?;
    let back_to = return_to::revision(&queries, &id, &draft).await?;
    let draft = match &back_to {
        _ if draft.is_filled() => draft,
        Some(revision) => draft.back_to(&basis.now, revision),
        None => draft.filled_in(&basis.now, &basis.suggestions(draft.source())),
    };
    match draft.parse(&basis.now) {
        Err(wrong) => edit::form(&visit, basis, &draft, &wrong),
        Ok(parsed) if !draft.rests_on(&basis.now) => stale(&queries, &visit, basis.now, &draft, &parsed).await,
        Ok(parsed) => {
            let parsed = parsed.restoring(back_to.as_ref());
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
    let after = parsed.after(&basis.now);
    let suggested = basis.suggestions(draft.source());
    let evidence: Vec<Evidence> =
        evidence.into_iter().map(|id| explained(id, &suggested, &after.resource_requirements, &basis)).collect();
    let running = running(&queries.sessions_by_revision(&basis.now.id, &SessionStatus::UP).await?);
    let mut fields = changes(&content_of(&basis.now), &after);
    for (change, resource) in fields.iter_mut().zip(Resource::ALL).filter(|(change, _)| change.differs) {
        change.objections =
            objections(resource, resource.configured(&after.resource_requirements), basis.known_use(resource));
    }
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
    let form = FormFields { action, form_page, hidden, reason: draft.reason(), reason_wrong };
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
            changes: fields,
        },
        would_change: parsed.would_change(&now)?,
        evidence_count: evidence.len() as u64,
        evidence: groups(evidence),
        running,
        scope: observed.scope.description,
        sessions_in_all: observed.scope.sessions,
        sessions: observed.sessions.into_iter().take(ROWS).collect(),
        titles,
        confirmation: Confirmation::new(visit, permit, form, labels, ways_out),
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

/// What an event says, of which session, and whether it supports the size.
fn explained(id: EventId, suggested: &Suggestions, after: &ResourceRequirements, basis: &Basis) -> Evidence {
    let is = |event: Option<Uuid>| event.is_some_and(|event| event.to_string() == id.as_str());
    let numbers = [
        ("CPU", &suggested.cpu_cores, after.cpu_cores.get()),
        ("memory", &suggested.memory_gb, after.memory_gb.get()),
        ("storage", &suggested.storage_gb, after.storage_gb.get()),
    ];
    let says = numbers.into_iter().filter(|(_, suggestion, _)| is(suggestion.event_id));
    // A number that was suggested and then changed by hand is no longer what the event says.
    let (kept, changed): (Vec<_>, Vec<_>) = says.partition(|(_, suggestion, stated)| suggestion.value == *stated);
    let told = |said: &[(&str, &Suggestion, u32)]| -> Vec<String> {
        said.iter().map(|(name, suggestion, _)| format!("{name} {}", suggestion.words)).collect()
    };
    let of = |session: &&ObservedSession| {
        let used = Resource::ALL.map(|one| one.part(&session.resources).steady.map(|peak| peak.event_id));
        [
            Some(session.observed_event_id),
            session.cpu_cores_event_id,
            session.memory_mb_event_id,
            session.storage_mb_event_id,
        ]
        .into_iter()
        .chain(used)
        .any(is)
    };
    let session = basis.observed.sessions.iter().find(of);
    let stance = match session {
        _ if !kept.is_empty() => Stance::Supports(told(&kept).join("; ")),
        Some(session) => Stance::of_session(&basis.now.resource_requirements, after, session),
        None => Stance::SaysNothing,
    };
    let says = match &stance {
        Stance::Supports(words) | Stance::SaysOtherwise(words) => vec![words.clone()],
        Stance::SaysNothing => told(&changed),
    };
    Evidence { says, session: session.map(|session| session.session_id.clone()), stance, id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_running_sessions_is_said_by_revision() {
        assert!(running(&[]).starts_with("No session runs"));
        let told = running(&[(4, 3), (3, 1)]);
        assert!(
            told.starts_with("3 sessions run with revision 4, 1 session runs with revision 3: what they were"),
            "{told}"
        );
    }
}
