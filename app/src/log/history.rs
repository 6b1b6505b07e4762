//! Questions about one aggregate's events, each a range of the log's primary key.
//!
//! An observation of a large lab has half a megabyte, and a session may have thousands of events: payloads are read only
//! where they are needed.

use serde_json::Value;
use uuid::Uuid;

use super::page::{self, EventPage, page_statement};
use super::record::{RecordedEvent, columns, columns_without_payload};
use super::{Log, LogError, in_time};

/// The part of an aggregate's history whose sequences are greater (`>`) or less than one.
macro_rules! part {
    ($comparison:literal) => {
        concat!("aggregate_type = $1 AND aggregate_id = $2 AND sequence ", $comparison, " $3")
    };
}

const OLDEST_FIRST: &str = page_statement!(part!(">"), "", "sequence");
const NEWEST_FIRST: &str = page_statement!(part!("<"), " DESC", "sequence");
const OLDEST_FIRST_WITHOUT_PAYLOAD: &str = concat!(
    "SELECT ",
    columns_without_payload!(),
    ", 0::bigint AS estimate FROM events WHERE ",
    part!(">"),
    " ORDER BY sequence LIMIT $4"
);
const NEWEST_FIRST_WITHOUT_PAYLOAD: &str = concat!(
    "SELECT ",
    columns_without_payload!(),
    ", 0::bigint AS estimate FROM events WHERE ",
    part!("<"),
    " ORDER BY sequence DESC LIMIT $4"
);
const LAST_OF_TYPES: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND event_type = ANY($3)
       ORDER BY sequence DESC LIMIT $4"
);
const CAUSED_BY: &str = concat!(
    "SELECT ",
    columns_without_payload!(),
    " FROM events
       WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 AND metadata ->> 'causation_id' = $4
       ORDER BY sequence LIMIT $5"
);
const NEWEST_NAMING: &str = concat!(
    "SELECT ",
    columns_without_payload!(),
    " FROM (SELECT * FROM events ORDER BY epoch DESC, written_by DESC, position DESC LIMIT $2) AS events
       WHERE metadata ->> 'correlation_id' = $1 OR metadata ->> 'causation_id' = $1
       ORDER BY events.epoch DESC, events.written_by DESC, events.position DESC LIMIT $3"
);
const BY_IDS: &str = concat!(
    "SELECT ",
    columns_without_payload!(),
    " FROM events WHERE event_id = ANY($1) ORDER BY events.epoch, events.written_by, events.position"
);

/// A part of one aggregate's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryPage {
    /// From the newest event to the oldest; else from the oldest to the newest.
    pub newest_first: bool,
    /// The part begins beyond this sequence; none: with the first event in this direction.
    pub beyond: Option<i64>,
    /// Whether the payloads are wanted; where not, they are null.
    pub payloads: bool,
    /// Most events.
    pub limit: i64,
}

impl Log {
    /// Up to `limit` events of one aggregate after a sequence, in order; as [`Log::read`], fewer where they are large.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn history(
        &self,
        aggregate_type: &str,
        aggregate_id: &str,
        after_sequence: i64,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let page = HistoryPage { newest_first: false, beyond: Some(after_sequence), payloads: true, limit };
        Ok(self.history_page(aggregate_type, aggregate_id, page).await?.events)
    }

    /// A part of one aggregate's history.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn history_page(
        &self,
        aggregate_type: &str,
        aggregate_id: &str,
        part: HistoryPage,
    ) -> Result<EventPage, LogError> {
        let statement = match (part.newest_first, part.payloads) {
            (false, true) => OLDEST_FIRST,
            (true, true) => NEWEST_FIRST,
            (false, false) => OLDEST_FIRST_WITHOUT_PAYLOAD,
            (true, false) => NEWEST_FIRST_WITHOUT_PAYLOAD,
        };
        let end = if part.newest_first { i64::MAX } else { 0 };
        let query = sqlx::query(statement)
            .bind(aggregate_type)
            .bind(aggregate_id)
            .bind(part.beyond.unwrap_or(end))
            .bind(part.limit);
        Ok(in_time(page::fetch(query, &self.pool, part.limit)).await?)
    }

    /// The last events of one aggregate that are of these types (without their version), at most `limit`, oldest first.
    /// For types whose events are small: their payloads are read.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn last_of_types(
        &self,
        aggregate_type: &str,
        aggregate_id: &str,
        event_types: &[String],
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let rows = sqlx::query(LAST_OF_TYPES)
            .bind(aggregate_type)
            .bind(aggregate_id)
            .bind(event_types)
            .bind(limit)
            .fetch_all(&self.pool);
        let rows = in_time(rows).await?;
        Ok(rows.iter().rev().map(RecordedEvent::from_row).collect::<sqlx::Result<_>>()?)
    }

    /// Up to `limit` events of one aggregate after a sequence that name a message or an event as what led to them,
    /// without their payloads.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn caused_by(
        &self,
        aggregate_type: &str,
        aggregate_id: &str,
        after_sequence: i64,
        causation_id: &str,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let rows = sqlx::query(CAUSED_BY)
            .bind(aggregate_type)
            .bind(aggregate_id)
            .bind(after_sequence)
            .bind(causation_id)
            .bind(limit)
            .fetch_all(&self.pool);
        let rows = in_time(rows).await?;
        Ok(rows.iter().map(RecordedEvent::from_row).collect::<sqlx::Result<_>>()?)
    }

    /// Those of the newest `among` events that name this correlation or this cause, the newest first, without their payloads.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn newest_naming(&self, id: &str, among: i64, limit: i64) -> Result<Vec<RecordedEvent>, LogError> {
        let rows = sqlx::query(NEWEST_NAMING).bind(id).bind(among).bind(limit).fetch_all(&self.pool);
        Ok(in_time(rows).await?.iter().map(RecordedEvent::from_row).collect::<sqlx::Result<_>>()?)
    }

    /// Events by their ids, without their payloads, in their global order. Ids that the log does not know are left out.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn events_without_payload(&self, event_ids: &[Uuid]) -> Result<Vec<RecordedEvent>, LogError> {
        let rows = in_time(sqlx::query(BY_IDS).bind(event_ids).fetch_all(&self.pool)).await?;
        Ok(rows.iter().map(RecordedEvent::from_row).collect::<sqlx::Result<_>>()?)
    }

    /// What an event's payload holds at a path of names and places, so that only this part travels. `None`: there is no
    /// such event, or nothing is there.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn payload_part(&self, event_id: Uuid, path: &[String]) -> Result<Option<Value>, LogError> {
        let part = sqlx::query_scalar!("SELECT payload #> $2 FROM events WHERE event_id = $1", event_id, path);
        Ok(in_time(part.fetch_optional(&self.pool)).await?.flatten())
    }

    /// What an event's payload lists at a path: the first of those whose member is this text, so that only this one
    /// travels. `None`: there is no such event, or none such is listed.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn payload_element(
        &self,
        event_id: Uuid,
        path: &[String],
        member: &str,
        text: &str,
    ) -> Result<Option<Value>, LogError> {
        let element = sqlx::query_scalar!(
            r#"SELECT element AS "element!"
               FROM events, json_array_elements(CASE json_typeof(payload #> $2) WHEN 'array' THEN payload #> $2 ELSE '[]' END)
                    WITH ORDINALITY listed (element, place)
              WHERE event_id = $1 AND element ->> $3::text = $4
              ORDER BY place LIMIT 1"#,
            event_id,
            path,
            member,
            text
        );
        Ok(in_time(element.fetch_optional(&self.pool)).await?)
    }
}
