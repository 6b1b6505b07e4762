//! Server-sent events of the gateway, without a hole: a connection that was lost goes on after the last event that came.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use bus::Backoff;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde_json::Value;

use super::connection::{Connection, Parameters};
use super::output::{Column, OutputFormat, csv_line, yaml};
use crate::exit::{ExitStatus, Failure};
use crate::terminal::out;

/// The gateway shows every 15 s that the stream lives.
const LONGEST_SILENCE: Duration = Duration::from_secs(45);
/// Failures in a row after which the gateway is given up, with up to half a minute between.
const ATTEMPTS: u32 = 12;
/// Most bytes of one event. A notice has at most 64 KiB.
const LONGEST_EVENT: usize = 1024 * 1024;

/// An event of the stream.
pub(super) struct StreamedEvent {
    /// Its place in the order of all events.
    pub(super) position: String,
    /// Its notice.
    pub(super) notice: Value,
}

/// Events from now on, or after a position.
pub(super) struct EventStream<'a> {
    connection: &'a Connection,
    parameters: Parameters,
    after: Option<String>,
    open: Option<Lines>,
    backoff: Backoff,
    failures: u32,
}

impl<'a> EventStream<'a> {
    /// Nothing is asked yet.
    pub(super) fn new(connection: &'a Connection, parameters: Parameters, after: Option<String>) -> Self {
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        Self { connection, parameters, after, open: None, backoff, failures: 0 }
    }

    /// Opens the connection, so that nothing is missed that happens from now on.
    pub(super) async fn open(&mut self) -> anyhow::Result<()> {
        if self.open.is_none() {
            let response = self.connection.open_stream(&self.parameters, self.after.as_deref()).await?;
            let chunks = response.bytes_stream().boxed();
            self.open = Some(Lines { chunks, unread: Vec::new() });
        }
        Ok(())
    }

    /// The next one. Reconnects where the connection is lost.
    pub(super) async fn next(&mut self) -> anyhow::Result<StreamedEvent> {
        loop {
            match self.attempt().await {
                Ok(event) => {
                    self.after = Some(event.position.clone());
                    self.failures = 0;
                    self.backoff.reset();
                    return Ok(event);
                }
                Err(error) if is_worth_another_try(&error) && self.failures < ATTEMPTS => {
                    self.open = None;
                    self.failures += 1;
                    let wait = self.backoff.next_wait();
                    tracing::debug!(
                        error = format!("{error:#}"),
                        wait_ms = wait.as_millis(),
                        "stream lost, reconnecting"
                    );
                    tokio::time::sleep(wait).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&mut self) -> anyhow::Result<StreamedEvent> {
        self.open().await?;
        let lines = self.open.as_mut().context("the stream is not open")?;
        let lost = || Failure::new(ExitStatus::Unavailable, "the stream of events broke off");
        let (mut position, mut data) = (None, None);
        loop {
            let line = tokio::time::timeout(LONGEST_SILENCE, lines.next()).await.with_context(lost)??;
            let line = line.with_context(lost)?;
            if let Some(id) = line.strip_prefix("id:") {
                position = Some(id.trim().to_owned());
            } else if let Some(text) = line.strip_prefix("data:") {
                data = Some(serde_json::from_str(text).context("an event of the stream is no JSON document")?);
            } else if line.is_empty()
                && let (Some(position), Some(notice)) = (position.take(), data.take())
            {
                return Ok(StreamedEvent { position, notice });
            }
        }
    }
}

/// Whether the gateway may answer otherwise a little later.
pub(super) fn is_worth_another_try(error: &anyhow::Error) -> bool {
    ExitStatus::from_error(error) == ExitStatus::Unavailable
}

/// The lines of an answer that does not end.
struct Lines {
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
    unread: Vec<u8>,
}

impl Lines {
    /// The next line, without its end; none where the stream ended.
    async fn next(&mut self) -> anyhow::Result<Option<String>> {
        let mut looked_at = 0;
        loop {
            if let Some(end) = self.unread[looked_at..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=looked_at + end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            looked_at = self.unread.len();
            anyhow::ensure!(looked_at < LONGEST_EVENT, "an event of the stream is longer than {LONGEST_EVENT} bytes");
            match self.chunks.next().await {
                Some(chunk) => {
                    let lost = || Failure::new(ExitStatus::Unavailable, "the stream of events broke off");
                    self.unread.extend_from_slice(&chunk.with_context(lost)?);
                }
                None => return Ok(None),
            }
        }
    }
}

/// Rows that are printed one by one, as they come.
pub(super) struct Printed {
    output: OutputFormat,
    columns: Vec<Column>,
    /// How wide each column of a table is so far; empty before the first row.
    widths: Vec<usize>,
}

impl Printed {
    /// Nothing is printed yet.
    pub(super) fn new(output: OutputFormat, columns: &[Column]) -> Self {
        Self { output, columns: output.columns(columns), widths: Vec::new() }
    }

    /// Prints a row to standard output, at once.
    pub(super) fn row(&mut self, row: &Value) -> anyhow::Result<()> {
        let text = self.text(row)?;
        let mut out = out();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    fn text(&mut self, row: &Value) -> anyhow::Result<String> {
        let is_first = self.widths.is_empty();
        match self.output {
            OutputFormat::Table | OutputFormat::Wide => {
                let cells: Vec<String> = self.columns.iter().map(|column| column.table_cell(row)).collect();
                let headings = self.columns.iter().map(|column| column.heading().to_owned()).collect::<Vec<_>>();
                if is_first {
                    self.widths = headings.iter().map(|heading| heading.chars().count()).collect();
                }
                for (width, cell) in self.widths.iter_mut().zip(&cells) {
                    *width = cell.chars().count().max(*width);
                }
                let heading = if is_first { self.line(&headings) } else { String::new() };
                Ok(heading + &self.line(&cells))
            }
            OutputFormat::Json | OutputFormat::Jsonl => {
                Ok(format!("{}\n", app::printable::printable_json(&row.to_string())))
            }
            OutputFormat::Yaml => Ok(format!("---\n{}", yaml(row)?)),
            OutputFormat::Csv => {
                let mut lines = Vec::new();
                if is_first {
                    self.widths = vec![0; self.columns.len()];
                    lines = csv_line(self.columns.iter().map(|column| column.name()))?;
                }
                lines.extend(csv_line(self.columns.iter().map(|column| column.csv_cell(row)))?);
                String::from_utf8(lines).context("a row is no text")
            }
        }
    }

    /// Cells at the widths so far.
    fn line(&self, cells: &[String]) -> String {
        let padded: Vec<String> =
            cells.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::output::column;
    use super::*;

    const COLUMNS: &[Column] = &[column("ID", "/id"), column("STATUS", "/status")];

    #[test]
    fn rows_that_come_one_by_one_have_one_header_and_stay_aligned() {
        let rows = [json!({"id": "a", "status": "running"}), json!({"id": "bcd", "status": null})];
        let printed = |output| {
            let mut printed = Printed::new(output, COLUMNS);
            rows.iter().map(|row| printed.text(row).unwrap()).collect::<String>()
        };
        assert_eq!(printed(OutputFormat::Table), "ID  STATUS\na   running\nbcd  -\n");
        assert_eq!(printed(OutputFormat::Csv), "id,status\na,running\nbcd,\n");
        assert_eq!(printed(OutputFormat::Json), printed(OutputFormat::Jsonl));
        assert_eq!(printed(OutputFormat::Yaml).matches("---\n").count(), 2);
    }

    fn lines(chunks: &[&'static str]) -> Lines {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        Lines { chunks: futures_util::stream::iter(chunks).boxed(), unread: Vec::new() }
    }

    #[tokio::test]
    async fn a_line_may_come_in_parts_and_the_end_is_told() {
        let mut lines = lines(&["id: 1\nda", "ta: {}\r\n", "\n", "left"]);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        assert_eq!(found, ["id: 1", "data: {}", ""]);
    }
}
