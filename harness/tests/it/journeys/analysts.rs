//! Analysts read the views with the libraries that they have, by the address that was printed, and run the notebook.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::{Lablet, python_of_documents};
use serde_json::{Value, json};
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
    // One that rests on fewer is superseded when the proposer looks again.
    proposal(&lablet, "ospf", "a proposal that rests on all sessions", |proposal| proposal["sessions"] == 4).await;
    // All read models hold all events, so that nothing moves while four libraries count.
    verify(&lablet).await;
    let url = lablet.ready().analyst_database_url.clone().unwrap();
    let exported = tempfile::tempdir().unwrap();
    export(&lablet, exported.path()).await;
    let folder = exported.path().to_str().unwrap();
    let seen = python_of_documents("analysts.py", &[&url, folder]).await.unwrap();
    let seen: Value = serde_json::from_str(&seen).unwrap();
    for view in EXPORTED {
        let rows = &seen["sqlalchemy"][view];
        for format in FORMATS {
            assert_eq!(seen["files"][view][format], json!([rows, rows, rows, rows]), "{view} as {format}");
        }
    }
    let events = &seen["sqlalchemy"]["events"];
    for format in FORMATS {
        assert_eq!(seen["files"][NOTICES][format], json!([events, events, events, events]), "as {format}");
    }
    let by_sqlalchemy = seen["sqlalchemy"].as_object().unwrap();
    assert_eq!(by_sqlalchemy.len(), 28, "{seen}");
    for library in ["pandas", "polars", "duckdb"] {
        assert_eq!(seen[library], seen["sqlalchemy"], "{library}");
    }
    for view in [
        "session_steps",
        "events",
        "changes",
        "observation_nodes",
        "session_evidence",
        "definition_deviations",
        "proposals",
    ] {
        assert!(by_sqlalchemy[view].as_u64().unwrap() > 0, "{view}: {seen}");
    }

    is_made("views.md", &views(&url).await);
    crate::monitoring::every_query_runs_as_an_analyst(&url).await;

    let notebook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/analysis.ipynb");
    let answers = python_of_documents("notebook.py", &[notebook.to_str().unwrap(), &url]).await.unwrap();
    let answers: Vec<Vec<String>> = serde_json::from_str(&answers).unwrap();
    let answered = |found: &str| answers.iter().flatten().any(|answer| answer.contains(found));
    for column in
        ["unused_unit_hours", "drift_rate", "memory_known", "without_room", "p95_seconds", "lag_events", "to_cores"]
    {
        assert!(answered(column), "{column}: {answers:#?}");
    }
    only_what_is_new_is_exported(&lablet, exported.path()).await;
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

const FORMATS: [&str; 3] = ["parquet", "csv", "jsonl"];
/// Events with what they say, over HTTP.
const NOTICES: &str = "notices";
const EXPORTED: [&str; 4] = ["events", "session_steps", "observations", "definition_revisions"];

/// Exports views in each format, two rows a file. Each run is killed where it happens to be, and another one goes on.
async fn export(lablet: &Lablet, folder: &Path) {
    for format in FORMATS {
        let to = folder.join(format);
        for view in EXPORTED.into_iter().chain([NOTICES]) {
            let kind: &[&str] = if view == NOTICES { &["event", "export"] } else { &["export", view] };
            let options = ["--format", format, "--to", to.to_str().unwrap(), "--rows-per-file", "2"];
            let arguments = [kind, &options].concat();
            let mut process = lablet.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
            while !to.join(view).join("export.json").exists() && process.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            if process.try_wait().unwrap().is_none() {
                process.start_kill().unwrap();
            }
            process.wait().await.unwrap();
            let ended = lablet.answer(&arguments, "").await.unwrap();
            assert_eq!((ended.code, ended.complaint.as_str()), (0, ""), "{ended:?}");
            assert!(ended.out.contains(&format!(" rows of {view} in ")), "{ended:?}");
        }
    }
}

async fn only_what_is_new_is_exported(lablet: &Lablet, folder: &Path) {
    let to = folder.join("parquet");
    let again = ["export", "events", "--to", to.to_str().unwrap()];
    let nothing = lablet.answer(&again, "").await.unwrap();
    assert!(nothing.code == 0 && nothing.out.starts_with("0 rows of events in 0 files"), "{nothing:?}");
    lablet.define("new-since").await.unwrap();
    let one = lablet.answer(&again, "").await.unwrap();
    assert!(one.code == 0 && one.out.starts_with("1 rows of events in 1 file,"), "{one:?}");
    let unknown = lablet.answer(&["export", "secrets", "--to", to.to_str().unwrap()], "").await.unwrap();
    assert_eq!(unknown.code, 3, "{unknown:?}");
}
