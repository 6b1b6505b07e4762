//! `GET /api/lablet-sessions` and `GET /api/internal/lablet-sessions`: sessions, newest first unless asked otherwise.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::lablet_session::SessionStatus;
use domain::time::BoundedTime;
use domain::{DefinitionId, Invalid, WorkerId};
use projections::ReadModel;
use projections::read_models::sessions::{DriftFilter, SessionFilter, SessionRow, SessionSort};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::caller::{Caller, Internal, Viewing};
use crate::paging::{ListPage, Paging, check_text};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which sessions.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionQuery {
    /// In one of these states, separated by commas.
    #[schemars(extend("pattern" = states_pattern()))]
    status: Option<String>,
    /// Of this definition.
    definition_id: Option<DefinitionId>,
    /// On this worker.
    worker_id: Option<WorkerId>,
    /// `true`: drifted. `false`: known not to have drifted. `open`: drifted, and nobody acknowledged it. `acknowledged`: drifted,
    /// and somebody did. `unknown`: no observation could read the ports yet.
    drift: Option<DriftFilter>,
    /// Whose id, definition, owner, worker or lab contains this, in whatever case.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    text: Option<String>,
    /// Whose timeslot ended before this time.
    timeslot_ended_before: Option<BoundedTime>,
    /// In this order; newest first unless stated. A cursor belongs to one order.
    sort: Option<SessionSort>,
    /// Most rows of the page, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(length(min = 1), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    cursor: Option<String>,
}

/// States separated by commas, for the description.
fn states_pattern() -> String {
    let one = format!("({})", SessionStatus::ALL.map(SessionStatus::as_str).join("|"));
    format!("^{one}(, *{one})*$")
}

impl SessionQuery {
    fn filter(&self) -> Result<SessionFilter, Invalid> {
        let statuses = self.status.as_deref().unwrap_or_default();
        let statuses = statuses.split(',').map(str::trim).filter(|status| !status.is_empty());
        Ok(SessionFilter {
            status: statuses
                .map(|status| status.parse::<SessionStatus>().map_err(|invalid| invalid.within("status")))
                .collect::<Result<_, _>>()?,
            definition_id: self.definition_id.clone(),
            worker_id: self.worker_id.clone(),
            drift: self.drift,
            text: check_text("text", self.text.clone())?,
            timeslot_ended_before: self.timeslot_ended_before.map(BoundedTime::at),
            sort: self.sort.unwrap_or_default(),
        })
    }
}

pub(crate) async fn list(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Query(query): Query<SessionQuery>,
) -> Result<Json<ListPage<SessionRow>>, Problem> {
    page(&queries, since, query).await
}

pub(crate) async fn list_internally(
    State(queries): State<Queries>,
    _: Caller<Internal>,
    since: Since,
    Query(query): Query<SessionQuery>,
) -> Result<Json<ListPage<SessionRow>>, Problem> {
    page(&queries, since, query).await
}

async fn page(queries: &Queries, since: Since, query: SessionQuery) -> Result<Json<ListPage<SessionRow>>, Problem> {
    let filter = query.filter()?;
    let request = Paging { limit: query.limit, cursor: query.cursor }.request()?;
    since.reached(queries, &[ReadModel::Sessions]).await?;
    Ok(Json(queries.sessions(&filter, &request).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_lablet_sessions").tag("sessions").summary("Sessions, newest first unless asked otherwise")
}

pub(crate) fn describe_internal(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_lablet_sessions_internally").tag("sessions").summary("Sessions, for controllers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_separated_by_commas() {
        let filter =
            |status: &str| SessionQuery { status: Some(status.to_owned()), ..SessionQuery::default() }.filter();
        assert_eq!(filter("running, collecting").unwrap().status, [SessionStatus::Running, SessionStatus::Collecting]);
        assert_eq!(filter("").unwrap().status, []);
        let invalid = filter("running,flying").unwrap_err();
        assert_eq!((invalid.field.as_str(), invalid.problem.as_str()), ("status", "is \"flying\""));
    }
}
