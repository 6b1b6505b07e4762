//! The whole system, as its users meet it.

mod advice;
mod analysts;
mod cells;
mod cluster;
mod command;
mod database_rights;
mod demo;
mod description;
mod faults;
mod generated_clients;
mod notices;
pub(crate) mod operations;
pub(crate) mod outcomes;
mod pressure;
mod proposals;
mod recovery;
mod rights;
mod sampling;
mod service_programs;
pub(crate) mod services;
mod telemetry;
mod webhooks;

use std::time::Duration;

use harness::{Lablet, LabletOptions};

/// How long anything may take to go through the whole system on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn options() -> LabletOptions {
    LabletOptions { program: env!("CARGO_BIN_EXE_lablet-under-test").into(), ..LabletOptions::default() }
}

async fn start() -> Lablet {
    Lablet::start(options()).await.unwrap()
}

/// A Lablet with a definition, a worker that nobody answers at, and one running session `s1`.
async fn with_a_running_session() -> Lablet {
    with_a_running_session_under(options()).await
}

async fn with_a_running_session_under(options: LabletOptions) -> Lablet {
    let lablet = Lablet::start(options).await.unwrap();
    lablet.define("ospf").await.unwrap();
    lablet.register_worker("cml-1", "https://127.0.0.1:1").await.unwrap();
    lablet.running_session("s1", "ospf", "cml-1", "lab-1").await.unwrap();
    lablet
}

/// As [`with_a_running_session`], with a controller that may ask the worker, and finds nobody there.
async fn with_a_controller_that_finds_nobody() -> Lablet {
    let credentials = [
        ("LABLET_CML_HOSTS", "127.0.0.1:1"),
        ("LABLET_CML_USERNAME", "admin"),
        ("LABLET_CML_PASSWORD", "let-me-observe"),
    ];
    let environment = credentials.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    with_a_running_session_under(LabletOptions { environment, ..options() }).await
}

/// `lablet verify` finds that log, bus and read models hold the same events.
pub(crate) async fn verify(lablet: &Lablet) {
    let (holds, report) = lablet.run(&["verify"]).await.unwrap();
    assert!(holds, "{report}");
    let operations = lablet.get("/api/operations").await.unwrap();
    assert_eq!(operations["last_verify"]["held"], true, "what was found can be looked up later");
    let consumer = operations["consumers"][1]["consumers"][0]["name"].as_str();
    assert_eq!(consumer, Some("lablet_commands"), "{}", operations["consumers"]);
}
