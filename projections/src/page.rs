//! Keyset pages, and rows that Postgres hands over as JSON.
//!
//! Rows are read one by one. One that cannot be read (Postgres writes times, numbers and JSON that this build does not
//! know) is left out of the data and named beside it, so that it never takes the others with it. Where a page goes on is
//! said by columns that Postgres gives as text, which every row has.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use domain::Invalid;
use metrics::{Unit, counter, describe_counter};
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use sqlx::postgres::{PgExecutor, PgRow};
use sqlx::{Postgres, QueryBuilder, Row as _};

use crate::{Projections, ReadError};

/// Most rows of a page.
pub const MOST_ROWS: u32 = 1_000;

/// Some rows of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; null on the last one.
    pub next: Option<String>,
    /// Rows of this page that are there and cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableRow>,
}

/// All rows of a short list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Listed<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// Rows that are there and cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableRow>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), unreadable: Vec::new() }
    }
}

/// A row that is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnreadableRow {
    /// What the row is about: the id of a session, a definition, a worker, an event …
    pub id: String,
    /// What of it cannot be read, and why.
    pub reason: String,
}

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Most rows, 1 to [`MOST_ROWS`].
    pub limit: u32,
    /// The `next` of the page before.
    pub cursor: Option<String>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: 50, cursor: None }
    }
}

impl PageRequest {
    /// The first page of this many rows.
    pub fn first(limit: u32) -> Self {
        Self { limit, cursor: None }
    }

    pub(crate) fn rows(&self) -> usize {
        self.limit.clamp(1, MOST_ROWS) as usize
    }

    /// One more than asked for, which tells whether there is another page.
    pub(crate) fn fetch(&self) -> i64 {
        i64::from(self.limit.clamp(1, MOST_ROWS)) + 1
    }

    /// The cursor of a list whose key is a position.
    ///
    /// # Errors
    /// [`Invalid`] when it is none.
    pub(crate) fn position(&self) -> Result<Option<String>, Invalid> {
        match &self.cursor {
            None => Ok(None),
            Some(cursor) if cursor.parse::<app::log::Position>().is_ok() => Ok(Some(cursor.clone())),
            Some(_) => Err(bad_cursor()),
        }
    }
}

pub(crate) fn bad_cursor() -> Invalid {
    Invalid::new("cursor", "is none of this list's", "the cursor that the page before gave")
}

/// Longest id or name in a cursor.
const LONGEST_IN_CURSOR: usize = 1_000;

/// An id or a name in a cursor, as the row has it: one that cannot be read is passed by its own words too.
///
/// # Errors
/// [`Invalid`] for what no row can have.
pub(crate) fn id_in_cursor(text: &str) -> Result<String, Invalid> {
    if text.len() <= LONGEST_IN_CURSOR && !text.contains('\0') { Ok(text.to_owned()) } else { Err(bad_cursor()) }
}

impl<T> Page<T> {
    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self { items: Vec::new(), next: None, unreadable: Vec::new() }
    }

    /// Of `rows` that may have ended before their number was reached, all of which can be read: `more` says that others
    /// may follow, `key` gives the cursor after a row.
    pub(crate) fn of_part(mut rows: Vec<T>, more: bool, request: &PageRequest, key: impl Fn(&T) -> String) -> Self {
        let more = more || rows.len() > request.rows();
        rows.truncate(request.rows());
        let next = if more { rows.last().map(key) } else { None };
        Self { items: rows, next, unreadable: Vec::new() }
    }

    /// Of rows fetched with [`PageRequest::fetch`].
    pub(crate) fn from_rows(mut rows: Vec<ListRow<T>>, request: &PageRequest) -> Self {
        let more = rows.len() > request.rows();
        rows.truncate(request.rows());
        let next = if more { rows.last().map(|row| row.cursor.clone()) } else { None };
        let Listed { items, unreadable } = Listed::from_rows(rows);
        Self { items, next, unreadable }
    }
}

impl<T> Listed<T> {
    pub(crate) fn from_rows(rows: Vec<ListRow<T>>) -> Self {
        let mut listed = Self::default();
        for row in rows {
            match row.value {
                Ok(value) => listed.items.push(value),
                Err(unreadable) => listed.unreadable.push(unreadable),
            }
        }
        listed
    }
}

/// One row of a statement that begins with [`select`].
#[derive(Debug)]
pub(crate) struct ListRow<T> {
    /// Where a page after this row begins.
    pub(crate) cursor: String,
    pub(crate) value: Result<T, UnreadableRow>,
    /// Whether a statement that asks for it found anything parked, of whatever row.
    pub(crate) is_something_parked: bool,
}

/// Begins a statement that ends in `) r`: each row of what is between as JSON, with its id and its place in the list as
/// Postgres writes them. `id` and `cursor` are columns of what is between.
pub(crate) fn select(id: &str, cursor: &str) -> String {
    format!("SELECT r.{id}::text AS row_id, r.{cursor}::text AS row_cursor, to_json(r)::text AS row FROM (")
}

/// The same, with `parked`: a JSON text that becomes the member `parked` of the row, or null where nothing is parked.
pub(crate) fn select_with_parked(id: &str, cursor: &str, parked: &str) -> String {
    format!(
        "SELECT r.{id}::text AS row_id, r.{cursor}::text AS row_cursor, to_json(r)::text AS row, {parked} AS parked FROM ("
    )
}

/// Columns of [`select`]; one more has [`select_with_parked`].
const PLAIN_COLUMNS: usize = 3;

fn decode<T: DeserializeOwned>(row: &PgRow) -> sqlx::Result<ListRow<T>> {
    let id: Option<String> = row.try_get("row_id")?;
    let cursor: Option<String> = row.try_get("row_cursor")?;
    let text: &str = row.try_get("row")?;
    let parked: Option<&str> = if row.len() > PLAIN_COLUMNS { row.try_get("parked")? } else { None };
    let read = match parked {
        None => from_text(text),
        Some(parked) => from_text(&format!("{},\"parked\":{parked}}}", text.strip_suffix('}').unwrap_or(text))),
    };
    let value = read.map_err(|reason| UnreadableRow { id: id.unwrap_or_default(), reason });
    Ok(ListRow { cursor: cursor.unwrap_or_default(), value, is_something_parked: parked.is_some() })
}

/// Characters of a reason that are shown.
const LONGEST_REASON: usize = 300;

/// A value that Postgres wrote as JSON, or what cannot be read of it.
fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    // Which member is at fault is asked only where there is a fault.
    serde_json::from_str(text).map_err(|plain| {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let reason = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Err(error) if error.path().iter().len() > 0 => format!("{}: {}", error.path(), error.inner()),
            Ok(_) | Err(_) => plain.to_string(),
        };
        // Where in the text it was is of no use to anybody: the text is Postgres's of this moment.
        let reason = reason.rfind(" at line ").map_or(reason.as_str(), |end| &reason[..end]);
        reason.chars().take(LONGEST_REASON).collect()
    })
}

/// A flattened member, whose errors name what of it cannot be read: serde forgets that where it flattens.
pub(crate) fn flattened<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        if error.path().iter().len() == 0 {
            return error.into_inner();
        }
        D::Error::custom(format_args!("{}: {}", error.path(), error.inner()))
    })
}

/// Rows that have been reported.
#[derive(Debug, Default)]
pub(crate) struct UnreadableWatch {
    reported: Mutex<HashSet<(&'static str, String)>>,
}

/// Rows that are remembered as reported. Beyond, no further ones are.
const MOST_REPORTED: usize = 10_000;

impl UnreadableWatch {
    /// Alarms, once for each row.
    pub(crate) fn report(&self, list: &'static str, row: &UnreadableRow) {
        let is_new = {
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            reported.len() < MOST_REPORTED && reported.insert((list, row.id.clone()))
        };
        if is_new {
            describe_counter!(
                "lablet_unreadable_rows_total",
                Unit::Count,
                "Rows that were found and could not be read, each counted once"
            );
            counter!("lablet_unreadable_rows_total", "list" => list).increment(1);
            tracing::error!(list, row.id = row.id, reason = row.reason, "row cannot be read");
        }
    }
}

impl Projections {
    /// The rows of a statement that begins with [`select`], each for itself. `list` names them in the alarm.
    pub(crate) async fn rows<T: DeserializeOwned>(
        &self,
        list: &'static str,
        query: QueryBuilder<Postgres>,
    ) -> Result<Vec<ListRow<T>>, ReadError> {
        self.rows_over(&self.reads, list, query).await
    }

    pub(crate) async fn rows_over<'c, T: DeserializeOwned>(
        &self,
        connection: impl PgExecutor<'c>,
        list: &'static str,
        mut query: QueryBuilder<Postgres>,
    ) -> Result<Vec<ListRow<T>>, ReadError> {
        let rows = query.build().fetch_all(connection).await?;
        let rows = rows.iter().map(decode).collect::<sqlx::Result<Vec<ListRow<T>>>>()?;
        for row in &rows {
            if let Err(unreadable) = &row.value {
                self.unreadable.report(list, unreadable);
            }
        }
        Ok(rows)
    }

    /// A page of a list.
    pub(crate) async fn page_of<T: DeserializeOwned>(
        &self,
        list: &'static str,
        query: QueryBuilder<Postgres>,
        request: &PageRequest,
    ) -> Result<Page<T>, ReadError> {
        Ok(Page::from_rows(self.rows(list, query).await?, request))
    }

    /// A whole list.
    pub(crate) async fn list_of<T: DeserializeOwned>(
        &self,
        list: &'static str,
        query: QueryBuilder<Postgres>,
    ) -> Result<Listed<T>, ReadError> {
        Ok(Listed::from_rows(self.rows(list, query).await?))
    }

    /// At most one row.
    ///
    /// # Errors
    /// [`ReadError::Unreadable`] when it is there and cannot be read.
    pub(crate) async fn row_of<T: DeserializeOwned>(
        &self,
        list: &'static str,
        query: QueryBuilder<Postgres>,
    ) -> Result<Option<T>, ReadError> {
        self.row_over(&self.reads, list, query).await
    }

    /// The same, over a connection that the caller has already.
    ///
    /// # Errors
    /// [`ReadError::Unreadable`] when it is there and cannot be read.
    pub(crate) async fn row_over<'c, T: DeserializeOwned>(
        &self,
        connection: impl PgExecutor<'c>,
        list: &'static str,
        query: QueryBuilder<Postgres>,
    ) -> Result<Option<T>, ReadError> {
        match self.rows_over(connection, list, query).await?.pop() {
            None => Ok(None),
            Some(row) => row.value.map(Some).map_err(|row| ReadError::Unreadable { list, row }),
        }
    }
}

/// A text to search for, as a pattern for `LIKE` on a lower-case column.
pub(crate) fn like(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.to_lowercase().chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cursor: &str, value: Result<u32, &str>) -> ListRow<u32> {
        let unreadable = |reason: &str| UnreadableRow { id: cursor.to_owned(), reason: reason.to_owned() };
        ListRow { cursor: cursor.to_owned(), value: value.map_err(unreadable), is_something_parked: false }
    }

    #[test]
    fn a_page_says_where_the_next_begins_only_when_there_is_one() {
        let request = PageRequest::first(2);
        assert_eq!(Page::of_part(vec![1, 2, 3], false, &request, i32::to_string).next.as_deref(), Some("2"));
        assert_eq!(Page::of_part(vec![1], true, &request, i32::to_string).next.as_deref(), Some("1"));
        assert_eq!(Page::of_part(vec![1, 2], false, &request, i32::to_string).next, None);
        assert_eq!(Page::of_part(vec![1, 2, 3], false, &request, i32::to_string).items, [1, 2]);
    }

    #[test]
    fn a_page_goes_on_after_a_row_that_cannot_be_read() {
        let rows = vec![row("a", Ok(1)), row("b", Err("at: is infinity")), row("c", Ok(3))];
        let page = Page::from_rows(rows, &PageRequest::first(2));
        assert_eq!((page.items, page.next.as_deref()), (vec![1], Some("b")));
        assert_eq!(page.unreadable, [UnreadableRow { id: "b".to_owned(), reason: "at: is infinity".to_owned() }]);
    }

    #[test]
    fn a_reason_names_what_cannot_be_read() {
        #[derive(Debug, Deserialize)]
        struct Inner {
            #[expect(dead_code, reason = "only decoded")]
            count: u32,
        }
        #[derive(Debug, Deserialize)]
        struct Outer {
            #[expect(dead_code, reason = "only decoded")]
            inner: Inner,
        }
        let reason = from_text::<Outer>(r#"{"inner": {"count": -1}}"#).unwrap_err();
        assert_eq!(reason, "inner.count: invalid value: integer `-1`, expected u32");
        #[derive(Debug, Deserialize)]
        struct Flat {
            #[serde(flatten, deserialize_with = "flattened")]
            #[expect(dead_code, reason = "only decoded")]
            inner: Inner,
        }
        let reason = from_text::<Flat>(r#"{"count": -1}"#).unwrap_err();
        assert_eq!(reason, "count: invalid value: integer `-1`, expected u32");
        assert!(from_text::<Outer>("{").unwrap_err().chars().count() <= LONGEST_REASON);
    }

    #[test]
    fn what_is_searched_for_is_text_and_no_pattern() {
        assert_eq!(like("A_b%\\"), "%a\\_b\\%\\\\%");
    }
}
