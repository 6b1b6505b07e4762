//! Pages of events, bounded by their bytes as well as by their number.
//!
//! An observation of a large lab weighs megabytes. Two bounds work together: the statement leaves out what lies beyond
//! an estimate, which looks at no payload, and the reader stops taking rows once it has enough bytes.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgPool, Postgres};
use sqlx::query::Query;

use super::record::RecordedEvent;

/// [`PAGE_BYTES`] as a literal, for the statement.
macro_rules! page_bytes {
    () => {
        2_097_152
    };
}

/// A page ends with the event that brings its payloads to this many bytes: it is at most one event larger.
pub const PAGE_BYTES: usize = page_bytes!();

/// Events in their order, as many as a page may hold.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    /// The events. Empty only where there are none.
    pub events: Vec<RecordedEvent>,
    /// Whether there may be more: the page ended because of its size.
    pub more: bool,
}

/// A statement that reads the first events of those of which a condition is true, at most `$4`, in the order of columns.
///
/// How many bytes a payload has is an estimate: Postgres tells how it is stored without reading it, and JSON of this kind
/// is compressed to a fourth or less.
macro_rules! page_statement {
    ($condition:expr, $direction:literal, $($column:literal),+) => {
        concat!(
            "SELECT ", $crate::log::record::columns!(), ", before + own AS estimate FROM (
             SELECT *, coalesce(sum(own) OVER (ORDER BY ",
            $crate::log::page::order!("wanted", $direction, $($column),+),
            " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS before
               FROM (SELECT *, (pg_column_size(payload)::bigint
                                * CASE WHEN pg_column_compression(payload) IS NULL THEN 1 ELSE 4 END) AS own
                       FROM events WHERE ", $condition, " ORDER BY ",
            $crate::log::page::order!("events", $direction, $($column),+),
            " LIMIT $4) AS wanted
         ) AS measured
         WHERE before < ", $crate::log::page::page_bytes!(), " ORDER BY ",
            $crate::log::page::order!("measured", $direction, $($column),+)
        )
    };
}

/// Columns by the table that has them: among those that are read, the transaction is a text.
macro_rules! order {
    ($table:literal, $direction:literal, $first:literal $(, $column:literal)*) => {
        concat!($table, ".", $first, $direction $(, ", ", $table, ".", $column, $direction)*)
    };
}
pub(super) use {order, page_bytes, page_statement};

/// Reads a page by a [`page_statement`].
pub(super) async fn fetch(
    query: Query<'_, Postgres, PgArguments>,
    pool: &PgPool,
    limit: i64,
) -> sqlx::Result<EventPage> {
    let mut rows = query.fetch(pool);
    let (mut events, mut bytes, mut estimate) = (Vec::new(), 0, 0);
    while bytes < PAGE_BYTES {
        let Some(row) = rows.try_next().await? else { break };
        estimate = row.try_get::<i64, _>("estimate")?;
        let event = RecordedEvent::from_row(&row)?;
        bytes += event.payload.bytes();
        events.push(event);
    }
    let is_full = bytes >= PAGE_BYTES || usize::try_from(estimate).unwrap_or(usize::MAX) >= PAGE_BYTES;
    let more = is_full || i64::try_from(events.len()).unwrap_or(i64::MAX) >= limit;
    Ok(EventPage { events, more })
}
