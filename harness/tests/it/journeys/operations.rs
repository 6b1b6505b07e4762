//! Operators' commands.

use serde_json::json;

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
    assert!(done, "{healthy}");
    lablet.stop().await.unwrap();
}
