//! Retries of dead letters, by whoever may write the read model: this process, or one that keeps it and is asked.

use std::time::Duration;

use bus::Backoff;
use sqlx::types::{Json, Uuid};
use tokio::time::Instant;

use crate::dead_letters::RetryOutcome;
use crate::read_models::ReadModel;
use crate::rights::DatabaseRole;
use crate::{Projections, ReadError};

/// How long somebody who asked waits for the outcome.
const WAIT: Duration = Duration::from_secs(10);
/// How soon the outcome is looked for, at first and at last.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// How soon the next request is looked for, after one and at last.
const TAKE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A request that was taken so long ago and is not finished was taken by a process that has ended.
const TAKEN_FOR: Duration = Duration::from_secs(120);
/// How long a finished request is kept, for whoever asked.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// A retry that was taken.
#[derive(sqlx::FromRow)]
struct Request {
    id: Uuid,
    read_model: String,
    aggregate_type: String,
    aggregate_id: String,
}

impl Projections {
    /// Applies the parked events of an aggregate in order, as far as that goes. Where this process may not write the read
    /// model, one that keeps it does so.
    ///
    /// # Errors
    /// The database does not answer; what was applied before stays so. [`ReadError::NotCarriedOut`] where no process that
    /// keeps the read model did so in time, or it failed: a request stays, and is carried out by the next one.
    pub async fn retry_dead_letters(
        &self,
        model: ReadModel,
        aggregate_type: &str,
        aggregate_id: &str,
    ) -> Result<RetryOutcome, ReadError> {
        let may_write: bool = sqlx::query_scalar("SELECT pg_has_role(current_user, $1, 'USAGE')")
            .bind(DatabaseRole::Projector.name())
            .fetch_one(&self.pool)
            .await?;
        if may_write {
            return self.apply_parked(model, aggregate_type, aggregate_id).await;
        }
        let id: Uuid = sqlx::query_scalar(
            "INSERT INTO requested_retries (read_model, aggregate_type, aggregate_id) VALUES ($1, $2, $3) RETURNING id",
        )
        .bind(model.name())
        .bind(aggregate_type)
        .bind(aggregate_id)
        .fetch_one(&self.pool)
        .await?;
        self.outcome_of_retry(model, id).await
    }

    /// Waits for the outcome of a request.
    async fn outcome_of_retry(&self, model: ReadModel, id: Uuid) -> Result<RetryOutcome, ReadError> {
        let until = Instant::now() + WAIT;
        let mut looks = Backoff::new(LOOK.0, LOOK.1);
        loop {
            tokio::time::sleep(looks.next_wait()).await;
            let finished: Option<(Option<Json<RetryOutcome>>, Option<String>)> = sqlx::query_as(
                "SELECT outcome, failure FROM requested_retries WHERE id = $1 AND finished_at IS NOT NULL",
            )
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
            match finished {
                Some((Some(Json(outcome)), _)) => return Ok(outcome),
                Some((None, failure)) => {
                    return Err(ReadError::NotCarriedOut { model, failure: failure.unwrap_or_default() });
                }
                None if Instant::now() >= until => {
                    let failure =
                        format!("no process that keeps it did so within {} s; one that starts will", WAIT.as_secs());
                    return Err(ReadError::NotCarriedOut { model, failure });
                }
                None => {}
            }
        }
    }

    /// Carries out the retries that others ask for of these read models. Never ends.
    pub(crate) async fn carry_out_retries(&self, models: &[ReadModel]) {
        let mut pauses = Backoff::new(TAKE.0, TAKE.1);
        loop {
            match self.carry_out_retry(models).await {
                Ok(true) => pauses.reset(),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "requested retries cannot be read, retrying"
                    );
                }
            }
            tokio::time::sleep(pauses.next_wait()).await;
        }
    }

    /// Carries out the retry that was asked for first; whether there was one.
    async fn carry_out_retry(&self, models: &[ReadModel]) -> sqlx::Result<bool> {
        let names: Vec<&str> = models.iter().map(|model| model.name()).collect();
        let taken: Option<Request> = sqlx::query_as(
            "UPDATE requested_retries SET taken_at = clock_timestamp()
              WHERE id = (SELECT id FROM requested_retries
                           WHERE finished_at IS NULL AND read_model = ANY($1)
                             AND (taken_at IS NULL OR taken_at < clock_timestamp() - make_interval(secs => $2))
                           ORDER BY requested_at LIMIT 1 FOR UPDATE SKIP LOCKED)
              RETURNING id, read_model, aggregate_type, aggregate_id",
        )
        .bind(names)
        .bind(TAKEN_FOR.as_secs_f64())
        .fetch_optional(&self.pool)
        .await?;
        let Some(request) = taken else { return Ok(false) };
        let Some(model) = models.iter().find(|model| model.name() == request.read_model) else { return Ok(false) };
        let retried = self.apply_parked(*model, &request.aggregate_type, &request.aggregate_id).await;
        let (outcome, failure) = match retried {
            Ok(outcome) => (Some(Json(outcome)), None),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, projection = request.read_model, "requested retry failed");
                (None, Some(error.to_string()))
            }
        };
        sqlx::query(
            "WITH old AS (DELETE FROM requested_retries WHERE finished_at < clock_timestamp() - make_interval(secs => $4))
             UPDATE requested_retries SET finished_at = clock_timestamp(), outcome = $2, failure = $3 WHERE id = $1",
        )
        .bind(request.id)
        .bind(outcome)
        .bind(failure)
        .bind(KEPT_FOR.as_secs_f64())
        .execute(&self.pool)
        .await?;
        Ok(true)
    }
}
