//! `GET /api/lablet-definitions/{id}/revisions`: who changed a definition, why, and on what evidence.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::DefinitionId;
use projections::ReadModel;
use projections::read_models::definitions::RevisionRow;

use crate::caller::{Caller, Viewing};
use crate::paging::{ListPage, Paging};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::query::Query;
use crate::state::Shared;

pub(crate) async fn revisions(
    State(shared): State<Shared>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<DefinitionId>,
    Query(paging): Query<Paging>,
) -> Result<Json<ListPage<RevisionRow>>, Problem> {
    let request = paging.request()?;
    since.reached(&shared, &[ReadModel::Definitions]).await?;
    super::show::row(&shared, &id).await?;
    Ok(Json(shared.reads.definition_revisions(&id, &request).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_lablet_definition_revisions")
        .tag("definitions")
        .summary("A definition's revisions, newest first")
}
