//! Appending: commands queue up, and each of a few writers takes whatever is queued into one statement.
//!
//! A transaction of its own costs a command two to three times what a row in a shared insert costs. Nobody waits for
//! company: a writer takes its share of what is there, and what arrives meanwhile is the next statement.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{counter, histogram};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgExecutor, PgPool, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use uuid::Uuid;

use super::position::Position;
use super::record::DedupeKey;
use super::timed_out;
use crate::database::DatabaseFailure;
use bus::Backoff;

/// Commands that may wait for a writer; more wait for room.
const QUEUE: usize = 4_096;
/// Most payload of all commands that wait for a writer or are being written, in KiB; more wait for room.
const MOST_WAITING_KIB: u32 = 32 * 1024;
/// Most commands of one statement.
const MOST_COMMANDS: usize = 128;
/// Most bytes of payload that a statement takes before it stops taking more commands.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// For how long a statement whose outcome is unknown is sent again: Postgres may restart meanwhile.
const PERSIST_FOR: Duration = Duration::from_secs(15);
/// How long a statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The events of one command.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) aggregate_type: &'static str,
    pub(crate) aggregate_id: String,
    /// Sequence of the newest event on which the decision rests, 0 for none.
    pub(crate) expected: i64,
    /// Never empty.
    pub(crate) events: Vec<NewEvent>,
    /// JSON.
    pub(crate) metadata: Arc<str>,
    pub(crate) dedupe: Option<DedupeKey>,
}

/// One event to append.
#[derive(Debug)]
pub(crate) struct NewEvent {
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) event_version: String,
    /// JSON.
    pub(crate) payload: String,
}

/// Why nothing was appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// Somebody else wrote to the aggregate meanwhile.
    Conflict,
    /// The key took effect before.
    Repeated(FirstAnswer),
    /// The database refuses these events.
    Refused(Arc<sqlx::Error>),
    /// The database is away. Whether the events are in is unknown only if an answer was lost.
    Unavailable(Arc<sqlx::Error>),
}

/// Where the command with a key took effect.
#[derive(Debug, Clone)]
pub(crate) struct FirstAnswer {
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    pub(crate) digest: Vec<u8>,
    /// Sequence of its first event.
    pub(crate) first_sequence: i64,
    /// Sequence of its last event.
    pub(crate) sequence: i64,
}

type Answer = Result<Vec<Position>, AppendError>;

struct QueuedAppend {
    append: Append,
    answer: oneshot::Sender<Answer>,
    /// Given back with the answer.
    _room: OwnedSemaphorePermit,
}

/// The way to the writers.
#[derive(Debug, Clone)]
pub(crate) struct Appender {
    queue: mpsc::Sender<QueuedAppend>,
    room: Arc<Semaphore>,
}

impl Appender {
    /// Starts the writers. They end when the last appender is dropped. `appended` changes with every statement that
    /// recorded something, whether or not anybody still waits for its outcome.
    pub(crate) fn start(pool: &PgPool, writers: usize, appended: &watch::Sender<u64>) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let queue_end = Arc::new(QueueEnd { receiver: Mutex::new(receiver), idle_writers: AtomicUsize::new(0) });
        for _ in 0..writers.max(1) {
            let options = pool.connect_options().as_ref().clone().disable_statement_logging();
            let writer = Writer { connection: Connection { options, open: None }, appended: appended.clone() };
            tokio::spawn(writer.write_until_closed(queue_end.clone()));
        }
        Self { queue, room: Arc::new(Semaphore::new(MOST_WAITING_KIB as usize)) }
    }

    /// Appends all events of a command or none, and gives their positions in order.
    pub(crate) async fn append(&self, append: Append) -> Answer {
        let closed = || AppendError::Unavailable(Arc::new(sqlx::Error::WorkerCrashed));
        let (answer, answered) = oneshot::channel();
        let kib = u32::try_from(size(&append) / 1024).unwrap_or(u32::MAX).clamp(1, MOST_WAITING_KIB);
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(|_| closed())?;
        self.queue.send(QueuedAppend { append, answer, _room: room }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

/// A writer's own connection, whatever readers do with theirs. A pool would ask it whether it lives before each
/// statement and after, which are two round trips: here a statement that meets a dead one is sent again.
struct Connection {
    options: PgConnectOptions,
    open: Option<PgConnection>,
}

impl Connection {
    async fn open(&mut self) -> sqlx::Result<&mut PgConnection> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let mut open = self.options.connect().await?;
                // The timeout holds also when nobody listens any more: a statement that hangs holds back every reader.
                // Statements are few and always the same, so that planning them anew is time lost.
                let settings = format!(
                    "SET statement_timeout = {}; SET plan_cache_mode = force_generic_plan",
                    STATEMENT_TIMEOUT.as_millis()
                );
                sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut open).await?;
                open
            }
        };
        Ok(self.open.insert(open))
    }

    /// Inserts within the time that a statement may take. A connection that failed is not used again.
    async fn insert(&mut self, appends: &[&Append]) -> sqlx::Result<Vec<Answer>> {
        let inserted = async { insert(self.open().await?, appends).await };
        let result = tokio::time::timeout(STATEMENT_TIMEOUT, inserted).await.unwrap_or_else(|_| Err(timed_out()));
        if result.as_ref().is_err_and(|error| !blames_the_data(error)) {
            self.open = None;
        }
        result
    }
}

/// Where the writers take commands from.
struct QueueEnd {
    receiver: Mutex<mpsc::Receiver<QueuedAppend>>,
    /// Writers that wait for commands.
    idle_writers: AtomicUsize,
}

impl QueueEnd {
    /// The commands of the next statement; none once the last appender is gone. `expects_several`: others are likely to
    /// follow the first at once.
    async fn take(&self, expects_several: bool) -> Option<Vec<QueuedAppend>> {
        self.idle_writers.fetch_add(1, Ordering::Relaxed);
        let mut receiver = self.receiver.lock().await;
        let first = receiver.recv().await?;
        if expects_several {
            // Whoever is ready to send another command does so now. Without this the first of those who were answered
            // together would fill a statement alone, and the others wait for the next.
            tokio::task::yield_now().await;
        }
        let idle_writers = self.idle_writers.fetch_sub(1, Ordering::Relaxed).max(1);
        // Statements of several writers overlap: one that took everything would leave the others nothing to do.
        let share = (1 + receiver.len()).div_ceil(idle_writers).min(MOST_COMMANDS);
        let mut bytes = size(&first.append);
        let mut batch = Vec::with_capacity(share);
        batch.push(first);
        while batch.len() < share && bytes < MOST_BYTES {
            let Ok(next) = receiver.try_recv() else { break };
            bytes += size(&next.append);
            batch.push(next);
        }
        Some(batch)
    }
}

struct Writer {
    connection: Connection,
    appended: watch::Sender<u64>,
}

impl Writer {
    async fn write_until_closed(mut self, queue_end: Arc<QueueEnd>) {
        let mut expects_several = false;
        while let Some(mut batch) = queue_end.take(expects_several).await {
            expects_several = batch.len() > 1;
            // Whoever gave up while the command was queued was promised nothing.
            batch.retain(|queued| !queued.answer.is_closed());
            // In one order everywhere: two statements that touch the same aggregates must not wait for each other.
            batch.sort_by(|a, b| {
                (a.append.aggregate_type, &a.append.aggregate_id)
                    .cmp(&(b.append.aggregate_type, &b.append.aggregate_id))
            });
            self.write(batch).await;
        }
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
                    let outcome = if is_unique_violation(&error) {
                        AppendError::Conflict
                    } else {
                        AppendError::Refused(error.clone())
                    };
                    answer(queued, Err(outcome));
                }
            }
            // One command's data spoilt the statement for all: each on its own, so that it harms only itself.
            Err(_) => {
                for queued in batch {
                    Box::pin(self.write(vec![queued])).await;
                }
            }
        }
    }
}

fn size(append: &Append) -> usize {
    append.events.iter().map(|event| event.payload.len()).sum()
}

fn answer(queued: QueuedAppend, outcome: Answer) {
    if matches!(outcome, Err(AppendError::Conflict)) {
        counter!("lablet_log_conflicts_total").increment(1);
    }
    if queued.answer.send(outcome).is_err() {
        tracing::debug!(aggregate.id = queued.append.aggregate_id, "append outcome dropped, its command was given up");
    }
}

/// Inserts, sending the same events again where an answer was lost: what is in already is recognised by its event id.
async fn insert_persistently(connection: &mut Connection, appends: &[&Append]) -> sqlx::Result<Vec<Answer>> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    let begun = tokio::time::Instant::now();
    let mut attempt = 1;
    loop {
        let started = tokio::time::Instant::now();
        let result = connection.insert(appends).await;
        histogram!("lablet_log_append_seconds").record(started.elapsed().as_secs_f64());
        match result {
            Err(error) if is_transient(&error) && begun.elapsed() < PERSIST_FOR => {
                tracing::warn!(error = &error as &dyn std::error::Error, attempt, "append failed, retrying");
                tokio::time::sleep(backoff.next_wait()).await;
                attempt += 1;
            }
            other => return other,
        }
    }
}

/// Whether sending the same statement again may help.
pub fn is_transient(error: &sqlx::Error) -> bool {
    DatabaseFailure::from_error(error).may_pass()
}

/// Whether these very events can never go in. Of every other failure the outcome may be unknown.
fn blames_the_data(error: &sqlx::Error) -> bool {
    DatabaseFailure::from_error(error) == DatabaseFailure::Data
}

/// Somebody else's event stands where a later event of the command belongs.
fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

/// One statement. The first CTE inserts only the first event of each command, so that a conflicting command cannot
/// leave half of its events; the second inserts the others of the commands that went in.
const INSERT: &str = "
WITH incoming AS (
    SELECT * FROM unnest($1::int[], $2::int[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::text[],
                         $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[], $13::int[])
        AS incoming (command, ordinal, event_id, aggregate_type, aggregate_id, sequence, event_type,
                     event_version, payload, metadata, command_key, command_digest, command_events)
), firsts AS (
    INSERT INTO events (event_id, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                        metadata, command_key, command_digest, command_events)
    SELECT event_id, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::json,
           metadata::json, command_key, command_digest, command_events
      FROM incoming WHERE ordinal = 0 ORDER BY command
    ON CONFLICT DO NOTHING
    RETURNING event_id, epoch, written_by, position
), others AS (
    INSERT INTO events (event_id, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT incoming.event_id, incoming.aggregate_type, incoming.aggregate_id, incoming.sequence,
           incoming.event_type, incoming.event_version, incoming.payload::json, incoming.metadata::json
      FROM incoming
      JOIN incoming first ON first.command = incoming.command AND first.ordinal = 0
      JOIN firsts ON firsts.event_id = first.event_id
     WHERE incoming.ordinal > 0
     ORDER BY incoming.command, incoming.ordinal
    RETURNING event_id, epoch, written_by, position
)
SELECT event_id, epoch, written_by::text AS written_by, position FROM firsts
UNION ALL
SELECT event_id, epoch, written_by::text, position FROM others";

/// The same for commands with one event each, which most have: nothing has to be joined. The rows stand in the order of
/// the arrays, so that two statements that touch the same aggregates do not wait for each other.
const INSERT_SINGLE_EVENTS: &str = "
INSERT INTO events (event_id, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                    metadata, command_key, command_digest, command_events)
SELECT event_id, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::json, metadata::json,
       command_key, command_digest, 1
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
              $9::text[], $10::bytea[])
    AS incoming (event_id, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                 command_key, command_digest)
ON CONFLICT DO NOTHING
RETURNING event_id, epoch, written_by::text AS written_by, position";

/// The same for one command with one event.
const INSERT_ONE: &str = "
INSERT INTO events (event_id, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                    metadata, command_key, command_digest, command_events)
VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8::text::json, $9, $10, 1)
ON CONFLICT DO NOTHING
RETURNING event_id, epoch, written_by::text AS written_by, position";

async fn insert(connection: &mut PgConnection, appends: &[&Append]) -> sqlx::Result<Vec<Answer>> {
    let inserted = match appends {
        [append] if append.events.len() == 1 => insert_one(connection, append, &append.events[0]).await?,
        _ if appends.iter().all(|append| append.events.len() == 1) => insert_single_events(connection, appends).await?,
        _ => insert_many(connection, appends).await?,
    };
    let mut positions = HashMap::with_capacity(inserted.len());
    for row in &inserted {
        positions.insert(row.try_get::<Uuid, _>("event_id")?, Position::from_row(row)?);
    }
    let of = |append: &Append, positions: &HashMap<Uuid, Position>| {
        append.events.iter().map(|event| positions.get(&event.event_id).copied()).collect::<Option<Vec<_>>>()
    };
    let left_out: Vec<&Append> = appends.iter().copied().filter(|append| of(append, &positions).is_none()).collect();
    let firsts =
        if left_out.is_empty() { HashMap::new() } else { explain(connection, &left_out, &mut positions).await? };
    Ok(appends
        .iter()
        .map(|append| match of(append, &positions) {
            Some(positions) => Ok(positions),
            None => match append.dedupe.as_ref().and_then(|dedupe| firsts.get(&dedupe.key)) {
                Some(first) => Err(AppendError::Repeated(first.clone())),
                None => Err(AppendError::Conflict),
            },
        })
        .collect())
}

async fn insert_one(connection: &mut PgConnection, append: &Append, event: &NewEvent) -> sqlx::Result<Vec<PgRow>> {
    sqlx::query(INSERT_ONE)
        .bind(event.event_id)
        .bind(append.aggregate_type)
        .bind(&append.aggregate_id)
        .bind(append.expected + 1)
        .bind(&event.event_type)
        .bind(&event.event_version)
        .bind(&event.payload)
        .bind(&*append.metadata)
        .bind(append.dedupe.as_ref().map(|dedupe| dedupe.key()))
        .bind(append.dedupe.as_ref().map(|dedupe| dedupe.digest.as_slice()))
        .fetch_all(connection)
        .await
}

async fn insert_single_events(connection: &mut PgConnection, appends: &[&Append]) -> sqlx::Result<Vec<PgRow>> {
    let mut rows = Rows::default();
    for append in appends {
        rows.push(0, append);
    }
    sqlx::query(INSERT_SINGLE_EVENTS)
        .bind(&rows.event_id)
        .bind(&rows.aggregate_type)
        .bind(&rows.aggregate_id)
        .bind(&rows.sequence)
        .bind(&rows.event_type)
        .bind(&rows.event_version)
        .bind(&rows.payload)
        .bind(&rows.metadata)
        .bind(&rows.command_key)
        .bind(&rows.command_digest)
        .fetch_all(connection)
        .await
}

async fn insert_many(connection: &mut PgConnection, appends: &[&Append]) -> sqlx::Result<Vec<PgRow>> {
    let mut rows = Rows::default();
    for (command, append) in (0..).zip(appends) {
        rows.push(command, append);
    }
    sqlx::query(INSERT)
        .bind(&rows.command)
        .bind(&rows.ordinal)
        .bind(&rows.event_id)
        .bind(&rows.aggregate_type)
        .bind(&rows.aggregate_id)
        .bind(&rows.sequence)
        .bind(&rows.event_type)
        .bind(&rows.event_version)
        .bind(&rows.payload)
        .bind(&rows.metadata)
        .bind(&rows.command_key)
        .bind(&rows.command_digest)
        .bind(&rows.command_events)
        .fetch_all(connection)
        .await
}

/// For commands that did not go in: events that an earlier attempt, whose answer was lost, had put in, and the first
/// answers to their keys.
async fn explain(
    connection: &mut PgConnection,
    appends: &[&Append],
    positions: &mut HashMap<Uuid, Position>,
) -> sqlx::Result<HashMap<String, FirstAnswer>> {
    let event_ids: Vec<Uuid> =
        appends.iter().flat_map(|append| append.events.iter().map(|event| event.event_id)).collect();
    let present =
        "SELECT event_id, epoch, written_by::text AS written_by, position FROM events WHERE event_id = ANY($1)";
    for row in sqlx::query(present).bind(&event_ids).fetch_all(&mut *connection).await? {
        positions.insert(row.try_get("event_id")?, Position::from_row(&row)?);
    }
    let keys: Vec<&str> =
        appends.iter().filter_map(|append| append.dedupe.as_ref()).map(|dedupe| dedupe.key()).collect();
    first_answers(connection, &keys).await
}

/// Where commands with these keys took effect.
pub(crate) async fn first_answers(
    database: impl PgExecutor<'_>,
    keys: &[&str],
) -> sqlx::Result<HashMap<String, FirstAnswer>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let statement = "SELECT command_key, command_digest, aggregate_type, aggregate_id, sequence, \
                     sequence + command_events - 1 AS last_sequence FROM events WHERE command_key = ANY($1)";
    let mut firsts = HashMap::new();
    for row in sqlx::query(AssertSqlSafe(statement)).bind(keys).fetch_all(database).await? {
        let first = FirstAnswer {
            aggregate_type: row.try_get("aggregate_type")?,
            aggregate_id: row.try_get("aggregate_id")?,
            digest: row.try_get("command_digest")?,
            first_sequence: row.try_get("sequence")?,
            sequence: row.try_get("last_sequence")?,
        };
        firsts.insert(row.try_get("command_key")?, first);
    }
    Ok(firsts)
}

/// The columns of a statement: one array each.
#[derive(Default)]
struct Rows<'a> {
    command: Vec<i32>,
    ordinal: Vec<i32>,
    event_id: Vec<Uuid>,
    aggregate_type: Vec<&'a str>,
    aggregate_id: Vec<&'a str>,
    sequence: Vec<i64>,
    event_type: Vec<&'a str>,
    event_version: Vec<&'a str>,
    payload: Vec<&'a str>,
    metadata: Vec<&'a str>,
    command_key: Vec<Option<&'a str>>,
    command_digest: Vec<Option<&'a [u8]>>,
    command_events: Vec<i32>,
}

impl<'a> Rows<'a> {
    fn push(&mut self, command: i32, append: &'a Append) {
        let count = i32::try_from(append.events.len()).unwrap_or(i32::MAX);
        for (ordinal, event) in (0..).zip(&append.events) {
            let dedupe = append.dedupe.as_ref().filter(|_| ordinal == 0);
            self.command.push(command);
            self.ordinal.push(ordinal);
            self.event_id.push(event.event_id);
            self.aggregate_type.push(append.aggregate_type);
            self.aggregate_id.push(&append.aggregate_id);
            self.sequence.push(append.expected + 1 + i64::from(ordinal));
            self.event_type.push(&event.event_type);
            self.event_version.push(&event.event_version);
            self.payload.push(&event.payload);
            self.metadata.push(&append.metadata);
            self.command_key.push(dedupe.map(|dedupe| dedupe.key.as_str()));
            self.command_digest.push(dedupe.map(|dedupe| dedupe.digest.as_slice()));
            self.command_events.push(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// An event of a MiB for an aggregate of its own.
    fn large(number: u32) -> Append {
        let event = NewEvent {
            event_id: Uuid::from_u128(number.into()),
            event_type: "worker.changed".to_owned(),
            event_version: "1".to_owned(),
            payload: "x".repeat(1024 * 1024),
        };
        Append {
            aggregate_type: "worker",
            aggregate_id: number.to_string(),
            expected: 0,
            events: vec![event],
            metadata: "{}".into(),
            dedupe: None,
        }
    }

    #[tokio::test]
    async fn what_waits_for_the_writers_is_bounded_in_bytes() {
        // A database that takes connections and says nothing: whatever is appended waits.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("postgres://nobody@{}/nothing", silent.local_addr().unwrap());
        let appender = Appender::start(&crate::log::pool(&url, 1).unwrap(), 1, &watch::Sender::new(0));
        let mut appending = JoinSet::new();
        for number in 0..100 {
            let appender = appender.clone();
            appending.spawn(async move { appender.append(large(number)).await.map(drop).map_err(drop) });
        }
        while appender.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        // All had their turn, and those that found no room wait for it with what they hold.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let most = MOST_WAITING_KIB as usize / 1024;
        let queued = appender.queue.max_capacity() - appender.queue.capacity();
        assert!(queued > 0 && queued <= most, "{queued} events of a MiB wait in the queue");
        assert_eq!(appending.len(), 100, "nobody was turned away");
    }
}
