//! What a client prefers (RFC 7240): `Prefer: handling=strict` has bodies with unknown members refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use app::body::Handling;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Header by which a client prefers.
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Header that says what of it was done.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The preferences of one request, shared by everything that handles it.
#[derive(Debug, Clone)]
pub(crate) struct Preferences {
    strict: bool,
    applied: Arc<AtomicBool>,
}

impl Preferences {
    /// Reads them. Of several preferences of one name the first counts.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let preferences = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
        let handling = preferences
            .flat_map(|preferences| preferences.split(','))
            .filter_map(|preference| preference.split(';').next()?.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("handling"));
        let strict = handling.is_some_and(|(_, value)| value.trim().trim_matches('"').eq_ignore_ascii_case("strict"));
        Self { strict, applied: Arc::default() }
    }

    /// How a body is to be handled. From now on the answer says so.
    pub(crate) fn handling(&self) -> Handling {
        self.applied.store(self.strict, Ordering::Relaxed);
        Handling::default().or_strict(self.strict)
    }

    /// Tells what was applied.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        if self.applied.load(Ordering::Relaxed) {
            headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("handling=strict"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_handling_is_preferred_in_every_spelling_of_the_header() {
        let strict = |values: &[&'static str]| {
            let headers = values.iter().map(|value| (PREFER, HeaderValue::from_static(value))).collect();
            Preferences::from_headers(&headers).strict
        };
        for values in [
            &["handling=strict"][..],
            &["respond-async, handling=\"strict\"; a=b"],
            &["return=minimal", "Handling = Strict"],
            &["handling=strict, handling=lenient"],
        ] {
            assert!(strict(values), "{values:?}");
        }
        for values in [&[][..], &["handling=lenient, handling=strict"], &["handling"], &["return=strict"]] {
            assert!(!strict(values), "{values:?}");
        }
    }
}
