//! `GET /api/proposals/{id}`.

use aide::transform::TransformOperation;
use axum::extract::State;
use domain::ProposalId;
use projections::ReadModel;
use projections::read_models::advice::proposals::ProposalRow;

use crate::answer::Found;
use crate::caller::{Caller, Viewing};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<ProposalId>,
) -> Result<Found<ProposalRow>, Problem> {
    since.reached(&queries, &[ReadModel::Advice]).await?;
    let row = row(&queries, &id).await?;
    let etag = row.etag.clone();
    Ok(Found::new(row).at_etag(&etag))
}

/// The proposal's row.
///
/// # Errors
/// 404: the log knows proposals by their definitions, so one that the read model does not show yet is not waited for.
pub(crate) async fn row(queries: &Queries, id: &ProposalId) -> Result<ProposalRow, Problem> {
    queries.proposal(id).await?.ok_or_else(|| Problem::not_found("proposal", id.as_str()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("show_proposal").tag("advice").summary("One proposal, with its life")
}
