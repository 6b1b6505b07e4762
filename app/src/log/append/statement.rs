//! The statements that append.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgConnection, PgExecutor, PgRow, Postgres};
use sqlx::query::Query;
use uuid::Uuid;

use super::{Answer, Append, AppendError, FirstAnswer, NewEvent};
use crate::log::position::Position;

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

/// Inserts these commands in an epoch, and says of each what became of it. Those that were decided in another epoch conflict
/// unless they are in already: what they rest on may have been lost.
pub(super) async fn insert(
    connection: &mut PgConnection,
    appends: &[&Append],
    epoch: i32,
) -> sqlx::Result<Vec<Answer>> {
    let current: Vec<&Append> = appends.iter().copied().filter(|append| append.epoch == epoch).collect();
    let inserted = match current.as_slice() {
        [] => Ok(Vec::new()),
        [append] if append.events.len() == 1 => insert_one(connection, append, &append.events[0]).await,
        _ if current.iter().all(|append| append.events.len() == 1) => insert_single_events(connection, &current).await,
        _ => insert_many(connection, &current).await,
    };
    let inserted = match inserted {
        // What an old partition holds is refused, and so are later events that meet somebody else's: nothing went in, and
        // what is there says why.
        Err(error) if current.len() == 1 && is_unique_violation(&error) => Vec::new(),
        inserted => inserted?,
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

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
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
    let rows = Rows::from_appends(appends);
    rows.bind_events(sqlx::query(INSERT_SINGLE_EVENTS)).fetch_all(connection).await
}

async fn insert_many(connection: &mut PgConnection, appends: &[&Append]) -> sqlx::Result<Vec<PgRow>> {
    let rows = Rows::from_appends(appends);
    let query = sqlx::query(INSERT).bind(&rows.command).bind(&rows.ordinal);
    rows.bind_events(query).bind(&rows.command_events).fetch_all(connection).await
}

/// For commands that were not inserted: the positions of their events where an earlier attempt, whose answer was lost,
/// had inserted them, and the first answers to their keys.
async fn explain(
    connection: &mut PgConnection,
    appends: &[&Append],
    positions: &mut HashMap<Uuid, Position>,
) -> sqlx::Result<HashMap<String, FirstAnswer>> {
    let event_ids: Vec<Uuid> =
        appends.iter().flat_map(|append| append.events.iter().map(|event| event.event_id)).collect();
    let present = sqlx::query!(
        r#"SELECT event_id, epoch, written_by::text AS "written_by!", position FROM events WHERE event_id = ANY($1)"#,
        &event_ids
    );
    for row in present.fetch_all(&mut *connection).await? {
        positions.insert(row.event_id, Position::from_columns(row.epoch, &row.written_by, row.position)?);
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
    let rows = sqlx::query!(
        r#"SELECT command_key AS "command_key!", command_digest AS "command_digest!", aggregate_type, aggregate_id,
                sequence + command_events - 1 AS "last_sequence!"
           FROM events WHERE command_key = ANY($1)"#,
        keys as &[&str]
    );
    let answers = rows.fetch_all(database).await?.into_iter().map(|row| {
        let first = FirstAnswer {
            aggregate_type: row.aggregate_type,
            aggregate_id: row.aggregate_id,
            digest: row.command_digest,
            sequence: row.last_sequence,
        };
        (row.command_key, first)
    });
    Ok(answers.collect())
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
    fn from_appends(appends: &[&'a Append]) -> Self {
        let mut rows = Self::default();
        for (command, append) in (0..).zip(appends) {
            rows.push(command, append);
        }
        rows
    }

    /// Binds the columns that every statement of several commands has.
    fn bind_events<'q>(&'q self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        query
            .bind(&self.event_id)
            .bind(&self.aggregate_type)
            .bind(&self.aggregate_id)
            .bind(&self.sequence)
            .bind(&self.event_type)
            .bind(&self.event_version)
            .bind(&self.payload)
            .bind(&self.metadata)
            .bind(&self.command_key)
            .bind(&self.command_digest)
    }

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
