//! Analysts read the views with the libraries that they have, by the address that was printed.

use harness::python_with_its_packages;
use serde_json::Value;

use super::advice::{ended, proposal, with_definitions};
use super::verify;

#[tokio::test]
async fn sqlalchemy_pandas_polars_and_duckdb_read_every_view() {
    let lablet = with_definitions(&["ospf"]).await;
    for (number, memory_mb) in [1500.0, 1600.0, 1700.0, 4000.0].into_iter().enumerate() {
        ended(&lablet, &format!("s{number}"), "ospf", memory_mb).await;
    }
    proposal(&lablet, "ospf", "a proposal", |_| true).await;
    // All read models hold all events, so that nothing moves while four libraries count.
    verify(&lablet).await;
    let url = lablet.ready().analyst_database_url.clone().unwrap();
    let seen: Value = serde_json::from_str(&python_with_its_packages("analysts", &[&url]).await.unwrap()).unwrap();
    let by_sqlalchemy = seen["sqlalchemy"].as_object().unwrap();
    assert_eq!(by_sqlalchemy.len(), 25, "{seen}");
    for library in ["pandas", "polars", "duckdb"] {
        assert_eq!(seen[library], seen["sqlalchemy"], "{library}");
    }
    for view in
        ["session_steps", "events", "observation_nodes", "session_evidence", "definition_deviations", "proposals"]
    {
        assert!(by_sqlalchemy[view].as_u64().unwrap() > 0, "{view}: {seen}");
    }
    lablet.stop().await.unwrap();
}
