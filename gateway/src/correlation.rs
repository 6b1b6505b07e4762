//! What ties requests, events and log lines together: the correlation id and the trace context.

use http::{HeaderMap, HeaderValue};

/// Header that carries the correlation id, in and out.
pub(crate) const CORRELATION_ID: &str = "x-correlation-id";

/// Header that carries the trace context (W3C).
pub(crate) const TRACEPARENT: &str = "traceparent";

const LONGEST: usize = 128;

/// The thread through everything that one request causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Correlation {
    /// The id the caller gave, or a new one: 1 to 128 visible ASCII characters.
    pub(crate) id: String,
    /// The caller's trace context, if it is well formed.
    pub(crate) traceparent: Option<String>,
}

impl Correlation {
    /// Reads it from a request. Without a usable `X-Correlation-Id` the trace id serves, and without that a new one.
    pub(crate) fn from_headers(headers: &HeaderMap, id_generator: impl FnOnce() -> String) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let traceparent = text(TRACEPARENT).filter(|value| is_traceparent(value)).map(str::to_owned);
        let given = text(CORRELATION_ID).filter(|value| is_id(value)).map(str::to_owned);
        let trace_id = || traceparent.as_deref().and_then(|value| value.split('-').nth(1)).map(str::to_owned);
        Self { id: given.or_else(trace_id).unwrap_or_else(id_generator), traceparent }
    }
}

fn is_id(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_traceparent(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte) || byte == b'-';
    lengths == [2, 32, 16, 2] && text.bytes().all(hexadecimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn correlation(headers: &[(&'static str, &str)]) -> Correlation {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        Correlation::from_headers(&headers, || "generated".to_owned())
    }

    #[test]
    fn the_callers_id_wins_then_the_trace_then_a_new_one() {
        assert_eq!(correlation(&[(CORRELATION_ID, "order-7"), (TRACEPARENT, TRACE)]).id, "order-7");
        assert_eq!(correlation(&[(TRACEPARENT, TRACE)]).id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(correlation(&[]).id, "generated");
    }

    #[test]
    fn what_is_malformed_is_not_passed_on() {
        assert_eq!(correlation(&[(CORRELATION_ID, "two words")]).id, "generated");
        assert_eq!(correlation(&[(CORRELATION_ID, &"x".repeat(129))]).id, "generated");
        assert_eq!(correlation(&[(TRACEPARENT, "00-zz-1-01")]).traceparent, None);
    }
}
