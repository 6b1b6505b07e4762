//! `GET /api/lablet-sessions/{id}/resource-observations`: every observation of a session, newest first.

use aide::transform::TransformOperation;
use axum::Json;
use domain::SessionId;
use domain::lablet_session::LabletSession;
use projections::ReadModel;
use projections::read_models::observations::{ObservationFilter, ObservationRow};

use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::paging::{ListPage, Paging};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

pub(crate) async fn observations(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<SessionId>,
    Query(paging): Query<Paging>,
) -> Result<Json<ListPage<ObservationRow>>, Problem> {
    let request = paging.request()?;
    let filter = ObservationFilter { session_id: Some(id.clone()), definition_id: None };
    let (id, filter, request) = (&id, &filter, &request);
    let ask = |queries: Queries| async move {
        let page = queries.observations(filter, request).await?;
        if page.items.is_empty() && !queries.knows::<LabletSession>(id.as_str()).await? {
            return Err(Problem::not_found("session", id.as_str()));
        }
        Ok(page)
    };
    Ok(Json(reads.read(since, &[ReadModel::Observations], ask).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_lablet_session_observations").tag("sessions").summary("Observations of a session, newest first")
}
