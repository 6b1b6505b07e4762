//! Keyset pages, and rows that Postgres hands over as JSON.

use domain::Invalid;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder, Row as _};

use crate::ReadError;

/// Most rows of a page.
pub const MOST_ROWS: u32 = 1_000;

/// Some rows of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; null on the last one.
    pub next: Option<String>,
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

impl<T> Page<T> {
    /// Of `rows` fetched with [`PageRequest::fetch`]; `key` gives the cursor after a row.
    pub(crate) fn of(rows: Vec<T>, request: &PageRequest, key: impl Fn(&T) -> String) -> Self {
        Self::of_part(rows, false, request, key)
    }

    /// As [`Page::of`], of rows that may have ended before their number was reached: `more` says that others may follow.
    pub(crate) fn of_part(mut rows: Vec<T>, more: bool, request: &PageRequest, key: impl Fn(&T) -> String) -> Self {
        let more = more || rows.len() > request.rows();
        rows.truncate(request.rows());
        let next = if more { rows.last().map(key) } else { None };
        Self { items: rows, next }
    }
}

/// Reads the column `row`, which holds one row as JSON.
pub(crate) fn from_json<T: DeserializeOwned + Unpin + Send>(row: &PgRow) -> sqlx::Result<T> {
    Ok(row.try_get::<Json<T>, _>("row")?.0)
}

/// All rows of a statement that selects one column `row`.
pub(crate) async fn rows<T>(pool: &PgPool, mut query: QueryBuilder<Postgres>) -> Result<Vec<T>, ReadError>
where
    T: DeserializeOwned + Unpin + Send,
{
    let rows = query.build().fetch_all(pool).await?;
    Ok(rows.iter().map(from_json).collect::<sqlx::Result<_>>()?)
}

/// At most one row of a statement that selects one column `row`.
pub(crate) async fn one<T>(pool: &PgPool, query: QueryBuilder<Postgres>) -> Result<Option<T>, ReadError>
where
    T: DeserializeOwned + Unpin + Send,
{
    Ok(rows(pool, query).await?.pop())
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

    #[test]
    fn a_page_says_where_the_next_begins_only_when_there_is_one() {
        let request = PageRequest::first(2);
        assert_eq!(Page::of(vec![1, 2, 3], &request, i32::to_string).next.as_deref(), Some("2"));
        assert_eq!(Page::of(vec![1, 2], &request, i32::to_string).next, None);
        assert_eq!(Page::of(vec![1, 2, 3], &request, i32::to_string).items, [1, 2]);
    }

    #[test]
    fn what_is_searched_for_is_text_and_no_pattern() {
        assert_eq!(like("A_b%\\"), "%a\\_b\\%\\\\%");
    }
}
