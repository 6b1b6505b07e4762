//! Log lines and metrics of the process.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use anyhow::Context as _;
use app::printable::is_harmless;
use clap::ValueEnum;
use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tracing_subscriber::EnvFilter;

/// How log lines are written to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON document a line.
    Json,
}

/// Sends log lines to standard error. `filter` is in tracing's syntax, e.g. `info,controller=debug`.
pub(crate) fn start_logging(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("{filter:?} is no log filter"))?;
    let has_colours = format == LogFormat::Text && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let writer = move || OneLine { out: io::stderr(), format, has_colours };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(has_colours).with_writer(writer);
    let installed = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

/// Writes each event as one escaped line: untrusted text must neither look like a log line nor control the reader's
/// terminal. The subscriber writes each event at once.
struct OneLine<W> {
    out: W,
    format: LogFormat,
    has_colours: bool,
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

/// How often what histograms were given is counted into their buckets. Until then every value is kept: without it a
/// process that nobody scrapes would grow with each request.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Collects the metrics of the process; the gateway shows them. Has to be called within a tokio runtime.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (matcher, buckets) in buckets() {
        builder = builder.set_buckets_for_metric(matcher, &buckets).context("the buckets of a histogram are empty")?;
    }
    let metrics = builder.install_recorder().context("metrics cannot be collected")?;
    describe_gauge!("lablet_build_info", "1; the labels say which build this is, and the migration that it wants");
    let schema = app::log::MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default();
    gauge!("lablet_build_info", "version" => env!("CARGO_PKG_VERSION"), "schema" => schema.to_string()).set(1.0);
    let process = Collector::default();
    process.describe();
    let recorded = metrics.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        loop {
            ticks.tick().await;
            process.collect();
            recorded.run_upkeep();
        }
    });
    Ok(metrics)
}

/// The buckets of histograms, by what they measure: each is a line for each of its labels, at every scrape.
fn buckets() -> [(Matcher, Vec<f64>); 4] {
    [
        // There is one for each route and method.
        (Matcher::Full("lablet_http_request_duration_seconds".to_owned()), vec![0.005, 0.025, 0.1, 0.5, 2.5, 10.0]),
        (Matcher::Suffix("_seconds".to_owned()), vec![0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0]),
        (Matcher::Suffix("_events".to_owned()), vec![1.0, 10.0, 100.0, 1_000.0, 8_000.0]),
        (Matcher::Suffix("_commands".to_owned()), vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]),
    ]
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

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
    fn a_line_of_json_stays_json_with_everything_in_it() {
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, false)).unwrap();
        assert_eq!(line["fields"]["status"], FORGED);
    }
}
