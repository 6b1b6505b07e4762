//! Keyset pages: a bounded number of rows, and an opaque cursor to the next ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Invalid;
use domain::text::Rule;
use projections::{PageRequest, UnreadableRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rows of a page unless the caller says otherwise.
pub(crate) const DEFAULT_LIMIT: u32 = 50;

/// Most rows of a page.
pub(crate) const GREATEST_LIMIT: u32 = 200;

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Page_for_{T}")]
pub struct ListPage<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins, for `?cursor=`. Null on the last page.
    pub next_cursor: Option<String>,
    /// Rows of this page that are there and cannot be read; left out where all can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableRow>,
}

/// The number of rows that a caller may have.
///
/// # Errors
/// [`Invalid`] outside 1 to [`GREATEST_LIMIT`].
pub(crate) fn limit(asked: Option<u32>) -> Result<u32, Invalid> {
    match asked.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=GREATEST_LIMIT => Ok(limit),
        other => {
            Err(Invalid::new("limit", format!("is {other}"), format!("a whole number from 1 to {GREATEST_LIMIT}")))
        }
    }
}

/// Most characters of a text that is searched for or given as a reason.
pub(crate) const LONGEST_TEXT: usize = 500;
/// A text that is searched for or given as a reason.
const SEARCHED: Rule = Rule::line(0, LONGEST_TEXT);
/// The key that a cursor stands for: an id, a time, a name, a position or some of them.
const KEY: Rule = Rule::line(1, 500);

/// A text of reasonable length; an empty one is none.
///
/// # Errors
/// [`Invalid`] when it is longer, or holds control characters.
pub(crate) fn check_text(field: &str, text: Option<String>) -> Result<Option<String>, Invalid> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    SEARCHED.check(&text).map_err(|invalid| invalid.within(field))?;
    Ok(Some(text))
}

/// Which page, as every list takes it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    /// Most rows of the page, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(length(min = 1), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub(crate) cursor: Option<String>,
}

impl Paging {
    /// The page that is asked for.
    ///
    /// # Errors
    /// [`Invalid`] for a limit out of bounds, and a cursor that no page of this API gave.
    pub(crate) fn request(self) -> Result<PageRequest, Invalid> {
        let cursor = self.cursor.as_deref().map(opened).transpose()?;
        Ok(PageRequest { limit: limit(self.limit)?, cursor })
    }
}

impl<T> From<projections::Page<T>> for ListPage<T> {
    fn from(page: projections::Page<T>) -> Self {
        Self { items: page.items, next_cursor: page.next.map(opaque), unreadable: page.unreadable }
    }
}

/// The cursor that stands for a key.
pub(crate) fn opaque(key: String) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// The key in a cursor. What it looks like is of no concern to callers and may change.
fn opened(cursor: &str) -> Result<String, Invalid> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|key| KEY.check(key).is_ok());
    key.ok_or_else(|| Invalid::new("cursor", "is none of this list's", "the next_cursor of the page before"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_the_key_it_was() {
        let page = projections::Page { items: vec![1], next: Some("0000000001-1".to_owned()), unreadable: Vec::new() };
        let cursor = ListPage::from(page).next_cursor;
        let request = Paging { limit: None, cursor }.request().unwrap();
        assert_eq!((request.limit, request.cursor.as_deref()), (50, Some("0000000001-1")));
        for foreign in ["", "!", "_w", "AA"] {
            assert!(Paging { limit: None, cursor: Some(foreign.to_owned()) }.request().is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_page_is_bounded() {
        assert_eq!(limit(Some(200)).unwrap(), 200);
        assert!(limit(Some(0)).is_err() && limit(Some(201)).is_err());
    }
}
