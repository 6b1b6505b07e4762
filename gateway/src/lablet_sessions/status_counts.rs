//! `GET /api/lablet-session-counts`: how many sessions a filter finds, by their states.

use std::borrow::Cow;

use aide::transform::TransformOperation;
use axum::Json;
use chrono::{DateTime, Utc};
use domain::Invalid;
use projections::ReadModel;
use projections::read_models::sessions::{SessionFilter, StatusCounts};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::filter::SessionQuery;
use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which sessions are counted: as the list takes it, but for the states, by which they are counted, and for what says which
/// page of the list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct CountQuery(SessionQuery);

/// What the list takes, and counts do not.
const OF_THE_LIST: [&str; 4] = ["status", "sort", "limit", "cursor"];

impl CountQuery {
    /// What it means at a time.
    ///
    /// # Errors
    /// [`Invalid`] naming the parameter.
    fn filter(&self, now: DateTime<Utc>) -> Result<SessionFilter, Invalid> {
        let SessionQuery { status, sort, limit, cursor, .. } = &self.0;
        let given = [status.is_some(), sort.is_some(), limit.is_some(), cursor.is_some()];
        if let Some((name, _)) = OF_THE_LIST.into_iter().zip(given).find(|(_, given)| *given) {
            return Err(Invalid::new(name, "is not known", "nothing: all sessions are counted, by their states"));
        }
        self.0.filter(now)
    }
}

impl JsonSchema for CountQuery {
    fn schema_name() -> Cow<'static, str> {
        "CountQuery".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = SessionQuery::json_schema(generator);
        let members = schema.as_object_mut().and_then(|schema| schema.get_mut("properties")?.as_object_mut());
        if let Some(members) = members {
            members.retain(|name, _| !OF_THE_LIST.contains(&name.as_str()));
        }
        schema
    }
}

pub(crate) async fn count(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    Query(query): Query<CountQuery>,
) -> Result<Json<StatusCounts>, Problem> {
    let filter = query.filter(reads.log().clock().now())?;
    let filter = &filter;
    let ask = |queries: Queries| async move { queries.session_status_counts(filter).await };
    Ok(Json(reads.read(since, &[ReadModel::Sessions], ask).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("count_lablet_sessions")
        .tag("sessions")
        .summary("How many sessions a filter finds, by their states")
        .description("Exact up to 10,000 of a state; `is_more` says that there are more.")
}
