//! Where traces and metrics are sent to, by OpenTelemetry's own variables. Without an endpoint nothing is.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{ArgAction, Args};
use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::secret::Secret;

/// Traces and metrics by OTLP, as http/protobuf.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "OpenTelemetry")]
pub(crate) struct TelemetryArguments {
    /// The collector that traces and metrics are sent to by OTLP over HTTP, e.g. http://collector:4318. Without it nothing is
    /// sent.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    /// The whole address for traces, where that is another.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")]
    otlp_traces_endpoint: Option<String>,
    /// The whole address for metrics, where that is another.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")]
    otlp_metrics_endpoint: Option<String>,
    /// The only protocol there is.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", default_value = HTTP_PROTOBUF)]
    otlp_protocol: String,
    /// Headers of each request, `name=value` separated by commas, as W3C Baggage.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true)]
    otlp_headers: Option<Secret>,
    /// Longest time of one request, in milliseconds.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    otlp_timeout: u64,
    /// Time between two exports of metrics, in milliseconds.
    #[arg(long, env = "OTEL_METRIC_EXPORT_INTERVAL", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(100..=86_400_000))]
    metric_export_interval: u64,
    /// What this process is called; lablet-serve, lablet-relay and so on unless given.
    #[arg(long, env = "OTEL_SERVICE_NAME")]
    service_name: Option<String>,
    /// Send nothing, whatever the other variables say.
    #[arg(long, env = "OTEL_SDK_DISABLED", action = ArgAction::Set, default_value_t = false, num_args = 0..=1, default_missing_value = "true")]
    telemetry_disabled: bool,
}

const HTTP_PROTOBUF: &str = "http/protobuf";

/// What is sent where.
#[derive(Debug, Clone)]
pub(crate) struct ExportOptions {
    pub(crate) traces: Option<Url>,
    pub(crate) metrics: Option<Url>,
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Duration,
    pub(crate) metric_interval: Duration,
    /// What the process is called where the environment does not say it.
    pub(crate) service_name: String,
}

impl TelemetryArguments {
    /// What a process of this role sends; `None`: nothing.
    ///
    /// # Errors
    /// A setting cannot be used; it is named, a secret is not shown.
    pub(crate) fn export(&self, role: &str) -> anyhow::Result<Option<ExportOptions>> {
        let traces = self.address("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &self.otlp_traces_endpoint, "traces")?;
        let metrics = self.address("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &self.otlp_metrics_endpoint, "metrics")?;
        if self.telemetry_disabled || (traces.is_none() && metrics.is_none()) {
            return Ok(None);
        }
        if !matches!(self.otlp_protocol.as_str(), "" | HTTP_PROTOBUF) {
            bail!("OTEL_EXPORTER_OTLP_PROTOCOL is {:?}; only {HTTP_PROTOBUF} is spoken", self.otlp_protocol);
        }
        let named = self.service_name.clone().filter(|name| !name.is_empty());
        Ok(Some(ExportOptions {
            traces,
            metrics,
            headers: self.otlp_headers.as_ref().map_or_else(|| Ok(HeaderMap::new()), headers)?,
            timeout: Duration::from_millis(self.otlp_timeout),
            metric_interval: Duration::from_millis(self.metric_export_interval),
            service_name: named.unwrap_or_else(|| format!("lablet-{role}")),
        }))
    }

    /// The signal's own address as it is, else the path of the signal below the common one. Empty counts as not set.
    fn address(&self, own_name: &str, own: &Option<String>, signal: &str) -> anyhow::Result<Option<Url>> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (name, text) = match (given(own), given(&self.otlp_endpoint)) {
            (Some(own), _) => (own_name, own),
            (None, Some(common)) => {
                ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/{signal}", common.trim_end_matches('/')))
            }
            (None, None) => return Ok(None),
        };
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        // Not shown: it may hold a password.
        url.map(Some).with_context(|| format!("{name} is no http or https address"))
    }
}

fn headers(text: &Secret) -> anyhow::Result<HeaderMap> {
    let entries = text.reveal().split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let parsed = entries.map(|entry| {
        let (name, value) = entry.split_once('=')?;
        let name = HeaderName::try_from(name.trim()).ok()?;
        let mut value = HeaderValue::try_from(percent_decode_str(value.trim()).decode_utf8().ok()?.as_ref()).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    });
    parsed.collect::<Option<HeaderMap>>().context("OTEL_EXPORTER_OTLP_HEADERS has an entry that is not name=value")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Role {
        #[command(flatten)]
        telemetry: TelemetryArguments,
    }

    fn export(arguments: &[&str]) -> anyhow::Result<Option<ExportOptions>> {
        Role::try_parse_from([&["x"], arguments].concat())?.telemetry.export("relay")
    }

    #[test]
    fn without_an_endpoint_nothing_is_sent() {
        assert!(export(&[]).unwrap().is_none());
        assert!(export(&["--otlp-endpoint", ""]).unwrap().is_none(), "empty counts as not set");
        assert!(export(&["--otlp-endpoint", "http://c:4318", "--telemetry-disabled"]).unwrap().is_none());
    }

    #[test]
    fn each_signal_goes_below_the_common_address_or_to_its_own() {
        let both = export(&["--otlp-endpoint", "http://c:4318/base/"]).unwrap().unwrap();
        assert_eq!(both.traces.unwrap().as_str(), "http://c:4318/base/v1/traces");
        assert_eq!(both.metrics.unwrap().as_str(), "http://c:4318/base/v1/metrics");
        assert_eq!(both.service_name, "lablet-relay");
        let traces = export(&["--otlp-traces-endpoint", "https://t/x", "--service-name", "r"]).unwrap().unwrap();
        assert_eq!((traces.traces.unwrap().as_str(), traces.metrics), ("https://t/x", None));
        assert_eq!(traces.service_name, "r");
    }

    #[test]
    fn headers_are_read_and_never_shown() {
        let with = |headers: &str| export(&["--otlp-endpoint", "http://c", "--otlp-headers", headers]);
        let options = with("api-key=s3cret%20two, x-tenant = lab").unwrap().unwrap();
        assert_eq!(options.headers["api-key"], "s3cret two");
        assert_eq!(options.headers["x-tenant"], "lab");
        assert!(!format!("{options:?}").contains("s3cret"), "{options:?}");
        let refused = format!("{:#}", with("s3cret").unwrap_err());
        assert!(refused.contains("OTEL_EXPORTER_OTLP_HEADERS") && !refused.contains("s3cret"), "{refused}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let refused = |arguments: &[&str]| format!("{:#}", export(arguments).unwrap_err());
        assert!(refused(&["--otlp-endpoint", "collector:4318"]).contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let grpc = ["--otlp-endpoint", "http://c:4317", "--otlp-protocol", "grpc"];
        assert!(refused(&grpc).contains("only http/protobuf"));
    }
}
