//! Internal services report observations, over NATS and HTTP; admins, analysts and other services see them.

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::webhooks::WebhookTargets;
use super::{SOON, options, verify, with_a_running_session, with_a_running_session_under};
use harness::{Lablet, LabletOptions, eventually, python};

/// The bus, as a service meets it.
pub(crate) async fn jetstream(lablet: &Lablet) -> async_nats::jetstream::Context {
    let client = async_nats::connect(&lablet.ready().nats_url).await;
    // The library does not take user and password out of an address by itself.
    let client = match client {
        Ok(client) => client,
        Err(_) => {
            let address: async_nats::ServerAddr = lablet.ready().nats_url.parse().unwrap();
            let (user, password) = (address.username().unwrap().to_owned(), address.password().unwrap().to_owned());
            async_nats::ConnectOptions::with_user_and_password(user, password).connect(address).await.unwrap()
        }
    };
    async_nats::jetstream::new(client)
}

#[tokio::test]
async fn an_observation_sent_three_times_is_recorded_once_and_seen_everywhere() {
    let webhooks = WebhookTargets::start().await;
    let environment = vec![("LABLET_WEBHOOKS".to_owned(), webhooks.file())];
    let lablet = with_a_running_session_under(LabletOptions { environment, ..options() }).await;
    python("report_observation.py", &[&lablet.ready().nats_url, "s1"]).await.unwrap();

    let by_http = json!({
        "observed_resources": {
            "observed_at": "2026-03-01T10:10:00Z", "observer": "booking",
            "total_cpu_cores": 2.0, "total_memory_mb": 1536.0, "actual_node_count": 1
        },
        "observed_ports": { "PC_serial": 5041 }
    });
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    for _ in 0..3 {
        let answer = lablet.post(path, by_http.clone()).await.unwrap();
        assert_eq!(answer["session_id"], "s1");
        assert_eq!(answer["port_drift_detected"], false);
    }

    // HTTP: the aggregate of the definition.
    let observed = eventually("three observations of the definition", SOON, || async {
        let answer = lablet.get("/api/lablet-definitions/ospf/resource-observations").await.unwrap();
        (answer["observation_count"] == 3).then_some(answer)
    })
    .await;
    assert_eq!(observed["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(observed["aggregate"]["memory_mb"]["latest"], 1536.0);
    assert_eq!(observed["aggregate"]["storage_mb"]["max"], Value::Null, "unknown is not zero");
    assert_eq!(observed["aggregate"]["port_drift_sessions"], 0);

    // SQL: the analysts' views.
    let url = lablet.ready().analyst_database_url.clone().unwrap();
    let mut analyst = PgConnection::connect(&url).await.unwrap();
    let row = sqlx::query("SELECT count(*) AS observations FROM analytics_v1.observations WHERE session_id = 's1'")
        .fetch_one(&mut analyst)
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>("observations"), 3);
    let refused = sqlx::query("SELECT * FROM public.events").execute(&mut analyst).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    analyst.close().await.unwrap();

    // The bus: CloudEvents that another library accepts, each once, in order.
    let subject = "lablet.events.lablet_session.resources_observed.s1";
    let events = python("read_events.py", &[&lablet.ready().nats_url, subject, "3"]).await.unwrap();
    let events: Vec<Value> = serde_json::from_str(&events).unwrap();
    assert!(events.iter().all(|event| event["type"] == "io.lablet.lablet_session.resources_observed.v1"));
    assert!(events.iter().all(|event| event["source"] == "/lablet/lablet_session" && event["subject"] == "s1"));
    let positions: Vec<&str> = events.iter().map(|event| event["position"].as_str().unwrap()).collect();
    assert!(positions.is_sorted());
    let id = events[0]["id"].as_str().unwrap();
    let event = lablet.get(&format!("/api/events/{id}")).await.unwrap();
    assert_eq!(event["position"], events[0]["position"]);

    // Webhooks: the same events, signed, for a program of others; and what operators do with its targets.
    webhooks.have(&events).await;
    webhooks.obey_operators(&lablet).await;

    verify(&lablet).await;
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_no_command_becomes_a_dead_letter_with_its_reason() {
    let lablet = with_a_running_session().await;
    let jetstream = jetstream(&lablet).await;
    let event = |kind: &str, data: Value| json!({"specversion": "1.0", "id": kind, "source": "/grading", "type": format!("io.lablet.command.{kind}.v1"), "data": data});
    let absurd = json!({"session_id": "s1", "observed_resources": {"total_cpu_cores": -4}});
    for (command, payload) in [
        ("record_resource_observation", b"this is no CloudEvent".to_vec()),
        ("make_coffee", event("make_coffee", json!({})).to_string().into_bytes()),
        ("record_resource_observation", event("record_resource_observation", absurd).to_string().into_bytes()),
    ] {
        let subject = format!("lablet.commands.grading.{command}");
        jetstream.publish(subject, payload.into()).await.unwrap().await.unwrap();
    }
    let letters = eventually("three dead letters", SOON, || async {
        let page = lablet.get("/api/dead-letters").await.unwrap();
        let letters = page["items"].as_array().cloned().unwrap_or_default();
        (letters.len() == 3).then_some(letters)
    })
    .await;
    let reasons: Vec<&str> = letters.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("total_cpu_cores")), "{reasons:?}");
    let session = lablet.get("/api/lablet-sessions/s1").await.unwrap();
    assert_eq!(session["observation_count"], 0);
    lablet.stop().await.unwrap();
}
