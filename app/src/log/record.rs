//! What is recorded: an event with all that is known of it, and who caused it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::RawJson;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::position::Position;
use crate::authority::Sender;

/// An event as the log holds it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecordedEvent {
    /// Place in the order of all events.
    pub position: Position,
    /// The event's own id.
    pub event_id: Uuid,
    /// E.g. `lablet_session`.
    pub aggregate_type: String,
    /// The aggregate's id.
    pub aggregate_id: String,
    /// Place among the aggregate's events, from 1.
    pub sequence: i64,
    /// E.g. `lablet_session.created`, without the version.
    pub event_type: String,
    /// E.g. `1`.
    pub event_version: String,
    /// The event in its stored form. It stays text until somebody reads it into a type.
    pub payload: RawJson,
    /// Who caused it.
    pub metadata: Metadata,
    /// When the log took it.
    pub recorded_at: DateTime<Utc>,
}

/// Columns of a [`RecordedEvent`], for every statement that reads one; with another expression where the payload is not
/// wanted. A literal, so that statements are constants.
macro_rules! columns {
    () => {
        $crate::log::record::columns!("payload")
    };
    ($payload:literal) => {
        concat!(
            "epoch, written_by::text AS written_by, position, event_id, aggregate_type, aggregate_id, sequence, ",
            "event_type, event_version, ",
            $payload,
            ", metadata, recorded_at"
        )
    };
}
pub(super) use columns;

/// The same columns with a null in place of the payload.
macro_rules! columns_without_payload {
    () => {
        $crate::log::record::columns!("'null'::json AS payload")
    };
}
pub(super) use columns_without_payload;

impl RecordedEvent {
    /// Reads a row that holds these [`columns`].
    pub(crate) fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            position: Position::from_row(row)?,
            event_id: row.try_get("event_id")?,
            aggregate_type: row.try_get("aggregate_type")?,
            aggregate_id: row.try_get("aggregate_id")?,
            sequence: row.try_get("sequence")?,
            event_type: row.try_get("event_type")?,
            event_version: row.try_get("event_version")?,
            payload: RawJson::trusted(
                row.try_get_raw("payload")?
                    .as_str()
                    .map_err(|source| sqlx::Error::ColumnDecode { index: "payload".to_owned(), source })?,
            ),
            metadata: metadata(row.try_get_raw("metadata")?.as_bytes().map_err(sqlx::Error::Decode)?),
            recorded_at: recorded_at(row.try_get_unchecked("recorded_at")?),
        })
    }

    /// Type and version in one, e.g. `lablet_session.created.v1`.
    pub fn versioned_type(&self) -> String {
        format!("{}.v{}", self.event_type, self.event_version)
    }
}

/// The members of an event's metadata that this build knows. Other writers may store anything there, which must not make
/// the event unreadable: a member that is no text counts as absent.
fn metadata(json: &[u8]) -> Metadata {
    let Ok(mut members) = serde_json::from_slice::<HashMap<String, Value>>(json) else { return Metadata::default() };
    let mut text = |name: &str| match members.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    Metadata {
        actor: text("actor"),
        correlation_id: text("correlation_id"),
        causation_id: text("causation_id"),
        traceparent: text("traceparent"),
    }
}

/// The time of a `timestamptz`, which Postgres sends as microseconds since 2000 and may be one that neither RFC 3339
/// nor chrono can write: `infinity`, a year before Christ. Such a time is the nearest that can be written.
fn recorded_at(microseconds_since_2000: i64) -> DateTime<Utc> {
    const YEAR_2000: i64 = 946_684_800_000_000;
    const EARLIEST: i64 = -62_135_596_800_000_000;
    const LATEST: i64 = 253_402_300_799_999_999;
    let microseconds = microseconds_since_2000.saturating_add(YEAR_2000).clamp(EARLIEST, LATEST);
    DateTime::from_timestamp_micros(microseconds).unwrap_or_default()
}

/// Who caused an event, and in what connection. Events of other writers may lack all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// Who, e.g. `admin:ada`, `service:booking`, `team:grading`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What belongs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The message or event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// W3C trace context of what began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// Where a command comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Who, e.g. `admin:ada`.
    pub actor: String,
    /// Whose authority decides whether the command may be sent.
    pub sender: Sender,
    /// What belongs together.
    pub correlation_id: Option<String>,
    /// The message or event that led to the command.
    pub causation_id: Option<String>,
    /// W3C trace context of what began it.
    pub traceparent: Option<String>,
    /// The key under which the command takes effect once.
    pub dedupe: Option<DedupeKey>,
}

impl Origin {
    /// A command of `actor` without any connection, sent by Lablet itself or by a person whose role was checked.
    pub fn from_actor(actor: impl Into<String>) -> Self {
        Self {
            actor: actor.into(),
            sender: Sender::Trusted,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            dedupe: None,
        }
    }

    /// The same with a key under which it takes effect once.
    #[must_use]
    pub fn once(mut self, key: DedupeKey) -> Self {
        self.dedupe = Some(key);
        self
    }

    /// The metadata of the command's events: [`Metadata`] that borrows its texts. `current` is the trace context of the span
    /// that executes the command, where there is one: what the events cause belongs below it.
    pub(crate) fn metadata<'a>(&'a self, current: Option<&'a str>) -> impl Serialize + 'a {
        #[derive(Serialize)]
        struct BorrowedMetadata<'a> {
            actor: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            correlation_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            causation_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            traceparent: Option<&'a str>,
        }
        BorrowedMetadata {
            actor: &self.actor,
            correlation_id: self.correlation_id.as_deref(),
            causation_id: self.causation_id.as_deref(),
            traceparent: current.or(self.traceparent.as_deref()),
        }
    }
}

/// The key under which a command takes effect once, and a hash of what it says, to tell another command under the
/// same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupeKey {
    pub(crate) key: String,
    pub(crate) digest: [u8; 32],
}

impl DedupeKey {
    /// A key for a command that says `content`. Keys of any length are kept as their hash.
    pub fn new(key: &str, content: &[u8]) -> Self {
        use sha2::Digest as _;
        // A primary key of Postgres holds some 2,700 bytes; sources and ids of others are not ours to bound.
        let key = if key.len() <= 512 && !key.contains('\0') {
            key.to_owned()
        } else {
            sha2::Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        Self { key, digest: sha2::Sha256::digest(content).into() }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_any_shape_keep_no_event_from_being_read() {
        let known = metadata(br#"{"actor": "admin:ada", "causation_id": 7, "trace": {"a": [1]}}"#);
        assert_eq!(known, Metadata { actor: Some("admin:ada".to_owned()), ..Metadata::default() });
        for odd in ["[]", "7", "null", "\"x\"", r#"{"actor": "\ud800"}"#, r#"{"n": 1e400}"#] {
            assert_eq!(metadata(odd.as_bytes()), Metadata::default(), "{odd}");
        }
    }

    #[test]
    fn a_time_that_only_postgres_knows_is_the_nearest_that_can_be_written() {
        let text = |microseconds| recorded_at(microseconds).to_rfc3339();
        assert_eq!(text(0), "2000-01-01T00:00:00+00:00");
        assert_eq!(text(i64::MAX), "9999-12-31T23:59:59.999999+00:00");
        assert_eq!(text(i64::MIN), "0001-01-01T00:00:00+00:00");
    }
}
