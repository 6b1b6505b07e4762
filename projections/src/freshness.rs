//! How far each read model has come.

use app::log::Position;
use chrono::{DateTime, Utc};
use metrics::{Unit, describe_gauge, gauge};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, QueryBuilder};

use crate::page::{self, Listed};
use crate::read_models::ReadModel;
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
    /// The end of the log: its newest committed event, whether the log's readers see it yet or not.
    pub head: Position,
    /// Events after its position, counted up to [`MOST_COUNTED`]; those that readers do not see yet, too.
    pub events_behind: u64,
    /// When it last moved.
    pub moved_at: DateTime<Utc>,
    /// Whether it shows everything that readers of the log can see: no event is behind, and no aggregate is parked.
    pub up_to_date: bool,
    /// Aggregates whose events are parked.
    pub parked_aggregates: u64,
    /// Events in the dead letters.
    pub dead_letters: u64,
    /// How far a rebuild has come; null: none is under way.
    pub rebuilding: Option<Position>,
    /// The process that keeps it; null: none does at present.
    #[serde(default)]
    pub kept_by: Option<String>,
    /// Since when.
    #[serde(default)]
    pub kept_since: Option<DateTime<Utc>>,
}

/// Events behind are counted no further.
pub const MOST_COUNTED: i64 = 10_000;

/// What is asked of a checkpoint.
#[derive(Deserialize)]
struct ModelState {
    read_model: ReadModel,
    position: Position,
    revision: i32,
    moved_at: DateTime<Utc>,
    parked: u64,
    letters: u64,
    rebuilding: bool,
    kept_by: Option<String>,
    kept_since: Option<DateTime<Utc>>,
}

/// Says what the metrics of how far read models have come mean.
pub(crate) fn describe_metrics() {
    describe_gauge!(
        "lablet_projection_lag_seconds",
        Unit::Seconds,
        "Age of the oldest event that a read model has not applied; 0: it has applied all"
    );
    describe_gauge!(
        "lablet_projection_lag_events",
        Unit::Count,
        "Events that a read model has not applied, counted up to 10,000"
    );
    describe_gauge!("lablet_projection_parked_aggregates", Unit::Count, "Aggregates whose events are parked");
}

impl Projections {
    /// How far every read model has come. One whose checkpoint cannot be read is left out, and named.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn freshness(&self) -> Result<Listed<Freshness>, ReadError> {
        let head = self.log.newest().await?;
        let mut query = QueryBuilder::new(page::select("read_model", "position"));
        query.push("SELECT s.*, kept.holder AS kept_by, kept.taken_at AS kept_since FROM (");
        for (place, model) in ReadModel::ALL.into_iter().enumerate() {
            let (schema, union) = (model.schema(), if place == 0 { "" } else { " UNION ALL " });
            query.push(format!(
                "{union}SELECT {place} AS place, '{model}' AS read_model, position, revision, moved_at,
                        (SELECT count(*) FROM {schema}.dead_letters WHERE reason IS NOT NULL) AS parked,
                        (SELECT count(*) FROM {schema}.dead_letters) AS letters,
                        to_regclass('{schema}_next.checkpoint') IS NOT NULL AS rebuilding
                   FROM {schema}.checkpoint"
            ));
        }
        query.push(concat!(
            ") s LEFT JOIN (SELECT l.read_model, l.holder, l.taken_at",
            " FROM projection_leases l JOIN present_projection_members USING (holder)",
            " WHERE l.task = 'follow') kept USING (read_model)) r ORDER BY r.place"
        ));
        let Listed { items, unreadable } = self.list_of::<ModelState>("checkpoints", query).await?;
        let mut all = Listed { items: Vec::with_capacity(items.len()), unreadable };
        for ModelState {
            read_model: model,
            position,
            revision,
            moved_at,
            parked,
            letters,
            rebuilding,
            kept_by,
            kept_since,
        } in items
        {
            let events_behind = if position >= head { 0 } else { self.log.count_after(position, MOST_COUNTED).await? };
            let rebuilding = if rebuilding { self.rebuild_position(model).await? } else { None };
            all.items.push(Freshness {
                read_model: model,
                revision,
                position,
                head,
                events_behind: events_behind.unsigned_abs(),
                moved_at,
                up_to_date: events_behind == 0 && letters == 0,
                parked_aggregates: parked,
                dead_letters: letters,
                rebuilding,
                kept_by,
                kept_since,
            });
        }
        Ok(all)
    }

    /// Sets the metrics of how far read models have come.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn measure(&self, models: &[Freshness]) -> Result<(), ReadError> {
        for model in models {
            let lag = if model.events_behind == 0 { None } else { self.log.age_after(model.position).await? };
            let name = model.read_model.name();
            gauge!("lablet_projection_lag_seconds", "projection" => name).set(lag.unwrap_or_default().as_secs_f64());
            gauge!("lablet_projection_lag_events", "projection" => name).set(model.events_behind as f64);
            gauge!("lablet_projection_parked_aggregates", "projection" => name).set(model.parked_aggregates as f64);
        }
        Ok(())
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
