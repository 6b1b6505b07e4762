//! Analysts read the views with the libraries that they have, by the address that was printed, and run the notebook.

use std::path::Path;

use harness::python_of_documents;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::advice::{ended, proposal, with_definitions};
use super::verify;
use crate::documents::is_made;

#[tokio::test]
async fn sqlalchemy_pandas_polars_and_duckdb_read_every_view_and_the_notebook_answers_its_questions() {
    let lablet = with_definitions(&["ospf"]).await;
    for (number, memory_mb) in [1500.0, 1600.0, 1700.0, 4000.0].into_iter().enumerate() {
        ended(&lablet, &format!("s{number}"), "ospf", memory_mb).await;
    }
    proposal(&lablet, "ospf", "a proposal", |_| true).await;
    // All read models hold all events, so that nothing moves while four libraries count.
    verify(&lablet).await;
    let url = lablet.ready().analyst_database_url.clone().unwrap();
    let seen: Value = serde_json::from_str(&python_of_documents("analysts.py", &[&url]).await.unwrap()).unwrap();
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

    is_made("views.md", &views(&url).await);

    let notebook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/analysis.ipynb");
    let answers = python_of_documents("notebook.py", &[notebook.to_str().unwrap(), &url]).await.unwrap();
    let answers: Vec<Vec<String>> = serde_json::from_str(&answers).unwrap();
    let answered = |found: &str| answers.iter().flatten().any(|answer| answer.contains(found));
    for column in
        ["unused_unit_hours", "drift_rate", "memory_known", "without_room", "p95_seconds", "lag_events", "to_cores"]
    {
        assert!(answered(column), "{column}: {answers:#?}");
    }
    lablet.stop().await.unwrap();
}

/// The page of all views, as their comments describe them.
async fn views(url: &str) -> String {
    let mut analyst = PgConnection::connect(url).await.unwrap();
    let columns = sqlx::query(
        "SELECT c.relname AS view, obj_description(c.oid) AS about_view, a.attname AS name,
                format_type(a.atttypid, a.atttypmod) AS type, col_description(c.oid, a.attnum) AS about
           FROM pg_class c
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          WHERE c.relnamespace = 'analytics_v1'::regnamespace AND c.relkind = 'v'
          ORDER BY c.relname, a.attnum",
    )
    .fetch_all(&mut analyst)
    .await
    .unwrap();
    let mut page = String::from(
        "# Views\n\nEvery view of the schema `analytics_v1`, from the comments that the database has of them \
         (`\\d+ analytics_v1.sessions`); [analysts.md](analysts.md) says how to use them.\n\n\
         This page is made from the database: `UPDATE_SNAPSHOTS=1 cargo test -p harness` writes it again.\n",
    );
    let mut last = String::new();
    for column in columns {
        let (view, about): (String, String) = (column.get("view"), column.get("about"));
        if view != last {
            let about_view: String = column.get("about_view");
            page.push_str(&format!("\n## {view}\n\n{about_view}\n\n| column | type | what it is |\n|---|---|---|\n"));
            last = view;
        }
        let (name, kind): (String, String) = (column.get("name"), column.get("type"));
        page.push_str(&format!("| `{name}` | {kind} | {} |\n", about.replace('|', "\\|")));
    }
    analyst.close().await.unwrap();
    page
}
