//! A receiver of OTLP over HTTP, which is a target of webhooks too.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A span as it was exported.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent_id: String,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) is_error: bool,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Span {
    /// An attribute as text.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    metrics: BTreeSet<String>,
    webhooks: Vec<HeaderMap>,
    headers: Option<HeaderMap>,
}

#[derive(Clone)]
struct Shared {
    received: Arc<Mutex<Received>>,
    hangs: watch::Receiver<bool>,
}

/// It listens until it is dropped.
pub(crate) struct OtlpReceiver {
    url: String,
    received: Arc<Mutex<Received>>,
    hangs: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OtlpReceiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Received>>::default();
        let (hangs, hung) = watch::channel(false);
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .route("/webhook", post(webhook))
            .with_state(Shared { received: received.clone(), hangs: hung });
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, received, hangs, task }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Answers no export any more.
    pub(crate) fn hang(&self) {
        self.hangs.send_replace(true);
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spans of one trace, in the order of their beginning.
    pub(crate) fn trace(&self, trace_id: &str) -> Vec<Span> {
        let mut spans: Vec<Span> =
            self.received().spans.iter().filter(|span| span.trace_id == trace_id).cloned().collect();
        spans.sort_by_key(|span| (span.start, span.end));
        spans
    }

    /// The names of the metrics that came.
    pub(crate) fn metrics(&self) -> BTreeSet<String> {
        self.received().metrics.clone()
    }

    /// The headers of each request of a webhook.
    pub(crate) fn webhooks(&self) -> Vec<HeaderMap> {
        self.received().webhooks.clone()
    }

    /// The headers of an export.
    pub(crate) fn headers(&self) -> Option<HeaderMap> {
        self.received().headers.clone()
    }
}

/// A trace as text: each span below its parent, with how long after the first it began and how long it took.
pub(crate) fn tree(spans: &[Span]) -> String {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let begun = spans.first().map_or(0, |span| span.start);
    let mut text = String::new();
    for root in spans.iter().filter(|span| !ids.contains(span.parent_id.as_str())) {
        branch(spans, root, begun, 0, &mut text);
    }
    text
}

fn branch(spans: &[Span], span: &Span, begun: u64, depth: usize, text: &mut String) {
    let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    let of = ["event.type", "aggregate.type", "webhook", "http.response.status_code", "session.id"];
    let of: Vec<&str> = of.iter().filter_map(|name| span.attribute(name)).collect();
    let (from, took) = (milliseconds(span.start - begun), milliseconds(span.end - span.start));
    let named = format!("{}{}", "  ".repeat(depth), span.name);
    writeln!(text, "{from:8.1} ms {took:8.1} ms  {named:<58} {}", of.join(" ")).unwrap();
    for child in spans.iter().filter(|child| child.parent_id == span.span_id) {
        branch(spans, child, begun, depth + 1, text);
    }
}

async fn hang_up(shared: &Shared) {
    if *shared.hangs.borrow() {
        std::future::pending::<()>().await;
    }
}

async fn traces(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    hang_up(&shared).await;
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let mut received = shared.received.lock().unwrap_or_else(PoisonError::into_inner);
    received.headers = Some(headers);
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.map(|resource| texts(resource.attributes)).unwrap_or_default();
        let service = resource.iter().find(|(name, _)| name == "service.name").map(|(_, name)| name.clone());
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            received.spans.push(Span {
                service: service.clone().unwrap_or_default(),
                trace_id: hexadecimal(&span.trace_id),
                span_id: hexadecimal(&span.span_id),
                parent_id: hexadecimal(&span.parent_span_id),
                kind: span.kind(),
                is_error: span.status.is_some_and(|status| status.code() == SpanStatus::Error),
                name: span.name,
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                attributes: texts(span.attributes),
            });
        }
    }
    StatusCode::OK
}

async fn metrics(State(shared): State<Shared>, body: Bytes) -> StatusCode {
    hang_up(&shared).await;
    let Ok(request) = ExportMetricsServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let metrics = request.resource_metrics.into_iter().flat_map(|of_resource| of_resource.scope_metrics);
    let names = metrics.flat_map(|of_scope| of_scope.metrics).map(|metric| metric.name);
    shared.received.lock().unwrap_or_else(PoisonError::into_inner).metrics.extend(names);
    StatusCode::OK
}

async fn webhook(State(shared): State<Shared>, headers: HeaderMap) -> StatusCode {
    shared.received.lock().unwrap_or_else(PoisonError::into_inner).webhooks.push(headers);
    StatusCode::NO_CONTENT
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |value: any_value::Value| match value {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::BoolValue(truth) => truth.to_string(),
        other => format!("{other:?}"),
    };
    let entries = attributes.into_iter();
    entries.filter_map(|entry| Some((entry.key, text(entry.value?.value?)))).collect()
}
