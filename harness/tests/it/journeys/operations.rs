//! Operators' commands.

use std::process::Stdio;

use harness::{Lablet, LabletOptions, eventually};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{SOON, options, verify, with_a_controller_that_finds_nobody, with_a_running_session};

#[tokio::test]
async fn every_read_model_is_rebuilt_to_the_same_rows() {
    let lablet = with_a_running_session().await;
    for index in 0..5 {
        let report = json!({"observed_resources": {"observer": format!("o{index}"), "total_memory_mb": 100 * index}, "observed_ports": {}});
        lablet.post("/api/internal/lablet-sessions/s1/resource-observations", report).await.unwrap();
    }
    lablet.post("/api/lablet-sessions/s1/observe-resources", json!({})).await.unwrap();
    verify(&lablet).await;
    let pages = [
        "/api/lablet-sessions/s1",
        "/api/lablet-definitions/ospf",
        "/api/lablet-definitions/ospf/resource-observations",
        "/api/observation-requests",
        "/api/workers/cml-1",
    ];
    let mut before = Vec::new();
    for page in pages {
        before.push(lablet.get(page).await.unwrap());
    }
    for model in projections::ReadModel::ALL {
        let (done, said) = lablet.run(&["rebuild", model.name()]).await.unwrap();
        assert!(done, "{model}: {said}");
    }
    for (page, before) in pages.into_iter().zip(before) {
        assert_eq!(lablet.get(page).await.unwrap(), before, "{page}");
    }
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn prometheus_finds_nothing_to_mend_in_the_metrics() {
    // A controller that finds nobody at the worker measures, too.
    let lablet = with_a_controller_that_finds_nobody().await;
    lablet.post("/api/lablet-sessions/s1/observe-resources", json!({})).await.unwrap();
    let metrics = eventually("the controller has answered the request", SOON, async || {
        let metrics = metrics(&lablet).await;
        metrics.contains("lablet_observation_requests_total{").then_some(metrics)
    })
    .await;
    for line in [
        "lablet_sessions{status=\"running\"} 1",
        "lablet_sessions{status=\"archived\"} 0",
        "lablet_dead_letters_open{kind=\"command\"} 0",
        "lablet_projection_lag_seconds{projection=\"sessions\"} 0",
        "lablet_database_reachable 1",
        "lablet_nats_connected 1",
        "lablet_attention_affected{kind=\"command_dead_letters\"} 0",
        "lablet_build_info{version=",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
    }
    crate::monitoring::metrics_of_processes_are_in(&metrics);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).await.unwrap();
    let found = promtool.wait_with_output().await.unwrap();
    let said = [found.stdout, found.stderr].concat();
    assert!(found.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    lablet.stop().await.unwrap();
}

async fn metrics(lablet: &Lablet) -> String {
    let answer = reqwest::get(format!("{}/metrics", lablet.ready().http)).await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test]
async fn polls_that_succeed_are_no_lines_of_the_log() {
    let lablet = with_a_running_session().await;
    lablet.get("/api/lablet-sessions").await.unwrap();
    lablet.get("/api/internal/lablet-sessions?status=running").await.unwrap();
    let unknown = lablet.get("/api/internal/workers/nobody/shortage").await;
    assert!(unknown.is_err(), "{unknown:?}");
    let log = eventually("what was refused is logged", SOON, async || {
        Some(lablet.log()).filter(|log| log.contains("/api/internal/workers/nobody/shortage"))
    })
    .await;
    let answered: Vec<&str> = log.lines().filter(|line| line.contains("answered")).collect();
    assert!(answered.iter().any(|line| line.contains("http.path=\"/api/lablet-sessions\"")), "{answered:?}");
    assert!(!answered.iter().any(|line| line.contains("http.path=\"/api/internal/lablet-sessions\"")), "{answered:?}");
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_sender_wrote_is_no_line_of_its_own_in_the_log_of_the_process() {
    const FORGED: &str = "2026-11-27T00:00:00.000000Z  INFO all is well";
    for format in ["text", "json"] {
        let environment = vec![("LABLET_LOG_FORMAT".to_owned(), format.to_owned())];
        let lablet = Lablet::start(LabletOptions { environment, ..options() }).await.unwrap();
        let text = format!("x\n{FORGED}\r\u{1b}[2J");
        let command = json!({
            "specversion": "1.0", "id": "1", "source": "/grading", "subject": text,
            "type": "io.lablet.command.record_resource_observation.v1", "datacontenttype": "application/json",
            "data": { "observed_resources": { "observer": text }, "observed_ports": { text: 1 } }
        });
        let bus = super::services::jetstream(&lablet).await;
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Content-Type", "application/cloudevents+json");
        let subject = "lablet.commands.grading.record_resource_observation";
        bus.publish_with_headers(subject, headers, command.to_string().into()).await.unwrap().await.unwrap();
        let log = eventually("the refusal in the log", SOON, || async {
            let log = lablet.log();
            log.contains("command dead-lettered").then_some(log)
        })
        .await;
        for line in log.lines() {
            assert!(!line.starts_with(FORGED) && !line.contains('\u{1b}'), "{line}");
            assert!(format == "text" || serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
        }
        lablet.stop().await.unwrap();
    }
}

/// Has the read model of workers park one, whose id is `w-new`; the event that it cannot apply.
pub(crate) async fn park_a_worker(lablet: &Lablet) -> String {
    let mut connection = PgConnection::connect(&lablet.ready().database_url).await.unwrap();
    // As a newer release would have written it.
    let append =
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        VALUES ('worker', 'w-new', 1, 'worker.imagined', '1', '{\"type\": \"worker.imagined.v1\"}', '{}')
        RETURNING event_id::text";
    let event: String = sqlx::query_scalar(append).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    event
}

#[tokio::test]
async fn the_doctor_names_what_is_parked() {
    let lablet = with_a_running_session().await;
    let event = park_a_worker(&lablet).await;
    let said = eventually("what doctor says", SOON, || async {
        let (_, said) = lablet.run(&["doctor"]).await.unwrap();
        said.contains("parked in").then_some(said)
    })
    .await;
    assert!(said.contains(&format!("parked in workers, 1 in all: w-new at event {event}")), "{said}");
    assert!(said.contains("→ lablet dead-letters list"), "{said}");
    assert_eq!(lablet.answer(&["doctor"], "").await.unwrap().code, 1);
    assert_eq!(lablet.answer(&["doctor", "--fail-on", "error"], "").await.unwrap().code, 1);
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn an_analyst_who_holds_everybody_up_is_named_by_doctor_and_ended() {
    let environment = vec![("LABLET_LONGEST_FOREIGN_TRANSACTION_SECONDS".to_owned(), "20".to_owned())];
    let lablet = Lablet::start(LabletOptions { environment, ..options() }).await.unwrap();
    // Their sessions are read-only unless they say otherwise.
    let mut analyst = PgConnection::connect(lablet.ready().analyst_database_url.as_ref().unwrap()).await.unwrap();
    for statement in ["BEGIN READ WRITE", "ALTER ROLE lablet_analyst SET work_mem = '1MB'"] {
        sqlx::raw_sql(statement).execute(&mut analyst).await.unwrap();
    }
    lablet.define("ospf").await.unwrap();

    let said = eventually("what doctor says", SOON, || async {
        let (healthy, said) = lablet.run(&["doctor"]).await.unwrap();
        (!healthy && said.contains("readers do not see")).then_some(said)
    })
    .await;
    assert!(
        said.contains("readers do not see 1 of the committed events") && said.contains("role \"lablet_analyst\""),
        "{said}"
    );
    assert!(said.contains("→ psql -c \"SELECT pg_terminate_backend("), "{said}");
    assert_eq!(lablet.get("/readyz").await.unwrap()["status"], "degraded");

    let operations = eventually("the end of the analyst's session", 2 * SOON, || async {
        let operations = lablet.get("/api/operations").await.unwrap();
        (operations["watcher"]["ended_sessions"] == 1 && operations["visibility_lag_events"] == 0).then_some(operations)
    })
    .await;
    assert_eq!(operations["watcher"]["last_ended"]["role_name"], "lablet_analyst");
    eventually("the definition", SOON, || async {
        let listed = lablet.get("/api/lablet-definitions").await.unwrap();
        (listed["items"][0]["id"] == "ospf").then_some(())
    })
    .await;
    let (done, healthy) = lablet.run(&["doctor"]).await.unwrap();
    assert!(done, "nothing is left to wish for: {healthy}");
    lablet.stop().await.unwrap();
}
