//! Operators' commands.

use std::time::Duration;

use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::{verify, with_a_running_session};

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
async fn the_client_commands_show_what_there_is() {
    let lablet = with_a_running_session().await;
    let (done, listed) = lablet.run(&["session", "list", "-o", "csv"]).await.unwrap();
    assert!(done && listed.contains("s1,ospf,1.0,running,cml-1"), "{listed}");
    let (done, shown) = lablet.run(&["definition", "show", "ospf", "-o", "json"]).await.unwrap();
    assert!(done && shown.contains("\"memory_gb\": 4"), "{shown}");
    let (done, refused) = lablet.run(&["session", "show", "nobody"]).await.unwrap();
    assert!(!done && refused.contains("404"), "{refused}");
    let (done, healthy) = lablet.run(&["doctor"]).await.unwrap();
    assert!(done && healthy.contains("nothing is parked"), "{healthy}");
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn the_doctor_names_what_is_parked() {
    let lablet = with_a_running_session().await;
    let mut connection = PgConnection::connect(&lablet.ready().database_url).await.unwrap();
    // As a newer release would have written it.
    let append =
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        VALUES ('worker', 'w-new', 1, 'worker.imagined', '1', '{\"type\": \"worker.imagined.v1\"}', '{}')
        RETURNING event_id::text";
    let event: String = sqlx::query_scalar(append).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut said = String::new();
    for _ in 0..600 {
        let (done, shown) = lablet.run(&["doctor"]).await.unwrap();
        said = shown;
        if !done {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(said.contains(&format!("parked in workers, 1 in all: w-new at event {event}")), "{said}");
    lablet.stop().await.unwrap();
}
