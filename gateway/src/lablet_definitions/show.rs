//! `GET /api/lablet-definitions/{id}`.

use aide::transform::TransformOperation;
use axum::extract::State;
use domain::DefinitionId;
use domain::lablet_definition::LabletDefinition;
use projections::ReadModel;
use projections::read_models::definitions::DefinitionRow;

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
    Id(id): Id<DefinitionId>,
) -> Result<Found<DefinitionRow>, Problem> {
    since.reached(&queries, &[ReadModel::Definitions, ReadModel::Advice]).await?;
    let row = row(&queries, &id).await?;
    let etag = row.etag.clone();
    // One that is parked has no version that a change could rest on.
    let found = Found::new(row);
    Ok(if etag.is_empty() { found } else { found.at_etag(&etag) })
}

/// The definition's row.
///
/// # Errors
/// 404, or 503 when the read model does not show it in time.
pub(crate) async fn row(queries: &Queries, id: &DefinitionId) -> Result<DefinitionRow, Problem> {
    let ask = || queries.definition(id);
    queries.row::<LabletDefinition, _, _>(ReadModel::Definitions, ("definition", id.as_str()), ask).await
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("show_lablet_definition").tag("definitions").summary("One definition")
}
