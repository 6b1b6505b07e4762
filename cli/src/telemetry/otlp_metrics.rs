//! The metrics of the process as OTLP: exactly what `/metrics` shows, in another form.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// Since when counters count, and when they were read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval {
    pub(super) begun: SystemTime,
    pub(super) read: SystemTime,
}

/// What Prometheus' text says, for this resource.
pub(super) fn translate(exposition: &str, interval: Interval, resource: Resource) -> ExportMetricsServiceRequest {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let metrics = families(exposition).into_iter().filter_map(|family| family.metric(interval)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let of_resource = ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![of_resource] }
}

/// Everything of one name.
#[derive(Debug, Default)]
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    kind: &'a str,
    samples: Vec<Sample<'a>>,
}

/// One line with a value.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

/// The families of a text, in which each one's lines stand together below its type.
fn families(exposition: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut help = ("", "");
    for line in exposition.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').unwrap_or((described, ""));
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap_or((typed, ""));
            let help = if help.0 == name { help.1 } else { "" };
            families.push(Family { name, help, kind, samples: Vec::new() });
        } else if let (Some(family), Some(sample)) = (families.last_mut(), sample(line)) {
            family.samples.push(sample);
        }
    }
    families
}

/// `name{label="value",…} value`
fn sample(line: &str) -> Option<Sample<'_>> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else {
        return Some(Sample { name: head, labels: Vec::new(), value });
    };
    let mut rest = labels;
    let mut labels = Vec::new();
    while let Some((label, quoted)) = rest.split_once("=\"") {
        let (text, after) = unquoted(quoted)?;
        labels.push((label.trim_start_matches(','), text));
        rest = after;
    }
    Some(Sample { name, labels, value })
}

/// A label's value up to its quotation mark, and what follows that.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((text, quoted.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => text.push('\n'),
                escaped => text.push(escaped),
            },
            plain => text.push(plain),
        }
    }
    None
}

impl Family<'_> {
    fn metric(self, interval: Interval) -> Option<Metric> {
        let cumulative = AggregationTemporality::Cumulative.into();
        let data = match self.kind {
            "counter" => metric::Data::Sum(Sum {
                data_points: self.points(interval),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            "gauge" => metric::Data::Gauge(Gauge { data_points: self.points(interval) }),
            "histogram" => metric::Data::Histogram(Histogram {
                data_points: self.histograms(interval),
                aggregation_temporality: cumulative,
            }),
            // Every histogram has buckets, so that nothing is a summary.
            _ => return None,
        };
        Some(Metric {
            name: self.name.to_owned(),
            description: self.help.to_owned(),
            unit: unit(self.name).to_owned(),
            data: Some(data),
            ..Metric::default()
        })
    }

    fn points(&self, interval: Interval) -> Vec<NumberDataPoint> {
        let points = self.samples.iter().map(|sample| NumberDataPoint {
            attributes: attributes(sample.labels.iter().map(|(name, value)| (*name, value.as_str()))),
            start_time_unix_nano: if self.kind == "counter" { nanoseconds(interval.begun) } else { 0 },
            time_unix_nano: nanoseconds(interval.read),
            value: Some(number_data_point::Value::AsDouble(sample.value)),
            ..NumberDataPoint::default()
        });
        points.collect()
    }

    /// The lines of each combination of labels in one: Prometheus' buckets hold those below them, OTLP's do not.
    fn histograms(&self, interval: Interval) -> Vec<HistogramDataPoint> {
        let mut points: BTreeMap<Vec<(&str, &str)>, HistogramDataPoint> = BTreeMap::new();
        for sample in &self.samples {
            let labels = sample.labels.iter().map(|(name, value)| (*name, value.as_str()));
            let (bounds, labels): (Vec<_>, Vec<_>) = labels.partition(|(name, _)| *name == "le");
            let point = points.entry(labels).or_default();
            match sample.name.strip_prefix(self.name) {
                Some("_bucket") => {
                    let before: u64 = point.bucket_counts.iter().sum();
                    point.bucket_counts.push((sample.value as u64).saturating_sub(before));
                    let bound = bounds.first().and_then(|(_, bound)| bound.parse::<f64>().ok());
                    point.explicit_bounds.extend(bound.filter(|bound| bound.is_finite()));
                }
                Some("_sum") => point.sum = Some(sample.value),
                Some("_count") => point.count = sample.value as u64,
                _ => {}
            }
        }
        let points = points.into_iter().map(|(labels, point)| HistogramDataPoint {
            attributes: attributes(labels.into_iter()),
            start_time_unix_nano: nanoseconds(interval.begun),
            time_unix_nano: nanoseconds(interval.read),
            ..point
        });
        points.collect()
    }
}

fn attributes<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<KeyValue> {
    let attributes = labels.map(|(name, value)| KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    });
    attributes.collect()
}

/// The unit that a name ends with, as UCUM writes it.
fn unit(name: &str) -> &'static str {
    match name.trim_end_matches("_total").rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics::{counter, describe_counter, gauge, histogram, with_local_recorder};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn translated(exposition: &str) -> Vec<Metric> {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let interval = Interval { begun: at(1), read: at(2) };
        let mut request = translate(exposition, interval, Resource::default());
        request.resource_metrics.remove(0).scope_metrics.remove(0).metrics
    }

    #[test]
    fn what_the_recorder_renders_is_there_with_its_labels_help_and_buckets() {
        let recorder = PrometheusBuilder::new().set_buckets(&[0.1, 1.0]).unwrap().build_recorder();
        with_local_recorder(&recorder, || {
            describe_counter!("lablet_things_total", "Things, by \"kind\"");
            counter!("lablet_things_total", "kind" => "a \"b\"\\c,d=\"}\n").increment(3);
            gauge!("lablet_lag_seconds").set(1.5);
            for value in [0.05, 0.5, 0.5, 7.0] {
                histogram!("lablet_wait_seconds", "of" => "x").record(value);
            }
        });
        let handle = recorder.handle();
        handle.run_upkeep();
        let metrics = translated(&handle.render());
        let named = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap();

        let things = named("lablet_things_total");
        assert_eq!(things.description, "Things, by \"kind\"");
        let Some(metric::Data::Sum(sum)) = &things.data else { panic!("{things:?}") };
        let point = &sum.data_points[0];
        assert!(sum.is_monotonic);
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(3.0)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1_000_000_000, 2_000_000_000));
        let expected = any_value::Value::StringValue("a \"b\"\\c,d=\"}\n".to_owned());
        assert_eq!(point.attributes[0].value.as_ref().unwrap().value, Some(expected));

        let lag = named("lablet_lag_seconds");
        assert_eq!(lag.unit, "s");
        assert!(matches!(&lag.data, Some(metric::Data::Gauge(gauge)) if gauge.data_points.len() == 1));

        let wait = named("lablet_wait_seconds");
        let Some(metric::Data::Histogram(histogram)) = &wait.data else { panic!("{wait:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((&point.explicit_bounds[..], &point.bucket_counts[..]), (&[0.1, 1.0][..], &[1, 2, 1][..]));
        assert_eq!((point.count, point.sum), (4, Some(8.05)));
        assert_eq!(point.attributes.len(), 1, "the bound is no attribute");
    }

    #[test]
    fn a_line_that_is_none_is_left_out() {
        assert_eq!(sample("lablet_x{a=\"b"), None);
        assert_eq!(sample("lablet_x{a=\"b} 1"), None);
        assert_eq!(sample("lablet_x one"), None);
        let whole = Sample { name: "lablet_x", labels: vec![("a", "b c".to_owned())], value: f64::INFINITY };
        assert_eq!(sample("lablet_x{a=\"b c\"} +Inf"), Some(whole));
    }
}
