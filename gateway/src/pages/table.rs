//! The tables of pages as CSV, for spreadsheets and scripts: the same rows, for whoever asks with `?format=csv`.
//!
//! Unknown is an empty cell. A file holds at most [`MOST_ROWS`] rows; where there are more, its name says so and the
//! header `Lablet-Next-Cursor` holds where the next file begins.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use projections::{Page, PageRequest, ReadError};
use serde::Deserialize;

use crate::paging;
use crate::problem::Problem;

/// Most rows of one file.
pub(crate) const MOST_ROWS: usize = 10_000;

/// Rows that are asked of the database at once.
const ROWS_AT_ONCE: u32 = 1_000;

/// Where the next file begins, for `?cursor=`.
const NEXT_CURSOR: &str = "lablet-next-cursor";

/// In which form a table is asked for; a page unless stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Comma-separated values.
    Csv,
}

/// A list as CSV, from `request`'s cursor on, page after page. `name` is the file's, without its ending.
///
/// # Errors
/// What `ask` answers, and 500 when a row cannot be written.
pub(crate) async fn csv_of_list<const COLUMNS: usize, T, F>(
    name: &str,
    columns: [&str; COLUMNS],
    request: PageRequest,
    ask: impl Fn(PageRequest) -> F,
    cells: impl Fn(&T) -> [String; COLUMNS],
) -> Result<Response, Problem>
where
    F: Future<Output = Result<Page<T>, ReadError>>,
{
    let mut rows = Vec::new();
    let mut cursor = request.cursor;
    loop {
        let page = ask(PageRequest { limit: ROWS_AT_ONCE, cursor }).await?;
        rows.extend(page.items.iter().map(&cells));
        cursor = page.next;
        if cursor.is_none() || rows.len() + ROWS_AT_ONCE as usize > MOST_ROWS {
            break;
        }
    }
    let name = if cursor.is_some() { format!("{name}-{}-rows-of-more", rows.len()) } else { name.to_owned() };
    let mut response = csv(&name, columns, rows)?;
    if let Some(next) = cursor.and_then(|key| HeaderValue::from_str(&paging::cursor(&key)).ok()) {
        response.headers_mut().insert(HeaderName::from_static(NEXT_CURSOR), next);
    }
    Ok(response)
}

/// Rows as CSV. `name` is the file's, without its ending.
///
/// # Errors
/// 500 when a row cannot be written.
pub(crate) fn csv<const COLUMNS: usize>(
    name: &str,
    columns: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> Result<Response, Problem> {
    let text = written(columns, rows).map_err(|error| Problem::internal("a table cannot be written", &error))?;
    let mut response = Body::from(text).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    // An id fits a header and a file's name; anything else in a name would be a mistake of ours.
    let safe: String = name.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-_".contains(*letter)).collect();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{safe}.csv\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// A cell that may be unknown.
pub(crate) fn cell(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A time.
pub(crate) fn time(at: &chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn written<const COLUMNS: usize>(
    columns: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(columns)?;
    for row in rows {
        writer.write_record(row.map(harmless))?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

/// A spreadsheet takes a text that begins like a formula for one, and would calculate what somebody wrote into a label.
/// A number is what it is.
fn harmless(cell: String) -> String {
    let like_a_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
    if like_a_formula { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn text(rows: impl IntoIterator<Item = [&'static str; 2]>) -> String {
        let rows = rows.into_iter().map(|row| row.map(str::to_owned));
        String::from_utf8(written(["session", "reason"], rows).unwrap()).unwrap()
    }

    #[test]
    fn what_holds_a_comma_a_quote_or_a_line_is_one_cell() {
        assert_eq!(text([["s1", "a, \"b\"\nc"]]), "session,reason\r\ns1,\"a, \"\"b\"\"\nc\"\r\n");
    }

    #[test]
    fn a_text_like_a_formula_stays_a_text_and_a_number_a_number() {
        let written = text([["=cmd()", "+1+1"], ["@sum", "-2+3"], ["-1.5", "\ttab"]]);
        assert_eq!(written, "session,reason\r\n'=cmd(),'+1+1\r\n'@sum,'-2+3\r\n-1.5,'\ttab\r\n");
    }

    #[tokio::test]
    async fn a_list_goes_on_to_its_end_or_to_the_bound_and_says_so() {
        let asked = Mutex::new(Vec::new());
        let list = |pages: usize| {
            let asked = &asked;
            csv_of_list(
                "things",
                ["thing"],
                PageRequest::default(),
                move |request| {
                    let mut asked = asked.lock().unwrap();
                    asked.push(request.cursor.clone());
                    let page: usize = request.cursor.map_or(0, |cursor| cursor.parse().unwrap());
                    let next = (page + 1 < pages).then(|| (page + 1).to_string());
                    let items = vec![page; ROWS_AT_ONCE as usize];
                    async move { Ok(Page { items, next }) }
                },
                |thing: &usize| [thing.to_string()],
            )
        };
        let whole = list(3).await.unwrap();
        assert_eq!(whole.headers()[CONTENT_DISPOSITION], "attachment; filename=\"things.csv\"");
        assert_eq!(*asked.lock().unwrap(), [None, Some("1".to_owned()), Some("2".to_owned())]);
        let part = list(20).await.unwrap();
        assert_eq!(part.headers()[CONTENT_DISPOSITION], "attachment; filename=\"things-10000-rows-of-more.csv\"");
        assert!(part.headers().contains_key(NEXT_CURSOR));
    }
}
