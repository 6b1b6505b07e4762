//! Proves that log and read models hold the same events.
//!
//! Each read model has an applied-events table beside its rows, written in the same transaction: of each aggregate the last
//! sequence, the number of events applied and a fingerprint of their ids. Verifying compares it and the dead letters with
//! the log up to the checkpoint, aggregate by aggregate, in short statements. Whether the rows are what the events make
//! of them, the comparison of a rebuild tells.

use std::collections::BTreeMap;

use app::log::{AggregateSummary, Position, fingerprint};
use app::relay::{self, Comparison, ComparisonError};
use bus::Bus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::projector::AggregateKind;
use crate::read_models::ReadModel;
use crate::rebuild::{RebuildError, RebuildOptions, RebuildReport};
use crate::{Projections, ReadError};

/// Aggregates that are compared at a time.
const PAGE: i64 = 1_000;
/// Findings that are listed; more are counted.
const MOST_FINDINGS: usize = 100;

/// What verifying a read model found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelReport {
    /// Which one.
    pub read_model: ReadModel,
    /// Where it was at the end of the comparison.
    pub position: Position,
    /// Where the log ended then.
    pub head: Position,
    /// Aggregates of the log that were compared.
    pub aggregates: u64,
    /// Events of the log that were compared.
    pub events: u64,
    /// Events that wait in the dead letters: known to be missing.
    pub dead_letters: u64,
    /// How many contradictions there are.
    pub contradictions: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

impl ModelReport {
    /// Whether it holds exactly the events of the log up to its position, save for its dead letters.
    pub fn holds(&self) -> bool {
        self.contradictions == 0
    }

    fn find(&mut self, finding: Finding) {
        self.contradictions += 1;
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// One contradiction between log and read model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// The read model claims to be where the log has not come to.
    AheadOfTheLog,
    /// Other events were applied than the log has up to the checkpoint.
    OtherEvents {
        /// E.g. `lablet_session`.
        aggregate_type: String,
        /// Whose events.
        aggregate_id: String,
        /// Events in the log.
        in_log: i64,
        /// Events applied, parked or discarded.
        accounted_for: i64,
        /// Sequence of the last event in the log.
        last_in_log: i64,
        /// Sequence of the last event accounted for.
        last_accounted_for: i64,
    },
    /// A row is not at the event that was applied last.
    RowElsewhere {
        /// Whose row.
        aggregate_id: String,
        /// Sequence of the row; null: there is none.
        row: Option<i64>,
        /// Sequence in the applied-events table; null: it has none.
        applied: Option<i64>,
    },
}

/// What is accounted for of one aggregate.
#[derive(Debug, Default)]
struct Account {
    sequence: i64,
    events: i64,
    fingerprint: i64,
}

/// What verifying everything found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Each read model against the log.
    pub read_models: Vec<ModelReport>,
    /// Each read model against a rebuild of it, where that was asked for.
    pub rebuilt: Option<Vec<RebuildReport>>,
    /// The stream of events against the log, up to where the relay has come; null: there is no bus.
    pub bus: Option<Comparison>,
}

impl VerifyReport {
    /// Whether log, bus and read models hold the same events, and the rows are what a rebuild makes of them.
    pub fn holds(&self) -> bool {
        let same_rows = |report: &RebuildReport| report.differing_tables.as_ref().is_none_or(Vec::is_empty);
        self.read_models.iter().all(ModelReport::holds)
            && self.rebuilt.iter().flatten().all(same_rows)
            && self.bus.as_ref().is_none_or(Comparison::holds)
    }
}

/// Verifying could not be done.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A read model cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A read model cannot be rebuilt for comparison.
    #[error("a read model cannot be rebuilt to compare it")]
    Rebuild(#[from] RebuildError),
    /// The bus cannot be compared.
    #[error("the bus cannot be compared with the log")]
    Bus(#[from] ComparisonError),
}

impl Projections {
    /// Compares everything with the log: every read model, and the bus where there is one. With `rows`, also every row
    /// with what a rebuild makes, which reads the whole log once for each read model.
    ///
    /// # Errors
    /// Something does not answer; that something differs is no error, but in the report.
    pub async fn verify_all(
        &self,
        bus: Option<&Bus>,
        rows: bool,
        token: &CancellationToken,
    ) -> Result<VerifyReport, VerifyError> {
        let mut report = VerifyReport { read_models: Vec::new(), rebuilt: None, bus: None };
        for model in ReadModel::ALL {
            report.read_models.push(self.verify(model).await?);
        }
        if rows {
            let mut rebuilt = Vec::new();
            for model in ReadModel::ALL {
                let options = RebuildOptions { compare: true, keep_live: true };
                rebuilt.push(self.rebuild(model, options, token).await?);
            }
            report.rebuilt = Some(rebuilt);
        }
        if let Some(bus) = bus {
            let relayed = relay::progress(&self.pool).await.map_err(ReadError::Database)?;
            report.bus = Some(relay::compare(&self.log, bus, relayed.position).await?);
        }
        Ok(report)
    }

    /// Compares a read model with the log. It may go on moving meanwhile.
    ///
    /// # Errors
    /// The database or the log does not answer.
    pub async fn verify(&self, model: ReadModel) -> Result<ModelReport, ReadError> {
        let position = self.position(model).await?;
        let mut report = ModelReport {
            read_model: model,
            position,
            head: position,
            aggregates: 0,
            events: 0,
            dead_letters: 0,
            contradictions: 0,
            findings: Vec::new(),
        };
        for kind in model.projector().follows {
            let mut after = String::new();
            loop {
                let (done, last) = self.verify_page(model, *kind, &after, &mut report).await?;
                if done {
                    break;
                }
                after = last;
            }
        }
        self.verify_rows(model, &mut report).await?;
        report.position = self.position(model).await?;
        report.head = self.log.head().await?;
        // What the read model applied was settled, and stays so: the log's end can only be later.
        if report.position > report.head {
            report.find(Finding::AheadOfTheLog);
        }
        Ok(report)
    }

    /// Compares the aggregates after an id. Checkpoint and applied-events table are of one snapshot, and the log up to that
    /// checkpoint never changes.
    async fn verify_page(
        &self,
        model: ReadModel,
        kind: AggregateKind,
        after: &str,
        report: &mut ModelReport,
    ) -> Result<(bool, String), ReadError> {
        let mut transaction = app::log::begin(&self.pool).await?;
        let begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
        sqlx::query(begin).execute(&mut *transaction).await?;
        let position = Checkpoint::read(&mut *transaction, model.schema()).await?.position;
        let in_log = self.log.summaries(kind.as_str(), after, position, PAGE).await?;
        let done = in_log.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        let last = in_log.last().map(|summary| summary.aggregate_id.clone()).unwrap_or_default();
        let up_to = (!done).then_some(last.as_str());
        let mut accounts = accounts(&mut transaction, model, kind, after, up_to, report).await?;
        transaction.rollback().await?;
        for AggregateSummary { aggregate_type, aggregate_id, sequence, events, fingerprint } in in_log {
            report.aggregates += 1;
            report.events += events.unsigned_abs();
            let account = accounts.remove(&aggregate_id).unwrap_or_default();
            if (account.sequence, account.events, account.fingerprint) != (sequence, events, fingerprint) {
                report.find(Finding::OtherEvents {
                    aggregate_type,
                    aggregate_id,
                    in_log: events,
                    accounted_for: account.events,
                    last_in_log: sequence,
                    last_accounted_for: account.sequence,
                });
            }
        }
        for (aggregate_id, account) in accounts {
            report.find(Finding::OtherEvents {
                aggregate_type: kind.as_str().to_owned(),
                aggregate_id,
                in_log: 0,
                accounted_for: account.events,
                last_in_log: 0,
                last_accounted_for: account.sequence,
            });
        }
        Ok((done, last))
    }

    /// Compares the rows that carry their aggregate's sequence with the applied-events table, in one statement and one snapshot.
    async fn verify_rows(&self, model: ReadModel, report: &mut ModelReport) -> Result<(), ReadError> {
        let Some((kind, table)) = model.projector().keyed_by else { return Ok(()) };
        let schema = model.schema();
        // A discarded event moves the applied-events table on and leaves the row.
        let statement = format!(
            "SELECT coalesce(r.id, a.aggregate_id), r.sequence, a.sequence
               FROM {schema}.{table} r
               FULL JOIN (SELECT * FROM {schema}.applied WHERE aggregate_type = $1 AND events > 0) a
                 ON a.aggregate_id = r.id
              WHERE r.sequence IS DISTINCT FROM a.sequence
                AND NOT EXISTS (SELECT FROM public.projection_discards d
                                 WHERE d.projection = $2 AND d.aggregate_type = $1
                                   AND d.aggregate_id = coalesce(r.id, a.aggregate_id))
              LIMIT 1000"
        );
        let elsewhere: Vec<(String, Option<i64>, Option<i64>)> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(kind.as_str())
            .bind(model.name())
            .fetch_all(&self.pool)
            .await?;
        for (aggregate_id, row, applied) in elsewhere {
            report.find(Finding::RowElsewhere { aggregate_id, row, applied });
        }
        Ok(())
    }
}

/// What the applied-events table, the dead letters and the discards account for, of aggregates after an id and up to another.
async fn accounts(
    connection: &mut PgConnection,
    model: ReadModel,
    kind: AggregateKind,
    after: &str,
    up_to: Option<&str>,
    report: &mut ModelReport,
) -> sqlx::Result<BTreeMap<String, Account>> {
    let schema = model.schema();
    let range = "aggregate_type = $1 AND aggregate_id > $2 AND ($3::text IS NULL OR aggregate_id <= $3)";
    let mut accounts = BTreeMap::new();
    let applied = format!("SELECT aggregate_id, sequence, events, fingerprint FROM {schema}.applied WHERE {range}");
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(AssertSqlSafe(applied))
        .bind(kind.as_str())
        .bind(after)
        .bind(up_to)
        .fetch_all(&mut *connection)
        .await?;
    for (aggregate_id, sequence, events, fingerprint) in rows {
        accounts.insert(aggregate_id, Account { sequence, events, fingerprint });
    }
    // A discard whose event was applied after all is in the applied-events table. One whose event waits again is a dead letter.
    let missing = format!(
        "SELECT aggregate_id, event_id, sequence, true FROM {schema}.dead_letters WHERE {range}
         UNION ALL
         SELECT aggregate_id, event_id, 0::bigint, false FROM public.projection_discards d
          WHERE {range} AND projection = $4 AND NOT EXISTS
                (SELECT FROM {schema}.dead_letters l WHERE l.event_id = d.event_id)"
    );
    let rows: Vec<(String, Uuid, i64, bool)> = sqlx::query_as(AssertSqlSafe(missing))
        .bind(kind.as_str())
        .bind(after)
        .bind(up_to)
        .bind(model.name())
        .fetch_all(&mut *connection)
        .await?;
    for (aggregate_id, event_id, sequence, is_dead_letter) in rows {
        let account: &mut Account = accounts.entry(aggregate_id).or_default();
        account.sequence = account.sequence.max(sequence);
        account.events += 1;
        account.fingerprint ^= fingerprint(event_id);
        report.dead_letters += u64::from(is_dead_letter);
    }
    Ok(accounts)
}
