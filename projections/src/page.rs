//! Pages by key: a page goes on where the last row of the one before stood, whatever was inserted meanwhile.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

/// Most rows of a page; more are cut to it.
pub const MOST_ROWS: i64 = 500;

/// Reading a read model failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The cursor is not one that an earlier page gave.
    #[error("{0:?} is no cursor; expected the `next` of an earlier page")]
    Cursor(String),
    /// The database does not answer.
    #[error("the read models cannot be read")]
    Unavailable(#[source] sqlx::Error),
}

impl From<sqlx::Error> for QueryError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error)
    }
}

/// Some rows of a list.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// The cursor of the next page; null on the last one.
    pub next: Option<String>,
}

/// Where a page ended: the time and the id of its last row. As text `<microseconds since 1970>~<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) time: DateTime<Utc>,
    pub(crate) id: String,
}

impl Cursor {
    pub(crate) fn new(time: DateTime<Utc>, id: impl Into<String>) -> Self {
        Self { time, id: id.into() }
    }

    /// Reads a cursor; `None` stands for the first page.
    pub(crate) fn parse(text: Option<&str>) -> Result<Option<Self>, QueryError> {
        let Some(text) = text else { return Ok(None) };
        let parsed = text.split_once('~').and_then(|(micros, id)| {
            let time = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
            (!id.is_empty() && id.len() <= 256 && !id.contains('\0')).then(|| Self::new(time, id))
        });
        parsed.map(Some).ok_or_else(|| QueryError::Cursor(text.chars().take(80).collect()))
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}~{}", self.time.timestamp_micros(), self.id)
    }
}

/// Rows that a page asks for: one more than it shows, to know whether there is a next one.
pub(crate) fn rows_of(limit: i64) -> i64 {
    limit.clamp(1, MOST_ROWS) + 1
}

impl<T> Page<T> {
    /// A page out of up to [`rows_of`] rows.
    pub(crate) fn of(mut items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> Cursor) -> Self {
        let most = usize::try_from(limit.clamp(1, MOST_ROWS)).unwrap_or(usize::MAX);
        let more = items.len() > most;
        items.truncate(most);
        let next = items.last().filter(|_| more).map(|last| cursor(last).to_string());
        Self { items, next }
    }
}

/// A pattern of `ILIKE` that finds `text` anywhere.
pub(crate) fn anywhere(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars().filter(|character| *character != '\0').take(200) {
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
    fn a_cursor_comes_back_and_anything_else_is_refused() {
        let cursor = Cursor::new(DateTime::from_timestamp_micros(1_772_000_000_123_456).unwrap(), "s~1");
        assert_eq!(Cursor::parse(Some(&cursor.to_string())).unwrap(), Some(cursor));
        assert_eq!(Cursor::parse(None).unwrap(), None);
        for bad in ["", "~", "12", "x~a", "12~", "99999999999999999999~a", "9223372036854775807~a", "1~\0"] {
            assert!(matches!(Cursor::parse(Some(bad)), Err(QueryError::Cursor(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_page_says_whether_more_follow() {
        let cursor = |id: &i64| Cursor::new(DateTime::UNIX_EPOCH, id.to_string());
        assert_eq!(Page::of(vec![1, 2, 3], 2, cursor), Page { items: vec![1, 2], next: Some("0~2".into()) });
        assert_eq!(Page::of(vec![1, 2], 2, cursor), Page { items: vec![1, 2], next: None });
        assert_eq!(Page::of(Vec::<i64>::new(), 2, cursor), Page { items: vec![], next: None });
    }

    #[test]
    fn a_searched_text_is_no_pattern() {
        assert_eq!(anywhere(r"50%_a\"), r"%50\%\_a\\%");
    }
}
