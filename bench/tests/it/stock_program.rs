//! `stock-postgres-es`, a program of stock cqrs-es and stock postgres-es, on a log that Lablet uses.

use std::process::Command;

use app::log::{MIGRATOR, Origin, Position};
use domain::worker::{Worker, WorkerCommand, WorkerEvent};
use serde_json::json;
use servers::testing::TestDatabase;

/// Runs it with the application's own rights and answers what it prints.
fn stock(database: &TestDatabase, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_stock-postgres-es"))
        .arg(database.url_as("lablet_app"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_program_writes_what_lablet_reads_and_reads_what_lablet_wrote() {
    let database = servers::testing::database(&MIGRATOR).await;
    let log = super::log(&database);

    // Registered by stock cqrs-es: Lablet goes on from there.
    stock(&database, &["register", "w1", "https://cml-1.example.org"]);
    let change = WorkerCommand::Change {
        change: serde_json::from_value(json!({ "address": "https://cml-2.example.org" })).unwrap(),
        now: log.clock().now(),
    };
    let changed = log.execute::<Worker>("w1", change, &Origin::from_actor("admin:ada")).await.unwrap();
    assert_eq!(changed.sequence, 2);

    // Stock cqrs-es reads both, and comes to the same state.
    let printed = stock(&database, &["show", "w1"]);
    let [registered, changed, state] = printed.as_slice() else { panic!("{printed:?}") };
    assert!(matches!(serde_json::from_str(registered).unwrap(), WorkerEvent::Registered { .. }));
    assert!(matches!(serde_json::from_str(changed).unwrap(), WorkerEvent::Changed { .. }));
    let (by_lablet, ..) = super::log(&database).load::<Worker>("w1").await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Worker>(state).unwrap(), *by_lablet);

    // What the stock program wrote stands in the order of all events, with an id and a time, as everything does.
    database.settle().await;
    let all = log.read(Position::START, 10).await.unwrap();
    assert_eq!(
        all.iter().map(|event| (event.event_type.as_str(), event.sequence)).collect::<Vec<_>>(),
        [("worker.registered", 1), ("worker.changed", 2)]
    );
    assert!(!all[0].event_id.is_nil() && all[0].position < all[1].position);
}
