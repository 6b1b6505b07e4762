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
use crate::queries::Queries;
use crate::query::Query;

pub(crate) async fn revisions(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<DefinitionId>,
    Query(paging): Query<Paging>,
) -> Result<Json<ListPage<RevisionRow>>, Problem> {
    let request = paging.request()?;
    since.reached(&queries, &[ReadModel::Definitions]).await?;
    super::show::row(&queries, &id).await?;
    Ok(Json(queries.definition_revisions(&id, &request).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_lablet_definition_revisions")
        .tag("definitions")
        .summary("A definition's revisions, newest first")
}
