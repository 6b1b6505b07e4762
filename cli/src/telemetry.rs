//! Log lines, metrics and traces of the process.

mod collector;
mod joined_spans;
mod log_lines;
mod otlp_metrics;
mod span_queue;

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bus::clock::IdGenerator;
use futures_util::future::BoxFuture;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector as ProcessCollector;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prost::Message as _;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};
use url::Url;

use self::collector::Collector;
use self::joined_spans::{JoinedSpans, NamedTraces, is_recorded};
pub(crate) use self::log_lines::LogFormat;
use self::log_lines::{OneLine, WithTraceId};
use self::otlp_metrics::Interval;
use self::span_queue::SpanQueue;
use crate::configuration::telemetry::ExportOptions;
use crate::version;

/// How long the end of a process waits for the collector, for traces and for metrics each.
const LAST_EXPORT_WITHIN: Duration = Duration::from_secs(2);

/// What goes to the collector, where there is one.
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<MetricExport>,
}

impl Telemetry {
    /// Sends log lines to standard error, and traces to the collector. `filter` is of log lines, in tracing's syntax, e.g.
    /// `info,controller=debug`.
    ///
    /// # Errors
    /// A setting cannot be used.
    pub(crate) fn start(
        filter: &str,
        format: LogFormat,
        export: Option<ExportOptions>,
        runtime: &Handle,
    ) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(filter).with_context(|| format!("{filter:?} is no log filter"))?;
        let telemetry = match export {
            Some(export) => Self::exporting(export, runtime)?,
            None => Self { traces: None, metrics: None },
        };
        let registry = tracing_subscriber::registry();
        let installed = match &telemetry.traces {
            // One filter for all, so that a span that no log line shows costs a comparison.
            None => registry.with(filter).with(NamedTraces).with(log_lines(format)).try_init(),
            Some(provider) => {
                let spans = tracing_opentelemetry::layer()
                    .with_tracer(provider.tracer("lablet"))
                    .with_location(false)
                    .with_threads(false)
                    .with_target(false)
                    .with_level(false)
                    .with_tracked_inactivity(false);
                let recorded = filter_fn(is_recorded).with_max_level_hint(LevelFilter::DEBUG);
                registry
                    .with(NamedTraces)
                    .with(log_lines(format).with_filter(filter))
                    .with(JoinedSpans(spans).with_filter(recorded))
                    .try_init()
            }
        };
        installed.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
        Ok(telemetry)
    }

    fn exporting(export: ExportOptions, runtime: &Handle) -> anyhow::Result<Self> {
        let ExportOptions { traces, metrics, headers, timeout, metric_interval, service_name } = export;
        let needs_tls = traces.iter().chain(&metrics).any(|url| url.scheme() == "https");
        let collector = Collector::new(headers, timeout, needs_tls, runtime.clone())?;
        let resource = resource(service_name);
        let traces = match traces {
            Some(url) => {
                let exporter = SpanExporter::builder()
                    .with_http()
                    .with_http_client(collector.clone())
                    .with_endpoint(url)
                    .with_protocol(Protocol::HttpBinary)
                    .with_timeout(timeout)
                    .build()
                    .context("traces cannot be exported")?;
                let provider = SdkTracerProvider::builder().with_resource(resource.clone());
                Some(provider.with_span_processor(SpanQueue::new(exporter)).build())
            }
            None => None,
        };
        let begun = SystemTime::now();
        let metrics = metrics.map(|url| MetricExport { collector, url, resource, interval: metric_interval, begun });
        Ok(Self { traces, metrics })
    }

    /// The export of metrics, where they are exported.
    pub(crate) fn metric_export(&self) -> Option<MetricExport> {
        self.metrics.clone()
    }

    /// Sends the traces that are left, as far as the collector takes them within two seconds.
    pub(crate) fn end(self) {
        let Some(traces) = self.traces else { return };
        // The exporter's own thread may be within a request that takes longer.
        let (ended, end) = sync_channel(1);
        let shutdown = std::thread::Builder::new().name("last traces".to_owned()).spawn(move || {
            let _ = ended.send(traces.shutdown_with_timeout(LAST_EXPORT_WITHIN).is_ok());
        });
        if shutdown.is_err() || !end.recv_timeout(LAST_EXPORT_WITHIN).unwrap_or(false) {
            tracing::warn!("last traces not exported in time");
        }
    }
}

/// Who tells: the name, and what `OTEL_RESOURCE_ATTRIBUTES` says.
fn resource(service_name: String) -> Resource {
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", IdGenerator::random().uuid().to_string()),
    ];
    let given = Resource::builder().build();
    let name = given.get(&Key::new("service.name")).map(|name| name.as_str().into_owned());
    // The SDK's own name for a service that nobody named.
    let name = name.filter(|name| !name.starts_with("unknown_service")).unwrap_or(service_name);
    let of_environment = given.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty().with_attributes(own).with_attributes(of_environment).with_service_name(name).build()
}

/// The layer that writes log lines.
fn log_lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let has_colours = format == LogFormat::Text && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let writer = move || OneLine { out: io::stderr(), format, has_colours };
    let layer = tracing_subscriber::fmt::layer().with_ansi(has_colours).with_writer(writer);
    match format {
        LogFormat::Text => layer
            .with_target(false)
            .map_event_format(|inner| WithTraceId { inner: inner.with_ansi(has_colours), format })
            .boxed(),
        LogFormat::Json => {
            layer.json().flatten_event(true).map_event_format(|inner| WithTraceId { inner, format }).boxed()
        }
    }
}

/// The metrics of the process, as they are when they are read.
#[derive(Clone)]
pub(crate) struct MetricsReader {
    recorder: PrometheusHandle,
    measure: Measure,
}

/// Updates the metrics of what a process uses, and of what it shares with others.
pub(crate) type Measure = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

impl MetricsReader {
    /// What was recorded, with what `measure` updates before.
    pub(crate) fn new(recorder: PrometheusHandle, measure: Measure) -> Self {
        Self { recorder, measure }
    }

    /// Prometheus' text.
    pub(crate) async fn read(&self) -> String {
        (self.measure)().await;
        self.recorder.render()
    }
}

/// Sends metrics to the collector.
#[derive(Clone)]
pub(crate) struct MetricExport {
    collector: Collector,
    url: Url,
    resource: Resource,
    interval: Duration,
    begun: SystemTime,
}

impl MetricExport {
    /// Sends them once an interval, for ever. What the collector did not take comes with the next: counters count from the
    /// beginning, so that nothing is kept for it.
    pub(crate) async fn run(&self, reader: &MetricsReader) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.export(reader).await;
        }
    }

    /// Sends them once more, for at most two seconds.
    pub(crate) async fn export_last(&self, reader: &MetricsReader) {
        if tokio::time::timeout(LAST_EXPORT_WITHIN, self.export(reader)).await.is_err() {
            tracing::warn!("last metrics not exported in time");
        }
    }

    async fn export(&self, reader: &MetricsReader) {
        let exposition = reader.read().await;
        let interval = Interval { begun: self.begun, read: SystemTime::now() };
        let message = otlp_metrics::translate(&exposition, interval, (&self.resource).into());
        let sent = self.collector.post(&self.url, message.encode_to_vec()).await;
        let outcome = if sent.is_ok() { "exported" } else { "failed" };
        counter!("lablet_telemetry_metric_exports_total", "outcome" => outcome).increment(1);
    }
}

/// How often what histograms were given is counted into their buckets. Until then every value is kept: without it a
/// process that nobody scrapes would grow with each request.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Collects the metrics of the process. Has to be called within a tokio runtime.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (matcher, buckets) in buckets() {
        builder = builder.set_buckets_for_metric(matcher, &buckets).context("the buckets of a histogram are empty")?;
    }
    let metrics = builder.install_recorder().context("metrics cannot be collected")?;
    describe_gauge!("lablet_build_info", "1; the labels say which build this is, and the migration that it wants");
    let (release, schema) = (env!("CARGO_PKG_VERSION"), version::schema().to_string());
    gauge!("lablet_build_info", "version" => release, "commit" => version::COMMIT, "schema" => schema).set(1.0);
    span_queue::describe_metrics();
    describe_counter!(
        "lablet_telemetry_metric_exports_total",
        Unit::Count,
        "Exports of metrics to the collector, by what became of them: exported or failed"
    );
    let process = ProcessCollector::default();
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
