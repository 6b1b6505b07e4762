//! Events that a read model could not apply, and those of the same aggregate behind them.
//!
//! The first of an aggregate has a reason, the others wait for it. Retrying applies them in order, as far as it goes, some
//! in a transaction. Discarding does without the first one, for good, and retries the others.

use std::sync::Arc;

use app::log::Position;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, QueryBuilder};
use uuid::Uuid;

use crate::checkpoint::{Checkpoint, Tables};
use crate::page::{self, Page, PageRequest};
use crate::projector::Recorded;
use crate::read_models::ReadModel;
use crate::refused::Refused;
use crate::working_set::{FoldError, WorkingSet, is_discarded};
use crate::writer::refusal;
use crate::{Projections, ReadError};

/// An event that is not applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParkedEvent {
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
pub struct RetryOutcome {
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
/// Most events that a retry applies; the rest stays for the next.
const MOST_RETRIED: u64 = 10_000;
/// Events applied in a transaction.
const PAGE: i64 = 100;

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
    ) -> Result<Page<ParkedEvent>, ReadError> {
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
    pub async fn dead_letter(&self, model: ReadModel, event_id: Uuid) -> Result<Option<ParkedEvent>, ReadError> {
        let mut query = select(model);
        query.push(" AND event_id = ").push_bind(event_id).push(") r");
        self.row_of(LIST, query).await
    }

    /// Applies the parked events of an aggregate in order, as far as that goes, in transactions of some events each. Needs the
    /// right to write the read model.
    ///
    /// # Errors
    /// The database does not answer; what was applied before stays so.
    pub(crate) async fn apply_parked(
        &self,
        model: ReadModel,
        aggregate_type: &str,
        aggregate_id: &str,
    ) -> Result<RetryOutcome, ReadError> {
        let mut retried = RetryOutcome { applied: 0, discarded: 0, stopped_at: None, reason: None };
        while retried.stopped_at.is_none() && retried.applied < MOST_RETRIED {
            let more = self.retry_some(model, aggregate_type, aggregate_id, PAGE, None, &mut retried).await?;
            self.announce_move();
            if !more {
                break;
            }
        }
        Ok(retried)
    }

    /// Does without an event that cannot be applied, remembers who decided so and why, and retries the later ones of
    /// its aggregate. `None`: it is no dead letter with a reason.
    ///
    /// # Errors
    /// The database does not answer. What was decided stays so, and the next retry of the aggregate goes by it.
    pub async fn discard_dead_letter(
        &self,
        model: ReadModel,
        event_id: Uuid,
        discarded_by: &str,
        reason: &str,
    ) -> Result<Option<RetryOutcome>, ReadError> {
        let statement = format!(
            "INSERT INTO public.projection_discards
                 (projection, event_id, aggregate_type, aggregate_id, discarded_by, reason, refused_because)
             SELECT $1, event_id, aggregate_type, aggregate_id, $3, $4, reason FROM {}.dead_letters
              WHERE event_id = $2 AND reason IS NOT NULL
                 ON CONFLICT DO NOTHING",
            model.schema()
        );
        sqlx::query(AssertSqlSafe(statement))
            .bind(model.name())
            .bind(event_id)
            .bind(discarded_by)
            .bind(reason)
            .execute(&self.pool)
            .await?;
        let statement = format!(
            "SELECT aggregate_type, aggregate_id FROM {}.dead_letters WHERE event_id = $1 AND reason IS NOT NULL",
            model.schema()
        );
        let found: Option<(String, String)> =
            sqlx::query_as(AssertSqlSafe(statement)).bind(event_id).fetch_optional(&self.pool).await?;
        let Some((aggregate_type, aggregate_id)) = found else { return Ok(None) };
        Ok(Some(self.retry_dead_letters(model, &aggregate_type, &aggregate_id).await?))
    }

    /// Retries up to `most` events of an aggregate in one transaction. Whether there may be more.
    async fn retry_some(
        &self,
        model: ReadModel,
        aggregate_type: &str,
        aggregate_id: &str,
        most: i64,
        refused: Option<&Refused>,
        retried: &mut RetryOutcome,
    ) -> Result<bool, ReadError> {
        let schema = model.schema();
        let waiting = format!(
            "SELECT sequence FROM {schema}.dead_letters WHERE aggregate_type = $1 AND aggregate_id = $2
              ORDER BY sequence LIMIT $3"
        );
        let waiting = || {
            let statement = sqlx::query_scalar::<_, i64>(AssertSqlSafe(waiting.clone()));
            statement.bind(aggregate_type.to_owned()).bind(aggregate_id.to_owned()).bind(most)
        };
        // Read and decoded before the transaction begins.
        let expected = waiting().fetch_all(&self.pool).await?;
        let Some(first) = expected.first() else { return Ok(false) };
        let events = self.log.history(aggregate_type, aggregate_id, first - 1, most).await?;
        let events: Vec<Arc<Recorded>> = events
            .into_iter()
            .filter(|event| expected.contains(&event.sequence))
            .map(|event| Arc::new(Recorded::from_log(event)))
            .collect();
        let mut transaction = app::log::begin(&self.pool).await?;
        Checkpoint::bound_transaction(&mut transaction).await?;
        sqlx::query("SET LOCAL lock_timeout = '5s'").execute(&mut *transaction).await?;
        // The runner waits for us, so that no event can come between.
        let checkpoint = Checkpoint::lock(&mut transaction, schema).await?;
        if waiting().fetch_all(&mut *transaction).await? != expected {
            return Ok(true);
        }
        let mut set = WorkingSet::new(model, Tables::Live);
        set.load_parked(&mut transaction, &events).await?;
        let mut batch = RetryOutcome { applied: 0, discarded: 0, stopped_at: None, reason: None };
        let mut done = Vec::new();
        for event in &events {
            let folded = match set.try_fold(event, set.sequence(event), refused) {
                Ok(folded) => folded,
                Err(FoldError::Database(error)) => return Err(error.into()),
                Err(FoldError::HalfFolded(refused)) => {
                    transaction.rollback().await?;
                    return self.retry_refused(model, aggregate_type, aggregate_id, most, refused, retried).await;
                }
            };
            match folded {
                Ok(()) => batch.applied += 1,
                Err(_) if is_discarded(&mut transaction, model, event.event_id()).await? => {
                    set.note(event, |applied| applied.sequence = event.sequence());
                    batch.discarded += 1;
                }
                Err(refused) => {
                    batch.stopped_at = Some(event.event_id());
                    batch.reason = Some(refused.to_string());
                    break;
                }
            }
            done.push(event.event_id());
        }
        // The checkpoint stays where it is, and counts a change: rows that somebody loaded before are no longer what is
        // stored.
        match set.write(&mut transaction, checkpoint, checkpoint.position).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                let text = "the checkpoint moved while it was locked";
                return Err(ReadError::Database(sqlx::Error::Protocol(text.into())));
            }
            Err(error) => {
                let Some(refused) = refusal(&error) else { return Err(error.into()) };
                transaction.rollback().await?;
                return self.retry_refused(model, aggregate_type, aggregate_id, most, refused, retried).await;
            }
        }
        let settled = format!("DELETE FROM {schema}.dead_letters WHERE event_id = ANY($1)");
        sqlx::query(AssertSqlSafe(settled)).bind(done).execute(&mut *transaction).await?;
        let stopped =
            format!("UPDATE {schema}.dead_letters SET reason = $2, attempts = attempts + 1 WHERE event_id = $1");
        sqlx::query(AssertSqlSafe(stopped))
            .bind(batch.stopped_at)
            .bind(&batch.reason)
            .execute(&mut *transaction)
            .await?;
        let parked = format!(
            "UPDATE {schema}.applied a SET parked = EXISTS (SELECT FROM {schema}.dead_letters d
                 WHERE d.aggregate_type = a.aggregate_type AND d.aggregate_id = a.aggregate_id)
              WHERE aggregate_type = $1 AND aggregate_id = $2"
        );
        sqlx::query(AssertSqlSafe(parked)).bind(aggregate_type).bind(aggregate_id).execute(&mut *transaction).await?;
        transaction.commit().await?;
        retried.applied += batch.applied;
        retried.discarded += batch.discarded;
        retried.stopped_at = batch.stopped_at;
        retried.reason = batch.reason;
        Ok(!events.is_empty())
    }

    /// One of several events is refused by the database: they are retried one by one.
    async fn retry_refused(
        &self,
        model: ReadModel,
        aggregate_type: &str,
        aggregate_id: &str,
        most: i64,
        refused: Refused,
        retried: &mut RetryOutcome,
    ) -> Result<bool, ReadError> {
        let refused = (most == 1).then_some(refused);
        Box::pin(self.retry_some(model, aggregate_type, aggregate_id, 1, refused.as_ref(), retried)).await
    }
}
