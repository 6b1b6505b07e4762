//! `GET /api/lablet-session-counts`: how many sessions a filter finds, by their states.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::time::BoundedTime;
use domain::{DefinitionId, WorkerId};
use projections::ReadModel;
use projections::read_models::sessions::{DriftFilter, SessionTime, SessionUnknown, StatusCounts};
use schemars::JsonSchema;
use serde::Deserialize;

use super::filter::{SessionQuery, one_or_more};
use crate::caller::{Caller, Viewing};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;
use crate::recent::Recent;

/// Which sessions are counted: as the list takes it, but for the states, by which they are counted.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountQuery {
    /// Of this definition.
    definition_id: Option<DefinitionId>,
    /// Of the definitions of this name, in whatever case, or of this id.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    definition: Option<String>,
    /// On this worker.
    worker_id: Option<WorkerId>,
    /// On the workers of this name, in whatever case, or of this id.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    worker: Option<String>,
    /// For this owner.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    owner_id: Option<String>,
    /// Whose ports stand so, as in the list.
    drift: Option<DriftFilter>,
    /// Of which all of this is unknown, separated by commas, as in the list.
    #[schemars(extend("pattern" = one_or_more(&SessionUnknown::ALL.map(SessionUnknown::as_str))))]
    unknown: Option<String>,
    /// Whose id, definition, owner, worker or lab contains this, in whatever case.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    text: Option<String>,
    /// Whose timeslot ended before this time.
    timeslot_ended_before: Option<BoundedTime>,
    /// Of which time `last`, `from` and `before` speak, as in the list.
    time: Option<SessionTime>,
    /// So far back. Not beside `from`.
    last: Option<Recent>,
    /// From this time on.
    from: Option<BoundedTime>,
    /// Before this time.
    before: Option<BoundedTime>,
}

impl From<CountQuery> for SessionQuery {
    fn from(query: CountQuery) -> Self {
        let CountQuery {
            definition_id,
            definition,
            worker_id,
            worker,
            owner_id,
            drift,
            unknown,
            text,
            timeslot_ended_before,
            time,
            last,
            from,
            before,
        } = query;
        Self {
            status: None,
            definition_id,
            definition,
            worker_id,
            worker,
            owner_id,
            drift,
            unknown,
            text,
            timeslot_ended_before,
            time,
            last,
            from,
            before,
            sort: None,
            limit: None,
            cursor: None,
        }
    }
}

pub(crate) async fn count(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Query(query): Query<CountQuery>,
) -> Result<Json<StatusCounts>, Problem> {
    let filter = SessionQuery::from(query).filter(queries.log().clock().now())?;
    since.reached(&queries, &[ReadModel::Sessions]).await?;
    Ok(Json(queries.session_status_counts(&filter).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("count_lablet_sessions")
        .tag("sessions")
        .summary("How many sessions a filter finds, by their states")
        .description("Exact up to 10,000 of a state; `is_more` says that there are more.")
}
