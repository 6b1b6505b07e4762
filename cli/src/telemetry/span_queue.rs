//! Spans on their way to the collector: as many as the queue holds, and what it does not hold is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bus::trace::TRACEPARENT;
use metrics::{Unit, counter, describe_counter};
use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

/// The SDK's default, which `OTEL_BSP_MAX_QUEUE_SIZE` changes.
const DEFAULT_QUEUE: usize = 2_048;

/// Spans that wait for the collector or are being sent to it.
#[derive(Debug, Clone, Default)]
struct Waiting(Arc<AtomicUsize>);

/// Takes ended spans and never waits.
#[derive(Debug)]
pub(super) struct SpanQueue {
    batches: BatchSpanProcessor,
    waiting: Waiting,
    most: usize,
}

impl SpanQueue {
    /// A queue in front of an exporter, as large as `OTEL_BSP_MAX_QUEUE_SIZE` says.
    pub(super) fn new<E: SpanExporter + 'static>(exporter: E) -> Self {
        let given = std::env::var("OTEL_BSP_MAX_QUEUE_SIZE").ok().and_then(|text| text.parse().ok());
        Self::with_room(exporter, given.filter(|most| *most > 0).unwrap_or(DEFAULT_QUEUE))
    }

    fn with_room<E: SpanExporter + 'static>(exporter: E, most: usize) -> Self {
        let waiting = Waiting::default();
        let config = BatchConfigBuilder::default().with_max_queue_size(most).build();
        let exporter = CountedExporter { exporter, waiting: waiting.clone() };
        Self { batches: BatchSpanProcessor::builder(exporter).with_batch_config(config).build(), waiting, most }
    }
}

/// Describes the metrics of the export.
pub(super) fn describe_metrics() {
    describe_counter!(
        "lablet_telemetry_spans_total",
        Unit::Count,
        "Spans by what became of them: exported, failed (the collector did not take them) or dropped (the queue was full)"
    );
}

fn count(outcome: &'static str, spans: usize) {
    counter!("lablet_telemetry_spans_total", "outcome" => outcome).increment(spans as u64);
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let room = |waiting: usize| (waiting < self.most).then_some(waiting + 1);
        if self.waiting.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            count("dropped", 1);
            return;
        }
        conform(&mut span);
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts what becomes of spans.
#[derive(Debug)]
struct CountedExporter<E> {
    exporter: E,
    waiting: Waiting,
}

impl<E: SpanExporter> SpanExporter for CountedExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        self.waiting.0.fetch_sub(spans, Ordering::Relaxed);
        count(if exported.is_ok() { "exported" } else { "failed" }, spans);
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Says in OpenTelemetry's words what a span of log lines says in ours, whose fields are short as they are in each line.
fn conform(span: &mut SpanData) {
    // It is the parent by now.
    span.attributes.retain(|attribute| attribute.key.as_str() != TRACEPARENT);
    const NATS: KeyValueText = ("messaging.system", "nats");
    let (kind, further): (SpanKind, &[KeyValueText]) = match &*span.name {
        "bus.command" => (SpanKind::Consumer, &[NATS, ("messaging.operation.type", "process")]),
        "controller.request" => (SpanKind::Consumer, &[NATS, ("messaging.operation.type", "process")]),
        "controller.report" => (SpanKind::Producer, &[NATS, ("messaging.operation.type", "send")]),
        "cml.read" => (SpanKind::Client, &[("peer.service", "cml")]),
        _ => return,
    };
    span.span_kind = kind;
    span.attributes.extend(further.iter().map(|(name, value)| KeyValue::new(*name, *value)));
    let named = |name: &str| {
        let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
        found.map(|attribute| attribute.value.as_str().into_owned())
    };
    match &*span.name {
        "bus.command" => {
            let subject = named("subject").map(|subject| KeyValue::new("messaging.destination.name", subject));
            let name = named("command").map(|command| format!("process {command}"));
            span.attributes.extend(subject);
            span.name = name.map_or("process".into(), Into::into);
        }
        "cml.read" => {
            let failed = named("outcome").filter(|outcome| outcome != "ok");
            let name = named("read").map(|read| format!("cml {read}"));
            if let Some(kind) = failed {
                span.status = opentelemetry::trace::Status::error(kind.clone());
                span.attributes.push(KeyValue::new("error.type", kind));
            }
            span.name = name.map_or("cml".into(), Into::into);
        }
        _ => {}
    }
}

type KeyValueText = (&'static str, &'static str);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, PoisonError};

    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// Tells what it gets, and answers when it is let.
    #[derive(Debug)]
    struct Slow {
        got: Sender<usize>,
        answer: Mutex<Receiver<()>>,
    }

    impl SpanExporter for Slow {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let _ = self.got.send(batch.len());
            let _ = self.answer.lock().unwrap_or_else(PoisonError::into_inner).recv();
            Ok(())
        }
    }

    #[test]
    fn what_the_queue_does_not_hold_is_dropped_and_nobody_waits() {
        let ((got, gets), (let_go, answer)) = (channel(), channel());
        let queue = SpanQueue::with_room(Slow { got, answer: Mutex::new(answer) }, 600);
        let waiting = queue.waiting.clone();
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        // More than a batch: it is sent at once, and its answer does not come.
        let spans = |count: usize| (0..count).for_each(|_| drop(tracer.start("span")));
        spans(512);
        assert_eq!(gets.recv().unwrap(), 512);
        spans(10_000);
        assert_eq!(waiting.0.load(Ordering::Relaxed), 600, "what is being sent counts, too");
        // The collector answers again: all that was taken arrives.
        let_go.send(()).unwrap();
        drop(let_go);
        provider.force_flush().unwrap();
        assert_eq!(gets.try_iter().sum::<usize>(), 600 - 512);
        assert_eq!(waiting.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn reads_of_cml_are_named_by_what_is_read_and_failed_ones_are_errors() {
        let (got, gets) = channel();
        #[derive(Debug)]
        struct SpanStore(Sender<SpanData>);
        impl SpanExporter for SpanStore {
            async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
                batch.into_iter().for_each(|span| drop(self.0.send(span)));
                Ok(())
            }
        }
        let queue = SpanQueue::with_room(SpanStore(got), 10);
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        let attributes = |outcome: &'static str| vec![KeyValue::new("read", "labs"), KeyValue::new("outcome", outcome)];
        for outcome in ["ok", "timed_out"] {
            drop(tracer.span_builder("cml.read").with_attributes(attributes(outcome)).start(&tracer));
        }
        provider.force_flush().unwrap();
        let spans: Vec<SpanData> = gets.try_iter().collect();
        assert!(spans.iter().all(|span| span.name == "cml labs" && span.span_kind == SpanKind::Client));
        assert_eq!(spans[0].status, opentelemetry::trace::Status::Unset);
        assert_eq!(spans[1].status, opentelemetry::trace::Status::error("timed_out"));
    }
}
