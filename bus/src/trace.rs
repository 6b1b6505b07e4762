//! The trace that work belongs to, across processes.
//!
//! It travels as a W3C trace context, `traceparent`: in HTTP, on the bus, and in the metadata of events. A span that is given
//! one as its field `traceparent` belongs to that trace, wherever the span is that it names. Where no telemetry is exported
//! there is no span context here, and what was received is passed on as it is.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};

/// Header and attribute that carry the trace context.
pub const TRACEPARENT: &str = "traceparent";

/// The trace context of the span that is current; `None`: no trace is recorded.
pub fn current() -> Option<String> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| written(span))
    })
}

/// The span that a trace context names; `None`: it is none of version 00, or names no span.
pub fn span_context(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (Some("00"), Some(trace), Some(span), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let is_hexadecimal = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    if !is_hexadecimal(trace, 32) || !is_hexadecimal(span, 16) || !is_hexadecimal(flags, 2) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

/// As it is sent.
fn written(span: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_context_is_read_and_written_again() {
        let span = span_context(TRACE).unwrap();
        assert!(span.is_remote() && span.is_sampled());
        assert_eq!(written(&span), TRACE);
        let not_sampled = TRACE.replace("-01", "-00");
        assert!(!span_context(&not_sampled).unwrap().is_sampled());
        let _in_it = Context::new().with_remote_span_context(span).attach();
        assert_eq!(current().as_deref(), Some(TRACE));
    }

    #[test]
    fn what_names_no_span_is_none() {
        assert_eq!(current(), None);
        let zeros = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        for bad in
            ["", "00-ab-cd-01", &TRACE.to_uppercase(), &TRACE.replacen("00", "01", 1), &zeros, &format!("{TRACE}-x")]
        {
            assert!(span_context(bad).is_none(), "{bad}");
        }
    }
}
