//! The demonstration shows what sessions really use, and every page that leads through it can be followed literally.

use std::path::Path;
use std::time::Duration;

use harness::{Lablet, LabletOptions, eventually, walk};
use reqwest::Client;
use serde_json::Value;

use super::options;

/// What a new user sees within two minutes; the rest is for a busy machine.
const A_FEW_SESSIONS: Duration = Duration::from_secs(240);

/// What the nodes with that label have used, one for each running session of the lab with that name, as the simulator tells
/// it.
async fn used(cml: &Client, url: &str, name: &str, label: &str) -> Vec<Value> {
    let get = async |path: String| -> Option<Value> {
        cml.get(format!("{url}/simulator{path}")).send().await.ok()?.json().await.ok()
    };
    let shown = get(String::new()).await.expect("the simulator answers");
    let mut used = Vec::new();
    for lab in shown["labs"].as_array().unwrap() {
        if lab["title"].as_str().unwrap().starts_with(name) {
            // None: its session is over, and it is gone.
            let record = get(format!("/labs/{}/usage", lab["id"].as_str().unwrap())).await;
            let nodes = record.and_then(|record| record["nodes"].as_object().cloned()).unwrap_or_default();
            used.extend(nodes.into_values().filter(|node| node["label"] == label));
        }
    }
    used
}

#[tokio::test]
async fn the_demonstration_has_a_runaway_a_disk_that_fills_a_restart_and_pages_that_lead_through_it() {
    let lablet = Lablet::start(LabletOptions { demo: true, ..options() }).await.unwrap();
    let url = lablet.ready().cml_url.clone().expect("a simulator");
    let cml = Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().timeout(Duration::from_secs(30));
    let cml = cml.build().unwrap();
    let one_that = async |what: &str, name: &str, label: &str, is_seen: fn(&Value) -> bool| {
        let look = async || used(&cml, &url, name, label).await.into_iter().find(is_seen);
        eventually(what, A_FEW_SESSIONS, look).await;
    };
    let runaway = |node: &Value| node["steady"]["cpu_percent"]["peak"].as_f64() > Some(95.0);
    let filled = |node: &Value| node["steady"]["storage_mb"]["peak"].as_f64() > Some(1_500.0);
    // A single boot of this device takes at most 58 samples.
    let restarted = |node: &Value| node["boot"]["samples"].as_u64() > Some(65);
    // Through everything: the simulator, the controller, the log, the read model.
    let get = async |path: &str| lablet.get(path).await;
    let short =
        async || get("/api/workers/demo-cml/pressure").await.ok()?.to_string().contains("\"cpu\"").then_some(());
    tokio::join!(
        eventually("a worker that is short of CPU", A_FEW_SESSIONS, short),
        one_that("a process that runs away", "A web server behind a firewall", "web", runaway),
        one_that("a disk that fills", "First steps", "PC", filled),
        one_that("a restart", "Console and auxiliary line", "R2", restarted),
    );
    // What the pages show: a session whose ports drifted, and evidence enough for advice.
    let drifted = async || {
        let drifted = get("/api/lablet-sessions?drift=true").await.ok()?;
        (!drifted["items"].as_array()?.is_empty()).then_some(())
    };
    let advised = async || {
        let advice = get("/api/lablet-definitions/demo-exam/recommendation").await.ok()?;
        advice.to_string().contains("under_provisioned").then_some(())
    };
    tokio::join!(
        eventually("a session that drifted", A_FEW_SESSIONS, drifted),
        eventually("advice", A_FEW_SESSIONS, advised),
    );
    follow_every_page(&lablet).await;
    lablet.stop().await.unwrap();
}

/// One after the other, beside sessions that go on.
async fn follow_every_page(lablet: &Lablet) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut pages: Vec<String> = std::fs::read_dir(repository.join("docs/tutorial"))
        .unwrap()
        .map(|page| format!("docs/tutorial/{}", page.unwrap().file_name().display()))
        .collect();
    pages.sort();
    // First, as the others change what it shows.
    pages.insert(0, "README.md".to_owned());
    for page in pages {
        walk::follow(lablet, repository, &page).await.unwrap();
    }
}
