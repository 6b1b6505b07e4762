use std::collections::BTreeSet;
use std::path::Path;

use chrono::TimeZone as _;
use cloudevents::{AttributesReader as _, Event};
use serde_json::{Value, json};

use super::*;
use crate::log::Metadata;

/// Every sample of the domain: (event type, version, payload).
fn samples() -> Vec<(String, String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/samples");
    let mut samples: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let name = name.split('+').next().unwrap();
            let (event_type, version) = name.rsplit_once(".v").unwrap();
            let payload = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            (event_type.to_owned(), version.to_owned(), payload)
        })
        .collect();
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    samples
}

fn position(number: u64) -> Position {
    format!("0000000001-{number:020}-{number:019}").parse().unwrap()
}

fn recorded(event_type: &str, event_version: &str, payload: &Value) -> RecordedEvent {
    RecordedEvent {
        event_id: Uuid::from_u128(7),
        position: position(12),
        aggregate_type: event_type.split('.').next().unwrap().to_owned(),
        aggregate_id: "a-1".to_owned(),
        sequence: 3,
        event_type: event_type.to_owned(),
        event_version: event_version.to_owned(),
        payload: domain::RawJson::from(payload),
        metadata: Metadata {
            actor: Some("admin:ada".to_owned()),
            correlation_id: Some("undertaking-1".to_owned()),
            causation_id: None,
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        },
        recorded_at: Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap(),
    }
}

fn announced(event_type: &str, event_version: &str, payload: &Value) -> (Notice, Event) {
    let recorded = recorded(event_type, event_version, payload);
    let notice = announce(&recorded, position(11), &PublicUrl::default()).unwrap();
    assert!(notice.payload.len() <= LARGEST_PAYLOAD, "{} bytes", notice.payload.len());
    let event = cloud_event::read(Some(&notice.headers), &notice.payload, streams::LARGEST_EVENT).unwrap();
    (notice, event)
}

#[test]
fn every_event_version_has_a_notice_with_its_own_data_and_a_kind() {
    let kinds: BTreeSet<String> = schemas().iter().map(NoticeSchema::cloud_event_type).collect();
    let mut told = BTreeSet::new();
    for (event_type, version, payload) in samples() {
        let (notice, event) = announced(&event_type, &version, &payload);
        assert_eq!(event.extension("dataref"), None, "{event_type} was not understood");
        assert_eq!(notice.subject, format!("lablet.events.{event_type}.a-1"));
        told.insert(event.ty().to_owned());
    }
    assert_eq!(told, kinds);
}

#[test]
fn attributes_keep_to_the_rules_of_cloud_events() {
    for (event_type, version, payload) in samples() {
        let (notice, _) = announced(&event_type, &version, &payload);
        let Value::Object(attributes) = serde_json::from_slice(&notice.payload).unwrap() else { panic!("no object") };
        for (name, value) in attributes {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{name}");
            assert!(name == "data" || value.is_string(), "{name} is {value}");
        }
    }
}

#[test]
fn the_wire_form_of_a_notice() {
    let payload = json!({
        "type": "lablet_session.created.v1", "session_id": "s-1", "definition_id": "d-1", "definition_version": "1.2.0",
        "definition_revision": 3, "owner_id": "ada", "timeslot": null, "created_at": "2026-03-01T11:59:59Z"
    });
    let (notice, _) = announced("lablet_session.created", "1", &payload);
    let wire: Value = serde_json::from_slice(&notice.payload).unwrap();
    // The order of members means nothing, and differs with what else of the workspace is built.
    insta::with_settings!({ sort_maps => true }, {
        insta::assert_json_snapshot!(wire, @r#"
    {
      "actor": "admin:ada",
      "aggregatesequence": "3",
      "correlationid": "undertaking-1",
      "data": {
        "created_at": "2026-03-01T11:59:59Z",
        "definition_id": "d-1",
        "definition_revision": 3,
        "definition_version": "1.2.0",
        "owner_id": "ada",
        "session_id": "s-1",
        "status": "pending",
        "timeslot": null
      },
      "datacontenttype": "application/json",
      "dataschema": "http://127.0.0.1:8080/api/schemas/io.lablet.lablet_session.created.v1.0.json",
      "id": "00000000-0000-0000-0000-000000000007",
      "position": "0000000001-00000000000000000012-0000000000000000012",
      "previousposition": "0000000001-00000000000000000011-0000000000000000011",
      "recordedtime": "2026-03-01T12:00:00.000000Z",
      "source": "/lablet/lablet_session",
      "specversion": "1.0",
      "subject": "a-1",
      "time": "2026-03-01T11:59:59Z",
      "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "type": "io.lablet.lablet_session.created.v1"
    }
    "#);
    });
    let mut headers: Vec<String> =
        notice.headers.iter().map(|(name, values)| format!("{name}: {}", values[0].as_str())).collect();
    headers.sort();
    insta::assert_snapshot!(headers.join("\n"), @r"
    Content-Type: application/cloudevents+json
    Nats-Msg-Id: 00000000-0000-0000-0000-000000000007
    ");
}

fn large_observation() -> Value {
    let (_, _, mut payload) =
        samples().into_iter().find(|(event_type, ..)| event_type == "lablet_session.resources_observed").unwrap();
    let node = payload["observed_resources"]["nodes"][0].clone();
    payload["observed_resources"]["nodes"] = (0..400).map(|_| node.clone()).collect();
    payload["observed_resources"]["actual_node_count"] = 400.into();
    payload
}

#[test]
fn a_large_observation_has_no_data_and_says_where_it_is() {
    let (notice, event) = announced("lablet_session.resources_observed", "1", &large_observation());
    assert_eq!(
        event.extension("dataref").unwrap().to_string(),
        "http://127.0.0.1:8080/api/events/00000000-0000-0000-0000-000000000007/data"
    );
    assert!(event.data().is_none(), "absent, and never half of it");
    let wire: Value = serde_json::from_slice(&notice.payload).unwrap();
    assert_eq!(wire.get("data"), None, "absent, and not null");
}

#[test]
fn the_data_behind_the_reference_is_what_a_notice_without_bound_would_have() {
    let payload = large_observation();
    let event = recorded("lablet_session.resources_observed", "1", &payload);
    let behind: Value = serde_json::from_str(data(&event).unwrap().unwrap().get()).unwrap();
    assert_eq!(behind["observed_resources"]["nodes"].as_array().unwrap().len(), 400);
    assert_eq!(behind["observed_ports"], payload["observed_ports"]);
    for (event_type, version, payload) in samples() {
        let (_, event) = announced(&event_type, &version, &payload);
        let behind = data(&recorded(&event_type, &version, &payload)).unwrap().unwrap();
        let behind: Value = serde_json::from_str(behind.get()).unwrap();
        assert_eq!(behind, cloud_event::json_data(&event).unwrap(), "{event_type}");
    }
}

#[test]
fn an_event_of_a_newer_version_is_announced_by_reference() {
    let payload = json!({"type": "lablet_session.upgraded.v7"});
    let (_, event) = announced("lablet_session.upgraded", "7", &payload);
    assert_eq!(event.ty(), "io.lablet.lablet_session.upgraded.v7");
    assert!(event.extension("dataref").is_some() && event.data().is_none());
    assert!(data(&recorded("lablet_session.upgraded", "7", &payload)).unwrap().is_none());
}

#[test]
fn only_an_absolute_url_is_public() {
    assert_eq!(PublicUrl::parse("https://lablet.example.com/").unwrap().as_str(), "https://lablet.example.com");
    for bad in ["", "lablet.example.com", "/api", "ftp://a", "http://", "http://a b", "http://a?b"] {
        assert!(PublicUrl::parse(bad).is_err(), "{bad:?}");
    }
}
