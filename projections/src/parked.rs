//! What a read model does not show as it is, because an event of it could not be applied.

use chrono::{DateTime, Utc};
use domain::DefinitionId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::page::{self, Listed};
use crate::projector::AggregateKind;
use crate::read_models::ReadModel;
use crate::{Projections, ReadError};

/// Most parked sessions of a definition that are named.
const MOST_OF_A_DEFINITION: i64 = 100;

/// A read model that stopped at an event of this aggregate: what it shows of it is what was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parked {
    /// Which read model.
    pub read_model: ReadModel,
    /// The session, definition or worker.
    pub aggregate_id: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// The event that could not be applied; see `/api/dead-letters`.
    pub event_id: Uuid,
    /// Its type, e.g. `lablet_session.created.v1`.
    pub event_type: String,
    /// Why it could not.
    pub reason: String,
    /// Events that are not shown: that one, and those that wait behind it.
    pub waiting_events: u64,
}

impl Projections {
    /// Whether an aggregate is parked in a read model. It may have no row there: its first event could not be applied.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn parked_in(
        &self,
        model: ReadModel,
        aggregate_type: &str,
        id: &str,
    ) -> Result<Option<Parked>, ReadError> {
        let mut query = QueryBuilder::new(page::select("aggregate_id", "event_id"));
        query.push(select(model)).push(" AND d.aggregate_type = ").push_bind(aggregate_type.to_owned());
        query.push(" AND d.aggregate_id = ").push_bind(id.to_owned()).push(") r");
        self.row_of("parked", query).await
    }

    /// Every aggregate that is parked in a read model, by its id, as far as this many.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn parked_of(&self, model: ReadModel, most: u32) -> Result<Listed<Parked>, ReadError> {
        let mut query = QueryBuilder::new(page::select("aggregate_id", "event_id"));
        query.push(select(model)).push(" ORDER BY d.position LIMIT ").push_bind(i64::from(most)).push(") r");
        self.list_of("parked", query).await
    }

    /// Sessions of a definition that are parked where observations are kept: what was observed of them since is not
    /// among the definition's observations.
    pub(crate) async fn parked_sessions_of(&self, id: &DefinitionId) -> Result<Vec<Parked>, ReadError> {
        let mut query = QueryBuilder::new(page::select("aggregate_id", "event_id"));
        query
            .push(select(ReadModel::Observations))
            .push(" AND d.aggregate_type = ")
            .push_bind(AggregateKind::Session.as_str());
        query.push(
            " AND EXISTS (SELECT FROM read_sessions.sessions s WHERE s.id = d.aggregate_id AND s.definition_id = ",
        );
        query.push_bind(id.as_str().to_owned()).push(") ORDER BY d.position LIMIT ");
        query.push_bind(MOST_OF_A_DEFINITION).push(") r");
        Ok(self.list_of::<Parked>("parked", query).await?.items)
    }
}

/// The column of [`page::select_with_parked`] for aggregates of this kind, with the id in `id`. Where nothing at all is
/// parked, which is the rule, Postgres looks once a statement and not once a row.
pub(crate) fn column(kind: AggregateKind, id: &str) -> String {
    let following = || ReadModel::ALL.into_iter().filter(|model| model.projector().follows.contains(&kind));
    let anything: Vec<String> = following().map(anything_in).collect();
    let of_row: Vec<String> = following()
        .map(|model| format!("{} AND d.aggregate_type = '{}' AND d.aggregate_id = {id}", select(model), kind.as_str()))
        .collect();
    format!(
        "CASE WHEN EXISTS ({}) THEN (SELECT json_agg(p)::text FROM ({}) p) END",
        anything.join(" UNION ALL "),
        of_row.join(" UNION ALL ")
    )
}

/// The column of [`page::select_with_parked`] that only says whether anything is parked in a read model.
pub(crate) fn anything_column(model: ReadModel) -> String {
    format!("CASE WHEN EXISTS ({}) THEN '[]' END", anything_in(model))
}

fn anything_in(model: ReadModel) -> String {
    format!("SELECT FROM {}.dead_letters WHERE reason IS NOT NULL", model.schema())
}

fn select(model: ReadModel) -> String {
    let schema = model.schema();
    format!(
        "SELECT '{model}' AS read_model, d.aggregate_id, d.parked_at AS since, d.event_id, d.event_type, d.reason,
                (SELECT count(*) FROM {schema}.dead_letters w
                  WHERE w.aggregate_type = d.aggregate_type AND w.aggregate_id = d.aggregate_id) AS waiting_events
           FROM {schema}.dead_letters d WHERE d.reason IS NOT NULL"
    )
}
