//! `GET /api/lablet-sessions/{id}`, and for controllers `GET /api/internal/lablet-sessions/{id}`.

use aide::transform::TransformOperation;
use axum::extract::State;
use domain::SessionId;
use domain::lablet_session::LabletSession;
use projections::read_models::observation_requests::{ObservationRequestRow, RequestFilter};
use projections::read_models::sessions::SessionDetail;
use projections::{PageRequest, ReadModel};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Found;
use crate::caller::{Caller, Internal, Viewing};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Most requests that a controller is shown of one session.
const MOST_REQUESTS: u32 = 200;

/// A session with its newest observation requests, the open ones among them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SessionForControllers {
    /// The session.
    #[serde(flatten)]
    session: SessionDetail,
    /// Its newest observation requests, newest first.
    observation_requests: Vec<ObservationRequestRow>,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<SessionId>,
) -> Result<Found<SessionDetail>, Problem> {
    since.reached(&queries, &[ReadModel::Sessions]).await?;
    let detail = detail(&queries, &id).await?;
    let etag = detail.session.etag.clone();
    Ok(Found::new(detail).at_etag(&etag))
}

pub(crate) async fn show_internally(
    State(queries): State<Queries>,
    _: Caller<Internal>,
    since: Since,
    Id(id): Id<SessionId>,
) -> Result<Found<SessionForControllers>, Problem> {
    since.reached(&queries, &[ReadModel::Sessions, ReadModel::ObservationRequests]).await?;
    let session = detail(&queries, &id).await?;
    let etag = session.session.etag.clone();
    let filter = RequestFilter { session_id: Some(id), ..RequestFilter::default() };
    let requests = queries.observation_requests(&filter, &PageRequest::first(MOST_REQUESTS)).await?;
    Ok(Found::new(SessionForControllers { session, observation_requests: requests.items }).at_etag(&etag))
}

async fn detail(queries: &Queries, id: &SessionId) -> Result<SessionDetail, Problem> {
    let ask = || queries.session(id);
    queries.row::<LabletSession, _, _>(ReadModel::Sessions, ("session", id.as_str()), ask).await
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_lablet_session")
        .tag("sessions")
        .summary("One session, with its newest observation and the allocated beside the observed ports")
}

pub(crate) fn describe_internal(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("show_lablet_session_internally")
        .tag("sessions")
        .summary("One session and its observation requests, for controllers")
}
