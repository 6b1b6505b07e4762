//! How far each read model has come.

use app::log::Position;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use crate::projector::ReadModel;
use crate::{Projections, ReadError, parse_position};

/// How far a read model has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Freshness {
    /// Which one.
    pub read_model: ReadModel,
    /// Revision of its rows.
    pub revision: i32,
    /// Every event up to here is applied or lies in the dead letters.
    pub position: Position,
    /// The end of the log.
    pub head: Position,
    /// Events after its position, counted up to [`MOST_COUNTED`].
    pub events_behind: u64,
    /// When it last moved.
    pub moved_at: DateTime<Utc>,
    /// Aggregates whose events are parked.
    pub parked_aggregates: u64,
    /// Events in the dead letters.
    pub dead_letters: u64,
    /// How far a rebuild has come; null: none is under way.
    pub rebuilding: Option<Position>,
}

/// Events behind are counted no further.
pub const MOST_COUNTED: i64 = 10_000;

impl Projections {
    /// How far every read model has come.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn freshness(&self) -> Result<Vec<Freshness>, ReadError> {
        let head = self.log.head().await?;
        let mut all = Vec::with_capacity(ReadModel::ALL.len());
        for model in ReadModel::ALL {
            let schema = model.schema();
            let statement = format!(
                "SELECT position, revision, moved_at,
                        (SELECT count(*) FROM {schema}.dead_letters WHERE reason IS NOT NULL),
                        (SELECT count(*) FROM {schema}.dead_letters), to_regclass('{schema}_next.checkpoint') IS NOT NULL
                   FROM {schema}.checkpoint"
            );
            let (position, revision, moved_at, parked, letters, rebuilding): (
                String,
                i32,
                DateTime<Utc>,
                i64,
                i64,
                bool,
            ) = sqlx::query_as(AssertSqlSafe(statement)).fetch_one(&self.pool).await?;
            let position = parse_position(&position)?;
            let events_behind = if position >= head { 0 } else { self.log.count_after(position, MOST_COUNTED).await? };
            let rebuilding = if rebuilding { self.rebuild_position(model).await? } else { None };
            all.push(Freshness {
                read_model: model,
                revision,
                position,
                head,
                events_behind: events_behind.unsigned_abs(),
                moved_at,
                parked_aggregates: parked.unsigned_abs(),
                dead_letters: letters.unsigned_abs(),
                rebuilding,
            });
        }
        Ok(all)
    }

    async fn rebuild_position(&self, model: ReadModel) -> Result<Option<Position>, ReadError> {
        let statement = format!("SELECT position FROM {}_next.checkpoint", model.schema());
        match sqlx::query_scalar::<_, String>(AssertSqlSafe(statement)).fetch_one(&self.pool).await {
            Ok(position) => Ok(Some(parse_position(&position)?)),
            // It was swapped in between.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
