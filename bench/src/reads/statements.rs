//! Which statements a request makes a server run, as Postgres logs them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;

/// Requests during which is logged. What is run less often than once for each belongs to something else.
const REQUESTS: usize = 10;
/// Postgres' processes read a changed setting when they are next idle.
const UNTIL_SETTINGS_HOLD: Duration = Duration::from_millis(300);

/// The statements of one request, with their parameters written into them, in no particular order.
pub(super) async fn of_request<F>(pool: &PgPool, log: &Path, requests: F) -> anyhow::Result<Vec<String>>
where
    F: AsyncFnOnce(usize) -> anyhow::Result<()>,
{
    set_logging(pool, "all").await?;
    let before = std::fs::read(log)?.len();
    let outcome = requests(REQUESTS).await;
    set_logging(pool, "none").await?;
    outcome?;
    let log = std::fs::read(log)?;
    let text = String::from_utf8_lossy(log.get(before..).unwrap_or_default());
    let mut counted: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for LogEntry { statement, parameters } in entries(&text) {
        let written = with_parameters(&statement, &parameters).context("a logged statement cannot be read")?;
        let (count, last) = counted.entry(statement).or_default();
        *count += 1;
        *last = written;
    }
    Ok(counted.into_values().flat_map(|(count, statement)| std::iter::repeat_n(statement, count / REQUESTS)).collect())
}

async fn set_logging(pool: &PgPool, which: &'static str) -> anyhow::Result<()> {
    let statement =
        if which == "all" { "ALTER SYSTEM SET log_statement = 'all'" } else { "ALTER SYSTEM RESET log_statement" };
    sqlx::query(statement).execute(pool).await?;
    sqlx::query("SELECT pg_reload_conf()").execute(pool).await?;
    tokio::time::sleep(UNTIL_SETTINGS_HOLD).await;
    Ok(())
}

/// A statement that was run.
#[derive(Debug, PartialEq)]
struct LogEntry {
    statement: String,
    /// As SQL literals.
    parameters: Vec<String>,
}

/// Reads the lines `… LOG:  execute name: statement` and `… DETAIL:  parameters: $1 = '…', $2 = NULL`. Further lines of a
/// text begin with a tab.
fn entries(log: &str) -> Vec<LogEntry> {
    let mut entries: Vec<String> = Vec::new();
    for line in log.lines() {
        match (line.strip_prefix('\t'), entries.last_mut()) {
            (Some(more), Some(entry)) => {
                entry.push('\n');
                entry.push_str(more);
            }
            _ => entries.push(line.to_owned()),
        }
    }
    let mut logged: Vec<LogEntry> = Vec::new();
    for entry in entries {
        if let Some((_, executed)) = entry.split_once(" LOG:  execute ") {
            if let Some((_, statement)) = executed.split_once(": ") {
                logged.push(LogEntry { statement: statement.to_owned(), parameters: Vec::new() });
            }
        } else if let Some((_, parameters)) = entry.split_once(" DETAIL:  parameters: ")
            && let Some(last) = logged.last_mut()
        {
            last.parameters = literals(parameters);
        }
    }
    logged
}

/// The values of `$1 = 'it''s', $2 = NULL`, as they are written.
fn literals(parameters: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut rest = parameters;
    while let Some((_, value)) = rest.split_once(" = ") {
        let end = if value.starts_with('\'') { end_of_quoted(value) } else { value.find(',').unwrap_or(value.len()) };
        literals.push(value[..end].to_owned());
        rest = &value[end..];
    }
    literals
}

/// Behind the closing quote; two in a row stand for one.
fn end_of_quoted(value: &str) -> usize {
    let bytes = value.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        if bytes[at] == b'\'' {
            if bytes.get(at + 1) != Some(&b'\'') {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}

/// The statement with each `$n` replaced. `None`: it names a parameter that was not logged.
fn with_parameters(statement: &str, parameters: &[String]) -> Option<String> {
    let mut written = String::with_capacity(statement.len());
    let mut rest = statement;
    while let Some((before, after)) = rest.split_once('$') {
        written.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            written.push('$');
        } else {
            let number: usize = after[..digits].parse().ok()?;
            written.push_str(parameters.get(number.checked_sub(1)?)?);
        }
        rest = &after[digits..];
    }
    written.push_str(rest);
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_read_with_their_parameters() {
        let log = "2026-11-27 03:50:00.000 UTC [7] LOG:  execute sqlx_s_1: SELECT a\n\
                   \t  FROM t WHERE b = $1 AND c = $2 LIMIT $10\n\
                   2026-11-27 03:50:00.000 UTC [7] DETAIL:  parameters: $1 = 'it''s, $2 = 1', $2 = NULL\n\
                   2026-11-27 03:50:00.001 UTC [8] LOG:  statement: BEGIN\n";
        let logged = entries(log);
        assert_eq!(logged.len(), 1);
        assert_eq!(logged[0].parameters, ["'it''s, $2 = 1'", "NULL"]);
        assert_eq!(with_parameters(&logged[0].statement, &logged[0].parameters), None, "$10 was not logged");
        let written = with_parameters("SELECT a FROM t WHERE b = $1 AND c = $2", &logged[0].parameters).unwrap();
        assert_eq!(written, "SELECT a FROM t WHERE b = 'it''s, $2 = 1' AND c = NULL");
    }
}
