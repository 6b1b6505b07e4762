//! `GET /proposals/{id}/apply`: the review of the revision that a proposal becomes, with the proposal as its evidence; and
//! `POST`, by which it does.

use advice::scope::SessionScope;
use app::commands::Commands;
use app::log::Expected;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::ProposalId;
use domain::advice_policy::Applier;
use projections::ReadModel;
use projections::read_models::advice::proposals::ProposalRow;
use projections::read_models::definitions::DefinitionRow;

use super::Basis;
use super::draft::Draft;
use super::review::{Reviewed, review};
use super::suggestion::Source;
use crate::authentication::Role;
use crate::caller::{Asking, Caller, Viewing};
use crate::command::present;
use crate::pages::advice::proposal::{StepForm, may_apply, proposal};
use crate::pages::form::PageForm;
use crate::pages::visit::{Permit, Visit};
use crate::path::Id;
use crate::position::Since;
use crate::problem::{Problem, ProblemKind};
use crate::queries::Queries;

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<ProposalId>,
) -> Result<Response, Problem> {
    since.reached(&queries, &[ReadModel::Definitions, ReadModel::Observations, ReadModel::Advice]).await?;
    let row = proposal(&queries, &id).await?;
    let basis = Basis::read(&queries, &row.definition_id, SessionScope::All).await?;
    let policy = queries.policy_in_force(&row.definition_id).await?.unwrap_or_default();
    let draft = from_proposal(&row, &basis.now);
    let parsed = draft.parse(&basis.now).map_err(|mut wrong| {
        wrong
            .pop()
            .map_or_else(|| Problem::new(ProblemKind::Conflict, "The proposal cannot be applied."), Problem::from)
    })?;
    let still = match row.ended_at {
        None => Permit::granted(),
        Some(_) => Permit::refused(format!("It is {}: nothing more is decided about it.", row.status)),
    };
    let permit = still.and(may_apply(&visit, policy.applier));
    let reviewed = Reviewed { draft: &draft, parsed: &parsed, reason_wrong: None, proposal: Some(&row), permit };
    review(&queries, &visit, basis, reviewed).await
}

/// The form of a revision, filled in as a proposal says.
fn from_proposal(row: &ProposalRow, now: &DefinitionRow) -> Draft {
    let after = &row.proposal.after;
    let evidence: Vec<&str> = row.proposal.evidence.iter().map(domain::EventId::as_str).collect();
    Draft {
        cpu_cores: Some(after.cpu_cores.to_string()),
        memory_gb: Some(after.memory_gb.to_string()),
        storage_gb: Some(after.storage_gb.to_string()),
        description: now.description.clone(),
        reason: Some(row.proposal.reason.clone()),
        evidence: Some(evidence.join(",")).filter(|ids| !ids.is_empty()),
        ..Draft::new(Source::Custom, SessionScope::All).on(now)
    }
}

pub(crate) async fn apply(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    _: Caller<Asking>,
    visit: Visit,
    Id(id): Id<ProposalId>,
    form: PageForm<StepForm>,
) -> Result<Response, Problem> {
    let (definition, step) = form.step(&queries, id).await?;
    let applier = if visit.role >= Role::Admin { Applier::Admin } else { Applier::Operator };
    let done = commands.apply_proposal(&definition, step, applier, &Expected::Any, &form.origin).await?;
    let revision = present(done.state.present())?.revision;
    let to = format!("/definitions/{definition}?position={}&revised={revision}#revisions", done.position);
    Ok(Redirect::to(&to).into_response())
}
