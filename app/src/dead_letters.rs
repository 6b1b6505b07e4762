//! Messages that could not be handled, with their reason, kept until somebody retries or discards them.
//!
//! Every message can be stored: texts are escaped and bounded. Without room, first the payload is left out, then the
//! headers, then the letter; the reason and the count stay.

mod bounds;
mod headers;
mod payload;
mod requested_retries;

use std::collections::BTreeMap;
use std::error::Error;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use metrics::counter;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

pub use self::bounds::{DeadLetterBounds, PayloadPolicy};
use self::bounds::{LettersInUse, Room};
pub(crate) use self::headers::from_wire;
pub(crate) use self::headers::{header_map, plain_headers};
pub use self::payload::{PayloadKept, names_a_secret};
pub use self::requested_retries::{RequestedRetry, next_requested_retry, sources_with_requested_retries};
use crate::database::StoredTime;
use crate::printable::storable;
use bus::clock::{Clock, IdGenerator};
use bus::subjects;

/// Longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 4_000;
/// Longest of all other texts, in bytes.
const LONGEST_TEXT: usize = 512;
/// Longest text of a letter that is stored without its message, in bytes.
const SHORT: usize = 256;
/// Letters that are removed or discarded in one statement.
const SWEPT_AT_ONCE: i64 = 1_000;
/// Timeout of the check whether the database accepts writes.
const PROBE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// How long the trial of a command is remembered.
const TRIALS_FOR: TimeDelta = TimeDelta::days(1);
/// Source of the letter that counts messages for which there was no room.
const OVERFLOW: &str = "(more than are kept)";

/// What could not be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum DeadLetterKind {
    /// A command that arrived by NATS.
    Command,
    /// An event that a projection could not apply.
    Projection,
    /// An event that the target of a webhook refused, or did not take in its time.
    Webhook,
}

/// Status of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not settled.
    Waiting,
    /// A retry succeeded.
    Retried,
    /// An operator decided that it need not be handled.
    Discarded,
}

/// A message that could not be handled and has to be stored.
#[derive(Debug, Clone)]
pub struct Undeliverable<'a> {
    /// Kind of the message.
    pub kind: DeadLetterKind,
    /// A command's subject, or the name of a projection or of a webhook's target.
    pub source: &'a str,
    /// Why it cannot be handled.
    pub reason: String,
    /// The aggregate's type and id, where they are known.
    pub aggregate: Option<(&'a str, &'a str)>,
    /// The event's id and position, for a projection or a webhook.
    pub event: Option<(Uuid, String)>,
    /// The message's headers.
    pub headers: BTreeMap<String, String>,
    /// The headers as they came, where they cannot be read as text.
    pub raw_headers: Option<&'a [u8]>,
    /// The message.
    pub payload: &'a [u8],
}

/// A message that could not be handled.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// Its id.
    pub id: Uuid,
    /// Kind of the message.
    pub kind: DeadLetterKind,
    /// A command's subject, or the name of a projection or of a webhook's target.
    pub source: String,
    /// Why it could not be handled.
    pub reason: String,
    /// E.g. `lablet_session`, where it is known.
    pub aggregate_type: Option<String>,
    /// The aggregate's id, where it is known.
    pub aggregate_id: Option<String>,
    /// The event, for a projection or a webhook.
    pub event_id: Option<Uuid>,
    /// The event's position, for a projection or a webhook.
    pub position: Option<String>,
    /// The message's headers.
    pub headers: Json<BTreeMap<String, String>>,
    /// Size of the message as it came, in bytes.
    pub message_bytes: i64,
    /// Which part of it is stored.
    pub payload_kept: PayloadKept,
    /// How often it failed.
    pub attempts: i64,
    /// When it failed first.
    pub first_seen_at: DateTime<Utc>,
    /// When it failed last.
    pub last_seen_at: DateTime<Utc>,
    /// Its status.
    pub status: Status,
    /// Who settled it.
    pub settled_by: Option<String>,
    /// When it was settled.
    pub settled_at: Option<DateTime<Utc>>,
    /// Why it was discarded.
    pub settled_reason: Option<String>,
}

/// A dead letter with its message.
#[derive(Debug, Clone)]
pub struct OpenedLetter {
    /// The letter.
    pub letter: DeadLetter,
    /// The stored part of the message.
    pub payload: Vec<u8>,
    /// Its headers as they came, where they cannot be read as text.
    pub raw_headers: Option<Vec<u8>>,
}

/// Outcome of a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepOutcome {
    /// Settled letters that were removed.
    pub removed: u64,
    /// Undecided letters that were discarded after their time.
    pub expired: u64,
}

/// A row of the table.
struct Row {
    id: Uuid,
    kind: DeadLetterKind,
    source: String,
    reason: String,
    aggregate_type: Option<String>,
    aggregate_id: Option<String>,
    event_id: Option<Uuid>,
    position: Option<String>,
    headers: Json<BTreeMap<String, String>>,
    message_bytes: i64,
    payload_kept: PayloadKept,
    attempts: i64,
    first_seen_at: StoredTime,
    last_seen_at: StoredTime,
    status: Status,
    settled_by: Option<String>,
    settled_at: Option<StoredTime>,
    settled_reason: Option<String>,
    payload: Vec<u8>,
    raw_headers: Option<Vec<u8>>,
}

impl From<Row> for OpenedLetter {
    fn from(row: Row) -> Self {
        let letter = DeadLetter {
            id: row.id,
            kind: row.kind,
            source: row.source,
            reason: row.reason,
            aggregate_type: row.aggregate_type,
            aggregate_id: row.aggregate_id,
            event_id: row.event_id,
            position: row.position,
            headers: row.headers,
            message_bytes: row.message_bytes,
            payload_kept: row.payload_kept,
            attempts: row.attempts,
            first_seen_at: row.first_seen_at.into(),
            last_seen_at: row.last_seen_at.into(),
            status: row.status,
            settled_by: row.settled_by,
            settled_at: row.settled_at.map(DateTime::from),
            settled_reason: row.settled_reason,
        };
        Self { letter, payload: row.payload, raw_headers: row.raw_headers }
    }
}

/// The dead letters' table. Cloning shares the pool.
#[derive(Clone)]
pub struct DeadLetters {
    pool: PgPool,
    clock: Clock,
    id_generator: IdGenerator,
    bounds: DeadLetterBounds,
}

impl DeadLetters {
    /// The dead letters in this database.
    pub fn new(pool: PgPool, clock: Clock, id_generator: IdGenerator) -> Self {
        Self { pool, clock, id_generator, bounds: DeadLetterBounds::default() }
    }

    /// The same table with other bounds.
    #[must_use]
    pub fn bounded(self, bounds: DeadLetterBounds) -> Self {
        Self { bounds, ..self }
    }

    /// The bounds.
    pub fn bounds(&self) -> &DeadLetterBounds {
        &self.bounds
    }

    /// Stores a message. A repetition of the same message from the same source counts up, and waits again if it was settled.
    ///
    /// # Errors
    /// sqlx's error, never because of the message's content; the message is not stored then and must not be acknowledged.
    pub async fn keep(&self, message: &Undeliverable<'_>) -> sqlx::Result<Uuid> {
        let team = match message.kind {
            DeadLetterKind::Command => {
                subjects::team(message.source).map(|team| storable(team, SHORT)).unwrap_or_default()
            }
            DeadLetterKind::Projection => String::new(),
            // A target fills no more than its part, as a team does.
            DeadLetterKind::Webhook => storable(message.source, SHORT),
        };
        let source = storable(message.source, LONGEST_TEXT);
        let mut room = self.bounds.room(&self.in_use(message.kind, &team).await?);
        if room != Room::Enough && self.remove_settled(message.kind, &team).await? > 0 {
            room = self.bounds.room(&self.in_use(message.kind, &team).await?);
        }
        let stored = match room {
            Room::Enough => StoredMessage::within(&self.bounds, message),
            Room::ForReasons => {
                counter!("lablet_dead_letters_without_message_total").increment(1);
                tracing::warn!(team, "the dead letters are full; one is kept without its message");
                StoredMessage::without_message(message)
            }
            Room::None => {
                // A repetition needs no room.
                if let Some(id) = self.count_again(message, &source).await? {
                    return Ok(id);
                }
                counter!("lablet_dead_letters_overflowed_total").increment(1);
                tracing::error!(team, "there is no room for more dead letters; this one is only counted");
                return self.count_overflow(message, &team).await;
            }
        };
        self.insert(message, &team, &source, &fingerprint(message), stored).await
    }

    /// Makes room by removing settled letters, the team's before others, the oldest first.
    async fn remove_settled(&self, kind: DeadLetterKind, team: &str) -> sqlx::Result<u64> {
        let removed = sqlx::query!(
            "DELETE FROM dead_letters WHERE id IN (
                 SELECT id FROM dead_letters WHERE kind = $1 AND status <> 'waiting'
                  ORDER BY team <> $2, settled_at LIMIT $3)",
            kind as _,
            team,
            SWEPT_AT_ONCE
        );
        Ok(removed.execute(&self.pool).await?.rows_affected())
    }

    async fn insert(
        &self,
        message: &Undeliverable<'_>,
        team: &str,
        source: &str,
        fingerprint: &[u8],
        stored: StoredMessage,
    ) -> sqlx::Result<Uuid> {
        let (aggregate_type, aggregate_id) = message.aggregate.unzip();
        let (event_id, position) = message.event.clone().unzip();
        let text = |text: &str| storable(text, LONGEST_TEXT);
        sqlx::query_scalar!(
            "INSERT INTO dead_letters (id, kind, source, reason, fingerprint, aggregate_type, aggregate_id, event_id,
                                       position, headers, payload, first_seen_at, last_seen_at, team, payload_kept,
                                       message_bytes, kept_bytes, raw_headers)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13, $14, $15, $16, $17)
             ON CONFLICT (kind, source, fingerprint) DO UPDATE
                SET reason = excluded.reason, attempts = dead_letters.attempts + 1,
                    last_seen_at = excluded.last_seen_at, status = 'waiting', settled_by = NULL, settled_at = NULL,
                    settled_reason = NULL, retry_requested_at = NULL, retry_requested_by = NULL
             RETURNING id",
            self.id_generator.uuid(),
            message.kind as _,
            source,
            stored.reason,
            fingerprint,
            aggregate_type.map(text),
            aggregate_id.map(text),
            event_id,
            position.as_deref().map(text),
            Json(&stored.headers) as _,
            stored.payload,
            self.clock.now(),
            team,
            stored.payload_kept as _,
            i64::try_from(message.payload.len()).unwrap_or(i64::MAX),
            stored.bytes(),
            stored.raw_headers.as_deref()
        )
        .fetch_one(&self.pool)
        .await
    }

    async fn in_use(&self, kind: DeadLetterKind, team: &str) -> sqlx::Result<LettersInUse> {
        sqlx::query_as!(
            LettersInUse,
            r#"SELECT count(*) AS "letters!", coalesce(sum(kept_bytes), 0)::bigint AS "bytes!",
                      count(*) FILTER (WHERE team = $2) AS "team_letters!",
                      coalesce(sum(kept_bytes) FILTER (WHERE team = $2), 0)::bigint AS "team_bytes!"
                 FROM dead_letters WHERE kind = $1"#,
            kind as _,
            team
        )
        .fetch_one(&self.pool)
        .await
    }

    async fn count_again(&self, message: &Undeliverable<'_>, source: &str) -> sqlx::Result<Option<Uuid>> {
        sqlx::query_scalar!(
            "UPDATE dead_letters
                SET attempts = attempts + 1, last_seen_at = $4, status = 'waiting', settled_by = NULL,
                    settled_at = NULL, settled_reason = NULL
              WHERE kind = $1 AND source = $2 AND fingerprint = $3 RETURNING id",
            message.kind as _,
            source,
            fingerprint(message),
            self.clock.now()
        )
        .fetch_optional(&self.pool)
        .await
    }

    /// One letter per team counts, by its attempts, the messages for which there is no room.
    async fn count_overflow(&self, message: &Undeliverable<'_>, team: &str) -> sqlx::Result<Uuid> {
        let mut stored = StoredMessage::without_message(message);
        stored.headers.clear();
        stored.reason = format!(
            "more failed than dead letters are kept; how often this one came is their number. The newest, of {}: {}",
            storable(message.source, SHORT),
            stored.reason
        );
        let nameless = Undeliverable { aggregate: None, event: None, ..message.clone() };
        self.insert(&nameless, team, OVERFLOW, team.as_bytes(), stored).await
    }

    /// Removes settled letters after their retention, and discards undecided ones after theirs.
    ///
    /// # Errors
    /// sqlx's error; earlier batches stay done.
    pub async fn sweep(&self) -> sqlx::Result<SweepOutcome> {
        let now = self.clock.now();
        let before = |age: std::time::Duration| {
            TimeDelta::from_std(age)
                .ok()
                .and_then(|age| now.checked_sub_signed(age))
                .unwrap_or(DateTime::<Utc>::MIN_UTC)
        };
        let mut swept = SweepOutcome::default();
        loop {
            let removed = sqlx::query!(
                "DELETE FROM dead_letters WHERE id IN (
                     SELECT id FROM dead_letters WHERE status <> 'waiting' AND settled_at < $1 LIMIT $2)",
                before(self.bounds.settled_for),
                SWEPT_AT_ONCE
            )
            .execute(&self.pool)
            .await?
            .rows_affected();
            swept.removed += removed;
            if removed < SWEPT_AT_ONCE.unsigned_abs() {
                break;
            }
        }
        loop {
            let expired = sqlx::query!(
                "UPDATE dead_letters
                    SET status = 'discarded', settled_by = 'lablet', settled_at = $3,
                        settled_reason = 'nobody decided about it in its time', payload = '', raw_headers = NULL,
                        payload_kept = 'removed', kept_bytes = 0
                  WHERE id IN (SELECT id FROM dead_letters WHERE status = 'waiting' AND last_seen_at < $1 LIMIT $2)",
                before(self.bounds.waiting_for),
                SWEPT_AT_ONCE,
                now
            )
            .execute(&self.pool)
            .await?
            .rows_affected();
            swept.expired += expired;
            if expired < SWEPT_AT_ONCE.unsigned_abs() {
                break;
            }
        }
        sqlx::query!("DELETE FROM command_trials WHERE begun_at < $1", now - TRIALS_FOR).execute(&self.pool).await?;
        Ok(swept)
    }

    /// Records that a command is about to be handled alone; returns how many earlier trials never ended.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn begin_trial(&self, message: &Undeliverable<'_>) -> sqlx::Result<i64> {
        sqlx::query_scalar!(
            r#"INSERT INTO command_trials (fingerprint, begun, begun_at) VALUES ($1, 1, $2)
               ON CONFLICT (fingerprint) DO UPDATE SET begun = command_trials.begun + 1, begun_at = excluded.begun_at
               RETURNING begun - 1 AS "earlier!""#,
            fingerprint(message),
            self.clock.now()
        )
        .fetch_one(&self.pool)
        .await
    }

    /// Records that the trial ended.
    ///
    /// # Errors
    /// sqlx's error; the next trial then counts one too many.
    pub(crate) async fn end_trial(&self, message: &Undeliverable<'_>) -> sqlx::Result<()> {
        sqlx::query!("DELETE FROM command_trials WHERE fingerprint = $1", fingerprint(message))
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// The dead letters with this status, newest first, at most `limit`. `None` for either means any. A row that cannot
    /// be read is logged and left out.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn list(
        &self,
        kind: Option<DeadLetterKind>,
        status: Option<Status>,
        limit: i64,
    ) -> sqlx::Result<Vec<DeadLetter>> {
        let mut rows = sqlx::query_as!(
            Row,
            r#"SELECT id, kind AS "kind: DeadLetterKind", source, reason, aggregate_type, aggregate_id, event_id, position,
                      headers AS "headers: Json<BTreeMap<String, String>>", message_bytes,
                      payload_kept AS "payload_kept: PayloadKept", attempts, first_seen_at AS "first_seen_at: StoredTime",
                      last_seen_at AS "last_seen_at: StoredTime", status AS "status: Status", settled_by,
                      settled_at AS "settled_at: StoredTime", settled_reason, ''::bytea AS "payload!",
                      NULL::bytea AS raw_headers
                 FROM dead_letters WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR status = $2)
                ORDER BY last_seen_at DESC, id LIMIT $3"#,
            kind as _,
            status as _,
            limit
        )
        .fetch(&self.pool);
        let mut letters = Vec::new();
        while let Some(row) = rows.next().await {
            match row {
                Ok(row) => letters.push(OpenedLetter::from(row).letter),
                Err(error @ sqlx::Error::ColumnDecode { .. }) => {
                    tracing::error!(error = &error as &dyn Error, "dead letter unreadable, left out of the list");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(letters)
    }

    /// How many wait, by kind.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn waiting(&self, kind: DeadLetterKind) -> sqlx::Result<i64> {
        let waiting = sqlx::query_scalar!(
            r#"SELECT count(*) AS "waiting!" FROM dead_letters WHERE kind = $1 AND status = 'waiting'"#,
            kind as _
        );
        waiting.fetch_one(&self.pool).await
    }

    /// One dead letter and the stored part of its message.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn show(&self, id: Uuid) -> sqlx::Result<Option<OpenedLetter>> {
        let row = sqlx::query_as!(
            Row,
            r#"SELECT id, kind AS "kind: DeadLetterKind", source, reason, aggregate_type, aggregate_id, event_id, position,
                      headers AS "headers: Json<BTreeMap<String, String>>", message_bytes,
                      payload_kept AS "payload_kept: PayloadKept", attempts, first_seen_at AS "first_seen_at: StoredTime",
                      last_seen_at AS "last_seen_at: StoredTime", status AS "status: Status", settled_by,
                      settled_at AS "settled_at: StoredTime", settled_reason, payload, raw_headers
                 FROM dead_letters WHERE id = $1"#,
            id
        );
        Ok(row.fetch_optional(&self.pool).await?.map(OpenedLetter::from))
    }

    /// Settles a waiting dead letter; returns whether there was one.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn settle(&self, id: Uuid, status: Status, settled_by: &str, reason: Option<&str>) -> sqlx::Result<bool> {
        let settled = sqlx::query!(
            "UPDATE dead_letters
                SET status = $2, settled_by = $3, settled_at = $4, settled_reason = $5, retry_requested_at = NULL
              WHERE id = $1 AND status = 'waiting'",
            id,
            status as _,
            settled_by,
            self.clock.now(),
            reason.map(|reason| storable(reason, LONGEST_REASON))
        );
        Ok(settled.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Records that a retry failed, with its reason.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn failed_again(&self, id: Uuid, reason: &str) -> sqlx::Result<()> {
        sqlx::query!(
            "UPDATE dead_letters
                SET reason = $2, attempts = attempts + 1, last_seen_at = $3, retry_requested_at = NULL,
                    retry_requested_by = NULL
              WHERE id = $1",
            id,
            storable(reason, LONGEST_REASON),
            self.clock.now()
        )
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// Whether the database accepts writes now.
    pub(crate) async fn is_writable(&self) -> bool {
        let read_only = sqlx::query_scalar::<_, String>("select current_setting('transaction_read_only')");
        match tokio::time::timeout(PROBE_TIMEOUT, read_only.fetch_one(&self.pool)).await {
            Ok(Ok(read_only)) => read_only == "off",
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

/// The parts of a message that are stored.
struct StoredMessage {
    reason: String,
    headers: BTreeMap<String, String>,
    raw_headers: Option<Vec<u8>>,
    payload_kept: PayloadKept,
    payload: Vec<u8>,
}

impl StoredMessage {
    fn within(bounds: &DeadLetterBounds, message: &Undeliverable<'_>) -> Self {
        let (payload_kept, payload) = payload::keep(bounds.payloads, message.payload);
        let mut headers = headers::bounded(&message.headers);
        let keeps_secrets = bounds.payloads == PayloadPolicy::Full;
        for (name, value) in &mut headers {
            if !keeps_secrets && names_a_secret(name) {
                *value = "(not kept)".to_owned();
            }
        }
        let raw_headers = match bounds.payloads {
            PayloadPolicy::None | PayloadPolicy::Masked => None,
            PayloadPolicy::Limited | PayloadPolicy::Full => {
                message.raw_headers.map(|raw| raw.get(..DeadLetterBounds::LARGEST_PAYLOAD).unwrap_or(raw).to_vec())
            }
        };
        Self { reason: storable(&message.reason, LONGEST_REASON), headers, raw_headers, payload_kept, payload }
    }

    /// The reason, and the attributes by which the sender identifies the message.
    fn without_message(message: &Undeliverable<'_>) -> Self {
        let is_known =
            |name: &str| ["ce-id", "ce-source", "ce-type"].iter().any(|known| name.eq_ignore_ascii_case(known));
        let headers = message.headers.iter().filter(|(name, _)| is_known(name));
        Self {
            reason: storable(&message.reason, SHORT * 4),
            headers: headers.map(|(name, value)| (storable(name, SHORT), storable(value, SHORT))).collect(),
            raw_headers: None,
            payload_kept: PayloadKept::None,
            payload: Vec::new(),
        }
    }

    fn bytes(&self) -> i64 {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let all = self.reason.len() + headers + self.raw_headers.as_ref().map_or(0, Vec::len) + self.payload.len();
        i64::try_from(all).unwrap_or(i64::MAX)
    }
}

fn fingerprint(message: &Undeliverable<'_>) -> Vec<u8> {
    let mut hasher = Sha256::new();
    for (name, value) in &message.headers {
        // The server's own headers differ from delivery to delivery.
        if !name.to_ascii_lowercase().starts_with("nats-") {
            hasher.update(name.as_bytes());
            hasher.update([0]);
            hasher.update(value.as_bytes());
            hasher.update([0]);
        }
    }
    if let Some((event_id, _)) = &message.event {
        hasher.update(event_id.as_bytes());
    }
    // The stored form of an escaped or shortened source may equal that of another one.
    if storable(message.source, LONGEST_TEXT) != message.source {
        hasher.update([2]);
        hasher.update(message.source.as_bytes());
    }
    hasher.update([1]);
    hasher.update(message.payload);
    hasher.finalize().to_vec()
}
