//! The tables of pages as CSV, for spreadsheets and scripts: the same rows, for whoever asks with `?format=csv`.
//!
//! Unknown is an empty cell. A file holds at most [`MOST_ROWS`] rows; where there are more, its name says so, and a
//! filter makes them fewer.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use domain::ports::PortMap;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use projections::{Page, PageRequest, ReadError, UnreadableRow};
use serde::{Deserialize, Serialize};

use crate::csv::harmless;
use crate::problem::Problem;

/// Begins a file: without it spreadsheets take UTF-8 for the letters of a single language.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Most rows of one file.
const MOST_ROWS: usize = 10_000;

/// Ids of the rows that a file lacks because they cannot be read.
const UNREADABLE_ROWS: HeaderName = HeaderName::from_static("lablet-unreadable-rows");

/// Most rows that it names.
const MOST_NAMED: usize = 50;

/// Rows that are asked of the database at once.
const ROWS_AT_ONCE: u32 = 1_000;

/// In which form a table is asked for; a page unless stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Comma-separated values.
    Csv,
}

/// A column: its name, with the unit where there is one, and a row's cell of it.
pub(crate) type Column<T> = (&'static str, fn(&T) -> String);

/// A list as CSV, page after page from its first on. `name` is the file's, without its ending.
///
/// # Errors
/// What `ask` answers, and 500 when a row cannot be written.
pub(crate) async fn csv<T, F>(
    name: &str,
    columns: &[Column<T>],
    ask: impl Fn(PageRequest) -> F,
) -> Result<Response, Problem>
where
    F: Future<Output = Result<Page<T>, ReadError>>,
{
    let mut rows = Vec::new();
    let mut unreadable = Vec::new();
    let mut cursor = None;
    loop {
        let page = ask(PageRequest { limit: ROWS_AT_ONCE, cursor }).await?;
        rows.extend(page.items);
        unreadable.extend(page.unreadable);
        cursor = page.next;
        if cursor.is_none() || rows.len() + ROWS_AT_ONCE as usize > MOST_ROWS {
            break;
        }
    }
    let name = if cursor.is_some() { format!("{name}-first-{}", rows.len()) } else { name.to_owned() };
    csv_without(&name, columns, &rows, &unreadable)
}

/// Rows as CSV, without those that cannot be read: the file's name says how many, a header which.
///
/// # Errors
/// 500 when a row cannot be written.
pub(crate) fn csv_without<T>(
    name: &str,
    columns: &[Column<T>],
    rows: &[T],
    unreadable: &[UnreadableRow],
) -> Result<Response, Problem> {
    if unreadable.is_empty() {
        return csv_of(name, columns, rows);
    }
    let mut response = csv_of(&format!("{name}-without-{}-unreadable", unreadable.len()), columns, rows)?;
    let named: Vec<&str> = unreadable.iter().take(MOST_NAMED).map(|row| row.id.as_str()).collect();
    let value = HeaderValue::from_str(&named.join(", "))
        .map_err(|error| Problem::internal("rows that cannot be read cannot be named", &error))?;
    response.headers_mut().insert(UNREADABLE_ROWS, value);
    Ok(response)
}

/// Rows as CSV. `name` is the file's, without its ending.
///
/// # Errors
/// 500 when a row cannot be written.
pub(crate) fn csv_of<T>(name: &str, columns: &[Column<T>], rows: &[T]) -> Result<Response, Problem> {
    let text = written(columns, rows).map_err(|error| Problem::internal("a table cannot be written", &error))?;
    let mut response = Body::from([BYTE_ORDER_MARK, &text].concat()).into_response();
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
pub(crate) fn cell(value: Option<&impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A cell with ports, e.g. `PC_serial=5041 PC_vnc=5042`; empty: unknown, or none.
pub(crate) fn ports(ports: Option<&PortMap>) -> String {
    let named: Vec<String> =
        ports.into_iter().flat_map(|ports| ports.iter()).map(|(name, number)| format!("{name}={number}")).collect();
    named.join(" ")
}

/// A cell with a time.
pub(crate) fn time(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn written<T>(columns: &[Column<T>], rows: &[T]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(columns.iter().map(|(name, _)| name))?;
    for row in rows {
        writer.write_record(columns.iter().map(|(_, cell)| harmless(cell(row))))?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn text(rows: &[(&'static str, &'static str)]) -> String {
        let columns: [Column<(&str, &str)>; 2] =
            [("session", |row| row.0.to_owned()), ("reason", |row| row.1.to_owned())];
        String::from_utf8(written(&columns, rows).unwrap()).unwrap()
    }

    #[test]
    fn what_holds_a_comma_a_quote_or_a_line_is_one_cell() {
        assert_eq!(text(&[("s1", "a, \"b\"\nc")]), "session,reason\r\ns1,\"a, \"\"b\"\"\nc\"\r\n");
    }

    #[test]
    fn a_text_like_a_formula_stays_a_text_and_a_number_a_number() {
        let written = text(&[("=cmd()", "+1+1"), ("@sum", "-2+3"), ("-1.5", "\ttab")]);
        assert_eq!(written, "session,reason\r\n'=cmd(),'+1+1\r\n'@sum,'-2+3\r\n-1.5,'\ttab\r\n");
    }

    #[tokio::test]
    async fn a_list_goes_on_to_its_end_or_to_the_bound_and_says_so() {
        let asked = Mutex::new(Vec::new());
        let list = |pages: usize| {
            let asked = &asked;
            csv("things", &[("thing", usize::to_string)], move |request| {
                asked.lock().unwrap().push(request.cursor.clone());
                let page: usize = request.cursor.map_or(0, |cursor| cursor.parse().unwrap());
                let next = (page + 1 < pages).then(|| (page + 1).to_string());
                let items = vec![page; ROWS_AT_ONCE as usize];
                async move { Ok(Page { items, next, unreadable: Vec::new() }) }
            })
        };
        let whole = list(3).await.unwrap();
        assert_eq!(whole.headers()[CONTENT_DISPOSITION], "attachment; filename=\"things.csv\"");
        assert_eq!(*asked.lock().unwrap(), [None, Some("1".to_owned()), Some("2".to_owned())]);
        let part = list(20).await.unwrap();
        assert_eq!(part.headers()[CONTENT_DISPOSITION], "attachment; filename=\"things-first-10000.csv\"");
    }
}
