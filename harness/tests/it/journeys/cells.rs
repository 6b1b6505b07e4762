//! Two cells, each a Lablet of its own with its own Postgres and bus: one console, and one `analytics_v1` over both.

use std::path::Path;

use harness::{Lablet, LabletOptions, eventually};
use serde_json::{Value, json};
use servers::testing::database;
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};

use super::{SOON, options, verify};
use crate::pages::look_at;

/// A cell with a definition, a worker that nobody answers at, and a running session.
async fn cell(options: LabletOptions, session: &str) -> Lablet {
    let lablet = Lablet::start(options).await.unwrap();
    lablet.define("ospf").await.unwrap();
    lablet.register_worker("cml-1", "https://127.0.0.1:1").await.unwrap();
    lablet.running_session(session, "ospf", "cml-1", "lab-1").await.unwrap();
    lablet
}

/// Names a cell in the console's file, with what the console needs of it beside.
async fn name_cell(folder: &Path, name: &str, region: &str, cell: &Lablet) -> String {
    let token = cell.token("console", "viewer").await.unwrap();
    std::fs::write(folder.join(format!("{name}.token")), token).unwrap();
    std::fs::write(folder.join(format!("{name}.analyst")), cell.ready().analyst_database_url.clone().unwrap()).unwrap();
    format!(
        "[{name}]\nregion = \"{region}\"\ngateway = \"{}\"\ntoken_file = \"{name}.token\"\n\
         analyst_url_file = \"{name}.analyst\"\n\n",
        cell.ready().http
    )
}

#[tokio::test]
async fn two_cells_have_one_console_and_one_set_of_views() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cells.toml");
    let mut west = cell(options(), "west-1").await;
    let west_entry = name_cell(folder.path(), "west", "San Jose", &west).await;
    std::fs::write(&file, &west_entry).unwrap();
    // The console is one of the cells. It learns of itself later: the file is read again, without a restart.
    let environment = vec![("LABLET_CELLS".to_owned(), file.display().to_string())];
    let east = cell(LabletOptions { environment, ..options() }, "east-1").await;
    let east_entry = name_cell(folder.path(), "east", "Frankfurt", &east).await;
    std::fs::write(&file, format!("{east_entry}{west_entry}")).unwrap();
    for cell in [&east, &west] {
        verify(cell).await;
    }

    console_shows(&east, json!([["east", 1, null], ["west", 1, null]])).await;
    let found = east.get("/api/cell-hits?text=west-1").await.unwrap();
    let page = format!("{}/sessions/west-1", west.ready().http.trim_end_matches('/'));
    assert_eq!(found["items"][0]["hits"], json!([]), "{found}");
    assert_eq!(found["items"][1]["hits"][0]["page"], page.as_str(), "{found}");
    let (is_good, table) = east.run(&["cell", "list"]).await.unwrap();
    assert!(is_good && table.contains("San Jose"), "{table}");

    views_show_both(&file, &east).await;

    // A cell that is away takes nothing from the others, and is said to be away.
    let browser = east.browser_of("Ada", "viewer").await.unwrap();
    browser.goto("/cells?text=-1").await.unwrap();
    browser.part("Found in west").await.unwrap().row("west-1").await.unwrap();
    west.kill().await.unwrap();
    console_shows(&east, json!([["east", 1, null], ["west", null, "no connection"]])).await;
    browser.goto("/cells").await.unwrap();
    browser.part("All cells").await.unwrap().row("west").await.unwrap().wait_until_text("no connection").await.unwrap();
    look_at(&browser, "cells").await;
    browser.finish().await.unwrap();
    east.stop().await.unwrap();
}

/// What the console tells of each cell: its name, how many sessions run, and why that is unknown.
async fn console_shows(console: &Lablet, expected: Value) {
    eventually("the console to show the cells as they are", SOON, || async {
        let cells = console.get("/api/cells").await.unwrap();
        let told: Value = cells["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cell| json!([cell["name"], cell["numbers"]["running_sessions"], cell["problem"]]))
            .collect();
        (told == expected).then_some(())
    })
    .await;
}

/// The same statement as in one cell shows all; an analyst of the console's database reads nothing below the views.
async fn views_show_both(file: &Path, console: &Lablet) {
    let views = database(&Migrator { migrations: vec![].into(), ..Migrator::DEFAULT }).await;
    let join = ["analyst", "join-cells", "--cells", file.to_str().unwrap(), "--console-database-url", views.url()];
    for _ in 0..2 {
        let (is_good, said) = console.run(&join).await.unwrap();
        assert!(is_good && said.contains("cell west: "), "{said}");
    }
    let mut reader = PgConnection::connect(views.url()).await.unwrap();
    let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "SELECT s.session_id, s.cell, c.region FROM analytics_v1.sessions s JOIN analytics_v1.cells c USING (cell) ORDER BY 1",
    )
    .fetch_all(&mut reader)
    .await
    .unwrap();
    let row = |session: &str, cell: &str, region: &str| (session.to_owned(), cell.to_owned(), Some(region.to_owned()));
    assert_eq!(rows, [row("east-1", "east", "Frankfurt"), row("west-1", "west", "San Jose")]);
    let uncommented: Vec<(String,)> = sqlx::query_as(
        "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
          WHERE c.relnamespace = 'analytics_v1'::regnamespace AND c.relname <> 'cells'
            AND coalesce(col_description(c.oid, a.attnum), '') = ''",
    )
    .fetch_all(&mut reader)
    .await
    .unwrap();
    assert_eq!(uncommented, []);
    // Every view can be read, whatever its columns are.
    let names: Vec<(String,)> = sqlx::query_as("SELECT viewname::text FROM pg_views WHERE schemaname = 'analytics_v1'")
        .fetch_all(&mut reader)
        .await
        .unwrap();
    assert_eq!(names.len(), 29, "those of a cell, and the cells: {names:?}");
    sqlx::query("SET ROLE lablet_analyst").execute(&mut reader).await.unwrap();
    for (name,) in names {
        let count = format!("SELECT count(*) FROM (SELECT * FROM analytics_v1.{name} OFFSET 0) AS every_row");
        sqlx::raw_sql(sqlx::AssertSqlSafe(count))
            .execute(&mut reader)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let below = sqlx::query("SELECT FROM cell_west.sessions").execute(&mut reader).await.unwrap_err();
    assert!(below.to_string().contains("permission denied"), "{below}");
    reader.close().await.unwrap();
    // A cell's own database is refused: its views are there already.
    let (is_good, said) = console
        .run(&[
            "analyst",
            "join-cells",
            "--cells",
            file.to_str().unwrap(),
            "--console-database-url",
            &console.ready().database_url,
        ])
        .await
        .unwrap();
    assert!(!is_good && said.contains("need a database of their own"), "{said}");
    views.finish().await;
}
