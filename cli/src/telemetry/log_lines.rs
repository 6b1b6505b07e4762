//! Log lines: one a line, escaped, with the trace that they belong to.

use std::fmt;
use std::io::{self, Write};

use app::printable::is_harmless;
use clap::ValueEnum;
use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt as _, TraceId};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::joined_spans::NamedTrace;

/// How log lines are written to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON document a line.
    Json,
}

/// Adds `trace_id` to the lines of a format, where a span that belongs to a trace is current.
pub(super) struct WithTraceId<F> {
    pub(super) inner: F,
    pub(super) format: LogFormat,
}

impl<S, N, F> FormatEvent<S, N> for WithTraceId<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(trace) = current_trace(context) else { return self.inner.format_event(context, writer, event) };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let end = match self.format {
            LogFormat::Text => line.trim_end_matches('\n').len(),
            // Before the bracket that closes the document.
            LogFormat::Json => line.rfind('}').unwrap_or(line.len()),
        };
        let (before, after) = line.split_at(end);
        match self.format {
            LogFormat::Text => write!(writer, "{before} trace_id={trace}{after}"),
            LogFormat::Json => write!(writer, "{before},\"trace_id\":\"{trace}\"{after}"),
        }
    }
}

/// The trace of the span that is recorded now, else the one that a span around the line names.
fn current_trace<S, N>(context: &FmtContext<'_, S, N>) -> Option<TraceId>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let recorded = Context::map_current(|context| context.span().span_context().trace_id());
    if recorded != TraceId::INVALID {
        return Some(recorded);
    }
    let mut spans = context.lookup_current()?.scope();
    spans.find_map(|span| span.extensions().get::<NamedTrace>().map(|named| named.0.trace_id()))
}

/// Writes each event as one escaped line: untrusted text must neither look like a log line nor control the reader's
/// terminal. The subscriber writes each event at once.
pub(super) struct OneLine<W> {
    pub(super) out: W,
    pub(super) format: LogFormat,
    pub(super) has_colours: bool,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // Most lines hold nothing to escape.
        if event.strip_suffix(b"\n").unwrap_or(event).iter().all(|byte| matches!(byte, 0x20..=0x7e)) {
            self.out.write_all(event)?;
            return Ok(event.len());
        }
        let text = String::from_utf8_lossy(event);
        let (line, end) = text.strip_suffix('\n').map_or((text.as_ref(), ""), |line| (line, "\n"));
        let mut escaped = String::with_capacity(line.len() + 1);
        let mut rest = line;
        while let Some(character) = rest.chars().next() {
            let colour = if self.has_colours { colour_length(rest) } else { 0 };
            let (taken, left) = rest.split_at(colour.max(character.len_utf8()));
            rest = left;
            match self.format {
                _ if colour > 0 || is_harmless(character) => escaped.push_str(taken),
                LogFormat::Text => escaped.extend(character.escape_unicode()),
                LogFormat::Json => escaped.push_str(&format!("\\u{:04x}", u32::from(character))),
            }
        }
        escaped.push_str(end);
        self.out.write_all(escaped.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Length of the change of colour with which a text begins, as the subscriber makes it; what it takes from fields it has
/// escaped itself.
fn colour_length(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else { return 0 };
    let digits = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if parameters.as_bytes().get(digits) == Some(&b'm') { 2 + digits + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Layer as _;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::prelude::*;

    use super::super::joined_spans::NamedTraces;
    use super::*;

    #[derive(Clone)]
    struct Log {
        written: Arc<Mutex<Vec<u8>>>,
        format: LogFormat,
        has_colours: bool,
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Log {
        type Writer = OneLine<Shared>;
        fn make_writer(&'a self) -> Self::Writer {
            OneLine { out: Shared(self.written.clone()), format: self.format, has_colours: self.has_colours }
        }
    }

    const FORGED: &str = "x\n2026-11-27T00:00:00Z  INFO all is well\r\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\0";

    fn logged(format: LogFormat, has_colours: bool) -> String {
        let log = Log { written: Arc::default(), format, has_colours };
        let written = log.written.clone();
        let builder = tracing_subscriber::fmt().with_ansi(has_colours).with_writer(log);
        let log_one = || {
            let error = io::Error::other(FORGED);
            let span = tracing::info_span!("command", subject = FORGED, team = %FORGED);
            let _entered = span.enter();
            tracing::warn!(status = %FORGED, reason = ?FORGED, error = &error as &dyn Error, "refused: {FORGED}");
        };
        match format {
            LogFormat::Text => tracing::subscriber::with_default(builder.finish(), log_one),
            LogFormat::Json => tracing::subscriber::with_default(builder.json().finish(), log_one),
        }
        let bytes = written.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_somebody_sent_is_no_line_of_its_own_and_steers_no_terminal() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = logged(format, false);
            let line = log.strip_suffix('\n').unwrap();
            assert!(line.chars().all(is_harmless), "{line:?}");
        }
        let coloured = logged(LogFormat::Text, true);
        assert_eq!(coloured.lines().count(), 1);
        assert!(coloured.contains("\u{1b}[33m"), "our own colours stay: {coloured:?}");
        assert!(!coloured.contains("\u{1b}[2J"), "{coloured:?}");
    }

    #[test]
    fn a_line_within_a_span_that_names_a_trace_says_which() {
        let log = |format: LogFormat| {
            let lines = Log { written: Arc::default(), format, has_colours: false };
            let written = lines.written.clone();
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(lines);
            let layer = match format {
                LogFormat::Text => layer.map_event_format(|inner| WithTraceId { inner, format }).boxed(),
                LogFormat::Json => layer.json().map_event_format(|inner| WithTraceId { inner, format }).boxed(),
            };
            tracing::subscriber::with_default(tracing_subscriber::registry().with(NamedTraces).with(layer), || {
                tracing::info!("outside");
                let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
                let span = tracing::info_span!("bus.command", traceparent);
                span.in_scope(|| tracing::info_span!("inner").in_scope(|| tracing::info!("inside")));
            });
            let bytes = written.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap()
        };
        let text = log(LogFormat::Text);
        let lines: Vec<&str> = text.lines().collect();
        assert!(!lines[0].contains("trace_id"), "{text}");
        assert!(lines[1].ends_with("inside trace_id=4bf92f3577b34da6a3ce929d0e0e4736"), "{text}");
        let json = log(LogFormat::Json);
        let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0].get("trace_id"), None);
        assert_eq!(lines[1]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(lines[1]["fields"]["message"], "inside");
    }

    #[test]
    fn a_line_of_json_stays_json_with_everything_in_it() {
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, false)).unwrap();
        assert_eq!(line["fields"]["status"], FORGED);
    }
}
