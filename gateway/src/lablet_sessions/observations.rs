//! `GET /api/lablet-sessions/{id}/resource-observations`: every observation of a session, newest first.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::SessionId;
use domain::lablet_session::LabletSession;
use projections::ReadModel;
use projections::read_models::observations::{ObservationFilter, ObservationRow};

use crate::caller::{Caller, Viewing};
use crate::paging::{ListPage, Paging};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

pub(crate) async fn observations(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<SessionId>,
    Query(paging): Query<Paging>,
) -> Result<Json<ListPage<ObservationRow>>, Problem> {
    let request = paging.request()?;
    since.reached(&queries, &[ReadModel::Observations]).await?;
    let filter = ObservationFilter { session_id: Some(id.clone()), definition_id: None };
    let page = queries.observations(&filter, &request).await?;
    if page.items.is_empty() && !queries.knows::<LabletSession>(id.as_str()).await? {
        return Err(Problem::not_found("session", id.as_str()));
    }
    Ok(Json(page.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_lablet_session_observations").tag("sessions").summary("Observations of a session, newest first")
}
