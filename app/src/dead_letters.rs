//! Messages that could not be handled, with their reason, kept until somebody retries or discards them.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use crate::clock::{Clock, Mint};

/// Longest reason that is kept, in characters.
const LONGEST_REASON: usize = 4_000;

/// What could not be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A command that arrived by NATS.
    Command,
    /// An event that a projection could not apply.
    Projection,
}

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nobody did anything yet.
    Waiting,
    /// It was handled after all.
    Retried,
    /// Somebody decided that it need not be handled.
    Discarded,
}

/// A message that cannot be handled, on its way here.
#[derive(Debug, Clone)]
pub struct Undeliverable<'a> {
    /// What it is.
    pub kind: Kind,
    /// A command's subject, or a projection's name.
    pub source: &'a str,
    /// Why it cannot be handled.
    pub reason: String,
    /// The aggregate's type and id, where they are known.
    pub aggregate: Option<(&'a str, &'a str)>,
    /// The event's id and position, for a projection.
    pub event: Option<(Uuid, String)>,
    /// The message's headers.
    pub headers: BTreeMap<String, String>,
    /// The message.
    pub payload: &'a [u8],
}

/// A message that could not be handled.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct DeadLetter {
    /// Its id.
    pub id: Uuid,
    /// What it is.
    pub kind: Kind,
    /// A command's subject, or a projection's name.
    pub source: String,
    /// Why it could not be handled.
    pub reason: String,
    /// E.g. `lablet_session`, where it is known.
    pub aggregate_type: Option<String>,
    /// The aggregate's id, where it is known.
    pub aggregate_id: Option<String>,
    /// The event, for a projection.
    pub event_id: Option<Uuid>,
    /// The event's position, for a projection.
    pub position: Option<String>,
    /// The message's headers.
    pub headers: Json<BTreeMap<String, String>>,
    /// Size of the message in bytes.
    pub payload_bytes: i32,
    /// How often it came here.
    pub attempts: i64,
    /// When it came first.
    pub first_seen_at: DateTime<Utc>,
    /// When it came last.
    pub last_seen_at: DateTime<Utc>,
    /// What became of it.
    pub status: Status,
    /// Who settled it.
    pub settled_by: Option<String>,
    /// When it was settled.
    pub settled_at: Option<DateTime<Utc>>,
}

/// The columns of [`DeadLetter`].
const COLUMNS: &str = "id, kind, source, reason, aggregate_type, aggregate_id, event_id, position, headers, \
     octet_length(payload) as payload_bytes, attempts, first_seen_at, last_seen_at, status, settled_by, settled_at";

/// The dead letters' table. Cloning shares the pool.
#[derive(Clone)]
pub struct DeadLetters {
    pool: PgPool,
    clock: Clock,
    mint: Mint,
}

impl DeadLetters {
    /// The dead letters in this database.
    pub fn new(pool: PgPool, clock: Clock, mint: Mint) -> Self {
        Self { pool, clock, mint }
    }

    /// Keeps a message. The same message of the same source again counts up, and waits again if it was settled.
    ///
    /// # Errors
    /// sqlx's error; the message is not kept then, and must not be given up.
    pub async fn keep(&self, message: &Undeliverable<'_>) -> sqlx::Result<Uuid> {
        let now = self.clock.now();
        let reason: String =
            message.reason.chars().filter(|character| *character != '\0').take(LONGEST_REASON).collect();
        let (aggregate_type, aggregate_id) = message.aggregate.unzip();
        let (event_id, position) = message.event.clone().unzip();
        sqlx::query_scalar(
            "insert into dead_letters (id, kind, source, reason, fingerprint, aggregate_type, aggregate_id, event_id, \
             position, headers, payload, first_seen_at, last_seen_at) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12) \
             on conflict (kind, source, fingerprint) do update set reason = excluded.reason, \
             attempts = dead_letters.attempts + 1, last_seen_at = excluded.last_seen_at, status = 'waiting', \
             settled_by = null, settled_at = null \
             returning id",
        )
        .bind(self.mint.uuid())
        .bind(message.kind)
        .bind(message.source)
        .bind(reason)
        .bind(fingerprint(message))
        .bind(aggregate_type)
        .bind(aggregate_id)
        .bind(event_id)
        .bind(position)
        .bind(Json(&message.headers))
        .bind(message.payload)
        .bind(now)
        .fetch_one(&self.pool)
        .await
    }

    /// The dead letters with this status, newest first, at most `limit`. `None` for either means any.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn list(&self, kind: Option<Kind>, status: Option<Status>, limit: i64) -> sqlx::Result<Vec<DeadLetter>> {
        let query = format!(
            "select {COLUMNS} from dead_letters where ($1::text is null or kind = $1) and ($2::text is null or status = $2) \
             order by last_seen_at desc, id limit $3"
        );
        sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(kind).bind(status).bind(limit).fetch_all(&self.pool).await
    }

    /// How many wait, by kind.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn waiting(&self, kind: Kind) -> sqlx::Result<i64> {
        sqlx::query_scalar("select count(*) from dead_letters where kind = $1 and status = 'waiting'")
            .bind(kind)
            .fetch_one(&self.pool)
            .await
    }

    /// One dead letter and its message.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn show(&self, id: Uuid) -> sqlx::Result<Option<(DeadLetter, Vec<u8>)>> {
        let query = format!("select {COLUMNS} from dead_letters where id = $1");
        let Some(letter) =
            sqlx::query_as::<_, DeadLetter>(sqlx::AssertSqlSafe(query)).bind(id).fetch_optional(&self.pool).await?
        else {
            return Ok(None);
        };
        let payload =
            sqlx::query_scalar("select payload from dead_letters where id = $1").bind(id).fetch_one(&self.pool).await?;
        Ok(Some((letter, payload)))
    }

    /// Settles a waiting dead letter; answers whether there was one.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn settle(&self, id: Uuid, status: Status, settled_by: &str) -> sqlx::Result<bool> {
        let settled = sqlx::query(
            "update dead_letters set status = $2, settled_by = $3, settled_at = $4 where id = $1 and status = 'waiting'",
        )
        .bind(id)
        .bind(status)
        .bind(settled_by)
        .bind(self.clock.now())
        .execute(&self.pool)
        .await?;
        Ok(settled.rows_affected() > 0)
    }

    /// Notes that a retry failed again, with its reason.
    ///
    /// # Errors
    /// sqlx's error.
    pub async fn failed_again(&self, id: Uuid, reason: &str) -> sqlx::Result<()> {
        sqlx::query("update dead_letters set reason = $2, attempts = attempts + 1, last_seen_at = $3 where id = $1")
            .bind(id)
            .bind(reason)
            .bind(self.clock.now())
            .execute(&self.pool)
            .await
            .map(drop)
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
    hasher.update([1]);
    hasher.update(message.payload);
    hasher.finalize().to_vec()
}

/// A message's headers as they are kept: the last value of each, without NUL, which Postgres cannot hold.
pub fn plain_headers(headers: Option<&HeaderMap>) -> BTreeMap<String, String> {
    let text = |text: &str| text.replace('\0', "\u{fffd}");
    headers
        .into_iter()
        .flat_map(HeaderMap::iter)
        .filter_map(|(name, values)| Some((text(name.as_ref()), text(values.last()?.as_str()))))
        .collect()
}

/// The reverse of [`plain_headers`], as far as the headers can be sent.
pub fn header_map(plain: &BTreeMap<String, String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in plain {
        let parsed = (name.parse::<async_nats::HeaderName>(), value.parse::<async_nats::HeaderValue>());
        if let (Ok(name), Ok(value)) = parsed {
            headers.insert(name, value);
        }
    }
    headers
}
