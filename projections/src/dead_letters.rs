//! Events that a read model could not apply, and those of the same aggregate behind them.
//!
//! The first of an aggregate has a reason, the others wait for it. Retrying applies them in order, in one transaction,
//! as far as it goes. Discarding does without the first one, for good, and retries the others.

use app::log::Position;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, QueryBuilder};
use uuid::Uuid;

use crate::page::{self, Page, PageRequest};
use crate::projector::{AggregateKind, ApplyError, ReadModel};
use crate::runner::batch::{self, Ledger, Tables};
use crate::{Projections, ReadError};

/// An event that is not applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// Which read model lacks it.
    pub read_model: ReadModel,
    /// The event.
    pub event_id: Uuid,
    /// Its place in the order of all events.
    pub position: Position,
    /// E.g. `lablet_session`.
    pub aggregate_type: String,
    /// The aggregate that is parked.
    pub aggregate_id: String,
    /// The event's place among those of its aggregate.
    pub sequence: i64,
    /// E.g. `lablet_session.created.v1`.
    pub event_type: String,
    /// Why it cannot be applied; null: it only waits behind an earlier one.
    pub reason: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it lies here.
    pub parked_at: DateTime<Utc>,
}

/// What a retry came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// Events that are applied now.
    pub applied: u64,
    /// Events that are discarded now.
    pub discarded: u64,
    /// The event that still cannot be applied; null: none of the aggregate is left.
    pub stopped_at: Option<Uuid>,
    /// Why it cannot.
    pub reason: Option<String>,
}

/// What the rows are called in an alarm.
const LIST: &str = "dead_letters";
/// Most events that a retry applies in its one transaction; the rest stays for the next.
const MOST_RETRIED: i64 = 10_000;
/// Events read at a time.
const PAGE: i64 = 200;

fn select(model: ReadModel) -> QueryBuilder<sqlx::Postgres> {
    QueryBuilder::new(format!(
        "{}
             SELECT '{}' AS read_model, event_id, position, aggregate_type, aggregate_id, sequence, event_type, reason,
                    attempts, parked_at
               FROM {}.dead_letters WHERE true",
        page::select("event_id", "position"),
        model.name(),
        model.schema()
    ))
}

impl Projections {
    /// The dead letters of a read model in the order of the log; with `only_first` those that have a reason, one of each
    /// parked aggregate.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn dead_letters(
        &self,
        model: ReadModel,
        only_first: bool,
        request: &PageRequest,
    ) -> Result<Page<DeadLetter>, ReadError> {
        let after = request.position().map_err(ReadError::Invalid)?;
        let mut query = select(model);
        if only_first {
            query.push(" AND reason IS NOT NULL");
        }
        if let Some(after) = after {
            query.push(" AND position > ").push_bind(after);
        }
        query.push(" ORDER BY position LIMIT ").push_bind(request.fetch()).push(") r");
        self.page_of(LIST, query, request).await
    }

    /// One dead letter.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn dead_letter(&self, model: ReadModel, event_id: Uuid) -> Result<Option<DeadLetter>, ReadError> {
        let mut query = select(model);
        query.push(" AND event_id = ").push_bind(event_id).push(") r");
        self.row_of(LIST, query).await
    }

    /// Applies the parked events of an aggregate in order, as far as that goes, in one transaction.
    ///
    /// # Errors
    /// The database does not answer; nothing has changed then.
    pub async fn retry_dead_letters(
        &self,
        model: ReadModel,
        aggregate_type: &str,
        aggregate_id: &str,
    ) -> Result<Retried, ReadError> {
        let mut transaction = batch::enter(&self.pool, &Tables::Live.schema(model)).await?;
        let retried = self.retry(&mut transaction, model, aggregate_type, aggregate_id).await?;
        transaction.commit().await?;
        self.ring();
        Ok(retried)
    }

    /// Does without an event that cannot be applied, remembers who decided so and why, and retries the later ones of
    /// its aggregate, all in one transaction. `None`: it is no dead letter with a reason.
    ///
    /// # Errors
    /// The database does not answer; nothing has changed then.
    pub async fn discard_dead_letter(
        &self,
        model: ReadModel,
        event_id: Uuid,
        discarded_by: &str,
        reason: &str,
    ) -> Result<Option<Retried>, ReadError> {
        let mut transaction = batch::enter(&self.pool, &Tables::Live.schema(model)).await?;
        let found: Option<(String, String)> = sqlx::query_as(
            "SELECT aggregate_type, aggregate_id FROM dead_letters WHERE event_id = $1 AND reason IS NOT NULL",
        )
        .bind(event_id)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((aggregate_type, aggregate_id)) = found else { return Ok(None) };
        sqlx::query(
            "INSERT INTO public.projection_discards (projection, event_id, aggregate_type, aggregate_id, discarded_by, reason)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(model.name())
        .bind(event_id)
        .bind(&aggregate_type)
        .bind(&aggregate_id)
        .bind(discarded_by)
        .bind(reason)
        .execute(&mut *transaction)
        .await?;
        let retried = self.retry(&mut transaction, model, &aggregate_type, &aggregate_id).await?;
        transaction.commit().await?;
        self.ring();
        Ok(Some(retried))
    }

    async fn retry(
        &self,
        tables: &mut PgConnection,
        model: ReadModel,
        aggregate_type: &str,
        aggregate_id: &str,
    ) -> Result<Retried, ReadError> {
        // The runner waits for us, so that no event can come between.
        sqlx::query("SELECT FROM checkpoint FOR UPDATE").execute(&mut *tables).await?;
        let mut retried = Retried { applied: 0, discarded: 0, stopped_at: None, reason: None };
        let Some(kind) = AggregateKind::of(aggregate_type) else { return Ok(retried) };
        while retried.stopped_at.is_none() && retried.applied.cast_signed() < MOST_RETRIED {
            let statement = "SELECT event_id, sequence FROM dead_letters
                WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence LIMIT $3";
            let waiting: Vec<(Uuid, i64)> = sqlx::query_as(statement)
                .bind(aggregate_type)
                .bind(aggregate_id)
                .bind(PAGE)
                .fetch_all(&mut *tables)
                .await?;
            let Some((_, first)) = waiting.first() else { break };
            let events = self.log.history(aggregate_type, aggregate_id, first - 1, waiting.len() as i64).await?;
            let mut ledger = Ledger::load(tables, events.iter()).await?;
            for event in &events {
                let entry = ledger.entry(event);
                sqlx::query("SAVEPOINT one_event").execute(&mut *tables).await?;
                match batch::try_apply(tables, model, kind, event, entry.sequence).await {
                    Ok(_) => {
                        sqlx::query("RELEASE SAVEPOINT one_event").execute(&mut *tables).await?;
                        entry.count(event);
                        retried.applied += 1;
                    }
                    Err(ApplyError::Database(error)) if !ApplyError::is_fault(&error) => return Err(error.into()),
                    Err(error) => {
                        sqlx::query("ROLLBACK TO SAVEPOINT one_event").execute(&mut *tables).await?;
                        if batch::is_discarded(tables, model, event.event_id).await? {
                            entry.sequence = event.sequence;
                            retried.discarded += 1;
                        } else {
                            let reason = error.chain();
                            sqlx::query(
                                "UPDATE dead_letters SET reason = $2, attempts = attempts + 1 WHERE event_id = $1",
                            )
                            .bind(event.event_id)
                            .bind(&reason)
                            .execute(&mut *tables)
                            .await?;
                            retried.stopped_at = Some(event.event_id);
                            retried.reason = Some(reason);
                            break;
                        }
                    }
                }
                sqlx::query("DELETE FROM dead_letters WHERE event_id = $1")
                    .bind(event.event_id)
                    .execute(&mut *tables)
                    .await?;
            }
            ledger.store(tables).await?;
        }
        sqlx::query(AssertSqlSafe(
            "UPDATE applied a SET parked = EXISTS (SELECT FROM dead_letters d
                 WHERE d.aggregate_type = a.aggregate_type AND d.aggregate_id = a.aggregate_id)
              WHERE aggregate_type = $1 AND aggregate_id = $2",
        ))
        .bind(aggregate_type)
        .bind(aggregate_id)
        .execute(tables)
        .await?;
        Ok(retried)
    }
}
