//! `GET /api/observation-requests`: who asked for an observation, and what came of it.

use aide::transform::TransformOperation;
use axum::Json;
use chrono::{DateTime, Utc};
use domain::{DefinitionId, SessionId, WorkerId};
use projections::ReadModel;
use projections::read_models::observation_requests::{ObservationRequestRow, RequestFilter, RequestOutcome};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::paging::{ListPage, Paging};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which requests.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestQuery {
    /// Standing like this.
    status: Option<RequestOutcome>,
    /// Of this session.
    session_id: Option<SessionId>,
    /// Of sessions of this definition.
    definition_id: Option<DefinitionId>,
    /// Of sessions on this worker.
    worker_id: Option<WorkerId>,
    /// Made then or later.
    from: Option<DateTime<Utc>>,
    /// Made before.
    before: Option<DateTime<Utc>>,
    /// Most rows of the page, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(length(min = 1), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    cursor: Option<String>,
}

pub(crate) async fn list(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    Query(query): Query<RequestQuery>,
) -> Result<Json<ListPage<ObservationRequestRow>>, Problem> {
    let filter = RequestFilter {
        session_id: query.session_id,
        outcome: query.status,
        definition_id: query.definition_id,
        worker_id: query.worker_id,
        requested_from: query.from,
        requested_before: query.before,
    };
    let request = Paging { limit: query.limit, cursor: query.cursor }.request()?;
    let (filter, request) = (&filter, &request);
    let ask = |queries: Queries| async move { queries.observation_requests(filter, request).await };
    Ok(Json(reads.read(since, &[ReadModel::ObservationRequests], ask).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_observation_requests")
        .tag("sessions")
        .summary("Observation requests and their outcomes, newest first")
}
