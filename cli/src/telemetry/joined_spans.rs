//! Spans that belong to a trace of another process, which their field `traceparent` names.

use std::fmt;

use bus::trace::{TRACEPARENT, span_context};
use opentelemetry::Context as TraceContext;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The span that a span's `traceparent` names.
pub(super) struct NamedTrace(pub(super) SpanContext);

/// Keeps what spans' `traceparent` names beside them.
pub(super) struct NamedTraces;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for NamedTraces {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(named) = named(attributes)
            && let Some(span) = context.span(id)
        {
            span.extensions_mut().insert(NamedTrace(named));
        }
    }
}

/// A layer that records spans, each below the span that its `traceparent` names. Within a span of the same trace it stays
/// below that one: it is nearer. Log lines are none of its business.
pub(super) struct JoinedSpans<L>(pub(super) L);

impl<S, L> Layer<S> for JoinedSpans<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let current = TraceContext::map_current(|current| current.span().span_context().trace_id());
        let named = named(attributes).filter(|named| named.trace_id() != current);
        // The layer takes the current context for the parent.
        let _joined = named.map(|named| TraceContext::new().with_remote_span_context(named).attach());
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        self.0.on_follows_from(id, follows, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.0.on_close(id, context);
    }

    fn on_id_change(&self, old: &Id, new: &Id, context: Context<'_, S>) {
        self.0.on_id_change(old, new, context);
    }
}

/// Whether a span is recorded: one of our own, down to the level of commands. Batches have no trace of their own, their
/// events do.
pub(super) fn is_recorded(metadata: &Metadata<'_>) -> bool {
    const OURS: [&str; 8] = ["app", "bus", "cli", "controller", "gateway", "projections", "proposer", "webhooks"];
    const BATCHES: [&str; 2] = ["relay.publish", "projection.batch"];
    let target = metadata.target();
    let root = target.split_once("::").map_or(target, |(root, _)| root);
    metadata.is_span()
        && *metadata.level() <= tracing::Level::DEBUG
        && OURS.contains(&root)
        && !BATCHES.contains(&metadata.name())
}

fn named(attributes: &Attributes<'_>) -> Option<SpanContext> {
    struct Found(Option<SpanContext>);
    impl Visit for Found {
        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == TRACEPARENT {
                self.0 = span_context(value);
            }
        }
        fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
    }
    attributes.metadata().fields().field(TRACEPARENT)?;
    let mut found = Found(None);
    attributes.record(&mut found);
    found.0
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TracerProvider as _};
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct SpanStore(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for SpanStore {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    /// The spans that were recorded while `work` ran.
    fn recorded(work: impl FnOnce()) -> Vec<SpanData> {
        let kept = SpanStore::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
        let layer = JoinedSpans(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")));
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter_fn(is_recorded)));
        tracing::subscriber::with_default(subscriber, work);
        kept.0.lock().unwrap().clone()
    }

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_span_is_below_the_one_that_it_names_and_those_within_it_below_it() {
        let spans = recorded(|| {
            let outer = tracing::debug_span!("outer", traceparent = TRACE);
            outer.in_scope(|| {
                assert_eq!(bus::trace::current().unwrap().split('-').nth(1), TRACE.split('-').nth(1));
                drop(tracing::info_span!("named again", traceparent = TRACE));
                drop(tracing::info_span!("inner"));
                // Nobody records these.
                drop(tracing::info_span!("relay.publish", traceparent = TRACE));
                drop(tracing::trace_span!("detail"));
                drop(tracing::info_span!(target: "hyper::client", "foreign"));
            });
        });
        let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["named again", "inner", "outer"]);
        let named = span_context(TRACE).unwrap();
        let outer = &spans[2];
        assert!(spans.iter().all(|span| span.span_context.trace_id() == named.trace_id()));
        assert_eq!((outer.parent_span_id, outer.parent_span_is_remote), (named.span_id(), true));
        assert!(spans[..2].iter().all(|span| span.parent_span_id == outer.span_context.span_id()));
    }

    #[test]
    fn a_span_within_another_trace_goes_to_the_one_that_it_names() {
        let spans = recorded(|| {
            let batch = tracing::info_span!("batch");
            batch.in_scope(|| drop(tracing::debug_span!("event", traceparent = TRACE)));
        });
        let (event, batch) = (&spans[0], &spans[1]);
        assert_eq!(event.span_context.trace_id(), span_context(TRACE).unwrap().trace_id());
        assert_ne!(batch.span_context.trace_id(), event.span_context.trace_id());
        assert_eq!(batch.parent_span_id, SpanId::INVALID);
    }

    #[test]
    fn what_is_not_sampled_is_not_recorded() {
        let not_sampled = TRACE.replace("-01", "-00");
        let spans = recorded(|| {
            let outer = tracing::debug_span!("outer", traceparent = not_sampled);
            outer.in_scope(|| drop(tracing::debug_span!("inner")));
        });
        assert!(spans.is_empty(), "{spans:?}");
    }
}
