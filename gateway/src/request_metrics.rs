//! How many requests there were, and how long they took.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use app::webhook_targets::WebhookTargets;
use http::{Method, StatusCode};
use metrics::{Counter, Histogram, Unit, describe_counter, describe_gauge, describe_histogram};

/// Says what the metrics of HTTP mean.
pub(crate) fn describe() {
    describe_counter!(
        "lablet_http_requests_total",
        Unit::Count,
        "Requests that were answered, by method, route and status"
    );
    describe_histogram!("lablet_http_request_duration_seconds", Unit::Seconds, "Time from a request to its answer");
    describe_gauge!("lablet_http_connections", Unit::Count, "Open connections");
    describe_counter!(
        "lablet_http_connections_closed_for_others_total",
        Unit::Count,
        "Idle connections that were closed as there were too many"
    );
    describe_counter!(
        "lablet_http_connections_stalled_total",
        Unit::Count,
        "Connections that were closed as their client did not read or write in time"
    );
    describe_gauge!("lablet_http_streams", Unit::Count, "Open streams of events");
    describe_gauge!("lablet_http_sample_streams", Unit::Count, "Open streams of samples");
    describe_counter!(
        "lablet_http_samples_dropped_total",
        Unit::Count,
        "Samples that a stream left out as its client read too slowly"
    );
    describe_counter!(
        "lablet_sign_ins_total",
        Unit::Count,
        "Sign-ins of people, by their way (provider, link or token) and by what came of them"
    );
    describe_gauge!("lablet_sessions", Unit::Count, "Sessions by state");
    describe_gauge!("lablet_attention_items", Unit::Count, "Things that need somebody, by severity");
    describe_gauge!(
        "lablet_attention_affected",
        Unit::Count,
        "What needs somebody: how many of each kind are affected"
    );
    describe_gauge!(
        "lablet_database_reachable",
        "1 where Postgres answered at this look; 0: what comes from it is what it was before"
    );
    describe_counter!(
        "lablet_controller_reports_dropped_total",
        Unit::Count,
        "Messages of controllers that are no reports, or for which there was no room"
    );
    describe_gauge!("lablet_dead_letters_open", Unit::Count, "Dead letters that wait for a decision, by kind");
    WebhookTargets::describe_metrics();
}

/// Metrics of requests by route, method and status. Looking a metric up by its labels costs more than counting, so each
/// is looked up once.
#[derive(Default)]
pub(crate) struct RequestMetrics(RwLock<HashMap<String, OfRoute>>);

type OfRoute = HashMap<(&'static str, StatusCode), Metrics>;

#[derive(Clone)]
struct Metrics {
    requests: Counter,
    duration: Histogram,
}

impl RequestMetrics {
    /// Counts a request. `route` is one of the router's.
    pub(crate) fn count(&self, method: &Method, route: &str, status: StatusCode, elapsed: Duration) {
        let method = method_label(method);
        let known = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(route)
            .and_then(|of_route| of_route.get(&(method, status)).cloned());
        let Metrics { requests, duration } = known.unwrap_or_else(|| self.register(method, route, status));
        requests.increment(1);
        duration.record(elapsed.as_secs_f64());
    }

    fn register(&self, method: &'static str, route: &str, status: StatusCode) -> Metrics {
        let labels =
            [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.as_str().to_owned())];
        let metrics = Metrics {
            requests: metrics::counter!("lablet_http_requests_total", &labels),
            duration: metrics::histogram!("lablet_http_request_duration_seconds", &labels[..2]),
        };
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(route.to_owned()).or_default().insert((method, status), metrics.clone());
        metrics
    }
}

/// A method as a label of metrics and spans. Unknown methods share a label, so that nobody creates series by making methods up.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_somebody_made_up_are_one_label() {
        let made_up = Method::from_bytes(b"MADEUP17").unwrap();
        assert_eq!(method_label(&Method::PATCH), "PATCH");
        assert_eq!(method_label(&made_up), "other");
    }
}
