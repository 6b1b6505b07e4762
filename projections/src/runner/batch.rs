//! One batch: rows, ledger, dead letters and checkpoint move in one transaction.

use std::collections::HashMap;
use std::time::Duration;

use app::log::{LogError, Position, RecordedEvent};
use metrics::counter;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

use crate::parse_position;
use crate::projector::{AggregateKind, Applied, ApplyError, ReadModel, Recorded};

/// A batch ends here even when events are left: its transaction holds back everybody who reads the log in order.
const LONGEST_BATCH: Duration = Duration::from_millis(250);

/// Which tables of a read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tables {
    /// Those that are read.
    Live,
    /// Those that a rebuild fills.
    Next,
}

impl Tables {
    /// The schema of these tables.
    pub(crate) fn schema(self, model: ReadModel) -> String {
        match self {
            Self::Live => model.schema().to_owned(),
            Self::Next => format!("{}_next", model.schema()),
        }
    }
}

/// How a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// The checkpoint is now here; so many events were handled, so many of them parked.
    To { position: Position, events: usize, parked: usize },
    /// Somebody else is moving it, or has moved it since its position was read.
    Elsewhere,
}

/// Why a batch failed as a whole; nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    /// The database does not answer, or is not as it should be.
    #[error("the database did not take a batch of events")]
    Database(#[from] sqlx::Error),
    /// The log does not answer.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// An event cannot be applied, so that each has to be tried for itself.
    #[error("an event cannot be applied")]
    Poisoned,
}

/// Whether each event is applied under a savepoint of its own, which costs two more round trips each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    Together,
    EachForItself,
}

/// Begins a transaction on these tables.
pub(crate) async fn enter(pool: &PgPool, schema: &str) -> sqlx::Result<sqlx::Transaction<'static, sqlx::Postgres>> {
    let mut transaction = app::log::begin(pool).await?;
    // Losing the last commits in a crash of Postgres loses nothing: rows and checkpoint go back together.
    let settings = "SELECT set_config('search_path', $1, true), set_config('synchronous_commit', 'off', true),
        set_config('statement_timeout', '30s', true), set_config('lock_timeout', '10s', true),
        set_config('idle_in_transaction_session_timeout', '30s', true)";
    sqlx::query(settings).bind(schema).execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Locks the checkpoint and applies `events`, which follow `from`. Nothing is kept when this future is dropped.
pub(crate) async fn apply(
    pool: &PgPool,
    model: ReadModel,
    tables: Tables,
    from: Position,
    events: &[RecordedEvent],
    care: Care,
) -> Result<Moved, BatchError> {
    let mut transaction = enter(pool, &tables.schema(model)).await?;
    let locked: Option<(String, i32)> =
        sqlx::query_as("SELECT position, revision FROM checkpoint FOR UPDATE SKIP LOCKED")
            .fetch_optional(&mut *transaction)
            .await?;
    match locked {
        Some((position, revision))
            if parse_position(&position)? == from && revision == model.projector().revision() => {}
        _ => return Ok(Moved::Elsewhere),
    }
    let moved = apply_locked(&mut transaction, model, from, events, care, Some(LONGEST_BATCH)).await?;
    transaction.commit().await?;
    Ok(moved)
}

/// Applies events in a transaction that has entered the tables and holds their checkpoint.
pub(crate) async fn apply_locked(
    connection: &mut PgConnection,
    model: ReadModel,
    from: Position,
    events: &[RecordedEvent],
    care: Care,
    at_most: Option<Duration>,
) -> Result<Moved, BatchError> {
    let started = Instant::now();
    let followed = |event: &&RecordedEvent| kind(model, event).is_some();
    let mut ledger = Ledger::load(connection, events.iter().filter(followed)).await?;
    let (mut position, mut handled, mut parked) = (from, 0, 0);
    for event in events {
        if handled > 0 && at_most.is_some_and(|most| started.elapsed() > most) {
            break;
        }
        if let Some(kind) = kind(model, event) {
            parked += usize::from(handle(connection, model, kind, event, &mut ledger, care).await? == Fate::Parked);
        }
        position = event.position;
        handled += 1;
    }
    ledger.store(connection).await?;
    sqlx::query("UPDATE checkpoint SET position = $1, moved_at = clock_timestamp()")
        .bind(position.to_string())
        .execute(connection)
        .await?;
    Ok(Moved::To { position, events: handled, parked })
}

fn kind(model: ReadModel, event: &RecordedEvent) -> Option<AggregateKind> {
    AggregateKind::of(&event.aggregate_type).filter(|kind| model.projector().follows().contains(kind))
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Applied,
    Parked,
    Discarded,
    /// It had been applied before.
    Repeated,
}

async fn handle(
    connection: &mut PgConnection,
    model: ReadModel,
    kind: AggregateKind,
    event: &RecordedEvent,
    ledger: &mut Ledger,
    care: Care,
) -> Result<Fate, BatchError> {
    let entry = ledger.entry(event);
    if entry.parked {
        park(connection, event, None).await?;
        return Ok(Fate::Parked);
    }
    if event.sequence <= entry.sequence {
        counter!("lablet_projection_repeated_events_total", "projection" => model.name()).increment(1);
        tracing::warn!(projection = model.name(), event.id = %event.event_id, "an event was applied before");
        return Ok(Fate::Repeated);
    }
    let outcome = match care {
        Care::Together => try_apply(connection, model, kind, event, entry.sequence).await,
        Care::EachForItself => {
            sqlx::query("SAVEPOINT one_event").execute(&mut *connection).await?;
            let outcome = try_apply(connection, model, kind, event, entry.sequence).await;
            let end = if outcome.is_ok() { "RELEASE SAVEPOINT one_event" } else { "ROLLBACK TO SAVEPOINT one_event" };
            match &outcome {
                // Without a usable connection there is nothing to go back to; the whole batch is tried again.
                Err(error) if !error.is_events_fault() => {}
                Ok(_) | Err(_) => {
                    sqlx::query(end).execute(&mut *connection).await?;
                }
            }
            outcome
        }
    };
    match outcome {
        Ok(Applied::Changed | Applied::Ignored) => {
            entry.count(event);
            Ok(Fate::Applied)
        }
        Err(ApplyError::Database(error)) if !ApplyError::is_fault(&error) => Err(error.into()),
        Err(_) if care == Care::Together => Err(BatchError::Poisoned),
        Err(error) => {
            if is_discarded(connection, model, event.event_id).await? {
                entry.sequence = event.sequence;
                return Ok(Fate::Discarded);
            }
            let reason = error.chain();
            tracing::error!(
                projection = model.name(), event.id = %event.event_id, aggregate.id = event.aggregate_id, reason,
                "an event cannot be applied; it and all later ones of its aggregate are parked"
            );
            counter!("lablet_projection_parked_aggregates_total", "projection" => model.name()).increment(1);
            entry.parked = true;
            park(connection, event, Some(&reason)).await?;
            Ok(Fate::Parked)
        }
    }
}

/// Applies one event that comes right after `sequence` of its aggregate.
pub(crate) async fn try_apply(
    connection: &mut PgConnection,
    model: ReadModel,
    kind: AggregateKind,
    event: &RecordedEvent,
    sequence: i64,
) -> Result<Applied, ApplyError> {
    if event.sequence != sequence + 1 {
        return Err(ApplyError::Refused(format!(
            "it has sequence {}, and {sequence} is the last one before it",
            event.sequence
        )));
    }
    let decoded = kind.decode(event).map_err(ApplyError::Unreadable)?;
    model.projector().apply(connection, &Recorded::new(event, &decoded)).await
}

/// Whether somebody decided to do without an event.
pub(crate) async fn is_discarded(connection: &mut PgConnection, model: ReadModel, event: Uuid) -> sqlx::Result<bool> {
    let statement = "SELECT EXISTS (SELECT FROM public.projection_discards WHERE projection = $1 AND event_id = $2)";
    sqlx::query_scalar(statement).bind(model.name()).bind(event).fetch_one(connection).await
}

async fn park(connection: &mut PgConnection, event: &RecordedEvent, reason: Option<&str>) -> sqlx::Result<()> {
    let statement =
        "INSERT INTO dead_letters (event_id, position, aggregate_type, aggregate_id, sequence, event_type, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(statement)
        .bind(event.event_id)
        .bind(event.position.to_string())
        .bind(&event.aggregate_type)
        .bind(&event.aggregate_id)
        .bind(event.sequence)
        .bind(event.versioned_type())
        .bind(reason)
        .execute(connection)
        .await?;
    Ok(())
}

/// What has been applied of an aggregate.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Entry {
    /// Of the newest event that was applied or discarded.
    pub(crate) sequence: i64,
    /// Applied in this batch.
    pub(crate) events: i64,
    /// Over the ids of the events applied in this batch.
    pub(crate) fingerprint: i64,
    pub(crate) parked: bool,
}

impl Entry {
    /// Counts an applied event.
    pub(crate) fn count(&mut self, event: &RecordedEvent) {
        self.sequence = event.sequence;
        self.events += 1;
        self.fingerprint ^= app::log::fingerprint(event.event_id);
    }
}

/// What has been applied of the aggregates of a batch.
#[derive(Debug, Default)]
pub(crate) struct Ledger(HashMap<(String, String), Entry>);

impl Ledger {
    /// What had been applied of the aggregates of these events.
    pub(crate) async fn load<'a>(
        connection: &mut PgConnection,
        events: impl Iterator<Item = &'a RecordedEvent>,
    ) -> sqlx::Result<Self> {
        let mut entries: HashMap<(String, String), Entry> = events
            .map(|event| ((event.aggregate_type.clone(), event.aggregate_id.clone()), Entry::default()))
            .collect();
        if entries.is_empty() {
            return Ok(Self(entries));
        }
        let (types, ids): (Vec<&str>, Vec<&str>) =
            entries.keys().map(|(kind, id)| (kind.as_str(), id.as_str())).unzip();
        let statement = "SELECT a.aggregate_type, a.aggregate_id, a.sequence, a.parked FROM applied a
              JOIN unnest($1::text[], $2::text[]) AS wanted (aggregate_type, aggregate_id)
                ON a.aggregate_type = wanted.aggregate_type AND a.aggregate_id = wanted.aggregate_id";
        let known: Vec<(String, String, i64, bool)> =
            sqlx::query_as(statement).bind(types).bind(ids).fetch_all(connection).await?;
        for (kind, id, sequence, parked) in known {
            entries.insert((kind, id), Entry { sequence, parked, ..Entry::default() });
        }
        Ok(Self(entries))
    }

    pub(crate) fn entry(&mut self, event: &RecordedEvent) -> &mut Entry {
        self.0.entry((event.aggregate_type.clone(), event.aggregate_id.clone())).or_default()
    }

    /// Writes what this batch added. Of an aggregate whose first event it did not come to, as it ended early, there is
    /// nothing to say: a row would tell of nothing, and a rebuild has none.
    pub(crate) async fn store(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut keys: (Vec<&str>, Vec<&str>) = Default::default();
        let mut sums: (Vec<i64>, Vec<i64>, Vec<i64>) = Default::default();
        let mut parked = Vec::new();
        let told = |(_, entry): &(&(String, String), &Entry)| entry.sequence > 0 || entry.parked;
        for ((kind, id), entry) in self.0.iter().filter(told) {
            keys.0.push(kind);
            keys.1.push(id);
            sums.0.push(entry.sequence);
            sums.1.push(entry.events);
            sums.2.push(entry.fingerprint);
            parked.push(entry.parked);
        }
        let statement = AssertSqlSafe(
            "INSERT INTO applied AS a (aggregate_type, aggregate_id, sequence, events, fingerprint, parked)
             SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[])
             ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE SET
                 sequence = excluded.sequence, events = a.events + excluded.events,
                 fingerprint = a.fingerprint # excluded.fingerprint, parked = excluded.parked",
        );
        sqlx::query(statement)
            .bind(keys.0)
            .bind(keys.1)
            .bind(sums.0)
            .bind(sums.1)
            .bind(sums.2)
            .bind(parked)
            .execute(connection)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use app::log::{Log, LogOptions, Origin};
    use bus::clock::{Clock, IdGenerator};
    use chrono::DateTime;
    use domain::WorkerId;
    use domain::worker::{Worker, WorkerCommand};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_batch_that_ends_early_says_nothing_of_what_it_did_not_come_to() {
        let database = servers::testing::database(&app::log::MIGRATOR).await;
        let pool = app::log::pool(&database.url_as("lablet_app"), 4).unwrap();
        let clock = Clock::manual(DateTime::from_timestamp(1_772_000_000, 0).unwrap());
        let log = Log::new(pool.clone(), clock.clone(), IdGenerator::seeded(1, clock.clone()), LogOptions::default());
        for id in ["w-1", "w-2"] {
            let new = serde_json::from_value(json!({
                "name": id, "address": "https://cml-1.example.org",
                "capacity": {"cpu_cores": 64, "memory_gb": 512, "storage_gb": 2000, "max_nodes": 300}
            }))
            .unwrap();
            let command = WorkerCommand::Register { id: WorkerId::parse(id).unwrap(), new, now: clock.now() };
            log.execute::<Worker>(id, command, &Origin::from_actor("admin:ada")).await.unwrap();
        }
        database.settle().await;
        let events = log.read(Position::START, 10).await.unwrap();
        let mut transaction = enter(&pool, ReadModel::Workers.schema()).await.unwrap();
        let (model, care) = (ReadModel::Workers, Care::Together);
        let moved = apply_locked(&mut transaction, model, Position::START, &events, care, Some(Duration::ZERO)).await;
        assert!(matches!(moved.unwrap(), Moved::To { events: 1, .. }));
        let ledger: Vec<String> =
            sqlx::query_scalar("SELECT aggregate_id FROM applied").fetch_all(&mut *transaction).await.unwrap();
        assert_eq!(ledger, ["w-1"]);
    }
}
