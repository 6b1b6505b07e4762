//! A writer: a connection of its own, and one statement after another over it.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgPool;
use tokio::sync::watch;

use super::statement::insert;
use super::{Answer, Append, AppendError, QueuedAppend, is_transient};
use crate::database::{DatabaseFailure, DedicatedConnection, is_restored_log};
use crate::log::epoch::{KnownEpoch, current_epoch};
use crate::log::timed_out;
use bus::Backoff;

/// For how long a statement whose outcome is unknown is sent again: Postgres may restart meanwhile.
const PERSIST_FOR: Duration = Duration::from_secs(15);
/// How long a statement may take, as [`SETTINGS`] has it too.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout holds also when nobody listens any more: a statement that hangs holds back every reader. Statements are few
/// and always the same, so that planning them anew is time lost.
const SETTINGS: &str = "SET statement_timeout = '10s'; SET plan_cache_mode = force_generic_plan";

/// The connection of a writer, and the epoch in which it appends.
struct AppendConnection {
    connection: DedicatedConnection,
    epoch: i32,
    /// What the whole process knows.
    known: KnownEpoch,
}

/// Writes commands into the log.
pub(super) struct Writer {
    connection: AppendConnection,
    appended: watch::Sender<u64>,
    expects_several: bool,
}

impl Writer {
    pub(super) fn new(pool: &PgPool, appended: &watch::Sender<u64>, known: &KnownEpoch) -> Self {
        let options = pool.connect_options().as_ref().clone().disable_statement_logging();
        let connection = DedicatedConnection::new(options, SETTINGS);
        let connection = AppendConnection { connection, epoch: 0, known: known.clone() };
        Self { connection, appended: appended.clone(), expects_several: false }
    }

    /// Whether the last statement was of several commands, so that several are likely to come at once again.
    pub(super) fn expects_several(&self) -> bool {
        self.expects_several
    }

    /// Writes these commands and answers each.
    pub(super) async fn write_batch(&mut self, mut batch: Vec<QueuedAppend>) {
        self.expects_several = batch.len() > 1;
        // A sender that gave up while its command was queued was promised nothing.
        batch.retain(|queued| !queued.answer.is_closed());
        // In one order everywhere: two statements that touch the same aggregates must not wait for each other.
        batch.sort_by(|a, b| {
            (a.append.aggregate_type, &a.append.aggregate_id).cmp(&(b.append.aggregate_type, &b.append.aggregate_id))
        });
        self.write(batch).await;
    }

    async fn write(&mut self, batch: Vec<QueuedAppend>) {
        if batch.is_empty() {
            return;
        }
        histogram!("lablet_log_append_batch_commands").record(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        let appends: Vec<&Append> = batch.iter().map(|queued| &queued.append).collect();
        match insert_persistently(&mut self.connection, &appends).await {
            Ok(outcomes) => {
                if outcomes.iter().any(Result::is_ok) {
                    self.appended.send_modify(|count| *count = count.wrapping_add(1));
                }
                for (queued, outcome) in batch.into_iter().zip(outcomes) {
                    answer(queued, outcome);
                }
            }
            Err(error) if !blames_the_data(&error) => {
                let error = Arc::new(error);
                for queued in batch {
                    answer(queued, Err(AppendError::Unavailable(error.clone())));
                }
            }
            Err(error) if batch.len() == 1 => {
                let error = Arc::new(error);
                for queued in batch {
                    answer(queued, Err(AppendError::Refused(error.clone())));
                }
            }
            // The data of one command failed the statement for all: one by one, it harms only itself.
            Err(_) => {
                for queued in batch {
                    Box::pin(self.write(vec![queued])).await;
                }
            }
        }
    }
}

fn answer(queued: QueuedAppend, outcome: Answer) {
    match &outcome {
        Ok(_) | Err(AppendError::Repeated(_)) => {}
        Err(AppendError::Conflict) => counter!("lablet_log_conflicts_total").increment(1),
        Err(AppendError::Unavailable(_)) => {
            counter!("lablet_log_append_failures_total", "reason" => "unavailable").increment(1);
        }
        Err(AppendError::Refused(_)) => {
            counter!("lablet_log_append_failures_total", "reason" => "refused").increment(1);
        }
    }
    if queued.answer.send(outcome).is_err() {
        tracing::debug!(aggregate.id = queued.append.aggregate_id, "append outcome dropped, its command was given up");
    }
}

/// Inserts within the time that a statement may take.
async fn insert_in_time(connection: &mut AppendConnection, appends: &[&Append]) -> sqlx::Result<Vec<Answer>> {
    let inserted = async {
        let AppendConnection { connection, epoch, known } = connection;
        let mut connection = connection.acquire().await?;
        if connection.is_new() {
            // It may lead to a server that was restored, or to a standby that was promoted.
            *epoch = current_epoch(&mut *connection).await?;
            known.learn(*epoch);
        }
        let result = insert(&mut connection, appends, *epoch).await;
        if result.as_ref().err().is_none_or(blames_the_data) {
            connection.release();
        }
        result
    };
    tokio::time::timeout(STATEMENT_TIMEOUT, inserted).await.unwrap_or_else(|_| Err(timed_out()))
}

/// Inserts, sending the same events again where an answer was lost: what is in already is recognised by its event id.
async fn insert_persistently(connection: &mut AppendConnection, appends: &[&Append]) -> sqlx::Result<Vec<Answer>> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    let begun = tokio::time::Instant::now();
    let mut attempt = 1;
    loop {
        let started = tokio::time::Instant::now();
        let result = insert_in_time(connection, appends).await;
        histogram!("lablet_log_append_seconds").record(started.elapsed().as_secs_f64());
        match result {
            // Nothing but an operator's command helps.
            Err(error) if is_restored_log(&error) => return Err(error),
            Err(error) if is_transient(&error) && begun.elapsed() < PERSIST_FOR => {
                tracing::warn!(error = &error as &dyn std::error::Error, attempt, "append failed, retrying");
                tokio::time::sleep(backoff.next_wait()).await;
                attempt += 1;
            }
            other => return other,
        }
    }
}

/// Whether these very events can never go in. Of every other failure the outcome may be unknown.
fn blames_the_data(error: &sqlx::Error) -> bool {
    DatabaseFailure::from_error(error) == DatabaseFailure::Data
}
