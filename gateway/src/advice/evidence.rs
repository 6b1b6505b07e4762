//! `GET /api/lablet-definitions/{id}/evidence`: the sessions that are evidence of what a definition needs.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::DefinitionId;
use projections::ReadModel;
use projections::read_models::advice::evidence::EvidenceRow;

use crate::caller::{Caller, Viewing};
use crate::lablet_definitions;
use crate::paging::{ListPage, Paging};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

pub(crate) async fn evidence(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<DefinitionId>,
    Query(paging): Query<Paging>,
) -> Result<Json<ListPage<EvidenceRow>>, Problem> {
    let request = paging.request()?;
    since.reached(&queries, &[ReadModel::Advice, ReadModel::Definitions]).await?;
    lablet_definitions::show::row(&queries, &id).await?;
    Ok(Json(queries.evidence(&id, &request).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_lablet_definition_evidence")
        .tag("advice")
        .summary("The sessions that are evidence of what a definition needs, the one that ended last first")
        .description(
            "With what each needed, what was advised before it, and whether that held. Excluded sessions are listed, too, with \
             the reason.",
        )
}
