//! What collectors and scrapers see of a Lablet: one trace from a request to its last effect, and every role's metrics.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use harness::{Lablet, LabletOptions, eventually};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::outcomes::{credentials, simulator};
use super::{SOON, options};
use crate::otlp_receiver::{OtlpReceiver, Span, tree};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Targets of webhooks at the receiver.
fn targets(receiver: &OtlpReceiver, folder: &Path) -> String {
    let file = folder.join("webhooks.toml");
    let target = format!(
        "[booking]\nurl = \"{}/webhook\"\nsecret_files = [\"booking.secret\"]\n\
         types = [\"io.lablet.lablet_session.resources_observed.v1\"]\nstart = \"beginning\"\nallow = [\"127.0.0.1\"]\nallow_http = true\nhandshake = false\n",
        receiver.url()
    );
    std::fs::write(&file, target).unwrap();
    std::fs::write(folder.join("booking.secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_trace_leads_from_a_request_to_the_rows_and_to_the_webhook() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = OtlpReceiver::start().await;
    let (simulator, lab) = simulator().await;
    let webhooks = targets(&receiver, folder.path());
    let mut environment = credentials(&simulator, folder.path());
    let telemetry = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1024"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("LABLET_WEBHOOKS", &webhooks),
    ];
    environment.extend(telemetry.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let lablet = Lablet::start(LabletOptions { environment, ..options() }).await.unwrap();
    lablet.define("ospf").await.unwrap();
    lablet.register_worker("cml-1", &simulator.url()).await.unwrap();
    lablet.running_session("s1", "ospf", "cml-1", &lab).await.unwrap();

    let asked = reqwest::Client::new()
        .post(format!("{}/api/lablet-sessions/s1/observe-resources", lablet.ready().http))
        .bearer_auth(&lablet.ready().admin_token)
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), StatusCode::ACCEPTED);
    let shown = Cell::new(0);
    let spans = eventually("the whole trace", SOON, || async {
        let spans = receiver.trace(TRACE);
        // The last that is printed is the whole one, or how far it came.
        if shown.replace(spans.len()) != spans.len() {
            println!("{}missing: {:?}\n", tree(&spans), missing(&spans));
        }
        (missing(&spans).is_empty() && is_connected(&spans)).then_some(spans)
    })
    .await;
    let root = &spans[0];
    assert_eq!((root.parent_id.as_str(), root.kind, root.service.as_str()), (CALLER, SpanKind::Server, "lablet-up"));
    assert_eq!(root.attribute("http.response.status_code"), Some("202"));
    assert!(!spans.iter().any(|span| span.is_error), "{spans:#?}");

    // The target is told of the request that brought it the event.
    let delivery = spans.iter().find(|span| span.attribute("webhook").is_some()).unwrap();
    let told = receiver.webhooks()[0].get("traceparent").unwrap().to_str().unwrap().to_owned();
    assert_eq!(told, format!("00-{TRACE}-{}-01", delivery.span_id));
    assert_eq!(receiver.headers().unwrap()["api-key"], "s3cret");
    let log = lablet.log();
    assert!(log.lines().any(|line| line.contains("answered") && line.ends_with(&format!("trace_id={TRACE}"))), "{log}");
    assert!(!log.contains("s3cret"), "{log}");

    // The same metrics go to the collector as to Prometheus.
    let shown = names(&metrics(&lablet.ready().http).await);
    eventually("all metrics at the collector", SOON, || async { shown.is_subset(&receiver.metrics()).then_some(()) })
        .await;
    every_role_is_scraped(&lablet, &webhooks, folder.path()).await;
    requests_go_on_while_the_collector_hangs(&lablet, &receiver).await;
    lablet.stop().await.unwrap();
}

const OBSERVED: &str = "lablet_session.resources_observed";

/// What has to be in the trace: a span's name, and one of its attributes.
const EXPECTED: [(&str, &str, &str); 11] = [
    ("POST /api/lablet-sessions/{id}/observe-resources", "http.request.method", "POST"),
    ("command.lablet_session.request_resource_observation", "session.id", "s1"),
    ("log.append", "db.system.name", "postgresql"),
    ("send LABLET_EVENTS", "messaging.system", "nats"),
    ("controller.request", "messaging.system", "nats"),
    ("cml nodes", "peer.service", "cml"),
    ("controller.report", "messaging.system", "nats"),
    ("process record_resource_observation", "messaging.system", "nats"),
    ("project sessions", "event.type", OBSERVED),
    ("project observations", "event.type", OBSERVED),
    ("POST", "http.response.status_code", "204"),
];

/// What is not there yet.
fn missing(spans: &[Span]) -> Vec<&'static str> {
    let is_there = |(name, attribute, value): &(&str, &str, &str)| {
        spans.iter().any(|span| span.name == *name && span.attribute(attribute) == Some(value))
    };
    EXPECTED.iter().filter(|expected| !is_there(expected)).map(|(name, ..)| *name).collect()
}

/// Whether every span but the first is below another one of the trace.
fn is_connected(spans: &[Span]) -> bool {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    spans.iter().all(|span| span.parent_id == CALLER || ids.contains(span.parent_id.as_str()))
}

async fn metrics(http: &str) -> String {
    reqwest::get(format!("{http}/metrics")).await.unwrap().text().await.unwrap()
}

/// The names of metrics in Prometheus' text.
fn names(exposition: &str) -> BTreeSet<String> {
    let types = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

/// A role in a process of its own.
struct Role {
    name: &'static str,
    http: String,
    _process: Child,
}

impl Role {
    async fn start(lablet: &Lablet, name: &'static str, webhooks: &str) -> Self {
        let ready = lablet.ready();
        let mut process = Command::new(lablet.program())
            .arg(name)
            .env("LABLET_METRICS_ADDRESS", "127.0.0.1:0")
            .env("LABLET_NATS_URL", &ready.nats_url)
            .env("LABLET_LOG_FORMAT", "json")
            .envs((name != "control").then_some(("LABLET_DATABASE_URL", &ready.database_url)))
            .envs((name == "deliver").then_some(("LABLET_WEBHOOKS", webhooks)))
            .env("LABLET_GATEWAY_URL", &ready.http)
            .env("LABLET_INTERNAL_API_KEY", &ready.internal_api_key)
            .envs([("LABLET_CML_USERNAME", "admin"), ("LABLET_CML_PASSWORD", "none"), ("LABLET_CML_HOSTS", "nowhere")])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let http = tokio::time::timeout(SOON, async {
            loop {
                let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("{name} ended"));
                let line: Value = serde_json::from_str(&line).unwrap();
                if let Some(http) = line["http"].as_str() {
                    return http.to_owned();
                }
            }
        });
        let http = http.await.unwrap();
        // Nobody else reads them.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { name, http, _process: process }
    }
}

/// Each role says that it is ready, and Prometheus takes what each shows.
async fn every_role_is_scraped(lablet: &Lablet, webhooks: &str, folder: &Path) {
    let mut roles = Vec::new();
    for (name, shows) in [
        ("relay", "lablet_log_visibility_lag_seconds"),
        ("project", "lablet_projection_lag_events"),
        ("deliver", "lablet_webhook_attempts_total"),
        ("control", "lablet_nats_connected"),
    ] {
        let role = Role::start(lablet, name, webhooks).await;
        let readiness = eventually("the role is ready", SOON, || async {
            let answer = reqwest::get(format!("{}/readyz", role.http)).await.unwrap();
            let is_ready = answer.status() == StatusCode::OK;
            let readiness: Value = answer.json().await.unwrap();
            (is_ready && readiness["status"] == "ok").then_some(readiness)
        })
        .await;
        assert_eq!(readiness["role"], name);
        assert_eq!(reqwest::get(format!("{}/livez", role.http)).await.unwrap().status(), StatusCode::OK);
        let shown = metrics(&role.http).await;
        for metric in [shows, "lablet_build_info", "process_resident_memory_bytes"] {
            assert!(names(&shown).contains(metric), "{name} does not show {metric}:\n{shown}");
        }
        let elsewhere = reqwest::Client::new()
            .get(format!("{}/metrics", role.http))
            .header("x-forwarded-for", "203.0.113.7")
            .send()
            .await
            .unwrap();
        assert_eq!(elsewhere.status(), StatusCode::FORBIDDEN);
        roles.push(role);
    }
    let scraped =
        roles.iter().map(|role| (role.name, role.http.as_str())).chain([("up", lablet.ready().http.as_str())]);
    let jobs: String = scraped
        .map(|(name, http)| {
            let address = http.trim_start_matches("http://");
            format!("- {{job_name: {name}, static_configs: [{{targets: ['{address}']}}]}}\n")
        })
        .collect();
    let prometheus =
        Prometheus::start(&format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}"), folder).await;
    eventually("Prometheus has scraped every role", SOON, || async {
        let builds = prometheus.query("up == 1 and on (instance) lablet_build_info").await;
        (builds.len() == 5).then_some(())
    })
    .await;
    let answered = "sum(lablet_http_requests_total{job=\"up\", status=\"202\"})";
    assert_eq!(prometheus.query(answered).await[0]["value"][1], "1");
}

/// A Prometheus with a folder of its own.
struct Prometheus {
    http: String,
    _process: Child,
}

impl Prometheus {
    async fn start(configuration: &str, folder: &Path) -> Self {
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, configuration).unwrap();
        // It does not say which port it took, so that it has to be told one.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { http: format!("http://{address}"), _process: process }
    }

    /// The answers to a query; none while it does not listen.
    async fn query(&self, query: &str) -> Vec<Value> {
        let mut url = url::Url::parse(&format!("{}/api/v1/query", self.http)).unwrap();
        url.query_pairs_mut().append_pair("query", query);
        let Ok(answer) = reqwest::get(url).await else { return Vec::new() };
        let answer: Value = answer.json().await.unwrap_or_default();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

/// A collector that does not answer holds up no request; what the queue does not hold is counted.
async fn requests_go_on_while_the_collector_hangs(lablet: &Lablet, receiver: &OtlpReceiver) {
    receiver.hang();
    let dropped = "lablet_telemetry_spans_total{outcome=\"dropped\"} ";
    eventually("spans are dropped", SOON, || async {
        for _ in 0..200 {
            lablet.get("/api/lablet-sessions/s1").await.unwrap();
        }
        let shown = metrics(&lablet.ready().http).await;
        shown.lines().any(|line| line.starts_with(dropped)).then_some(())
    })
    .await;
}
